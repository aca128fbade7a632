"""transforms.json of instant-ngp and nerfstudio: what it says is what loads.

Most tests photograph the embedded scene, write a file that describes the
photographs in one of the formats' ways, and check that the loaded cameras see
the loaded images (`shot_util`).
"""

import json
import math

import numpy as np
import pytest
import shot_util
from PIL import Image

from multinerf import errors
from multinerf.cameras import camera, projection
from multinerf.data import base

LENS = {'k1': 0.05, 'k2': -0.03, 'p1': 0.004, 'p2': -0.002}
SHARED = {
  'fl_x': 22.0,
  'fl_y': 21.0,
  'cx': 10.5,
  'cy': 7.5,
  'w': 20,
  'h': 16,
}


def rows(pose):
  return np.vstack([pose, [0, 0, 0, 1]]).tolist()


def write_capture(folder, shots, shared, per_frame=None, suffix='.png'):
  """Writes photographs and transforms.json; returns what it holds."""
  frames = []
  for i, shot in enumerate(shots):
    shot_util.write(folder / 'images' / f'{i:04d}.png', shot)
    own = per_frame(i, shot) if per_frame else {}
    frames.append(
      {
        'file_path': f'images/{i:04d}{suffix}',
        'transform_matrix': rows(shot.pose),
        **own,
      }
    )
  meta = {**shared, 'frames': frames}
  write_meta(folder, meta)
  return meta


def write_meta(folder, meta):
  (folder / 'transforms.json').write_text(json.dumps(meta))


def shots(num=5, **changes):
  found = shot_util.look_at_scene(num)
  return [shot_util.Shot(pose, **changes) for pose in found]


def load(folder, split='train', **options):
  cfg = base.DataConfig(
    dataset_loader='transforms',
    data_dir=str(folder),
    **{'near': 0.1, 'far': 10.0, **options},
  )
  return base.load_scene(cfg, split)


@pytest.mark.parametrize('normalize', ['pca', 'focus', 'none'])
@pytest.mark.parametrize('lens', [{}, LENS], ids=['pinhole', 'opencv'])
def test_shared_intrinsics_see_what_was_photographed(tmp_path, lens, normalize):
  write_capture(tmp_path, shots(distortion=lens or None), {**SHARED, **lens})
  scene = load(tmp_path, normalize_poses=normalize)
  assert scene.image_names == tuple(f'{i:04d}.png' for i in range(1, 5))
  assert (scene.cameras.distortion is None) == (not lens)
  shot_util.assert_images_are_what_cameras_see(scene)


def test_every_frame_may_have_its_own_size_and_lens(tmp_path):
  def own(i, shot):
    return {
      'fl_x': shot.focal[0],
      'fl_y': shot.focal[1],
      'cx': shot.center[0],
      'cy': shot.center[1],
      'w': shot.size[0],
      'h': shot.size[1],
      **(shot.distortion or {}),
    }

  pictures = [
    shot_util.Shot(
      pose,
      size=(18 + 2 * i, 16 - i),
      focal=(20.0 + i, 22.0 - i),
      center=(9.0 + i, 7.0),
      distortion={'k1': 0.02 * i, 'k3': -0.01 * i} if i else None,
    )
    for i, pose in enumerate(shot_util.look_at_scene(4))
  ]
  write_capture(tmp_path, pictures, {}, own)
  scene = load(tmp_path)
  assert list(scene.cameras.widths) == [20, 22, 24]
  np.testing.assert_allclose(
    scene.cameras.distortion['k3'], [-0.01, -0.02, -0.03]
  )
  shot_util.assert_images_are_what_cameras_see(scene)


