"""COLMAP and LLFF folders load with the right picture for every pose."""

import dataclasses
import shutil

import colmap_util
import numpy as np
import pytest
from jax import tree

from multinerf import errors
from multinerf.app import cli
from multinerf.cameras import poses, projection
from multinerf.config import schema
from multinerf.data import analytic, base, images, llff

SIZE = 20


@pytest.fixture(scope='module')
def scene_folder(tmp_path_factory):
  """Written once; tests that change it copy it."""
  return colmap_util.write_llff_scene(
    tmp_path_factory.mktemp('llff') / 'still', size=SIZE, factors=(2,)
  )


@pytest.fixture(scope='module')
def truth():
  return colmap_util.make_truth(size=SIZE)


@pytest.fixture(scope='module')
def facing_folder(tmp_path_factory):
  """A forward-facing scene with LLFF's bounds and EXIF exposures."""
  return colmap_util.write_llff_scene(
    tmp_path_factory.mktemp('llff') / 'facing',
    size=SIZE,
    forward_facing=True,
    exif=True,
    poses_bounds=True,
  )


@pytest.fixture
def own_folder(scene_folder, tmp_path):
  """A copy that may be changed."""
  return shutil.copytree(scene_folder, tmp_path / 'still')


def load(folder, split='train', **options):
  options = {'near': 0.1, 'far': 10.0} | options
  cfg = base.DataConfig(data_dir=str(folder), **options)
  return base.load_scene(cfg, split)


def moved(scene, camtoworlds):
  """Input poses in the scene's frame, by its world_transform."""
  out = poses.unpad_poses(scene.world_transform @ poses.pad_poses(camtoworlds))
  out[:, :, :3] /= np.cbrt(np.linalg.det(scene.world_transform[:3, :3]))
  return out


def assert_same_scene(a, b):
  """Equal arrays and names."""
  assert a.image_names == b.image_names
  tree.map(np.testing.assert_array_equal, a.cameras, b.cameras)
  np.testing.assert_array_equal(a.images.values, b.images.values)
  np.testing.assert_array_equal(a.world_transform, b.world_transform)


def assert_pairs_by_name(scene, folder, truth, images_dir='images'):
  """Every image has the pose and the picture of its own name."""
  for k, name in enumerate(scene.image_names):
    np.testing.assert_array_equal(
      scene.images.image(k), images.read_image(folder / images_dir / name)
    )
    i = truth.names.index(name)
    np.testing.assert_allclose(  # float32 cameras
      scene.cameras.camtoworlds[k],
      moved(scene, truth.camtoworlds[i : i + 1])[0],
      atol=1e-6,
    )


def test_poses_pixels_and_frame_are_those_of_the_files(scene_folder, truth):
  train, test = load(scene_folder), load(scene_folder, 'test')
  assert test.image_names == ('view_00.png', 'view_08.png')
  assert train.image_names == truth.names[1:8]
  assert_pairs_by_name(train, scene_folder, truth)
  assert_pairs_by_name(test, scene_folder, truth)
  np.testing.assert_array_equal(train.world_transform, test.world_transform)
  every = moved(train, truth.camtoworlds)[:, :, 3]
  assert np.abs(every).max() == pytest.approx(1.0)


def test_text_binary_and_new_format_load_the_same_scene(scene_folder, tmp_path):
  old = load(scene_folder)
  for k, options in enumerate(({'binary': False}, {'new_format': True})):
    folder = colmap_util.write_llff_scene(
      tmp_path / f'{k}', size=SIZE, **options
    )
    assert_same_scene(load(folder), old)


def test_smaller_images_are_paired_by_stem_not_by_place(own_folder, truth):
  """Defect 4: one stray file shifted all pairs."""
  for stray in ('.DS_Store', 'Thumbs.db', 'aaa.png', '._view_00.png'):
    for folder in ('images', 'images_2'):
      (own_folder / folder / stray).write_bytes(b'no image')
  scene = load(own_folder, factor=2)
  assert_pairs_by_name(scene, own_folder, truth, 'images_2')
  np.testing.assert_allclose(
    scene.cameras.pixtocams[0],
    projection.get_pixtocam(truth.focal / 2, SIZE / 2, SIZE / 2),
    rtol=1e-6,
  )
  [note] = scene.notes
  assert '1 of 10 images' in note and 'aaa.png' in note


