"""Tanks and Temples, as NeRF++ and as Free View Synthesis prepared them."""

import shutil

import numpy as np
import pytest
import scene_writers

from multinerf import errors
from multinerf.app import cli
from multinerf.cameras import projection
from multinerf.config import schema
from multinerf.data import base, images

# Points that all cameras of the writers see.
POINTS = np.random.default_rng(0).uniform(-0.4, 0.4, (20, 3))


def load(loader, folder, split='train', **options):
  cfg = base.DataConfig(dataset_loader=loader, data_dir=str(folder), **options)
  return base.load_scene(cfg, split)


def twin(matrix):
  """Pixels of POINTS by a projection matrix, in numpy alone."""
  x, y, w = matrix @ np.concatenate([POINTS, np.ones((20, 1))], -1).T
  return np.stack([x / w, y / w], -1)


def seen(scene, i):
  """Pixels of POINTS by a loaded camera; (0, 0) is the top left corner."""
  moved = scene.world_transform[:3, :3] @ POINTS.T
  moved = moved.T + scene.world_transform[:3, 3]
  xy, t = projection.points_to_pixels(
    moved,
    scene.cameras.pixtocams[i].astype(np.float64),
    scene.cameras.camtoworlds[i].astype(np.float64),
  )
  assert (t > 0).all()
  return xy + 0.5


# float32 matrices of about 20 pixels of focal length: 20 * 6e-8 * a few.
TOLERANCE = dict(rtol=0, atol=2e-5)


@pytest.fixture(scope='module')
def nerfpp_master(tmp_path_factory):
  folder = tmp_path_factory.mktemp('nerfpp')
  return folder, scene_writers.write_tat_nerfpp(folder)


@pytest.fixture
def nerfpp(nerfpp_master, tmp_path):
  """A copy to damage, and the projections."""
  folder, projections = nerfpp_master
  return shutil.copytree(folder, tmp_path / 'nerfpp'), projections


@pytest.mark.parametrize('split, num', [('train', 5), ('test', 2)])
def test_nerfpp_cameras_project_as_the_files_say(nerfpp, split, num):
  folder, projections = nerfpp
  scene = load('tat_nerfpp', folder, split)
  assert len(scene) == num
  assert scene.image_names[1] == '000001.png'
  np.testing.assert_array_equal(scene.world_transform, np.eye(4))
  for i in range(num):
    np.testing.assert_allclose(
      seen(scene, i), twin(projections[split][i]), **TOLERANCE
    )
    np.testing.assert_array_equal(
      scene.images.image(i),
      images.read_image(folder / split / 'rgb' / f'{i:06d}.png'),
    )


def test_nerfpp_images_have_their_own_size_and_intrinsics(nerfpp):
  folder, projections = nerfpp
  matrix = np.array([[30.0, 0.5, 9.0], [0, 28.0, 5.0], [0, 0, 1]])
  np.savetxt(
    folder / 'train' / 'intrinsics' / '000002.txt',
    scene_writers.padded(2 * matrix),
  )
  picture = np.zeros((12, 20, 3))
  images.write_png(folder / 'train' / 'rgb' / '000002.png', picture)
  scene = load('tat_nerfpp', folder)
  assert list(scene.cameras.widths) == [16, 16, 20, 16, 16]
  assert list(scene.cameras.heights) == [16, 16, 12, 16, 16]
  outside = np.linalg.solve(scene_writers.intrinsics(), projections['train'][2])
  np.testing.assert_allclose(
    seen(scene, 2), twin(matrix @ outside), **TOLERANCE
  )
  np.testing.assert_allclose(
    seen(scene, 1), twin(projections['train'][1]), **TOLERANCE
  )


def test_nerfpp_files_are_matched_by_name_and_strays_do_not_count(nerfpp):
  folder, _ = nerfpp
  before = load('tat_nerfpp', folder)
  for stray in ('rgb/.DS_Store', 'rgb/notes.md', 'pose/.000000.txt'):
    (folder / 'train' / stray).write_text('x')
  after = load('tat_nerfpp', folder)
  assert after.image_names == before.image_names
  np.testing.assert_array_equal(after.images.values, before.images.values)
  np.testing.assert_array_equal(
    after.cameras.camtoworlds, before.cameras.camtoworlds
  )