def test_a_frame_overrules_the_file_and_gaps_are_filled_from_it(tmp_path):
  meta = write_capture(tmp_path, shots(), {**SHARED, 'k1': 0.05})
  meta['frames'][2]['fl_x'] = 30.0
  meta['frames'][2]['cx'] = 9.0
  meta['frames'][3]['k2'] = 0.01  # a lens of its own, whose k1 is 0
  write_meta(tmp_path, meta)
  cameras = load(tmp_path).cameras
  focal = 1 / cameras.pixtocams[:, [0, 1], [0, 1]]
  np.testing.assert_allclose(
    focal, [[22, 21], [30, 30], [22, 21], [22, 21]], rtol=1e-6
  )
  center = -cameras.pixtocams[:, 0, 2] * focal[:, 0]
  np.testing.assert_allclose(center, [10.5, 9, 10.5, 10.5], rtol=1e-6)
  np.testing.assert_allclose(
    cameras.distortion['k1'], [0.05, 0.05, 0, 0.05], rtol=1e-6
  )


@pytest.mark.parametrize(
  'given, focal',
  [
    ({'fl_x': 25.0}, (25.0, 25.0)),
    ({'fl_y': 26.0}, (26.0, 26.0)),
    ({'camera_angle_x': 0.8}, (10 / math.tan(0.4),) * 2),
    ({'camera_angle_x': 0.8, 'fl_x': 25.0}, (25.0, 25.0)),
    (
      {'camera_angle_x': 0.8, 'camera_angle_y': 0.7},
      (10 / math.tan(0.4), 8 / math.tan(0.35)),
    ),
  ],
)
def test_focal_length_from_whatever_is_given_centred(tmp_path, given, focal):
  write_capture(tmp_path, shots(2), given)  # no w, h, cx, cy either
  pixtocam = load(tmp_path).cameras.pixtocams[0]
  want = np.linalg.inv(projection.intrinsic_matrix(*focal, 10.0, 8.0))
  np.testing.assert_allclose(pixtocam, want, rtol=1e-6)


@pytest.mark.parametrize(
  'said', [{'camera_model': 'OPENCV_FISHEYE'}, {'is_fisheye': True}]
)
def test_fisheye_lenses_in_the_words_of_either_format(tmp_path, said):
  lens = {'k1': 0.03, 'k2': 0.01, 'k3': -0.004, 'k4': 0.002}
  fisheye = shots(
    3,
    distortion=lens,
    camtype=camera.ProjectionType.FISHEYE,
    focal=(14.0, 14.0),
  )
  shared = {**SHARED, 'fl_x': 14.0, 'fl_y': 14.0, **lens, **said}
  write_capture(tmp_path, fisheye, shared)
  scene = load(tmp_path)
  assert scene.cameras.camtype is camera.ProjectionType.FISHEYE
  shot_util.assert_images_are_what_cameras_see(scene)


def test_distortion_params_of_nerfstudio_are_k1_to_k4_then_p1_p2(tmp_path):
  lens = {'k1': 0.05, 'k2': -0.03, 'k3': 0.01, 'p1': 0.004, 'p2': -0.002}
  values = [0.05, -0.03, 0.01, 0.0, 0.004, -0.002]
  write_capture(
    tmp_path,
    shots(2, distortion=lens),
    SHARED,
    lambda i, shot: {'distortion_params': values},
  )
  shot_util.assert_images_are_what_cameras_see(load(tmp_path))


def test_equirectangular_images_are_panoramas(tmp_path):
  pano = shots(3, size=(64, 32), camtype=camera.ProjectionType.PANORAMIC)
  shared = {'camera_model': 'EQUIRECTANGULAR', 'fl_x': 32, 'fl_y': 32}
  write_capture(tmp_path, pano, shared)
  scene = load(tmp_path)
  assert scene.cameras.camtype is camera.ProjectionType.PANORAMIC
  for i in range(2):
    rgb, t = shot_util.reseen(scene, i)
    np.testing.assert_allclose(
      scene.images.image(i) / 255, rgb, atol=0.5 / 255 + 1e-3
    )
    assert np.isfinite(t[:, 16:48]).any() and not np.isfinite(t[:, :8]).any()


@pytest.mark.parametrize(
  'suffix, kind', [('', 'png'), ('', 'jpg'), ('', 'JPG')]
)
def test_extension_may_be_absent(tmp_path, suffix, kind):
  write_capture(tmp_path, shots(2), SHARED, suffix=suffix)
  if kind != 'png':
    path = tmp_path / 'images' / '0001.png'
    Image.open(path).save(path.with_suffix(f'.{kind}'), format='JPEG')
    path.unlink()
  assert load(tmp_path).image_names == (f'0001.{kind}',)


