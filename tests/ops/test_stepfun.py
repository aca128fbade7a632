"""Properties of histograms along a ray; parity is in test_stepfun_golden."""

import jax
import jax.numpy as jnp
import numpy as np
import ops_util
import pytest

from multinerf.ops import stepfun

# Compiled once per shape.
outer = jax.jit(stepfun.lossfun_outer)
dilate = jax.jit(stepfun.max_dilate)
dilate_weights = jax.jit(
  stepfun.max_dilate_weights, static_argnames='renormalize'
)
query = jax.jit(stepfun.query)
percentile = jax.jit(stepfun.weighted_percentile)
distortion = jax.jit(stepfun.lossfun_distortion)
interval_distortion = jax.jit(stepfun.interval_distortion)
sample = jax.jit(
  stepfun.sample, static_argnames=('num_samples', 'deterministic_center')
)
sample_intervals = jax.jit(
  stepfun.sample_intervals, static_argnames='num_samples'
)


def as_logits(w):
  with np.errstate(divide='ignore'):
    return jnp.asarray(np.log(np.asarray(w)))


def jitter(seed, *shape):
  return jnp.asarray(np.random.default_rng(seed).random(shape), jnp.float32)


def test_a_function_without_matching_endpoints_is_refused():
  with pytest.raises(ValueError, match='one more endpoint'):
    stepfun.pdf_to_weight(jnp.zeros(4), jnp.zeros(4))


@pytest.mark.parametrize('batch', ops_util.BATCHES)
def test_every_function_takes_any_batch_shape(batch):
  array = lambda n: jax.ShapeDtypeStruct((*batch, n), jnp.float32)
  t, w, other, five = array(7), array(6), array(5), array(4)
  shape = lambda fn, *args: jax.tree.map(
    lambda x: x.shape[len(batch) :], jax.eval_shape(fn, *args)
  )
  assert shape(stepfun.query, other, t, w) == (5,)
  assert shape(stepfun.weight_to_pdf, t, w) == (6,)
  assert shape(stepfun.lossfun_outer, t, w, other, five) == (6,)
  assert shape(stepfun.inner_outer, other, t, w) == ((4,), (4,))
  dilate = lambda t, w: stepfun.max_dilate_weights(t, w, 0.1)
  assert shape(dilate, t, w) == ((19,), (18,))
  draw = lambda t, w: stepfun.sample_intervals(t, w, 5)
  assert shape(draw, t, w) == (6,)
  percentile = lambda t, w: stepfun.weighted_percentile(t, w, (5, 50))
  assert shape(percentile, t, w) == (2,)
  assert shape(stepfun.lossfun_distortion, t, w) == ()


@pytest.mark.slow
def test_functions_treat_rows_of_a_batch_independently():
  t, w = ops_util.step_function(2, n=6, batch=(2,))
  tq, wq = ops_util.step_function(3, n=4, batch=(2,))

  def everything(t, w, tq, wq):
    wide = stepfun.max_dilate_weights(t, w, 0.05, (0.0, 1.0), renormalize=True)
    return (
      stepfun.query(tq, t, w),
      stepfun.lossfun_outer(t, w, tq, wq),
      wide,
      stepfun.sample_intervals(*wide, 5),
      stepfun.weighted_percentile(t, w, (5, 50, 95)),
      stepfun.lossfun_distortion(t, w),
    )

  # Samples divide rounding errors by weights as small as 1e-4.
  ops_util.assert_batch_law(everything, t, w, tq, wq, rtol=1e-5, atol=1e-5)


# --- query, conversion ---------------------------------------------------------


def test_query_equals_a_search_interval_by_interval():
  t, y = ops_util.step_function(4, n=7, empty=True)
  tq = jnp.concatenate([t, jnp.linspace(-0.2, 1.2, 50)])

  def slow(x):
    for a, b, value in zip(t, t[1:], y, strict=False):
      if a <= x < b:
        return value
    return -3.0

  want = [slow(x) for x in np.asarray(tq)]
  np.testing.assert_array_equal(query(tq, t, y, -3.0), want)