def test_nerfpp_ignores_factor_and_says_so(nerfpp):
  folder, _ = nerfpp
  scene = load('tat_nerfpp', folder, factor=4)
  assert list(scene.cameras.widths) == [16] * 5
  (note,) = scene.notes
  assert 'Config.factor = 4 has no effect' in note


def test_nerfpp_camera_path_has_poses_intrinsics_and_no_images(nerfpp):
  folder, projections = nerfpp
  cfg = base.DataConfig(dataset_loader='tat_nerfpp', data_dir=str(folder))
  scene = base.CAMERA_PATHS.get('tat_nerfpp')(cfg)
  assert scene.images is None and len(scene) == 3
  assert list(scene.cameras.widths) == [16] * 3
  for i in range(3):
    np.testing.assert_allclose(
      seen(scene, i), twin(projections['camera_path'][i]), **TOLERANCE
    )
  (folder / 'camera_path').rename(folder / 'elsewhere')
  assert base.CAMERA_PATHS.get('tat_nerfpp')(cfg) is None


@pytest.mark.parametrize('own', [True, False])
def test_nerfpp_videos_follow_the_camera_path_if_there_is_one(nerfpp, own):
  folder, projections = nerfpp
  if not own:
    (folder / 'camera_path').rename(folder / 'elsewhere')
  config = schema.Config(
    dataset_loader='tat_nerfpp',
    data_dir=str(folder),
    near=0.1,
    far=1e6,
    render_path=True,
    render_path_frames=7,
    render_resolution=(32, 32),
  )
  scene = cli.load_test_scene(config)
  assert scene.images is None
  assert scene.image_names[0] == 'frame_000'
  assert len(scene) == (3 if own else 7)
  assert list(scene.cameras.widths) == [32] * len(scene)
  if own:
    # A new resolution keeps the focal length: 8 more pixels on each side.
    np.testing.assert_allclose(
      seen(scene, 2), twin(projections['camera_path'][2]) + 8, **TOLERANCE
    )


def write(path, text):
  return lambda folder: (folder / path).write_text(text)


def delete(path):
  return lambda folder: (folder / path).unlink()


NERFPP_FAULTS = {
  'no split': (
    lambda folder: (folder / 'train').rename(folder / 'training'),
    'train/rgb is missing or empty.*Config.data_dir',
  ),
  'no pose': (
    delete('train/pose/000003.txt'),
    'train/pose has no file for 000003',
  ),
  'no image': (delete('train/rgb/000001.png'), 'rgb has no file for 000001'),
  'image twice': (
    lambda folder: (folder / 'train/rgb/000001.jpg').write_bytes(b''),
    'both 000001.jpg and 000001.png',
  ),
  'short pose': (
    write('train/pose/000001.txt', '1 2 3'),
    '000001.txt holds 3 numbers.*4x4',
  ),
  'text pose': (write('train/pose/000001.txt', 'a b'), 'Cannot read .*000001'),
  'nan pose': (
    write('train/pose/000001.txt', 'nan ' * 16),
    '000001.txt holds 16 numbers, 0 of them finite',
  ),
  'no rotation': (
    write('train/pose/000001.txt', '2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1'),
    '000001.png has a pose whose rotation is none',
  ),
  'no intrinsics': (
    write('train/intrinsics/000001.txt', '0 ' * 16),
    'intrinsics/000001.txt is no camera-to-pixel matrix',
  ),
  'broken image': (
    write('train/rgb/000001.png', 'no image'),
    'Cannot read image .*000001.png',
  ),
}


@pytest.mark.parametrize('fault', NERFPP_FAULTS)
def test_each_fault_of_a_nerfpp_scene_is_one_line_that_names_it(nerfpp, fault):
  folder, _ = nerfpp
  damage, message = NERFPP_FAULTS[fault]
  damage(folder)
  with pytest.raises(errors.DataError, match=message) as info:
    load('tat_nerfpp', folder)
  assert '\n' not in str(info.value)


@pytest.fixture(scope='module')
def fvs_master(tmp_path_factory):
  folder = tmp_path_factory.mktemp('fvs')
  return folder, scene_writers.write_tat_fvs(folder)