def test_reduced_images_keep_their_field_of_view(tmp_path):
  write_capture(tmp_path, shots(2), SHARED)
  full, half = load(tmp_path), load(tmp_path, factor=2)
  assert list(half.cameras.widths) == [10]
  corner = full.cameras.pixtocams[0] @ [20, 16, 1]
  np.testing.assert_allclose(
    half.cameras.pixtocams[0] @ [10, 8, 1], corner, rtol=1e-6
  )


def test_missing_frames_are_left_out_and_said_once(tmp_path):
  write_capture(tmp_path, shots(9), SHARED)
  for i in (2, 7):
    (tmp_path / 'images' / f'{i:04d}.png').unlink()
  train, test = load(tmp_path), load(tmp_path, 'test')
  note = (
    '2 of 9 frames of transforms.json have no image and were left out: '
    'images/0002.png, images/0007.png.'
  )
  assert train.notes == test.notes == (note,)
  assert len(train) + len(test) == 7
  shot_util.assert_images_are_what_cameras_see(train)


def test_splits_of_nerfstudio_are_honoured(tmp_path):
  meta = write_capture(tmp_path, shots(6), SHARED)
  names = [f['file_path'] for f in meta['frames']]
  meta['train_filenames'] = names[:3]
  meta['val_filenames'] = [names[3]]
  meta['test_filenames'] = [f'./{names[4]}']
  write_meta(tmp_path, meta)
  assert load(tmp_path).image_names == ('0000.png', '0001.png', '0002.png')
  scene = load(tmp_path, 'test')
  assert scene.image_names == ('0004.png',)
  assert '2 frames of transforms.json are in no split' in scene.notes[0]
  del meta['test_filenames']
  write_meta(tmp_path, meta)
  assert load(tmp_path, 'test').image_names == ('0003.png',)
  del meta['val_filenames']
  write_meta(tmp_path, meta)
  test = load(tmp_path, 'test')
  assert test.image_names == ('0003.png', '0004.png', '0005.png')


def test_a_frame_in_both_splits_is_held_out_and_said(tmp_path):
  meta = write_capture(tmp_path, shots(3), SHARED)
  names = [f['file_path'] for f in meta['frames']]
  write_meta(
    tmp_path, meta | {'train_filenames': names, 'test_filenames': names[:1]}
  )
  scene = load(tmp_path)
  assert scene.image_names == ('0001.png', '0002.png')
  assert (
    '1 frames of transforms.json are listed for training and'
    in (scene.notes[0])
  )


def test_poses_are_taken_back_to_the_frame_of_the_capture(tmp_path):
  pictures = shots()
  meta = write_capture(tmp_path, pictures, SHARED)
  turn = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
  applied = np.concatenate([turn, [[0.5], [-1], [2]]], 1)
  for frame, shot in zip(meta['frames'], pictures, strict=True):
    pose = np.concatenate(
      [
        turn @ shot.pose[:, :3],
        0.3 * (turn @ shot.pose[:, 3:] + applied[:, 3:]),
      ],
      1,
    )
    frame['transform_matrix'] = rows(pose)
  meta |= {'applied_transform': applied.tolist(), 'applied_scale': 0.3}
  write_meta(tmp_path, meta)
  scene = load(tmp_path, normalize_poses='none')
  np.testing.assert_allclose(
    scene.cameras.camtoworlds[0], pictures[1].pose, atol=1e-6
  )
  np.testing.assert_array_equal(scene.world_transform, np.eye(4))
  shot_util.assert_images_are_what_cameras_see(load(tmp_path))


