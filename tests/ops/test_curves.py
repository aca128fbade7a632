"""The power ladder, the error function and their like."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import ops_util
import pytest

from multinerf.ops import curves

X = ops_util.all_magnitudes()
EXPONENTS = [-math.inf, -4, -1.5, -1, -0.25, 0, 0.25, 0.5, 0.75, 1, 2, 4]
EXPONENTS.append(math.inf)


def ladder64(x, p):
  """The definition, in float64."""
  x = np.float64(x)
  ax = np.abs(x)
  with np.errstate(over='ignore'):
    special = {
      1: lambda: ax,
      0: lambda: np.log1p(ax),
      -math.inf: lambda: -np.expm1(-ax),
      math.inf: lambda: np.expm1(ax),
    }
    general = lambda: abs(p - 1) / p * ((ax / abs(p - 1) + 1) ** p - 1)
    return np.sign(x) * special.get(p, general)()


@pytest.mark.parametrize('p', EXPONENTS)
def test_power_ladder_is_its_definition(p):
  # Above 1e-3 the float64 formula does not cancel.
  # Above 1e37 the argument of the power overflows, and is clipped.
  x = X[(np.abs(X) > 1e-3) & (np.abs(X) < 1e37)]
  want = ladder64(x, p)
  fits = np.abs(want) < 1e38
  got = curves.power_ladder(x, p)
  # exp amplifies the rounding of its argument, at most 88: 88 * 6e-8.
  np.testing.assert_allclose(got[fits], want[fits], rtol=2e-5)
  near = X[np.abs(X) <= 1e-3]
  # P(x) = x + O(x^2), to full relative precision at small x.
  np.testing.assert_allclose(
    curves.power_ladder(near, p), near, rtol=3e-3, atol=1e-37
  )


@pytest.mark.parametrize('p', EXPONENTS)
def test_power_ladder_and_inverse_are_finite_and_increasing(p):
  for fn in (curves.power_ladder, curves.inv_power_ladder):
    value, slope = ops_util.value_and_slope(lambda x, fn=fn: fn(x, p), X)
    assert np.isfinite(value).all() and np.isfinite(slope).all()
    assert (slope >= 0).all()
    # Non-decreasing up to float32 rounding of exp at arguments up to 88.
    assert (np.diff(value) >= -2e-5 * np.abs(value[1:])).all()
    np.testing.assert_array_equal(value, -value[::-1])


@pytest.mark.parametrize('p', EXPONENTS)
def test_power_ladder_slope_is_that_of_its_values(p):
  x = jnp.asarray([-30.0, -2.0, -0.1, 1e-4, 0.3, 5.0, 60.0])
  _, slope = ops_util.value_and_slope(lambda v: curves.power_ladder(v, p), x)
  x64 = np.float64(x)
  h = 1e-4 * np.abs(x64)
  want = (ladder64(x64 + h, p) - ladder64(x64 - h, p)) / (2 * h)
  # Central differences: (h / x)^2 = 1e-8 times third derivatives (x^2 <= 4e3),
  # and rounding of a bounded P, 1e-16 / h.
  np.testing.assert_allclose(slope, want, rtol=1e-4, atol=1e-11)


@pytest.mark.parametrize('p', EXPONENTS)
def test_power_ladder_has_slope_one_at_zero_and_bends_by_its_exponent(p):
  slope = jax.grad(lambda x: curves.power_ladder(x, p))
  assert slope(0.0) == 1
  np.testing.assert_allclose(jax.grad(slope)(0.0), np.sign(p - 1), rtol=1e-6)


@pytest.mark.parametrize('p', EXPONENTS)
def test_inverse_undoes_the_power_ladder(p):
  x = jnp.linspace(-10, 10, 201)
  y = curves.power_ladder(x, p, premult=1.5, postmult=0.5)
  back = curves.inv_power_ladder(y, p, premult=1.5, postmult=0.5)
  # p = -inf: y = 1 - exp(-15) is resolved to 6e-8, i.e. x to 6e-8 e^15 / 1.5.
  np.testing.assert_allclose(back, x, rtol=1e-4, atol=0.2 if p < -5 else 2e-5)


@pytest.mark.parametrize('p', EXPONENTS)
def test_inverse_slope_is_one_over_the_slope(p):
  x = jnp.asarray([-3.0, -0.5, 0.2, 1.0, 4.0])
  y, slope = ops_util.value_and_slope(lambda v: curves.power_ladder(v, p), x)
  _, inverse = ops_util.value_and_slope(
    lambda v: curves.inv_power_ladder(v, p), y
  )
  np.testing.assert_allclose(slope * inverse, 1, rtol=1e-4)


@pytest.mark.parametrize('p', [-math.inf, -10, -1.5, -0.25])
def test_negative_exponents_bound_the_power_ladder(p):
  highest = curves.power_ladder_max_output(p)
  np.testing.assert_allclose(curves.power_ladder(jnp.inf, p), highest)
  np.testing.assert_allclose(
    curves.power_ladder_max_output(jnp.float32(p)), highest
  )
  # Beyond the bound the inverse stays at its largest value.
  beyond = curves.inv_power_ladder(jnp.asarray([highest, 2 * highest, 1e9]), p)
  assert np.isfinite(beyond).all() and (beyond > 10).all()
  assert (beyond == beyond[0]).all()


def test_an_array_of_exponents_gives_what_each_number_gives():
  x = jnp.asarray([-7.0, -0.2, 0.0, 0.4, 9.0])
  for fn, arg in ((curves.power_ladder, x), (curves.inv_power_ladder, x / 10)):
    ps = jnp.asarray(EXPONENTS, jnp.float32)
    got = jax.jit(fn)(arg[None], ps[:, None])
    want = [fn(arg, p) for p in EXPONENTS]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_the_power_ladder_grows_with_its_exponent():
  x = jnp.asarray([0.01, 0.5, 3.0, 20.0])
  for p in (-4.0, -0.25, 0.5, 0.75, 1.5, 4.0):
    slope = jax.vmap(jax.grad(curves.power_ladder, 1), (0, None))(
      x, p + x[0] * 0
    )
    assert np.isfinite(slope).all() and (slope > -1e-6).all()


def test_approx_erf_is_erf_within_its_promise():
  np.testing.assert_allclose(curves.approx_erf(X), jax.lax.erf(X), atol=0.007)


def test_approx_erf_and_its_slope_are_finite_and_exact():
  value, slope = ops_util.value_and_slope(curves.approx_erf, X)
  assert np.isfinite(value).all() and np.isfinite(slope).all()
  x = np.float64(X)
  q = np.minimum(4 / np.pi * x**2, 700)
  want = np.sign(x) * np.sqrt(-np.expm1(-q))
  np.testing.assert_allclose(value, want, rtol=1e-6, atol=1e-37)
  ratio = np.where(q < 1e-12, 1, -np.expm1(-q) / np.maximum(q, 1e-30))
  want = 2 / np.sqrt(np.pi) * np.exp(-q) / np.sqrt(ratio)
  # exp(-q) for q up to 88 carries 88 roundings of q.
  np.testing.assert_allclose(slope, want, rtol=3e-5, atol=1e-37)
  assert slope[X == 0][0] == np.float32(2 / np.sqrt(np.pi))


@pytest.mark.parametrize('beta', [1.0, 0.1, 0.001])
def test_laplace_cdf_integrates_the_laplace_density(beta):
  x = jnp.arange(-50.0, 51.0) / 50
  value, slope = ops_util.value_and_slope(
    lambda v: curves.laplace_cdf(v, beta), x
  )
  want = -0.5 / beta**2 * np.exp(-np.abs(np.float64(x)) / beta)
  at_zero = np.asarray(x) == 0  # the kink's two slopes are equal; sign(0) is 0
  np.testing.assert_allclose(
    slope[~at_zero], want[~at_zero], rtol=1e-4, atol=1e-5
  )
  np.testing.assert_allclose(value[50], 0.5 / beta, rtol=1e-6)
  assert (value >= 0).all() and (value <= 1 / beta * (1 + 1e-6)).all()


def test_scaled_softplus_approaches_a_ramp():
  x = jnp.linspace(-2, 2, 101)
  gap = curves.scaled_softplus(x, 50.0) - jnp.maximum(x, 0)
  assert (gap >= -1e-6).all() and (gap <= math.log(2) / 50 + 1e-6).all()
  np.testing.assert_allclose(
    curves.scaled_softplus(x, 1.0), jax.nn.softplus(x), rtol=1e-6
  )


def test_log_lerp_is_geometric_and_clipped():
  got = curves.log_lerp(jnp.asarray([-1.0, 0.0, 0.5, 1.0, 9.0]), 4.0, 9.0)
  np.testing.assert_allclose(got, [4, 4, 6, 9, 9], rtol=1e-6)


@pytest.mark.parametrize('ends', [(0.0, 1.0), (1.0, -2.0)])
def test_log_lerp_refuses_ends_that_have_no_logarithm(ends):
  with pytest.raises(ValueError, match='v0, v1 > 0'):
    curves.log_lerp(0.5, *ends)


def test_learning_rate_starts_eased_and_ends_at_its_final_value():
  rate = lambda step, **kw: float(
    curves.learning_rate_decay(step, 1e-2, 1e-4, 100, **kw)
  )
  assert rate(0) == pytest.approx(1e-2, rel=1e-5)
  assert rate(50) == pytest.approx(1e-3, rel=1e-5)
  assert rate(1000) == pytest.approx(1e-4, rel=1e-5)
  eased = {'lr_delay_steps': 10, 'lr_delay_mult': 0.1}
  assert rate(0, **eased) == pytest.approx(1e-3, rel=1e-5)
  assert rate(10, **eased) == pytest.approx(rate(10), rel=1e-5)


def test_bias_and_gain_pass_through_the_ends_and_the_threshold():
  x = jnp.linspace(0, 1, 41)
  fn = jax.jit(curves.generalized_bias_and_gain)
  for slope, threshold in ((0.3, 0.5), (4.0, 0.25), (2.0, 0.0), (0.5, 1.0)):
    y = np.asarray(fn(x, slope, threshold))
    np.testing.assert_allclose(y[[0, -1]], [0, 1], atol=1e-6)
    assert np.all(np.diff(y) > 0)
    middle = np.interp(threshold, x, y)
    np.testing.assert_allclose(middle, threshold, atol=1e-6)
    if 0 < threshold < 1:
      ends = fn(
        jnp.array([threshold - 1e-3, threshold + 1e-3]), slope, threshold
      )
      # Curvature of at most 2 |s - 1| / t, float32 over steps of 1e-3.
      np.testing.assert_allclose(np.diff(ends)[0] / 2e-3, slope, rtol=3e-2)
  np.testing.assert_allclose(fn(x, 1.0, 0.5), x, atol=1e-6)
