"""Safe functions: right where the plain ones are, finite everywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import ops_util
import pytest

from multinerf.ops import numerics

X = ops_util.all_magnitudes()
FINITE_FOR_ALL_INPUTS = [
  'safe_sin',
  'safe_cos',
  'safe_exp',
  'safe_expm1',
  'safe_log',
  'safe_log1p',
  'safe_sqrt',
  'safe_arccos',
  'clip_finite',
  'clip_pos',
  'remove_zero',
]


@pytest.mark.parametrize('name', FINITE_FOR_ALL_INPUTS)
def test_value_and_slope_are_finite_for_every_magnitude(name):
  value, slope = ops_util.value_and_slope(getattr(numerics, name), X)
  assert np.isfinite(value).all() and np.isfinite(slope).all()
  assert value.dtype == slope.dtype == np.float32


@pytest.mark.parametrize(
  'name, domain',
  [
    ('exp', (-87.0, 88.0)),  # above and below, exp leaves the normal floats
    # jnp's slope of expm1 is expm1 + 1, which loses all digits below.
    ('expm1', (-1.0, 88.0)),
    ('log', (ops_util.TINY, ops_util.MAX)),
    ('log1p', (-0.9999, ops_util.MAX)),
    ('sqrt', (ops_util.TINY, ops_util.MAX)),
    ('arccos', (-0.9999, 0.9999)),
    ('sin', (-300.0, 300.0)),
    ('cos', (-300.0, 300.0)),
  ],
)
def test_safe_function_is_the_plain_one_on_its_domain(name, domain):
  x = X[(X >= domain[0]) & (X <= domain[1])]
  got = ops_util.value_and_slope(getattr(numerics, 'safe_' + name), x)
  want = ops_util.value_and_slope(getattr(jnp, name), x)
  for a, b in zip(got, want, strict=True):
    # Two float32 formulas for one derivative: a few roundings.
    np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-37)


@pytest.mark.parametrize('name', ['safe_exp', 'safe_expm1', 'safe_log1p'])
def test_safe_function_is_monotonic(name):
  value, slope = ops_util.value_and_slope(getattr(numerics, name), X)
  assert (np.diff(value) >= 0).all() and (slope >= 0).all()


def test_safe_sqrt_is_exactly_zero_at_zero_and_below():
  np.testing.assert_array_equal(numerics.safe_sqrt(X[X <= 0]), 0)


def test_safe_exp_saturates_with_the_slope_of_its_last_value():
  value, slope = ops_util.value_and_slope(numerics.safe_exp, [88.0, 89.0, 1e30])
  np.testing.assert_allclose(value, np.exp(88.0), rtol=1e-5)
  np.testing.assert_array_equal(slope, value)


def test_expm1_has_the_slope_of_exp():
  x = X[X < 80]
  value, slope = ops_util.value_and_slope(numerics.expm1, x)
  np.testing.assert_allclose(value, np.expm1(x), rtol=1e-6, atol=1e-37)
  np.testing.assert_allclose(slope, np.exp(x), rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize('fn', ['sin', 'cos'])
def test_wrapped_phase_equals_the_exact_remainder(fn):
  # Up to 1.28e6 = 2^12 periods the reduction is exact.
  x = np.random.default_rng(0).uniform(-1.28e6, 1.28e6, 5000)
  x = x.astype(np.float32)
  period = np.float64(np.float32(100 * np.pi))
  reduced = np.where(np.abs(x) < period, x, np.mod(np.float64(x), period))
  value, slope = ops_util.value_and_slope(getattr(numerics, 'safe_' + fn), x)
  slope_fn, sign = (np.cos, 1) if fn == 'sin' else (np.sin, -1)
  # The remainder, below 315, is rounded to float32 once: 1.6e-5.
  np.testing.assert_allclose(value, getattr(np, fn)(reduced), atol=2e-5)
  np.testing.assert_allclose(slope, sign * slope_fn(reduced), atol=2e-5)


def test_safe_arccos_is_exact_at_its_ends_and_flat_outside():
  x = np.float32([-2, -1, 1, 2])
  value, slope = ops_util.value_and_slope(numerics.safe_arccos, x)
  np.testing.assert_array_equal(value, np.float32([np.pi, np.pi, 0, 0]))
  np.testing.assert_array_equal(slope, 0)


def test_safe_arctan2_is_arctan2_with_a_finite_gradient():
  grid = ops_util.all_magnitudes(20)
  y, x = map(np.ravel, np.meshgrid(grid, grid))
  value, (dy, dx) = jax.jit(
    jax.vmap(jax.value_and_grad(numerics.safe_arctan2, argnums=(0, 1)))
  )(y, x)
  np.testing.assert_array_equal(value, jnp.arctan2(y, x))
  assert np.isfinite(dy).all() and np.isfinite(dx).all()
  y64, x64 = np.float64(y), np.float64(x)
  norm = np.maximum(x64**2 + y64**2, 1e-300)
  # Denormal slopes (below 1.2e-38) are flushed.
  for got, want in ((dy, x64 / norm), (dx, -y64 / norm)):
    fits = np.abs(want) < ops_util.MAX
    np.testing.assert_allclose(got[fits], want[fits], rtol=1e-5, atol=2e-38)


def test_safe_div_divides_where_it_can_and_is_finite_elsewhere():
  grid = ops_util.all_magnitudes(30)
  n, d = map(np.ravel, np.meshgrid(grid, grid))
  value, (dn, dd) = jax.jit(
    jax.vmap(jax.value_and_grad(numerics.safe_div, argnums=(0, 1)))
  )(n, d)
  assert np.isfinite([value, dn, dd]).all()
  zero = d == 0
  for found in (value, dn, dd):
    np.testing.assert_array_equal(found[zero], 0)
  n, d = np.float64(n[~zero]), np.float64(d[~zero])
  for found, want in ((value, n / d), (dn, 1 / d), (dd, -n / d**2)):
    found = found[~zero]
    # dd is made of the quotient, which may have been clipped or flushed.
    fits = (np.abs(want) < ops_util.MAX) & (np.abs(n / d) < ops_util.MAX)
    fits &= (np.abs(n / d) > ops_util.TINY) | (n == 0)
    np.testing.assert_allclose(found[fits], want[fits], rtol=1e-6, atol=2e-38)


def test_safe_div_works_in_forward_mode_with_broadcasting():
  n, d = jnp.arange(6.0).reshape(2, 3), jnp.asarray([1.0, 0.0, 4.0])
  _, tangent = jax.jvp(numerics.safe_div, (n, d), (jnp.ones_like(n), d))
  want = [[1 - 0, 0, 0.25 - 0.5], [1 - 3, 0, 0.25 - 1.25]]
  np.testing.assert_allclose(tangent, want)


def test_clip_pos_and_remove_zero_move_small_values_only():
  large = np.abs(X) >= ops_util.TINY
  np.testing.assert_array_equal(numerics.remove_zero(X)[large], X[large])
  np.testing.assert_array_equal(numerics.remove_zero(X)[~large], ops_util.TINY)
  np.testing.assert_array_equal(numerics.clip_pos(X)[X > 0], X[X > 0])
  np.testing.assert_array_equal(numerics.clip_pos(X)[X <= 0], ops_util.TINY)
  np.testing.assert_array_equal(numerics.safe_sign(X), np.where(X < 0, -1, 1))
  assert numerics.noop('anything') == 'anything'


def test_matmul_is_exact_to_float32_and_broadcasts():
  gen = np.random.default_rng(0)
  a, b = gen.normal(size=(2, 1, 4, 5)), gen.normal(size=(3, 5, 6))
  got = numerics.matmul(jnp.float32(a), jnp.float32(b))
  # Sums of 5 products of order 1: TF32 or bfloat16 would be off by 1e-3.
  np.testing.assert_allclose(got, a @ b, atol=2e-6)