def test_points_move_with_the_poses(tmp_path):
  pictures = shots()
  meta = write_capture(tmp_path, pictures, SHARED)
  seen = np.array([[0.1, 0.2, -0.3], [-0.4, 0.1, 0.2]])
  # The file's frame is the capture's, shifted and twice as large.
  for frame, shot in zip(meta['frames'], pictures, strict=True):
    pose = shot.pose.copy()
    pose[:, 3] = 2 * (pose[:, 3] + 1)
    frame['transform_matrix'] = rows(pose)
  shift = np.concatenate([np.eye(3), np.ones((3, 1))], 1).tolist()
  meta |= {'applied_transform': shift, 'applied_scale': 2.0}
  meta['ply_file_path'] = 'sparse_pc.ply'
  write_meta(tmp_path, meta)
  (note,) = load(tmp_path).notes
  assert note == (
    'transforms.json names points in sparse_pc.ply, which does not exist.'
  )
  lines = '\n'.join(' '.join(map(str, 2 * (p + 1))) for p in seen)
  (tmp_path / 'sparse_pc.ply').write_text(
    'ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\n'
    f'property float y\nproperty float z\nend_header\n{lines}\n'
  )
  scene = load(tmp_path)
  back = np.linalg.inv(scene.world_transform)
  np.testing.assert_allclose(
    scene.points.xyz @ back[:3, :3].T + back[:3, 3], seen, atol=1e-6
  )


def half_mask(i, kept, size=(20, 16)):
  """A grey image that is `kept` in its left half, more or less."""
  values = np.full(size[::-1], 255 - kept, np.uint8)
  values[:, : 10 - i] = kept
  return Image.fromarray(values)


def expected_mask(i, size=(20, 16)):
  keep = np.zeros(size[::-1], np.uint8)
  keep[:, : 10 - i] = 1
  return keep


@pytest.mark.parametrize(
  'kind', ['mask_path', 'dynamic_mask', 'folder_white', 'folder_black']
)
def test_masks_of_every_polarity_keep_the_same_pixels(tmp_path, kind):
  meta = write_capture(tmp_path, shots(3), SHARED)
  options = {}
  for i in range(3):
    match kind:
      case 'mask_path':
        path, kept = tmp_path / 'sub' / f'm{i}.png', 255
        meta['frames'][i]['mask_path'] = f'sub/m{i}.png'
      case 'dynamic_mask':
        path, kept = tmp_path / 'images' / f'dynamic_mask_{i:04d}.png', 0
      case 'folder_white':
        path, kept = tmp_path / 'masks' / f'{i:04d}.png', 255
      case 'folder_black':
        path, kept = tmp_path / 'masks' / f'{i:04d}.png.png', 0
        options['mask_keeps'] = 'black'
    path.parent.mkdir(exist_ok=True)
    half_mask(i, kept).save(path)
  write_meta(tmp_path, meta)
  scene = load(tmp_path, **options)
  for k in range(2):
    np.testing.assert_array_equal(
      scene.masks.image(k)[..., 0] > 0, expected_mask(k + 1) > 0
    )
  assert any('Masks of 2 of 2 images keep' in note for note in scene.notes)


def test_a_mask_for_some_frames_leaves_the_others_whole(tmp_path):
  meta = write_capture(tmp_path, shots(3), SHARED)
  meta['frames'][1]['mask_path'] = 'm.png'
  half_mask(1, 255).save(tmp_path / 'm.png')
  write_meta(tmp_path, meta)
  masks = load(tmp_path).masks
  assert masks.image(0).sum() == expected_mask(1).sum()
  assert (masks.image(1) == 1).all()


