"""COLMAP and LLFF folders load with the right picture for every pose."""

import shutil

import colmap_util
import numpy as np
import pytest
from jax import tree

from multinerf.cameras import poses
from multinerf.data import base, images

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


def test_poses_pixels_and_frame_are_those_of_the_files(scene_folder, truth):
  train, test = load(scene_folder), load(scene_folder, 'test')
  assert test.image_names == ('view_00.png', 'view_08.png')
  assert train.image_names == truth.names[1:8]
  for scene, index in ((train, np.arange(1, 8)), (test, np.array([0, 8]))):
    # float32 cameras.
    np.testing.assert_allclose(
      scene.cameras.camtoworlds,
      moved(scene, truth.camtoworlds[index]),
      atol=1e-6,
    )
    for k, i in enumerate(index):
      np.testing.assert_array_equal(
        scene.images.image(k),
        images.read_image(scene_folder / 'images' / truth.names[i]),
      )
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
