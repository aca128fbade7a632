"""Fields in portions: the same outputs and gradients, whatever the portion."""

import jax
import model_util
import numpy as np
import pytest

from multinerf import models
from multinerf.models import portions

RAYS = model_util.rays(12)
KEYS = model_util.ray_keys(12)
NOISY = dict(density_noise=1.0, bottleneck_noise=1.0)
NORMALS = dict(disable_density_normals=False, enable_pred_normals=True)


def run(net, rays=RAYS, keys=KEYS):
  return model_util.rendered(net, rays, keys)


@pytest.mark.parametrize(
  'net',
  [
    model_util.model(nerf=NOISY, num_glo_features=2),
    model_util.model(nerf=NORMALS, single_mlp=True),
  ],
)
@pytest.mark.parametrize(  # 1 or 2 rays; 4 (or 5) or 7
  'samples', [8, pytest.param(28, marks=pytest.mark.slow)]
)
def test_portions_change_nothing_but_rounding(net, samples, monkeypatch):
  want = run(net)
  monkeypatch.setattr(portions, '_CPU_SAMPLES', samples)
  same = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  jax.tree.map(same, run(net), want)


def test_patches_keep_their_shape(monkeypatch):
  monkeypatch.setattr(portions, '_CPU_SAMPLES', 12)
  net = model_util.model()
  fold = lambda x: x.reshape((3, 2, 2, *x.shape[1:]))
  (patches, _), _ = run(net, jax.tree.map(fold, RAYS), KEYS.reshape(3, 2, 2))
  (flat, _), _ = run(net)
  np.testing.assert_allclose(
    patches[-1].rgb, fold(flat[-1].rgb), rtol=1e-4, atol=1e-5
  )


def test_on_a_cpu_a_portion_fits_into_the_cache_and_pays_for_the_weights():
  field = model_util.prop_mlp()
  assert portions.rays_at_once(field, 8192, 128) == 8
  assert portions.rays_at_once(field, 6667, 128) == 8  # a prime
  assert portions.rays_at_once(field, 8192, 32) == 32
  assert portions.rays_at_once(field, 32, 32) == 32
  assert portions.rays_at_once(field, 8192, 5000) == 1
  wide = model_util.nerf_mlp(net_width=1024)
  assert portions.rays_at_once(wide, 8192, 32) == 64


def test_fields_on_grids_get_all_rays_at_once():
  grid = model_util.nerf_mlp(encoder=models.HashEncoding())
  assert portions.rays_at_once(grid, 8192, 128) == 8192