@pytest.mark.parametrize('kind', ['nerfstudio', 'npy', 'instant-ngp'])
def test_depth_images_become_ray_parameters(tmp_path, kind):
  pictures = shots(3, distortion=LENS)
  meta = write_capture(tmp_path, pictures, {**SHARED, **LENS})
  step = {'nerfstudio': 1e-3, 'npy': None, 'instant-ngp': 2e-3}[kind]
  if kind == 'instant-ngp':
    meta['integer_depth_scale'] = step
  for i, (frame, shot) in enumerate(zip(meta['frames'], pictures, strict=True)):
    _, depth = shot_util.photograph(shot)  # t of a pinhole is depth
    depth[~np.isfinite(depth)] = 0
    if kind == 'npy':
      np.save(tmp_path / f'd{i}.npy', depth)
      frame['depth_file_path'] = f'd{i}.npy'
      continue
    integers = np.round(depth / step).astype(np.uint16)
    Image.fromarray(integers).save(tmp_path / f'd{i}.png')
    key = 'depth_path' if kind == 'instant-ngp' else 'depth_file_path'
    frame[key] = f'd{i}.png'
  write_meta(tmp_path, meta)
  scene = load(tmp_path, depth_loss_mult=1.0)
  cache = str(tmp_path / 'cache')
  cached = load(tmp_path, depth_loss_mult=1.0, pixel_cache_dir=cache)
  np.testing.assert_array_equal(cached.depths.values, scene.depths.values)
  assert cached.depths.file is not None
  scale = np.cbrt(np.linalg.det(scene.world_transform[:3, :3]))
  for k in range(2):
    _, t = shot_util.photograph(pictures[k + 1])
    known = np.isfinite(t)
    depths = scene.depths.image(k)
    np.testing.assert_array_equal(depths[..., 1] > 0, known)
    # Half a step of the integers.
    np.testing.assert_allclose(
      depths[..., 0][known], t[known] * scale, atol=(step or 1e-6) * scale
    )


def _edit(change):
  def apply(folder):
    meta = json.loads((folder / 'transforms.json').read_text())
    change(meta)
    write_meta(folder, meta)

  return apply


def _write(content):
  return lambda folder: (folder / 'transforms.json').write_bytes(content)


def _frame(**changes):
  return _edit(lambda meta: meta['frames'][1].update(changes))


def _blender(folder):
  (folder / 'transforms.json').rename(folder / 'transforms_train.json')


def _exr(folder):
  (folder / 'images' / '0001.png').rename(folder / 'images' / '0001.exr')
  _frame(file_path='images/0001')(folder)


