"""`squash_before`: the density's gradient in warped space."""

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import pytest

from multinerf.models import encodings
from multinerf.ops import coord, frustum

GRID = encodings.HashEncoding(
  hash_map_size=64,
  min_grid_size=4,
  max_grid_size=8,
  scale_supersample=1.0,
  hash_init_range=0.5,
)


def gaussians(scale):
  """Two rays of three, some of them where the contraction acts."""
  means = np.random.default_rng(0).uniform(-1.5, 1.5, (2, 3, 3))
  wide = jnp.full((2, 3), scale**2, jnp.float32)
  return frustum.Samples(
    means=jnp.asarray(means, jnp.float32),
    directions=jnp.asarray([[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]]),
    t_var=wide,
    r_var=wide,
  )


@pytest.mark.parametrize(
  'options',
  [{}, {'encoder': GRID}, {'encoder': GRID, 'use_posenc_with_grid': True}],
  ids=['encoding', 'grid', 'both'],
)
def test_its_gradient_is_that_before_the_warp_without_its_jacobian(options):
  # The chain rule; for points, because the warp also stretches Gaussians.
  samples = gaussians(1e-6)

  def field(key, squash_before):
    net = model_util.nerf_mlp(
      disable_density_normals=False,
      disable_rgb=True,
      warp_fn=coord.contract,
      max_deg_point=2,
      squash_before=squash_before,
      **options,
    )
    return net.apply(net.init(key, None, samples), None, samples)

  @jax.jit
  def run(key):
    before, after = field(key, False), field(key, True)
    _, pullback = jax.vjp(coord.contract, samples.means)
    return before, after, pullback(after.raw_grad_density)[0]

  before, after, pulled = run(jax.random.key(0))
  np.testing.assert_allclose(after.density, before.density, rtol=1e-5)
  np.testing.assert_allclose(pulled, before.raw_grad_density, atol=1e-4)
  away = np.linalg.norm(samples.means, axis=-1) > 1.2
  change = np.abs(after.normals - before.normals).max(-1)
  assert away.any() and change[away].min() > 1e-3


def test_without_a_warp_it_changes_nothing():
  samples = gaussians(0.05)

  @jax.jit
  def run(key):
    found = []
    for squash_before in (False, True):
      net = model_util.nerf_mlp(
        disable_density_normals=False, squash_before=squash_before
      )
      found.append(net.apply(net.init(key, None, samples), None, samples))
    return found

  plain, squashed = run(jax.random.key(0))
  np.testing.assert_array_equal(plain.normals, squashed.normals)
  assert jnp.all(jnp.isfinite(plain.density))
