"""Linear splines against numpy and their own definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import ops_util
import pytest

from multinerf.ops import linspline

# Compiled once per shape.
query = jax.jit(linspline.query)
integrate = jax.jit(linspline.integrate)
compute_integral = jax.jit(linspline.compute_integral)
interpolate_integral = jax.jit(linspline.interpolate_integral)
blur_stepfun = jax.jit(linspline.blur_stepfun)


def spline(seed, n=8, batch=(3,), zero_ends=True):
  gen = np.random.default_rng(seed)
  t = np.cumsum(0.1 + gen.random((*batch, n)), axis=-1)
  y = gen.normal(size=(*batch, n))
  if zero_ends:
    y[..., 0] = y[..., -1] = 0
  return jnp.float32(t), jnp.float32(y)


def numpy_query(tq, t, y):
  rows = [
    np.interp(tq, *row, left=0, right=0) for row in zip(t, y, strict=True)
  ]
  return np.stack(rows)


TQ = jnp.linspace(-1, 12, 400)


def test_query_equals_numpy_and_is_zero_outside():
  t, y = spline(0, zero_ends=False)
  got = query(TQ, t, y)
  # Slopes up to 3 / 0.1 times the rounding of t, 1e-6.
  np.testing.assert_allclose(got, numpy_query(TQ, t, y), atol=5e-5)
  ops_util.assert_batch_law(lambda t, y: query(TQ, t, y), t, y)


def test_mismatched_or_open_splines_are_refused():
  t, y = spline(1, zero_ends=False)
  with pytest.raises(ValueError, match='8 knots has 7 values'):
    linspline.integrate(t, y[..., 1:])
  with pytest.raises(ValueError, match='start and end'):
    linspline.insert_knot(t[..., :1], t, y + 1)
  linspline.check_zero_endpoints(y.at[..., 0].set(0).at[..., -1].set(0))


def test_a_normalised_spline_has_area_one():
  t, y = spline(2)
  unit = linspline.normalize(t, jnp.abs(y))
  np.testing.assert_allclose(integrate(t, unit), 1, rtol=1e-6)
  want = [np.trapezoid(*row) for row in zip(y, t, strict=True)]
  np.testing.assert_allclose(integrate(t, y), want, atol=1e-5)
  assert np.isfinite(linspline.normalize(t, 0 * y)).all()


def test_inserted_knots_exist_and_change_nothing():
  t, y = spline(3)
  ti = jnp.asarray([[-0.5], [2.0], [50.0]])
  to, yo = jax.jit(linspline.insert_knot)(ti, t, y)
  assert to.shape == yo.shape == (3, 9)
  assert (np.diff(to) >= 0).all() and (to == ti).any(-1).all()
  np.testing.assert_allclose(
    numpy_query(TQ, to, yo), numpy_query(TQ, t, y), atol=5e-5
  )


def test_clamp_cuts_the_spline_off_outside_its_bounds():
  t, y = spline(4)
  lo, hi = (
    jnp.asarray([[1.0], [0.3], [2.0]]),
    jnp.asarray([[2.0], [4.0], [3.0]]),
  )
  tc, yc = jax.jit(linspline.clamp)(t, y, lo, hi)
  inside = (TQ >= lo) & (TQ <= hi)
  want = np.where(inside, numpy_query(TQ, t, y), 0)
  np.testing.assert_allclose(query(TQ, tc, yc), want, atol=5e-5)


def test_integral_equals_a_fine_sum_of_the_spline():
  t, y = spline(5, zero_ends=False)
  y = y.at[0, :3].set(1.0)  # a flat piece
  quad = compute_integral(t, y)
  got = interpolate_integral(TQ, t, *quad)
  fine = np.linspace(-1, 12, 39901)
  values = numpy_query(fine, t, y)
  steps = (values[:, 1:] + values[:, :-1]) / 2 * np.diff(fine)
  want = np.pad(np.cumsum(steps, -1), ((0, 0), (1, 0)))[:, ::100]
  # A jump at either end is off by half a step of the fine grid: 1.6e-4 * |y|.
  np.testing.assert_allclose(got, want, atol=1e-3)


def test_integral_is_finite_at_repeated_knots():
  t = jnp.asarray([1.0, 2.0, 2.0, 2.0, 3.0, 3.0])
  quad = compute_integral(t, t)
  grads = jax.grad(lambda t: sum(q.sum() for q in compute_integral(t, t)))
  assert all(np.isfinite(q).all() for q in quad)
  assert np.isfinite(grads(t)).all()
  end = interpolate_integral(jnp.asarray([0.0, 9.0]), t, *quad)
  np.testing.assert_allclose(end, [0.0, 4.0], rtol=1e-6)


@pytest.mark.parametrize('halfwidth', [0.05, 0.7, 5.0])
def test_blurring_equals_the_mean_over_a_window(halfwidth):
  t, w = ops_util.step_function(6, n=6, batch=(2,), empty=True)
  t, y = 4 * t, w
  knots, values = blur_stepfun(t, y, halfwidth)
  assert (np.diff(knots) >= 0).all()
  x = np.linspace(-6, 10, 201)
  for row in range(2):
    cdf = np.pad(
      np.cumsum(np.float64(y[row]) * np.diff(np.float64(t[row]))), (1, 0)
    )
    area = lambda x, row=row, cdf=cdf: np.interp(x, np.float64(t[row]), cdf)
    want = (area(x + halfwidth) - area(x - halfwidth)) / (2 * halfwidth)
    got = query(jnp.float32(x), knots[row], values[row])
    # The slopes are up to 1 / (2 halfwidth) times the rounding of t, 1e-6.
    np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.parametrize('halfwidth', [0.0, 1e-30, 1e-6, 1e-3, 0.7])
def test_blurring_keeps_the_area_down_to_no_blur(halfwidth):
  t, y = ops_util.step_function(7, n=6, batch=(2,))
  knots, values = blur_stepfun(t, y, halfwidth)
  want = jnp.sum(y * jnp.diff(t), axis=-1)
  # Ramps end on float32 positions: 1e-7 times jumps up to 0.5, 14 of them.
  np.testing.assert_allclose(
    integrate(knots, values), want, rtol=1e-5, atol=1e-6
  )
  assert (values[..., 0] == 0).all() and (values[..., -1] == 0).all()