def test_missing_smaller_images_are_named(own_folder):
  """Defect 4."""
  for i in (2, 5):
    (own_folder / 'images_2' / f'view_0{i}.png').unlink()
  with pytest.raises(
    errors.DataError, match='images_2 lacks 2 of 9 images: view_02, view_05'
  ):
    load(own_folder, factor=2)


def rename_smaller(folder, num=9):
  """Names as in nerf_llff_data: images_4/image000.png of IMG_4026.JPG."""
  for i in range(num):
    (folder / 'images_2' / f'view_{i:02d}.png').rename(
      folder / 'images_2' / f'image{i:03d}.png'
    )


def test_smaller_images_that_share_no_name_are_paired_by_place(own_folder):
  """nerf_llff_data as published could not be loaded."""
  want = load(own_folder, factor=2)
  rename_smaller(own_folder)
  got = load(own_folder, factor=2)
  assert_same_scene(got, want)
  [note] = got.notes
  assert 'images_2' in note and 'paired by their places' in note


def test_places_are_those_among_all_images_of_full_size(own_folder, truth):
  """A photograph without a pose has a place as well."""
  camera, shots, points = colmap_util.colmap_parts(truth)
  posed = [shot for shot in shots if shot.name != 'view_03.png']
  for name in ('cameras.bin', 'images.bin', 'points3D.bin'):
    (own_folder / 'sparse' / '0' / name).unlink()
  colmap_util.write_binary(
    own_folder / 'sparse' / '0', {1: camera}, posed, points
  )
  want = load(own_folder, factor=2)
  assert 'view_04.png' in want.image_names
  rename_smaller(own_folder)
  assert_same_scene(load(own_folder, factor=2), want)


def test_places_pair_nothing_where_a_stem_or_the_count_says_more(own_folder):
  """Defect 4."""
  lacks = 'images_2 lacks 8 of 9 images: view_01'
  rename_smaller(own_folder)
  (own_folder / 'images_2' / 'image000.png').rename(
    own_folder / 'images_2' / 'view_00.png'
  )
  with pytest.raises(errors.DataError, match=lacks):
    load(own_folder, factor=2)
  (own_folder / 'images_2' / 'view_00.png').unlink()
  with pytest.raises(errors.DataError, match='images_2 lacks 9 of 9 images'):
    load(own_folder, factor=2)


def test_the_sizes_of_images_paired_by_place_are_checked(own_folder):
  rename_smaller(own_folder)
  images.write_png(
    own_folder / 'images_2' / 'image004.png', np.zeros((7, 10, 3), np.uint8)
  )
  with pytest.raises(errors.DataError, match='image004.png is 10x7.*10x10'):
    load(own_folder, factor=2)


def test_smaller_images_are_made_in_memory_without_their_folder(own_folder):
  """Defect 4: a missing images_N folder was an error."""
  ready = load(own_folder, factor=2)
  shutil.rmtree(own_folder / 'images_2')
  made = load(own_folder, factor=2)
  assert_same_scene(made, ready)  # the folder was made by the same average
  assert any('averaged down by 2' in note for note in made.notes)


def test_full_size_images_are_not_needed_beside_smaller_ones(own_folder):
  ready = load(own_folder, factor=2)
  shutil.rmtree(own_folder / 'images')
  assert_same_scene(load(own_folder, factor=2), ready)


def test_smaller_images_of_the_wrong_size_are_refused(own_folder):
  shutil.rmtree(own_folder / 'images_2')
  shutil.copytree(own_folder / 'images', own_folder / 'images_2')
  with pytest.raises(errors.DataError, match='20x20.*needs 10x10'):
    load(own_folder, factor=2)


def test_every_image_has_its_own_camera(own_folder, truth):
  """Defect 5: camera id 1 was assumed for all images."""
  camera, shots, points = colmap_util.colmap_parts(truth)
  wide = dataclasses.replace(
    camera, width=16, height=12, params=np.array([15.0, 14.0, 7.0, 6.0])
  )
  shots = [
    dataclasses.replace(s, camera_id=7 if s.name == 'view_03.png' else 4)
    for s in shots
  ]
  colmap_util.write_binary(
    own_folder / 'sparse' / '0', {7: wide, 4: camera}, shots, points
  )
  images.write_png(
    own_folder / 'images' / 'view_03.png', np.zeros((12, 16, 3), np.uint8)
  )
  scene = load(own_folder)
  k = scene.image_names.index('view_03.png')
  assert scene.images.image(k).shape == (12, 16, 3)
  want = np.linalg.inv(projection.intrinsic_matrix(15.0, 14.0, 7.0, 6.0))
  np.testing.assert_allclose(scene.cameras.pixtocams[k], want, rtol=1e-6)
  assert scene.cameras.widths.tolist().count(SIZE) == 6


