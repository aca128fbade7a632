"""Sets of points have the moments of the Gaussians that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import errors
from multinerf.ops import frustum, unscented

SETS = {
  'julier': 7,
  'menegaz': 4,
  'tetrahedron_1': 5,
  'octahedron_1': 7,
  'octahedron_2': 19,
  'icosahedron_1': 13,
  'icosahedron_2': 43,
}


def gaussians(seed, *batch, d=3):
  gen = np.random.default_rng(seed)
  a = gen.normal(size=(*batch, d, d))
  means = gen.normal(size=(*batch, d))
  as_float = lambda x: jnp.asarray(x, jnp.float32)
  return as_float(means), as_float(a @ np.swapaxes(a, -1, -2))


def moments(points):
  mean = points.mean(-2)
  centred = points - mean[..., None, :]
  return mean, np.swapaxes(centred, -1, -2) @ centred / points.shape[-2]


@pytest.mark.parametrize('basis', SETS)
def test_points_have_the_mean_and_covariance_of_the_gaussian(basis):
  batch = (2, 4)
  means, covs = gaussians(0, *batch)
  roots = np.linalg.cholesky(np.asarray(covs))
  points = np.asarray(unscented.spread(means, jnp.asarray(roots), basis))
  assert points.shape == (*batch, SETS[basis], 3)
  assert unscented.num_points(basis) == SETS[basis]
  mean, cov = moments(points.astype(np.float64))
  # float32, covariances of size 10.
  np.testing.assert_allclose(mean, means, atol=1e-4)
  np.testing.assert_allclose(cov, covs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('d', [1, 2, 5])
@pytest.mark.parametrize('basis', ['julier', 'menegaz'])
def test_general_sets_exist_in_all_dimensions(basis, d):
  unit = unscented.unit_points(basis, d)
  assert unit.shape == (d, {'julier': 2 * d + 1, 'menegaz': d + 1}[basis])
  np.testing.assert_allclose(unit.mean(1), 0, atol=1e-12)
  np.testing.assert_allclose(
    unit @ unit.T / unit.shape[1], np.eye(d), atol=1e-12
  )


def test_the_mean_alone_has_no_spread():
  means, covs = gaussians(1, 3)
  points = unscented.control_points(means, covs, 'mean')
  np.testing.assert_array_equal(points, means[:, None])


def test_random_points_are_the_given_numbers_through_the_root():
  means, covs = gaussians(2, 2)
  normals = np.random.default_rng(3).normal(size=(2, 20_000, 3))
  normals = jnp.asarray(normals, jnp.float32)
  points = jax.jit(unscented.control_points, static_argnums=2)(
    means, covs, 'random_20000', normals=normals
  )
  mean, cov = moments(np.asarray(points, np.float64))
  # 4 sigma of the mean and of second moments of 20,000 draws.
  scale = float(jnp.max(covs))
  np.testing.assert_allclose(mean, means, atol=4 * np.sqrt(scale / 20_000))
  np.testing.assert_allclose(cov, covs, atol=4 * scale * np.sqrt(2 / 20_000))
  fixed = unscented.unit_points('random_5')
  assert fixed.shape == (3, 5)
  with pytest.raises(ValueError, match='not random'):
    unscented.spread(means, covs, 'julier', normals=normals)


@pytest.mark.slow
def test_ray_gaussians_have_a_closed_form_root():
  d = jnp.float32([[0.4, -1.0, 2.0]])
  t_var, r_var = jnp.float32([[0.3, 0.01]]), jnp.float32([[0.02, 0.5]])
  zero = jnp.zeros_like(t_var)
  covs = frustum.lift_gaussian(d, zero, t_var, r_var, False)[1]
  length = jnp.linalg.norm(d, axis=-1, keepdims=True)
  roots = frustum.lift_gaussian(
    d, zero, jnp.sqrt(t_var) / length, jnp.sqrt(r_var), False
  )[1]
  means = jnp.zeros((1, 2, 3))
  np.testing.assert_allclose(
    unscented.spread(means, roots, 'julier'),
    unscented.control_points(means, covs, 'julier'),
    atol=2e-5,  # float32 eigenvalues
  )


@pytest.mark.slow
def test_points_follow_the_covariance_smoothly():
  means, covs = gaussians(4)
  fn = lambda c: jnp.sum(unscented.control_points(means, c, 'menegaz') ** 2)
  # k (|mean|^2 + trace(cov)): the gradient is k I.
  np.testing.assert_allclose(jax.grad(fn)(covs), 4 * np.eye(3), atol=2e-3)


@pytest.mark.parametrize(
  'basis', ['nonsense', 'random', 'random_0', 'julier_2', 'icosahedron', 'a_1']
)
def test_unknown_sets_are_refused(basis):
  with pytest.raises(errors.ConfigError, match='unscented_mip_basis'):
    unscented.unit_points(basis)
  assert basis


def test_polyhedra_need_three_dimensions():
  with pytest.raises(errors.ConfigError, match='in 3 dimensions'):
    unscented.unit_points('octahedron_1', 2)