def test_query_repeats_edges_or_fills_each_side():
  t, y = jnp.asarray([0.0, 1.0, 2.0]), jnp.asarray([5.0, 6.0])
  tq = jnp.asarray([-1.0, 0.0, 1.0, 2.0, 3.0])
  edges = stepfun.query(tq, t, y, None)
  np.testing.assert_array_equal(edges, [5, 5, 6, 6, 6])
  sides = stepfun.query(tq, t, y, None, left=-1)
  np.testing.assert_array_equal(sides, [-1, 5, 6, 6, 6])
  sides = stepfun.query(tq, t, y, left=-1, right=9)
  np.testing.assert_array_equal(sides, [-1, 5, 6, 9, 9])


def test_weights_and_densities_convert_into_each_other():
  t, w = ops_util.step_function(5, empty=True)
  p = stepfun.weight_to_pdf(t, w)
  np.testing.assert_allclose(stepfun.pdf_to_weight(t, p), w, rtol=1e-6)
  full = jnp.ones_like(w)  # weight in an empty interval: large but finite
  assert np.isfinite(stepfun.weight_to_pdf(t, full)).all()


# --- interlevel ------------------------------------------------------------------


@pytest.mark.parametrize('seed', range(3))
def test_inner_and_outer_sums_equal_a_double_loop(seed):
  t1, y1 = ops_util.step_function(seed, n=6, empty=True)
  t0, _ = ops_util.step_function(seed + 10, n=5)
  inner, outer = stepfun.inner_outer(t0, t1, y1)
  pairs = list(
    zip(np.asarray(t1), np.asarray(t1)[1:], np.asarray(y1), strict=False)
  )
  for i in range(5):
    a, b = t0[i], t0[i + 1]
    inside = sum(y for lo, hi, y in pairs if lo > a and hi <= b)
    touching = sum(y for lo, hi, y in pairs if hi > a and lo <= b)
    np.testing.assert_allclose(inner[i], inside, atol=1e-7)
    np.testing.assert_allclose(outer[i], touching, atol=1e-7)


def test_a_histogram_explains_itself_and_any_coarser_one():
  t, w = ops_util.step_function(6, n=8)
  np.testing.assert_array_equal(outer(t, w, t, w), 0)
  coarse = outer(t, w, t[::2], w[::2] + w[1::2])
  np.testing.assert_array_equal(coarse, 0)
  # A proposal without weight explains nothing: w^2 / (w + eps).
  alone = outer(t, w, t, jnp.zeros_like(w))
  np.testing.assert_allclose(alone, w**2 / (w + stepfun.EPS), rtol=1e-6)


# --- dilation ---------------------------------------------------------------------


@pytest.mark.parametrize('dilation', [0.0, 0.03, 0.4])
def test_max_dilate_equals_a_maximum_over_windows(dilation):
  t, w = ops_util.step_function(7, n=6)
  edges, values = dilate(t, w, dilation)
  x = np.random.default_rng(0).uniform(-0.5, 1.5, 300)
  reaches = (t[:-1] - dilation <= x[:, None]) & (x[:, None] < t[1:] + dilation)
  want = np.max(np.where(reaches, w, 0), axis=-1)
  got = query(jnp.asarray(x, jnp.float32), edges, values)
  np.testing.assert_array_equal(got, want)


def test_dilated_weights_cover_the_old_ones():
  t, w = ops_util.step_function(8, n=8, batch=(3,))
  edges, wide = dilate_weights(t, w, 0.05)
  assert edges.shape == (3, 25) and wide.shape == (3, 24)
  assert (np.sum(wide, -1) >= 1 - 1e-6).all()
  # Zero up to rounding of the sums (1e-7), squared, over w + eps >= 1e-7.
  np.testing.assert_allclose(outer(t, w, edges, wide), 0, atol=1e-6)
  _, normal = dilate_weights(t, w, 0.05, renormalize=True)
  np.testing.assert_allclose(np.sum(normal, -1), 1, rtol=1e-6)


@pytest.mark.parametrize('weight', [0.0, 1e-38, 1e-20, 1.0])
def test_dilation_has_finite_gradients_with_empty_intervals(weight):
  t, w = ops_util.step_function(9, n=6, empty=True)
  total = lambda t, w: jnp.sum(
    jnp.square(
      jnp.concatenate(
        stepfun.max_dilate_weights(t, w, 0.05, (0.0, 1.0), renormalize=True)
      )
    )
  )
  grads = jax.jit(jax.grad(total, argnums=(0, 1)))(t, w * weight)
  assert all(np.isfinite(g).all() for g in grads)


