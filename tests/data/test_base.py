"""Flat pixel buffers, and the checks each loaded scene goes through."""

import dataclasses

import numpy as np
import pytest

from multinerf import errors
from multinerf.cameras import camera, projection
from multinerf.data import base

SIZES = [(5, 3), (4, 6)]  # width, height


def make_scene(sizes=SIZES, **changes):
  """A valid scene of random images, with some fields replaced."""
  generator = np.random.default_rng(0)
  images = [
    generator.integers(0, 256, (h, w, 4), dtype=np.uint8) for w, h in sizes
  ]
  n = len(sizes)
  cameras = camera.make_cameras(
    projection.get_pixtocam(10.0, 4.0, 4.0),
    np.tile(np.eye(4), (n, 1, 1)),
    widths=[w for w, _ in sizes],
    heights=[h for _, h in sizes],
    near=2.0,
    far=6.0,
  )
  scene = base.Scene(
    name='toy',
    split='train',
    cameras=cameras,
    image_names=tuple(f'im_{i}.png' for i in range(n)),
    images=base.PixelBuffer.from_images(images),
  )
  return dataclasses.replace(scene, **changes)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
def test_buffer_returns_each_image_and_each_pixel(dtype):
  generator = np.random.default_rng(1)
  images = [(generator.random((h, w, 3)) * 255).astype(dtype) for w, h in SIZES]
  buffer = base.PixelBuffer.from_images(images)
  assert len(buffer) == 2 and buffer.values.dtype == dtype
  for i, image in enumerate(images):
    np.testing.assert_array_equal(buffer.image(i), image)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    np.testing.assert_array_equal(buffer.at(np.array(i), x, y), image)


def test_buffer_image_is_a_view():
  buffer = base.PixelBuffer.allocate([2], [3], 1, np.float32)
  buffer.image(0)[...] = 7
  np.testing.assert_array_equal(buffer.values, 7)


def test_buffer_gather_broadcasts():
  scene = make_scene()
  cam = np.array([[0], [1]])
  got = scene.images.at(cam, np.array([0, 3]), np.array([2]))
  assert got.shape == (2, 2, 4)
  np.testing.assert_array_equal(got[1, 1], scene.images.image(1)[2, 3])


@pytest.mark.parametrize(
  'images',
  [
    [],
    [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 4), np.uint8)],
    [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint16)],
  ],
)
def test_buffer_of_mixed_or_no_images_is_refused(images):
  with pytest.raises(errors.DataError, match='one type'):
    base.PixelBuffer.from_images(images)


def test_valid_scene_passes():
  scene = make_scene()
  base.validate_scene(scene, source='here')
  assert len(scene) == 2
  np.testing.assert_array_equal(scene.world_transform, np.eye(4))


def _cameras(**changes):
  return make_scene().cameras.replace(**changes)


def _pose(i, value):
  poses = make_scene().cameras.camtoworlds.copy()
  poses[i, :, :3] *= value
  return poses


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'cameras': _cameras().take(slice(0, 0))}, 'no frames'),
    ({'image_names': ('a',)}, '1 image names for 2 cameras'),
    ({'images': make_scene(SIZES[:1]).images}, '1 images for 2 cameras'),
    (
      {'alphas': make_scene([(5, 3), (6, 4)]).images},
      'alphas: im_1.png is 6x4, its camera 4x6',
    ),
    (
      {'cameras': _cameras(camtoworlds=_pose(1, np.nan))},
      'pose of im_1.png is not finite',
    ),
    (
      {'cameras': _cameras(camtoworlds=_pose(0, 0.0))},
      'pose of im_0.png is singular',
    ),
    (
      {'cameras': _cameras(pixtocams=np.zeros((2, 3, 3), np.float32))},
      'intrinsic matrix of im_0.png is singular',
    ),
    ({'cameras': _cameras(near=np.float32(6))}, 'Config.near'),
    (
      {'cameras': _cameras(far=np.array([6, np.inf], np.float32))},
      'Config.far',
    ),
  ],
)
def test_invalid_scene_is_one_line_that_names_source_and_fault(
  changes, message
):
  scene = make_scene(**changes)
  with pytest.raises(errors.DataError, match=message) as info:
    base.validate_scene(scene, source='/data/toy')
  assert str(info.value).startswith('/data/toy (train split)')
  assert '\n' not in str(info.value)


def test_small_worlds_are_not_singular():
  poses = _pose(0, 1e-6)  # a similarity may scale a pose
  base.validate_scene(
    make_scene(cameras=_cameras(camtoworlds=poses)), source='here'
  )


def test_unknown_loader_lists_the_known_ones():
  cfg = base.DataConfig(dataset_loader='blendr')
  with pytest.raises(errors.ConfigError, match="Did you mean 'blender'"):
    base.load_scene(cfg, 'train')


def test_unknown_split_is_refused():
  with pytest.raises(errors.ConfigError, match='validation'):
    base.load_scene(base.DataConfig(dataset_loader='blender'), 'validation')


@pytest.mark.parametrize('value', [None, '', '/nowhere/at/all'])
def test_scene_folder_must_exist(value):
  with pytest.raises(errors.DataError, match='Config.data_dir'):
    base.scene_folder(base.DataConfig(data_dir=value))


def test_scene_folder_must_be_a_folder(tmp_path):
  (tmp_path / 'file').write_text('')
  cfg = base.DataConfig(data_dir=str(tmp_path / 'file'))
  with pytest.raises(errors.DataError, match='not a folder'):
    base.scene_folder(cfg)


def test_scene_folder_expands_the_home_folder(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert base.scene_folder(base.DataConfig(data_dir='~')) == tmp_path


def test_bounds_of_the_config_are_those_of_the_cameras():
  make = lambda **options: (
    base.load_scene(
      base.DataConfig(
        dataset_loader='synthetic',
        synthetic_resolution=4,
        synthetic_num_train=1,
        **options,
      ),
      'train',
    ).cameras
  )
  plain = make()
  assert plain.scene_bbox is None and plain.z_range is None
  cube = make(scene_bbox=1.5)
  np.testing.assert_array_equal(cube.scene_bbox, [[-1.5] * 3, [1.5] * 3])
  box = ((0.0, 0.0, 0.0), (1.0, 2.0, 3.0))
  np.testing.assert_array_equal(make(scene_bbox=box).scene_bbox, box)
  np.testing.assert_array_equal(make(z_min=-1.0, z_max=2.0).z_range, [-1, 2])
  for options in ({'z_min': 1.0}, {'z_min': 1.0, 'z_max': 0.0}):
    with pytest.raises(errors.ConfigError, match='z_min and Config.z_max'):
      make(**options)
