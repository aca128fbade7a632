"""From Gaussians to features."""

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import pytest

from multinerf.models import encodings
from multinerf.ops import frustum

HASH = dict(
  hash_map_size=128,
  min_grid_size=4,
  max_grid_size=16,
  scale_supersample=1.0,
)


def gaussians(n=6, scale=0.1):
  """Samples of two rays, long along them and narrow across."""
  gen = np.random.default_rng(0)
  means = jnp.asarray(gen.uniform(-1, 1, (2, n, 3)), jnp.float32)
  array = lambda x: jnp.asarray(x, jnp.float32)
  return frustum.Samples(
    means=means,
    directions=array(gen.normal(size=(2, 3))),
    t_var=array(scale**2 * gen.uniform(0.5, 1, (2, n))),
    r_var=array(scale**2 * gen.uniform(0.1, 0.2, (2, n))),
  )


def points(n=6, k=1):
  gen = np.random.default_rng(0)
  return jnp.asarray(gen.uniform(-1, 1, (2, n, k, 3)), jnp.float32)


def test_points_on_the_axes_get_plain_sinusoids():
  samples = gaussians(scale=0.0)
  got = encodings.integrated(
    samples,
    directions=encodings.basis('octahedron', 1),
    min_deg=1,
    max_deg=4,
  )
  assert got.shape == (2, 6, 2 * 3 * 3)
  scaled = [2.0**i * np.asarray(samples.means) for i in (1, 2, 3)]
  # The order and signs of the axes are the basis's own; the set is not.
  want = np.concatenate([f(x) for f in (np.sin, np.cos) for x in scaled], -1)
  np.testing.assert_allclose(
    np.sort(np.abs(got), -1), np.sort(np.abs(want), -1), atol=1e-5
  )


def test_features_fade_with_the_extent_and_fast_octaves_first():
  options = dict(directions=encodings.basis('icosahedron', 2), min_deg=0)
  fine = encodings.integrated(gaussians(scale=0.0), max_deg=6, **options)
  blurred = encodings.integrated(gaussians(scale=0.5), max_deg=6, **options)
  assert np.all(np.abs(blurred) <= 1)
  ratio = np.mean(np.abs(blurred)) / np.mean(np.abs(fine))
  assert ratio < 0.5
  k = options['directions'].shape[1]
  energy = np.mean(np.abs(np.asarray(blurred)), axis=(0, 1)).reshape(2, 6, k)
  assert np.all(np.diff(energy[1].mean(-1)) < 0)  # cosines, by octave


@pytest.mark.parametrize(
  'shape, subdivisions, k', [('octahedron', 1, 3), ('icosahedron', 2, 21)]
)
def test_basis_is_of_unit_directions_one_per_axis(shape, subdivisions, k):
  got = encodings.basis(shape, subdivisions)
  assert got.shape == (3, k)
  np.testing.assert_allclose(np.linalg.norm(got, axis=0), 1, atol=1e-6)
  # Antipodes would encode the same numbers twice.
  cosine = np.abs(got.T @ got) - np.eye(k)
  assert cosine.max() < 1 - 1e-3


def test_hash_parameters_are_named_by_resolution_and_kind():
  grid = encodings.HashEncoding(**HASH, num_features=3)
  params = jax.eval_shape(lambda k: grid.init(k, points()), jax.random.key(0))
  # 4^3 <= 128 is dense; 8^3 and 16^3 are hashed.
  shapes = {k: v.shape for k, v in params['params'].items()}
  assert shapes == {
    'grid_04': (4, 4, 4, 3),
    'hash_08': (128, 3),
    'hash_16': (128, 3),
  }


def test_hash_features_start_small_and_are_linear_in_the_table():
  grid = encodings.HashEncoding(**HASH, hash_init_range=0.01)
  params = jax.jit(grid.init)(jax.random.key(0), points())
  apply = jax.jit(grid.apply)
  got = apply(params, points())
  assert got.shape == (2, 6, 3 * 2)
  assert 0 < np.abs(got).max() <= 0.01  # interpolation stays in the range
  stored = max(np.abs(x).max() for x in jax.tree.leaves(params))
  assert stored <= 0.01 / grid.precondition_scaling
  twice = apply(jax.tree.map(lambda x: 2 * x, params), points())
  np.testing.assert_allclose(twice, 2 * got, rtol=1e-5, atol=1e-8)


def test_points_are_computed_once_for_all_corners_and_their_gradients():
  grid = encodings.HashEncoding(**HASH)
  params = jax.jit(grid.init)(jax.random.key(0), points())

  def loss(params, x):
    return jnp.sum(grid.apply(params, jnp.sin(x)) ** 2)

  program = jax.jit(jax.grad(loss)).lower(params, points()).compile()
  assert program.as_text().count(' sine(') == 1


def test_hash_features_of_a_constant_table_are_that_constant_inside():
  grid = encodings.HashEncoding(**HASH, bbox_scaling=2.0)
  params = jax.jit(grid.init)(jax.random.key(0), points())
  ones = jax.tree.map(jnp.ones_like, params)
  got = jax.jit(grid.apply)(ones, points())
  # |x| <= 1 is far from the cube's sides at 2, where dense grids fade out.
  np.testing.assert_allclose(got, grid.precondition_scaling, rtol=1e-5)


def test_hash_encoding_as_encoder_trains_every_table():
  net = model_util.nerf_mlp(
    encoder=encodings.HashEncoding(**HASH, hash_init_range=0.1)
  )
  samples = gaussians()
  viewdirs = jnp.broadcast_to(jnp.float32([0, 0, 1]), (2, 3))

  @jax.jit
  def grads(key):
    params = net.init(key, None, samples, viewdirs=viewdirs)

    def objective(params):
      out = net.apply(params, None, samples, viewdirs=viewdirs)
      return jnp.sum(out.density) + jnp.sum(out.rgb[..., 0])

    return jax.grad(objective)(params)

  found = grads(jax.random.key(1))['params']['encoder']
  assert set(found) == {'grid_04', 'hash_08', 'hash_16'}
  for name, grad in found.items():
    assert np.all(np.isfinite(grad)), name
    assert np.mean(np.asarray(grad) != 0) > 0.1, name