# --- sampling ----------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['fixed', 'centred', 'shared', 'separate'])
def test_samples_follow_the_histogram(kind):
  t, w = ops_util.step_function(10, n=8, empty=True)
  n = 4000
  noise = {'shared': jitter(0, 1), 'separate': jitter(0, n)}.get(kind)
  x = np.asarray(
    sample(
      t, as_logits(w), n, jitter=noise, deterministic_center=kind == 'centred'
    )
  )
  assert x.shape == (n,)
  # Neighbours may swap by the rounding of an interpolation.
  assert (np.diff(x) >= -1e-7).all()
  # Stratified: every cumulative count is within one or two of n times the CDF.
  cdf = np.cumsum(w)
  counts = (x[:, None] <= np.asarray(t)[1:]).sum(0)
  np.testing.assert_allclose(counts / n, cdf, atol=2.5 / n)


def test_each_jittered_sample_stays_in_its_stratum():
  t, n = jnp.asarray([0.0, 1.0]), 8
  for seed in range(5):
    x = np.asarray(sample(t, jnp.zeros(1), n, jitter=jitter(seed, n)))
    i = np.arange(n)
    # n strata of width (1 - 1 / n) / (n - 1) = 1 / n, up to eps.
    assert (x >= i / n - 1e-6).all() and (x <= (i + 1) / n + 1e-6).all()
  for edge in (0.0, 1 - 2**-24):
    x = np.asarray(sample(t, jnp.zeros(1), n, jitter=jnp.full((1,), edge)))
    assert x.min() >= 0 and x.max() < 1


def test_one_sample_is_uniform_over_the_histogram():
  t, w = jnp.asarray([0.0, 2.0]), jnp.zeros(1)
  got = [float(sample(t, w, 1, jitter=jnp.asarray([j]))[0]) for j in (0.0, 0.5)]
  np.testing.assert_allclose(got, [0.0, 1.0], atol=1e-6)
  centre = sample(t, w, 1, deterministic_center=True)
  np.testing.assert_allclose(centre, [1.0], atol=1e-6)


def test_intervals_are_ordered_within_the_domain_and_cover_the_weight():
  t, w = ops_util.step_function(11, n=16, batch=(4,), empty=True)
  for noise in (None, jitter(1, 4, 1), jitter(2, 4, 24)):
    s = sample_intervals(t, as_logits(w), 24, jitter=noise, domain=(0.0, 1.0))
    assert s.shape == (4, 25)
    assert (np.diff(s) >= -1e-7).all() and (s >= 0).all() and (s <= 1).all()
  # Deterministic intervals hold equal weights, 1 / 24 each, except where their
  # midpoints straddle a jump of the density: on average.
  cdf = np.pad(np.cumsum(w, -1), ((0, 0), (1, 0)))
  s = sample_intervals(t, as_logits(w), 24, domain=(0.0, 1.0))
  held = np.stack(
    [np.diff(np.interp(*row)) for row in zip(s, t, cdf, strict=True)]
  )
  assert np.abs(held - 1 / 24).mean() < 0.3 / 24


def test_sampling_one_interval_of_a_uniform_histogram_splits_it_evenly():
  s = sample_intervals(
    jnp.asarray([0.0, 1.0]), jnp.zeros(1), 10, domain=(0.0, 1.0)
  )
  np.testing.assert_allclose(s, np.linspace(0, 1, 11), atol=1e-6)


def test_fewer_than_two_intervals_are_refused():
  with pytest.raises(ValueError, match='2 or more, got 1'):
    stepfun.sample_intervals(jnp.zeros(2), jnp.zeros(1), 1)


def test_excluded_intervals_get_no_samples():
  t = jnp.asarray([0.0, 1.0, 2.0, 3.0, 4.0])
  for i in range(4):
    logits = jnp.full(4, -jnp.inf).at[i].set(-50.0)
    x = sample(t, logits, 9, jitter=jitter(i, 9))
    assert (x >= i).all() and (x <= i + 1).all()


@pytest.mark.parametrize(
  'logits',
  [
    [0.3, -np.inf, -2.0, -np.inf],
    [-np.inf, -np.inf, 1.0, -np.inf],
    [-np.inf] * 4,
    [1e30, -1e30, 3e38, 0.0],
    [-3e38, -3e38, -3e38, -3e38],
  ],
)
def test_sampling_has_finite_values_and_gradients(logits):
  t = jnp.asarray([0.0, 0.25, 0.25, 0.7, 1.0])  # the second interval is empty
  total = lambda t, logits: sample_intervals(t, logits, 5, domain=(0.0, 1.0))
  value = total(t, jnp.asarray(logits))
  grads = jax.grad(lambda *a: total(*a).sum(), (0, 1))(t, jnp.asarray(logits))
  assert np.isfinite(value).all()
  assert all(np.isfinite(g).all() for g in grads)


