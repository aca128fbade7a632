"""Square roots of matrices against scipy, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from multinerf.ops import frustum, matrix_roots


def covariances(seed, *batch, d=3):
  a = np.random.default_rng(seed).normal(size=(*batch, d, d))
  return jnp.asarray(a @ np.swapaxes(a, -1, -2), jnp.float32)


def test_roots_are_those_of_scipy():
  mats = covariances(0, 4)
  root, inverse = jax.jit(
    lambda x: (matrix_roots.sqrtm(x), matrix_roots.inv_sqrtm(x))
  )(mats)
  for mat, r, i in zip(mats, root, inverse, strict=True):
    want = scipy.linalg.sqrtm(np.asarray(mat, np.float64))
    # Condition numbers up to 1e3.
    np.testing.assert_allclose(r, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(i, np.linalg.inv(want), rtol=2e-3, atol=1e-3)


@pytest.mark.slow
def test_a_normalised_inverse_root_has_determinant_one():
  mats = covariances(1, 3)
  fn = jax.jit(lambda x: matrix_roots.inv_sqrtm(x, normalize=True))
  got = fn(mats)
  np.testing.assert_allclose(np.linalg.det(got), 1.0, rtol=1e-3)
  scaled = fn(7.0 * mats)
  np.testing.assert_allclose(scaled, got, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
  'fn',
  [
    matrix_roots.sqrtm,
    pytest.param(matrix_roots.inv_sqrtm, marks=pytest.mark.slow),
  ],
)
def test_directional_derivatives_are_those_of_differences(fn):
  mat = covariances(2) + np.eye(3, dtype=np.float32)
  change = covariances(3)
  got = jax.jit(lambda x, dx: jax.jvp(fn, (x,), (dx,)))(mat, change)[1]
  step, fn = 1e-3, jax.jit(fn)
  want = (fn(mat + step * change) - fn(mat - step * change)) / (2 * step)
  # Cancellation in float32: 1e-7 / 1e-3.
  np.testing.assert_allclose(got, want, atol=2e-3)


@pytest.mark.slow
def test_gradient_is_finite_where_eigenvalues_are_equal():
  # A round cone: two equal eigenvalues, for which differentiating eigh is NaN.
  d = jnp.float32([0.3, -0.2, 0.9])

  def total(t_var, r_var):
    _, cov = frustum.lift_gaussian(d, jnp.ones(1), t_var, r_var, False)
    return jnp.trace(matrix_roots.sqrtm(cov)[0])

  grads = jax.jit(jax.grad(total, (0, 1)))(
    jnp.float32([0.5]), jnp.float32([0.04])
  )
  length = np.linalg.norm(d)
  # Trace: sqrt(t_var) |d| + 2 sqrt(r_var).
  np.testing.assert_allclose(grads[0], length / (2 * np.sqrt(0.5)), rtol=1e-4)
  np.testing.assert_allclose(grads[1], 1 / np.sqrt(0.04), rtol=1e-4)


@pytest.mark.slow
def test_singular_matrices_have_roots_without_nan():
  v = np.float32([1.0, 2.0, 2.0])
  mats = jnp.asarray(np.stack([np.outer(v, v), np.zeros((3, 3))]), jnp.float32)
  roots, inverses = jax.jit(
    lambda x: (matrix_roots.sqrtm(x), matrix_roots.inv_sqrtm(x))
  )(mats)
  np.testing.assert_allclose(roots[0], mats[0] / 3, atol=2e-3)
  assert np.isfinite(roots).all() and np.isfinite(inverses).all()


@pytest.mark.slow
def test_isotropic_matrices_keep_the_determinant():
  mats = covariances(4, 5)
  iso = np.asarray(jax.jit(matrix_roots.isotropize)(mats))
  np.testing.assert_allclose(np.linalg.det(iso), np.linalg.det(mats), rtol=1e-3)
  np.testing.assert_allclose(iso, iso[:, :1, :1] * np.eye(3), atol=1e-7)
  assert not jax.jit(matrix_roots.isotropize)(0 * mats).any()