@pytest.fixture
def fvs(fvs_master, tmp_path):
  """A copy to damage, and the projections of the largest images."""
  folder, projections = fvs_master
  return shutil.copytree(folder, tmp_path / 'fvs'), projections


@pytest.mark.parametrize('frame', ['pca', 'focus', 'none'])
def test_fvs_cameras_project_as_the_files_say(fvs, frame):
  folder, projections = fvs
  for split, rows in (('test', [0, 8]), ('train', range(1, 8))):
    scene = load('tat_fvs', folder, split, normalize_poses=frame)
    assert len(scene) == len(rows)
    for i, row in enumerate(rows):
      assert scene.image_names[i] == f'im_{row:08d}.png'
      np.testing.assert_allclose(
        seen(scene, i), twin(projections[row]), **TOLERANCE
      )
  centers = scene.cameras.camtoworlds[:, :, 3]
  if frame == 'none':
    np.testing.assert_array_equal(scene.world_transform, np.eye(4))
  else:
    assert np.abs(centers).max() <= 1 + 1e-6  # float32


@pytest.mark.parametrize('hold, num', [(2, 5), (4, 3), (8, 2)])
def test_fvs_holds_out_every_nth_image(fvs, hold, num):
  folder, _ = fvs
  test = load('tat_fvs', folder, 'test', llffhold=hold)
  train = load('tat_fvs', folder, 'train', llffhold=hold)
  assert (len(test), len(train)) == (num, 9 - num)
  assert not set(test.image_names) & set(train.image_names)


def test_fvs_factor_counts_resolutions_from_the_largest(fvs):
  folder, _ = fvs
  large, small = (load('tat_fvs', folder, factor=f) for f in (0, 1))
  assert (large.cameras.widths[0], small.cameras.widths[0]) == (16, 8)
  np.testing.assert_allclose(seen(small, 2), seen(large, 2) / 2, **TOLERANCE)
  with pytest.raises(errors.DataError, match='2 resolutions .*Config.factor'):
    load('tat_fvs', folder, factor=2)


LARGEST = 'dense/ibr3d_pw_1.00'
FVS_FAULTS = {
  'no dense': (
    lambda folder: (folder / 'dense').rename(folder / 'sparse'),
    'dense is not a folder',
  ),
  'no Ks': (
    delete(f'{LARGEST}/Ks.npy'),
    r'Ks.npy does not exist; a .npy array \[any, 3, 3\]',
  ),
  'pickle': (
    lambda folder: np.save(
      folder / LARGEST / 'Rs.npy', np.array([{}]), allow_pickle=True
    ),
    'Cannot read .*Rs.npy',
  ),
  'flat ts': (
    lambda folder: np.save(folder / LARGEST / 'ts.npy', np.zeros((9, 4))),
    r'ts.npy: it holds float64 of shape \(9, 4\)',
  ),
  'few ts': (
    lambda folder: np.save(folder / LARGEST / 'ts.npy', np.zeros((8, 3))),
    'hold 9, 9 and 8 cameras',
  ),
  'mirrored': (
    lambda folder: np.save(
      folder / LARGEST / 'Rs.npy', np.tile(-np.eye(3), (9, 1, 1))
    ),
    'im_00000000.png has a mirrored pose',
  ),
  'no focal': (
    lambda folder: np.save(
      folder / LARGEST / 'Ks.npy', np.tile(np.zeros((3, 3)), (9, 1, 1))
    ),
    'Ks.npy: the diagonal .* of camera 0',
  ),
  'no image': (
    delete(f'{LARGEST}/im_00000004.png'),
    '9 cameras and 8 images .* without a partner: 4',
  ),
}


@pytest.mark.parametrize('fault', FVS_FAULTS)
def test_each_fault_of_an_fvs_scene_is_one_line_that_names_it(fvs, fault):
  folder, _ = fvs
  damage, message = FVS_FAULTS[fault]
  damage(folder)
  with pytest.raises(errors.DataError, match=message) as info:
    load('tat_fvs', folder)
  assert '\n' not in str(info.value)


def test_all_cameras_are_there_to_draw_a_path_through(nerfpp, fvs):
  for loader, (folder, _), num in (
    ('tat_nerfpp', nerfpp, 5),
    ('tat_fvs', fvs, 9),
  ):
    scene = load(loader, folder, render_path=True)
    assert scene.images is None and len(scene) == num
