"""The general robust loss against its formulas."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import ops_util
import pytest

from multinerf.ops import robust

X = jnp.asarray([-30.0, -2.0, -0.3, 0.0, 1e-4, 0.7, 4.0, 100.0])
ALPHAS = [-math.inf, -8, -2, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, math.inf]


@pytest.mark.parametrize(
  'alpha, formula',
  [
    (2, lambda q: q / 2),
    (1, lambda q: np.sqrt(q + 1) - 1),
    (0, lambda q: np.log1p(q / 2)),
    (-2, lambda q: 2 * q / (q + 4)),
    (-math.inf, lambda q: -np.expm1(-q / 2)),
    (4, lambda q: q**2 / 8 + q / 2),
  ],
)
@pytest.mark.parametrize('scale', [0.5, 3.0])
def test_named_losses_are_special_cases(alpha, formula, scale):
  got = robust.general_lossfun(X, alpha, scale)
  q = (np.float64(X) / scale) ** 2
  # sqrt(q + 1) - 1 cancels in float64 too, at q = 1e-8 to 1e-9.
  np.testing.assert_allclose(got, formula(q), rtol=2e-5, atol=1e-16)


@pytest.mark.parametrize('alpha', ALPHAS)
def test_loss_and_slope_are_finite_for_every_magnitude_and_scale(alpha):
  x = ops_util.all_magnitudes(100)
  for scale in (1e-30, 1e-3, 1.0, 1e30):
    value, slope = ops_util.value_and_slope(
      lambda v, scale=scale: robust.general_lossfun(v, alpha, scale), x
    )
    assert np.isfinite(value).all() and np.isfinite(slope).all()
    assert (value >= 0).all() and (slope * x >= 0).all()
    np.testing.assert_array_equal(value, value[::-1])


@pytest.mark.parametrize('alpha', ALPHAS)
def test_every_shape_is_half_the_square_near_zero(alpha):
  x = jnp.asarray([1e-6, 1e-3, 1e-2])
  got = robust.general_lossfun(x, alpha, 1.0)
  # The next term is (alpha - 2) / 8 x^4: up to 1e-4 x^2 at x = 1e-2.
  np.testing.assert_allclose(got, x**2 / 2, rtol=3e-4)


def test_the_loss_grows_with_its_shape():
  rows = jnp.stack([robust.general_lossfun(X, a, 1.0) for a in ALPHAS])
  assert (np.diff(rows, axis=0) >= -1e-6 * np.abs(rows[1:])).all()


def test_an_array_of_shapes_gives_what_each_number_gives():
  alphas = jnp.asarray(ALPHAS, jnp.float32)[:, None]
  got = jax.jit(robust.general_lossfun)(X, alphas, 2.0)
  want = [robust.general_lossfun(X, a, 2.0) for a in ALPHAS]
  np.testing.assert_allclose(got, want, rtol=1e-4)