def test_unsorted_images_keep_their_own_poses(own_folder, truth):
  """Defect 25: without sorting, poses met the wrong images."""
  scene = load(own_folder, load_alphabetical=False)
  # The file lists the images backwards.
  assert scene.image_names == truth.names[::-1][1:8]
  assert_pairs_by_name(scene, own_folder, truth)


def test_missing_posed_images_are_named_together(own_folder):
  for i in (1, 4):
    (own_folder / 'images' / f'view_0{i}.png').unlink()
  with pytest.raises(
    errors.DataError, match='2 of 9 posed images.*view_01.png.*view_04.png'
  ):
    load(own_folder)


def test_converted_images_are_found_by_their_stem(own_folder):
  before = load(own_folder)
  for i in range(9):
    name = own_folder / 'images' / f'view_0{i}.png'
    name.rename(name.with_suffix('.PNG'))
  scene = load(own_folder)
  assert_same_scene(scene, before)
  [note] = scene.notes
  assert '9 images have another extension' in note
  # Two candidates are no choice.
  twin = own_folder / 'images' / 'view_03.jpg'
  twin.write_bytes((own_folder / 'images' / 'view_03.PNG').read_bytes())
  with pytest.raises(errors.DataError, match='1 of 9.*view_03.png'):
    load(own_folder)


def test_images_in_subfolders_are_found_by_their_relative_names(
  own_folder, truth
):
  camera, shots, points = colmap_util.colmap_parts(truth)
  (own_folder / 'images' / 'left').mkdir()
  for name in truth.names[:4]:
    (own_folder / 'images' / name).rename(own_folder / 'images' / 'left' / name)
  shots = [
    dataclasses.replace(s, name=f'left/{s.name}')
    if s.name in truth.names[:4]
    else s
    for s in shots
  ]
  colmap_util.write_binary(
    own_folder / 'sparse' / '0', {1: camera}, shots, points
  )
  scene = load(own_folder)
  assert scene.image_names[:3] == tuple(
    f'left/view_0{i}.png' for i in (1, 2, 3)
  )
  assert scene.notes == ()
  # images_2 still has them at its top.
  with pytest.raises(errors.DataError, match='lacks 4 of 9.*left/view_00'):
    load(own_folder, factor=2)


def test_llff_poses_alone_make_the_same_scene(facing_folder, tmp_path):
  folder = shutil.copytree(facing_folder, tmp_path / 'llff')
  full = load(folder, forward_facing=True, near=0.0, far=1.0)
  shutil.rmtree(folder / 'sparse')
  alone = load(folder, forward_facing=True, near=0.0, far=1.0)
  assert alone.image_names == full.image_names
  np.testing.assert_array_equal(alone.images.values, full.images.values)
  for name in ('camtoworlds', 'pixtocams', 'pixtocam_ndc'):
    np.testing.assert_allclose(
      getattr(alone.cameras, name), getattr(full.cameras, name), atol=1e-6
    )
  (folder / 'images' / 'view_00.jpg').unlink()
  with pytest.raises(errors.DataError, match='9 poses for the 8 images'):
    load(folder, forward_facing=True, near=0.0, far=1.0)


def test_a_folder_without_any_poses_says_what_was_looked_for(own_folder):
  shutil.rmtree(own_folder / 'sparse')
  with pytest.raises(errors.DataError, match='sparse/0.*transforms.json'):
    load(own_folder)


def test_transforms_json_stands_in_for_colmap(own_folder, monkeypatch):
  """As in MultiNeRF, without COLMAP the transforms loader is asked."""
  (own_folder / 'transforms.json').write_text('{}')
  asked = []

  def load_transforms(cfg, split):
    asked.append(split)
    return with_colmap

  with_colmap = load(own_folder)
  assert not asked
  shutil.rmtree(own_folder / 'sparse')
  monkeypatch.setitem(base.SCENES._entries, 'transforms', load_transforms)
  without = load(own_folder)
  np.testing.assert_array_equal(
    without.cameras.camtoworlds, with_colmap.cameras.camtoworlds
  )
  assert without.image_names == with_colmap.image_names
  assert asked == ['train']


