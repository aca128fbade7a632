"""Collecting histograms in other intervals, sharp and blurred."""

import jax
import jax.numpy as jnp
import numpy as np
import ops_util
import pytest

from multinerf.ops import linspline, resampling, stepfun

blur = jax.jit(resampling.blur_and_resample_weights)
resample = jax.jit(resampling.resample, static_argnames='use_avg')


def slow_sum(t, tp, vp):
  cdf = np.concatenate([[0], np.cumsum(np.float64(vp))])
  return np.diff(np.interp(t, np.float64(tp), cdf))


@pytest.mark.parametrize('seed', range(3))
def test_resample_splits_sums_by_overlap(seed):
  tp, vp = ops_util.step_function(seed, n=7)
  t = jnp.linspace(-0.3, 1.1, 12)
  got = resample(t, tp, vp)
  np.testing.assert_allclose(got, slow_sum(t, tp, vp), rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(got.sum(), vp.sum(), rtol=1e-6)


def test_resample_average_of_a_constant_is_that_constant():
  tp, _ = ops_util.step_function(3, n=7, empty=True)
  t, _ = ops_util.step_function(4, n=5)
  t = tp[0] + t * (tp[-1] - tp[0])
  got = resample(t, tp, jnp.full(7, 2.5), use_avg=True)
  np.testing.assert_allclose(got, 2.5, rtol=1e-6)


def test_resample_keeps_the_mass_of_an_empty_interval():
  tp, vp = jnp.asarray([0.0, 0.5, 0.5, 1.0]), jnp.asarray([1.0, 7.0, 1.0])
  got = resample(jnp.asarray([0.0, 0.25, 0.75, 1.0]), tp, vp)
  np.testing.assert_allclose(got, [0.5, 8.0, 0.5])


def test_resampling_treats_rows_of_a_batch_independently():
  t, w = ops_util.step_function(5, n=6, batch=(2,))
  tq, _ = ops_util.step_function(6, n=5, batch=(2,))

  def everything(tq, t, w):
    return (
      resampling.resample(tq, t, w),
      resampling.resample(tq, t, w, use_avg=True),
      resampling.blur_and_resample_weights(tq, t, w, 0.03),
      resampling.blur_and_resample_weights(tq, t, w, 0.1 * w),
    )

  ops_util.assert_batch_law(everything, tq, t, w, rtol=1e-5, atol=1e-6)


def slow_blur(tq, t, w, halfwidth, num=200_000):
  """Weights per interval of tq of a histogram plus uniform noise, sampled."""
  # Stratified in the histogram, equidistributed in the noise.
  u = (np.arange(num) + 0.5) / num
  cdf = np.concatenate([[0], np.cumsum(np.float64(w))])
  x = np.interp(u * cdf[-1], cdf, np.float64(t))
  x = x + halfwidth * (2 * ((np.arange(num) * 0.6180339887498949) % 1) - 1)
  return np.histogram(x, np.float64(tq))[0] / num * cdf[-1]


@pytest.mark.parametrize('halfwidth', [0.0, 1e-4, 0.03, 0.5])
def test_blurred_weights_equal_sampling(halfwidth):
  t, w = ops_util.step_function(7, n=8, empty=True)
  tq = jnp.linspace(-0.6, 1.6, 21)
  # Quasi-random counts of 200 000: about 1e-4 per interval.
  np.testing.assert_allclose(
    blur(tq, t, w, halfwidth), slow_blur(tq, t, w, halfwidth), atol=2e-4
  )


@jax.jit
def spline_blur(tq, t, w, halfwidth):
  """The same by upstream's route: blur, integrate, evaluate, subtract."""
  p = stepfun.weight_to_pdf(t, w)
  knots, values = linspline.blur_stepfun(t, p, halfwidth)
  quad = linspline.compute_integral(knots, values)
  return jnp.diff(linspline.interpolate_integral(tq, knots, *quad))


@pytest.mark.parametrize('halfwidth', [0.003, 0.03, 0.3])
def test_blurred_weights_equal_the_integral_of_the_linear_spline(halfwidth):
  t, w = ops_util.step_function(8, n=8, batch=(3,))
  tq, _ = ops_util.step_function(9, n=6, batch=(3,))
  want = spline_blur(tq, t, w, halfwidth)
  # The spline's densities are up to 1e3 and its cumulative sum rounds them.
  np.testing.assert_allclose(blur(tq, t, w, halfwidth), want, atol=2e-5)


def test_without_blur_it_is_resample():
  t, w = ops_util.step_function(10, n=8)
  tq, _ = ops_util.step_function(11, n=6)
  want = resample(tq, t, w)
  for halfwidth in (0.0, 1e-30, 1e-9):
    got = blur(tq, t, w, halfwidth)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_blur_keeps_the_weight_and_drops_that_of_empty_intervals():
  t, w = ops_util.step_function(12, n=8, empty=True)
  tq = jnp.linspace(-0.5, 1.5, 30)
  np.testing.assert_allclose(blur(tq, t, w, 0.2).sum(), 1, rtol=1e-6)
  loaded = w + jnp.where(jnp.diff(t) == 0, 5.0, 0.0)
  np.testing.assert_array_equal(blur(tq, t, loaded, 0.2), blur(tq, t, w, 0.2))


def test_each_interval_may_have_its_own_blur():
  t, w = ops_util.step_function(13, n=4)
  tq = jnp.linspace(-0.2, 1.2, 9)
  radii = jnp.asarray([0.0, 0.02, 0.1, 0.3])
  want = sum(
    blur(tq, t, jnp.where(jnp.arange(4) == i, w, 0.0), radii[i])
    for i in range(4)
  )
  got = blur(tq, t, w, radii)
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_gradients_are_finite_for_every_width_and_blur():
  tq = jnp.asarray([0.0, 0.3, 0.3, 0.7, 1.0])
  total = lambda t, w, r: jnp.sum(
    resampling.blur_and_resample_weights(tq, t, w, r) ** 2
  )
  grad = jax.jit(jax.grad(total, argnums=(0, 1, 2)))
  for width in (0.0, 1e-38, 1e-20, 1e-7, 0.1):
    t = jnp.asarray([0.0, 0.3, 0.3 + width, 0.3 + 2 * width, 1.0])
    for r in (0.0, 1e-38, 1e-20, 1e-7, 0.1, 1e3):
      found = grad(t, jnp.asarray([0.1, 0.5, 0.2, 0.2]), r)
      assert all(np.isfinite(g).all() for g in found), (width, r)
