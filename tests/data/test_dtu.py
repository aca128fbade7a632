"""DTU scans: lights, held-out images, decomposed projection matrices."""

import shutil

import numpy as np
import pytest
import scene_writers

from multinerf import errors
from multinerf.app import cli
from multinerf.cameras import projection
from multinerf.config import gin_setup, schema, views
from multinerf.data import base, dtu, images

POINTS = np.random.default_rng(0).uniform(-0.4, 0.4, (20, 3))


@pytest.fixture(scope='module')
def master(tmp_path_factory):
  folder = tmp_path_factory.mktemp('dtu')
  _, projections = scene_writers.write_dtu(folder)
  return folder, projections


@pytest.fixture
def scan(master, tmp_path):
  """The folder of a copy's scan."""
  shutil.copytree(master[0], tmp_path / 'dtu')
  return tmp_path / 'dtu' / 'Rectified' / 'scan1'


def load(scan, split='train', **options):
  cfg = base.DataConfig(dataset_loader='dtu', data_dir=str(scan), **options)
  return base.load_scene(cfg, split)


def random_camera(generator):
  """K with skew, R, t of a random camera."""
  focal = generator.uniform(500, 3000, 2)
  centre = generator.uniform(200, 900, 2)
  skew = generator.uniform(-5, 5)
  intrinsics = np.array(
    [[focal[0], skew, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]]
  )
  rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
  rotation *= np.sign(np.linalg.det(rotation))
  return intrinsics, rotation, 500 * generator.normal(size=3)


@pytest.mark.parametrize('scale', [1.0, -1.0, 1e-3, -250.0])
@pytest.mark.parametrize('seed', range(3))
def test_decomposition_finds_the_camera_at_any_scale_and_sign(seed, scale):
  want, rotation, t = random_camera(np.random.default_rng(seed))
  matrix = scale * want @ np.concatenate([rotation, t[:, None]], -1)
  intrinsics, pose = dtu.decompose_projection(matrix, 'P')
  # float64 and a condition number of a few thousand.
  np.testing.assert_allclose(intrinsics, want, atol=1e-7)
  np.testing.assert_allclose(pose[:, :3], rotation.T, atol=1e-10)
  np.testing.assert_allclose(pose[:, 3], -rotation.T @ t, rtol=1e-8)
  assert np.linalg.det(pose[:, :3]) > 0


def test_a_matrix_of_no_camera_is_refused():
  with pytest.raises(errors.DataError, match='pos_7 is no projection matrix'):
    dtu.decompose_projection(np.ones((3, 4)), 'pos_7')


@pytest.mark.parametrize('factor', [0, 2])
def test_cameras_project_as_the_matrices_say(scan, master, factor):
  for split, rows in (('test', [0, 8]), ('train', range(1, 8))):
    scene = load(scan, split, factor=factor)
    assert len(scene) == len(rows)
    moved = scene.world_transform[:3, :3] @ POINTS.T
    moved = moved.T + scene.world_transform[:3, 3]
    for i, row in enumerate(rows):
      assert scene.image_names[i] == f'rect_{row + 1:03d}_3_r5000.png'
      xy, t = projection.points_to_pixels(
        moved,
        scene.cameras.pixtocams[i].astype(np.float64),
        scene.cameras.camtoworlds[i].astype(np.float64),
      )
      x, y, w = master[1][row] @ np.append(POINTS, np.ones((20, 1)), -1).T
      want = np.stack([x / w, y / w], -1) / max(factor, 1)
      # float32 matrices and a focal length of 22 pixels.
      np.testing.assert_allclose(xy + 0.5, want, atol=5e-5)
      assert (t > 0).all()


def test_cameras_are_centred_and_fit_into_the_unit_cube(scan):
  both = [load(scan, split).cameras.camtoworlds for split in base.SPLITS]
  centers = np.concatenate(both)[:, :, 3]
  np.testing.assert_allclose(np.abs(centers).max(), 1, rtol=1e-6)
  np.testing.assert_allclose(centers.mean(0), 0, atol=1e-6)
  # The average camera looks along +z.
  looking = -np.concatenate(both)[:, :, 2].mean(0)
  np.testing.assert_allclose(looking[:2], 0, atol=1e-6)
  assert looking[2] > 0.5