def test_poses_may_be_asked_of_poses_bounds(facing_folder, tmp_path):
  options = {'forward_facing': True, 'near': 0.0, 'far': 1.0}
  folder = shutil.copytree(facing_folder, tmp_path / 'still')
  rows = np.load(folder / 'poses_bounds.npy')
  rows[:, 3:15:5] *= 2  # cameras elsewhere than COLMAP says
  np.save(folder / 'poses_bounds.npy', rows)
  colmap = load(folder, **options)
  asked = load(folder, llff_load_from_poses_bounds=True, **options)
  shutil.rmtree(folder / 'sparse')
  alone = load(folder, **options)
  np.testing.assert_array_equal(
    asked.cameras.camtoworlds, alone.cameras.camtoworlds
  )
  change = np.abs(asked.cameras.camtoworlds - colmap.cameras.camtoworlds)
  assert change.max() > 0.01


def test_poses_may_be_asked_of_transforms_json(own_folder, monkeypatch):
  asked = []

  def load_transforms(cfg, split):
    asked.append(split)
    return scene

  scene = load(own_folder)
  monkeypatch.setitem(base.SCENES._entries, 'transforms', load_transforms)
  load(own_folder)
  assert not asked
  load(own_folder, load_ngp_format_poses=True)
  assert asked == ['train']


@pytest.mark.parametrize('factor', [0, 2])
def test_images_may_have_a_folder_of_another_name(own_folder, factor):
  want = load(own_folder, factor=factor)
  for name in ('images', 'images_2'):
    (own_folder / name).rename(own_folder / name.replace('images', 'photos'))
  found = load(own_folder, factor=factor, image_subdir='photos')
  np.testing.assert_array_equal(found.images.values, want.images.values)


@pytest.mark.parametrize(
  ('name', 'error'),
  [
    ('none', errors.DataError),
    ('../still/images', errors.ConfigError),
    ('', errors.ConfigError),
  ],
)
def test_a_wrong_image_subdir_is_named(own_folder, name, error):
  with pytest.raises(error, match='Config.image_subdir'):
    load(own_folder, image_subdir=name)


def test_a_function_may_choose_the_frame(own_folder):
  focus = load(own_folder, normalize_poses='focus')
  given = load(own_folder, transform_poses_fn=poses.transform_poses_focus)
  np.testing.assert_array_equal(
    given.cameras.camtoworlds, focus.cameras.camtoworlds
  )
  np.testing.assert_array_equal(given.world_transform, focus.world_transform)
  with pytest.raises(errors.ConfigError, match='transform_poses_fn'):
    load(own_folder, transform_poses_fn=lambda x: (x[0], np.eye(4)))


def test_exif_exposures_are_read_or_missing_ones_named(facing_folder, tmp_path):
  options = {'forward_facing': True, 'near': 0.0, 'far': 1.0}
  scene = load(facing_folder, **options)
  # (i + 1) / 100 s at ISO 200, over 1000; images 1 .. 7 are trained on.
  np.testing.assert_allclose(
    scene.cameras.exposure_values, 0.002 * np.arange(2, 9), rtol=1e-6
  )
  folder = shutil.copytree(facing_folder, tmp_path / 'still')
  bare = images.read_image(folder / 'images' / 'view_03.jpg')
  images.write_png(folder / 'images' / 'view_03.jpg', bare)
  scene = load(folder, **options)
  assert scene.cameras.exposure_values is None
  assert any('1 of 9' in n and 'view_03.jpg' in n for n in scene.notes)


