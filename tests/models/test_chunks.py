"""Rays in chunks: the same renderings and gradients, whatever the chunk."""

import jax
import model_util
import numpy as np
import pytest

from multinerf.models import chunks

NET = model_util.model()
RAYS = model_util.rays(12)
KEYS = model_util.ray_keys(12)


def run(cfg, rays=RAYS, keys=KEYS):
  return model_util.rendered(NET, rays, keys, cfg)


@pytest.mark.parametrize(
  'at_once, remat',
  [
    pytest.param(4, True, marks=pytest.mark.slow),
    (4, False),
    pytest.param(1, False, marks=pytest.mark.slow),
    pytest.param(1, True, marks=pytest.mark.slow),
    pytest.param(5, False, marks=pytest.mark.slow),
  ],
)
def test_chunks_change_nothing_but_rounding(at_once, remat):
  rays, keys = jax.tree.map(lambda x: x[:11], (RAYS, KEYS))  # 11 is prime
  want, want_grads = run(chunks.ChunkConfig(rays_at_once=11), rays, keys)
  cfg = chunks.ChunkConfig(rays_at_once=at_once, remat=remat)
  got, grads = run(cfg, rays, keys)
  same = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  jax.tree.map(same, got, want)
  jax.tree.map(same, grads, want_grads)


@pytest.mark.slow
def test_patches_keep_their_shape():
  fold = lambda x: x.reshape((3, 2, 2, *x.shape[1:]))
  patches = jax.tree.map(fold, RAYS)
  keys = KEYS.reshape(3, 2, 2)
  (renderings, _), _ = run(chunks.ChunkConfig(rays_at_once=3), patches, keys)
  (flat, _), _ = run(chunks.ChunkConfig(rays_at_once=12))
  np.testing.assert_allclose(
    renderings[-1].rgb, fold(flat[-1].rgb), rtol=1e-4, atol=1e-5
  )


def test_chunks_are_of_equal_size():
  assert chunks.rays_at_once(8192) == 8192
  assert chunks.rays_at_once(8192, 64) == 64
  assert chunks.rays_at_once(100, 1000) == 100
  assert chunks.rays_at_once(6667, 8) == 8  # a prime
  assert chunks.rays_at_once(100, 40) == 34