def test_percentiles_invert_the_cumulative_weight():
  t, w = ops_util.step_function(12, n=9, batch=(2,))
  ps = [0, 10, 50, 77, 100]
  x = percentile(t, w, jnp.asarray(ps))
  for row in range(2):
    cdf = np.concatenate([[0], np.cumsum(np.float64(w[row]))])
    # Weights down to 1e-4 of widths up to 0.3: 1e-7 * 0.3 / 1e-4.
    np.testing.assert_allclose(
      x[row], np.interp(np.array(ps) / 100, cdf, t[row]), atol=1e-3
    )


# --- distortion --------------------------------------------------------------------


def slow_distortion(t, w):
  t, w = np.float64(t), np.float64(w)
  mid = (t[..., 1:] + t[..., :-1]) / 2
  gap = np.abs(mid[..., :, None] - mid[..., None, :])
  pairs = np.einsum('...i,...j,...ij->...', w, w, gap)
  return pairs + np.sum(w**2 * np.diff(t), axis=-1) / 3


@pytest.mark.parametrize('scale', [1.0, 1e-6, 1e6])
def test_distortion_equals_the_double_sum(scale):
  t, w = ops_util.step_function(13, n=12, batch=(3,), empty=True)
  t, w = (t - 0.3) * scale, 0.7 * w
  got = distortion(t, w)
  np.testing.assert_allclose(got, slow_distortion(t, w), rtol=1e-5)


def test_distortion_gradient_equals_that_of_the_double_sum():
  t, w = ops_util.step_function(14, n=6)
  grads = jax.jit(jax.grad(stepfun.lossfun_distortion, (0, 1)))(t, w)
  for i, grad in enumerate(grads):
    for j in range(grad.shape[-1]):
      args = [np.float64(t), np.float64(w)]
      args[i][j] += 1e-5
      up = slow_distortion(*args)
      args[i][j] -= 2e-5
      want = (up - slow_distortion(*args)) / 2e-5
      np.testing.assert_allclose(grad[j], want, rtol=1e-4, atol=1e-6)


def test_distortion_equals_the_mean_distance_of_two_samples():
  t, w = ops_util.step_function(15, n=6)
  gen = np.random.default_rng(0)
  bins = gen.choice(6, size=(2, 200_000), p=np.float64(w) / np.float64(w).sum())
  lo, hi = np.asarray(t)[bins], np.asarray(t)[bins + 1]
  x, y = lo + (hi - lo) * gen.random(bins.shape)
  # Four standard errors of 200 000 distances below 1: 4 * 0.3 / 447.
  np.testing.assert_allclose(
    distortion(t, w), np.abs(x - y).mean(), atol=2.7e-3
  )


def test_interval_distortion_sums_to_the_distortion():
  # Different intervals never overlap, so the double sum over pairs is both.
  t, w = ops_util.step_function(16, n=7, empty=True)
  lo, hi = t[:-1], t[1:]
  pairs = interval_distortion(lo[:, None], hi[:, None], lo, hi)
  np.testing.assert_allclose(
    np.asarray(w) @ np.asarray(pairs) @ np.asarray(w),
    distortion(t, w),
    rtol=1e-5,
  )


def test_interval_distortion_equals_the_mean_over_a_fine_grid():
  gen = np.random.default_rng(1)
  a = np.sort(gen.uniform(-1, 1, (40, 2)), -1)
  b = np.sort(gen.uniform(-1, 1, (40, 2)), -1)
  a[:3, 1] = a[:3, 0]  # points
  b[2:5, 1] = b[2:5, 0]
  u = (np.arange(400) + 0.5) / 400
  x = a[:, :1] + u * np.diff(a)
  y = b[:, :1] + u * np.diff(b)
  want = np.abs(x[:, :, None] - y[:, None, :]).mean((1, 2))
  args = [jnp.float32(z) for z in (*a.T, *b.T)]
  got = interval_distortion(*args)
  # The midpoint rule errs by (cell, up to 2 / 400)^2 / width at the kink.
  np.testing.assert_allclose(got, want, atol=1e-4)