@pytest.mark.parametrize('with_bounds', [True, False])
def test_forward_facing_scenes_are_scaled_by_their_nearest_depth(
  facing_folder, tmp_path, with_bounds
):
  folder = shutil.copytree(facing_folder, tmp_path / 'facing')
  if not with_bounds:
    (folder / 'poses_bounds.npy').unlink()  # then from the points
  scene = load(folder, forward_facing=True, near=0.0, far=1.0)
  truth = colmap_util.make_truth(size=SIZE, forward_facing=True, exif=True)
  depth = np.concatenate(
    [
      (pose[:, 3] - truth.points[seen]) @ pose[:, 2]
      for pose, seen in zip(truth.camtoworlds, truth.seen, strict=True)
    ]
  )
  scale = np.cbrt(np.linalg.det(scene.world_transform[:3, :3]))
  # Percentiles of few points are close to, not at, the nearest.
  assert scale * depth.min() == pytest.approx(
    4 / 3, abs=1e-9 + 0.01 * (not with_bounds)
  )
  assert scene.depth_bounds[0] == pytest.approx(4 / 3)
  centres = moved(scene, truth.camtoworlds)
  np.testing.assert_allclose(centres[:, :, 3].mean(0), 0, atol=1e-9)
  np.testing.assert_allclose(
    scene.cameras.pixtocam_ndc, scene.cameras.pixtocams[0]
  )


def still_life_hits(scene, origins, directions):
  """t of scene-frame rays at the still life, by going back to its frame."""
  to_still = np.linalg.inv(scene.world_transform @ colmap_util.SIMILARITY)
  o = origins @ to_still[:3, :3].T + to_still[:3, 3]
  return analytic.trace(o, directions @ to_still[:3, :3].T).t


@pytest.mark.parametrize('forward_facing', [False, True])
@pytest.mark.parametrize('normalize_poses', ['pca', 'focus', 'none'])
def test_depth_through_loaded_cameras_finds_the_points_in_input_coordinates(
  scene_folder, facing_folder, forward_facing, normalize_poses
):
  """Exports agree with the capture's frame.

  Rays of the loaded cameras meet the true surface where the points of the
  input are, once `world_transform` is undone.
  """
  folder = facing_folder if forward_facing else scene_folder
  scene = load(
    folder, forward_facing=forward_facing, normalize_poses=normalize_poses
  )
  truth = colmap_util.make_truth(
    size=SIZE, forward_facing=forward_facing, exif=forward_facing
  )
  to_input = np.linalg.inv(scene.world_transform)
  checked = 0
  for k, name in enumerate(scene.image_names):
    i = truth.names.index(name)
    points = truth.points[truth.seen[i]]
    pixtocam = projection.get_pixtocam(truth.focal, SIZE, SIZE)
    xy, _ = projection.points_to_pixels(points, pixtocam, truth.camtoworlds[i])
    rays = projection.pixels_to_rays(
      *xy.T,
      np.asarray(scene.cameras.pixtocams[k], np.float64),
      np.asarray(scene.cameras.camtoworlds[k], np.float64),
    )
    t = still_life_hits(scene, rays.origins, rays.directions)
    found = rays.origins + t[:, None] * rays.directions
    found = found @ to_input[:3, :3].T + to_input[:3, 3]
    # The stored cameras are float32, the points 10 units from the origin; at
    # grazing surfaces the error grows by the slope.
    error = np.linalg.norm(found - points, axis=-1)
    assert np.median(error) < 1e-5 and np.quantile(error, 0.9) < 1e-3
    checked += len(points)
  assert checked > 100
  matrix = scene.world_transform
  np.testing.assert_allclose(
    scene.points.xyz, truth.points @ matrix[:3, :3].T + matrix[:3, 3], atol=1e-9
  )


def test_keypoints_carry_the_depth_of_the_points_they_show(scene_folder):
  scene = load(scene_folder, depth_loss_mult=1.0, depth_source='points')
  keys = scene.keypoints
  rays = projection.pixels_to_rays(
    keys.x,
    keys.y,
    np.asarray(scene.cameras.pixtocams[keys.cam_idx], np.float64),
    np.asarray(scene.cameras.camtoworlds[keys.cam_idx], np.float64),
  )
  t = still_life_hits(scene, rays.origins, rays.directions)
  # Pixel centres are up to half of a pixel from the point, and rounded
  # objects are seen; most pixels still show the same surface.
  assert np.median(np.abs(t - keys.depths)) < 0.02
  # Errors grow along the points from 0.5 to 1.5 pixels, their mean is 1.
  assert keys.weights.min() == pytest.approx(np.exp(-(1.5**2)), rel=1e-5)
  assert keys.weights.max() == pytest.approx(np.exp(-(0.5**2)), rel=1e-5)


