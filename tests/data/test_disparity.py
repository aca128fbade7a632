"""Disparity images become depths to train on, and normals come with them."""

import numpy as np
import pytest

from multinerf import errors
from multinerf.data import analytic, base, disparity, synthetic

SIZE = 16


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return synthetic.render_scene(
    tmp_path_factory.mktemp('data') / 'toys', SIZE, 2, 1
  )


def load(folder, split='train', **options):
  cfg = base.DataConfig(
    dataset_loader='blender', data_dir=str(folder), **options
  )
  return base.load_scene(cfg, split)


def true_t(camtoworld, resolution=SIZE):
  """Exact ray parameter through the centre of each pixel, inf for nothing."""
  focal = 0.5 * resolution / np.tan(0.5 * synthetic.CAMERA_ANGLE_X)
  side = (np.arange(resolution) + 0.5 - resolution / 2) / focal
  x, y = np.meshgrid(side, side)
  local = np.stack([x, -y, -np.ones_like(x)], -1).reshape(-1, 3)
  pose = np.asarray(camtoworld, np.float64)
  hits = analytic.trace(pose[None, :, 3], local @ pose[:, :3].T)
  return hits.t.reshape(resolution, resolution)


def test_depths_are_those_of_the_embedded_scene(folder):
  scene = load(folder, depth_loss_mult=0.1)
  for i in range(2):
    want = true_t(scene.cameras.camtoworlds[i])
    t, weight = np.moveaxis(scene.depths.image(i), -1, 0)
    np.testing.assert_array_equal(weight, np.isfinite(want))
    assert 0.2 < weight.mean() < 0.9
    # float32 of 1 / (1 + t), and of the pose.
    np.testing.assert_allclose(t[weight > 0], want[weight > 0], rtol=1e-5)
    np.testing.assert_array_equal(t[weight == 0], 0)


def test_reduced_depths_are_means_of_what_is_known():
  t = np.array([[1.0, 3.0, 2.0, 0.0], [5.0, 0.0, 0.0, 0.0]])
  known = np.array([[1, 1, 1, 0], [1, 0, 0, 0]])
  disps = np.float32(known / (1 + t))[..., None]
  got = disparity.to_depth(disps, np.ones((1, 2, 1), np.float32), 2)
  np.testing.assert_allclose(got[0, 0], [3, 0.75], rtol=1e-6)
  np.testing.assert_allclose(got[0, 1], [2, 0.25], rtol=1e-6)
  empty = disparity.to_depth(0 * disps, np.ones((1, 2, 1), np.float32), 2)
  np.testing.assert_array_equal(empty, 0)


def test_nothing_is_known_where_the_image_is_transparent_or_t_negative():
  disps = np.float32([[0.5, 0.5, 1.5, -0.5]])[..., None]
  alphas = np.float32([[1.0, 0.0, 1.0, 1.0]])[..., None]
  got = disparity.to_depth(disps, alphas)
  np.testing.assert_array_equal(got[0, :, 1], [1, 0, 0, 0])
  np.testing.assert_array_equal(got[0, :, 0], [1, 0, 0, 0])


def test_supervision_is_loaded_when_it_is_used_and_for_training_only(folder):
  plain = load(folder)
  assert plain.depths is plain.normals is plain.alphas is None
  depth = load(folder, depth_loss_mult=0.1)
  assert depth.depths is not None and depth.alphas is None
  assert load(folder, depth_loss_mult=0.1, depth_source='points').depths is None
  normal = load(folder, normal_loss_mult=0.1)
  assert normal.normals is not None and normal.alphas is not None
  held_out = load(folder, 'test', depth_loss_mult=0.1, normal_loss_mult=0.1)
  assert held_out.depths is held_out.normals is held_out.alphas is None
  measured = load(folder, 'test', compute_normal_metrics=True)
  assert measured.normals is not None


@pytest.mark.parametrize(
  'suffix, option',
  [('_disp.tiff', 'depth_loss_mult'), ('_normal.png', 'normal_loss_mult')],
)
def test_missing_supervision_names_the_file_and_the_option(
  tmp_path, suffix, option
):
  folder = synthetic.render_scene(tmp_path / 'toys', 8, 2, 1)
  (folder / 'train' / f'r_1{suffix}').unlink()
  with pytest.raises(errors.DataError, match=f'r_1{suffix}.*Config.{option}'):
    load(folder, **{option: 0.1})