def test_images_are_those_of_the_light(scan):
  dim, bright = load(scan), load(scan, dtu_light_cond=7)
  assert bright.image_names[0] == 'rect_002_max.png'
  for scene in (dim, bright):
    np.testing.assert_array_equal(
      scene.images.image(3), images.read_image(scan / scene.image_names[3])
    )
  assert bright.images.values.max() == 255 and dim.images.values.max() == 128


def test_the_second_path_of_the_robot_has_other_names(scan):
  for kind, old, new in (
    (scan, 'rect_009_3_r5000.png', 'rect_050_3_r7000.png'),
    (scan, 'rect_009_max.png', 'rect_050_max.png'),
    (scan.parent.parent / 'cal18', 'pos_009.txt', 'pos_050.txt'),
  ):
    (kind / old).rename(kind / new)
  assert load(scan, 'test').image_names[-1] == 'rect_050_3_r7000.png'


def test_options_that_multinerf_lacks_come_through_gin(scan):
  # MultiNeRF's loader reads these two, its Config has neither: it cannot run.
  setup = gin_setup.load(
    bindings=[
      "Config.dataset_loader = 'dtu'",
      f"Config.data_dir = '{scan}'",
      'Config.dtu_light_cond = 7',
      'Config.dtuhold = 3',
    ]
  )
  cfg = views.view(setup.config, base.DataConfig)
  test, train = (base.load_scene(cfg, split) for split in ('test', 'train'))
  assert test.image_names == tuple(f'rect_00{i}_max.png' for i in (1, 4, 7))
  assert len(train) == 6


def test_calibration_may_lie_in_the_scan(scan):
  before = load(scan)
  (scan.parent.parent / 'cal18').rename(scan / 'cal18')
  np.testing.assert_array_equal(
    load(scan).cameras.camtoworlds, before.cameras.camtoworlds
  )


def test_all_cameras_are_there_to_draw_a_path_through(scan):
  scene = load(scan, render_path=True)
  assert scene.images is None and len(scene) == 9


def test_videos_stay_before_the_scene_as_its_cameras_do(scan):
  config = schema.Config(
    dataset_loader='dtu',
    data_dir=str(scan),
    near=0.5,
    far=5.0,
    render_path=True,
    render_path_frames=8,
  )
  path = cli.load_test_scene(config).cameras.camtoworlds
  cameras = load(scan).cameras.camtoworlds
  assert len(path) == 8
  assert (path[:, :, 2] @ cameras[:, :, 2].mean(0) > 0.7).all()
  assert (path[:, :, 1] @ cameras[:, :, 1].mean(0) > 0.7).all()
  assert np.abs(path[:, :, 3]).max() < 1.5


FAULTS = {
  'no images': (
    lambda scan: [path.unlink() for path in scan.iterdir()],
    'no images rect_<number>_<light>.png.*Config.data_dir',
  ),
  'no light': (
    lambda scan: (scan / 'rect_004_3_r5000.png').unlink(),
    'images of 9 positions, but lacks rect_004_3_r5000.png '
    r'\(gin: Config.dtu_light_cond\)',
  ),
  'no calibration': (
    lambda scan: shutil.rmtree(scan.parent.parent / 'cal18'),
    'No calibration in .*scan1/cal18 or .*dtu/cal18',
  ),
  'no matrix': (
    lambda scan: (scan.parent.parent / 'cal18/pos_004.txt').unlink(),
    'pos_004.txt does not exist; a 3x4',
  ),
  'zero matrix': (
    lambda scan: (scan.parent.parent / 'cal18/pos_004.txt').write_text(
      '0 ' * 12
    ),
    'pos_004.txt is no projection matrix',
  ),
  'half an image': (
    lambda scan: (scan / 'rect_004_3_r5000.png').write_bytes(b'\x89PNG'),
    'Cannot read image .*rect_004_3_r5000.png',
  ),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_each_fault_is_one_line_that_names_it(scan, fault):
  damage, message = FAULTS[fault]
  damage(scan)
  with pytest.raises(errors.DataError, match=message) as info:
    load(scan)
  assert '\n' not in str(info.value)