def test_keypoints_under_ndc_lie_on_their_ndc_rays(facing_folder):
  options = {'forward_facing': True, 'near': 0.0, 'far': 1.0}
  scene = load(
    facing_folder, depth_loss_mult=1.0, depth_source='points', **options
  )
  keys, cams = scene.keypoints, scene.cameras
  truth = colmap_util.make_truth(size=SIZE, forward_facing=True, exif=True)
  pixtocam = projection.get_pixtocam(truth.focal, SIZE, SIZE)
  at = 0
  for k, name in enumerate(scene.image_names):
    i = truth.names.index(name)
    seen = np.flatnonzero(truth.seen[i])
    xy, _ = projection.points_to_pixels(
      truth.points[seen], pixtocam, truth.camtoworlds[i]
    )
    rays = projection.pixels_to_rays(
      *xy.T,
      np.asarray(cams.pixtocams[k], np.float64),
      np.asarray(cams.camtoworlds[k], np.float64),
      pixtocam_ndc=np.asarray(cams.pixtocam_ndc, np.float64),
    )
    mine = keys.cam_idx == k
    at += len(seen)
    on_ray = rays.origins + keys.depths[mine, None] * rays.directions
    p = scene.points.xyz[seen]
    scale = 1 / np.asarray(cams.pixtocam_ndc, np.float64)[[0, 1], [2, 2]]
    want = np.stack(
      [*(scale[:, None] * p[:, :2].T / p[:, 2]), 1 + 2 / p[:, 2]], -1
    )
    np.testing.assert_allclose(on_ray, want, atol=2e-6)  # float32 depths
  assert at == len(keys.x)


def test_a_render_path_scene_has_all_cameras_and_reads_no_pixels(own_folder):
  for file in (own_folder / 'images').iterdir():
    # The header is right, the pixels are gone.
    file.write_bytes(file.read_bytes()[:60])
  scene = load(own_folder, render_path=True)
  assert len(scene) == 9 and scene.images is None and scene.masks is None


def path_scene(folder, **options):
  """What render.py draws a camera path through, and the path."""
  config = schema.Config(
    data_dir=str(folder), render_path=True, render_path_frames=10, **options
  )
  return cli.load_test_scene(config)


def test_paths_of_captures_are_drawn_through_both_splits(
  scene_folder, facing_folder, tmp_path
):
  scene = path_scene(scene_folder, near=0.1, far=10.0)
  assert len(scene) == 10 and scene.images is None
  centres = np.asarray(scene.cameras.camtoworlds)[:, :, 3]
  np.testing.assert_allclose(centres[:, 2], 0, atol=1e-6)  # an ellipse
  facing = path_scene(facing_folder, forward_facing=True, near=0.0, far=1.0)
  assert facing.depth_bounds[0] == pytest.approx(4 / 3)
  # A spiral before the scene: all frames look along about -z.
  assert (np.asarray(facing.cameras.camtoworlds)[:, 2, 2] > 0.9).all()
  # EXIF exposure of the first image.
  np.testing.assert_allclose(facing.cameras.exposure_values, 0.002, rtol=1e-6)
  keys = tmp_path / 'keys.txt'
  keys.write_text('view_00.png\nview_03.png\nview_08.png\n')  # 0, 8: test
  spline = path_scene(
    scene_folder,
    near=0.1,
    far=10.0,
    render_spline_keyframes=str(keys),
    render_spline_smoothness=0.0,
  )
  truth = colmap_util.make_truth(size=SIZE)
  np.testing.assert_allclose(
    np.asarray(spline.cameras.camtoworlds)[0],
    moved(spline, truth.camtoworlds[:1])[0],
    atol=1e-5,
  )


@pytest.mark.parametrize('shape', [(2**40, 17), (3, 16), (0, 17)])
def test_poses_bounds_of_another_size_are_refused_before_allocation(
  tmp_path, shape
):
  path = tmp_path / 'poses_bounds.npy'
  header = {'descr': '<f8', 'fortran_order': False, 'shape': shape}
  with open(path, 'wb') as f:
    np.lib.format.write_array_header_1_0(f, header)
    f.write(bytes(min(8 * shape[0] * shape[1], 1000)))
  with pytest.raises(errors.DataError, match=r'array \[any, 17\]'):
    llff.read_poses_bounds(path)