FAULTS = {
  'no file': (
    lambda folder: (folder / 'transforms.json').unlink(),
    'transforms.json does not exist.*Config.dataset_loader',
  ),
  'blender scene': (_blender, "set Config.dataset_loader = 'blender'"),
  'broken json': (_write(b'{"frames": ['), 'is not valid JSON'),
  'deep json': (_write(b'[' * 100_000), 'is not valid JSON'),
  'list': (_write(b'[]'), 'it holds a list'),
  'huge number': (_write(b'{"frames": [1' + b'0' * 9000 + b']}'), 'JSON'),
  'no frames': (_edit(lambda m: m.update(frames=[])), 'lists no frames'),
  'frames no list': (_edit(lambda m: m.update(frames=3)), "'frames' is '3'"),
  'frame no dict': (
    _edit(lambda m: m['frames'].insert(1, 7)),
    "frame 1: 'file_path' is missing",
  ),
  'path null byte': (_frame(file_path='a\0b'), 'no file path'),
  'path of lines': (_frame(mask_path='a\nb'), r"'a\\nb' is no file path"),
  'path surrogate': (_frame(file_path='a\ud800'), 'no file path'),
  'path too long': (_frame(file_path='é' * 150), 'no file path'),
  'path too deep': (_frame(file_path='a/' * 2000 + 'a'), 'no file path'),
  'no matrix': (_frame(transform_matrix=None), "'transform_matrix' is missing"),
  'ragged': (_frame(transform_matrix=[[1], [2, 3]]), 'not 3x4 finite'),
  'nan': (
    _frame(transform_matrix=[[math.nan] * 4] * 4),
    r'frame 1 \(images/0001.png\): transform_matrix is not 4x4',
  ),
  'not a rotation': (
    _frame(transform_matrix=np.diag([2.0, 1, 1, 1]).tolist()),
    '0001.png has a pose whose rotation is none',
  ),
  'mirrored': (
    _frame(transform_matrix=np.diag([-1.0, 1, 1, 1]).tolist()),
    '0001.png has a mirrored pose',
  ),
  'twice': (
    _edit(lambda m: m['frames'].append(m['frames'][0])),
    'several posed images are called 0000.png',
  ),
  'no focal': (
    _edit(lambda m: (m.pop('fl_x'), m.pop('fl_y'))),
    'has no focal length',
  ),
  'huge shift': (
    _frame(transform_matrix=np.diag([1e300, 1, 1, 1]).tolist()),
    'transform_matrix is not 4x4 finite',
  ),
  'text focal': (_edit(lambda m: m.update(fl_x='far')), "'fl_x' is 'far'"),
  'zero focal': (_edit(lambda m: m.update(fl_x=0)), "'fl_x' is 0; it must"),
  'infinite focal': (
    _edit(lambda m: m.update(fl_x=10**400)),
    "'fl_x' is inf; it must be finite",
  ),
  'angle': (_frame(camera_angle_x=4), 'camera_angle_x is 4; it must lie'),
  'half pixels': (_edit(lambda m: m.update(w=20.5)), "'w' is 20.5"),
  'other size': (_edit(lambda m: m.update(w=40)), '0000.png is 20x16, but its'),
  'distortion': (
    _edit(lambda m: m.update(distortion_params=[1, 2])),
    'distortion_params is not 6 finite numbers',
  ),
  'unknown model': (
    _edit(lambda m: m.update(camera_model='FISHEYE624')),
    "camera_model 'FISHEYE624' is not supported; known: OPENCV",
  ),
  'mixed models': (
    _frame(camera_model='OPENCV_FISHEYE'),
    r"mixes cameras of the types \['fisheye', 'perspective'\]",
  ),
  'ftheta': (_edit(lambda m: m.update(ftheta_p0=1)), 'ftheta_p0 are not'),
  'exr': (_exr, '0001.exr is OpenEXR, which is not read'),
  'no image at all': (
    lambda folder: [p.unlink() for p in (folder / 'images').iterdir()],
    'None of the 3 images of .* exists',
  ),
  'damaged image': (
    lambda f: (f / 'images' / '0001.png').write_bytes(b'no image'),
    'Cannot read image .*0001.png',
  ),
  'unknown split name': (
    _edit(lambda m: m.update(test_filenames=['images/x.png'])),
    r"test_filenames\[0\]: no frame is called 'images/x.png'",
  ),
  'split no names': (
    _edit(lambda m: m.update(train_filenames=[3])),
    r'train_filenames\[0\] is .3., not a file name',
  ),
  'applied mirror': (
    _edit(
      lambda m: m.update(applied_transform=np.diag([-1.0, 1, 1, 1]).tolist())
    ),
    'applied_transform is no rotation',
  ),
  'applied shape': (
    _edit(lambda m: m.update(applied_transform=[1, 2])),
    'applied_transform is not 3x4',
  ),
  'mask path': (_frame(mask_path=7), "'mask_path' is '7'"),
  'mask missing': (_frame(mask_path='none.png'), 'none.png'),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_each_fault_is_one_line_that_names_it(tmp_path, fault):
  write_capture(tmp_path, shots(3), SHARED)
  apply, message = FAULTS[fault]
  apply(tmp_path)
  with pytest.raises(errors.DataError, match=message) as info:
    load(tmp_path)
  assert '\n' not in str(info.value)
  assert str(tmp_path) in str(info.value)


def test_what_is_not_used_is_said(tmp_path):
  write_capture(tmp_path, shots(2), {**SHARED, 'fisheye_crop_radius': 7.0})
  assert load(tmp_path).notes == (
    'transforms.json has fisheye_crop_radius, which is not used.',
  )


def test_fox_loads_without_the_frames_it_lacks(shared_data):
  folder = shared_data('fox')
  # All cameras and no pixels, so that 50 photographs need not be decoded.
  every = load(folder, render_path=True, normalize_poses='focus').cameras
  test = load(folder, 'test', factor=8)
  assert (len(every), len(test)) == (50, 7)
  missing = [n for n in test.notes if 'have no image' in n]
  assert len(missing) == 1
  assert missing[0].startswith('17 of 67 frames of transforms.json')
  assert (test.cameras.widths == 135).all()
  # What all cameras look at, the origin, is before and inside of nearly all.
  pixels, depth = projection.points_to_pixels(
    np.zeros((50, 3)),
    every.pixtocams.astype(np.float64),
    every.camtoworlds.astype(np.float64),
    distortion=every.distortion,
  )
  assert (depth > 0.3).all()
  assert ((pixels > 0) & (pixels < [1080, 1920])).all(-1).mean() > 0.9
