"""Step functions: histograms along a ray.

Written along the last axis: endpoints `t` [..., n+1], non-decreasing; values
`y`, weights `w` (sum <= 1) or densities `p` (integral <= 1) [..., n]. Leading
shapes broadcast. Intervals may be empty (repeated endpoints). From mip-NeRF
360, arXiv:2111.12077 ("360" below); behaviour.md section 6.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from multinerf.ops import lookup, numerics
from multinerf.types import Array, Float, Int

EPS = float(jnp.finfo(jnp.float32).eps)
Bins = Float[Array, '*#batch n']
Edges = Float[Array, '*#batch edges']


def check(t: Array, y: Array) -> None:
  """Endpoints must be one more than the values between them."""
  if t.shape[-1] != y.shape[-1] + 1:
    raise ValueError(
      f'A step function of {y.shape[-1]} values needs one more endpoint, '
      f'got {t.shape[-1]}.'
    )


# --- look-up and conversion -------------------------------------------------


def searchsorted(
  a: Float[Array, '*#batch n'], v: Float[Array, '*#batch m']
) -> tuple[Int[Array, '... m'], Int[Array, '... m']]:
  """Indices (lo, hi) of the knots with a[lo] <= v < a[hi].

  Below all knots both are 0, from the last knot on both are n - 1.
  """
  return lookup.sorted_lookup(v, a)[0]


def query(
  tq: Float[Array, '*#batch m'],
  t: Edges,
  y: Bins,
  outside_value: ArrayLike | None = 0.0,
  *,
  left: ArrayLike | None = None,
  right: ArrayLike | None = None,
) -> Float[Array, '... m']:
  """Value of the step function at each query.

  Args:
    tq: Queries in any order.
    t: Endpoints; an interval contains its left one, not its right one.
    y: Values.
    outside_value: What to return outside of all intervals (at the last
      endpoint too); None repeats the first and the last value.
    left: Value below the first endpoint, in place of the above.
    right: Value from the last endpoint on, in place of the above.

  Returns:
    Values at tq.
  """
  check(t, y)
  n = y.shape[-1]
  count = lookup.count_at_most(t, tq)
  rows = jnp.broadcast_to(y, (*count.shape[:-1], n))
  inside = lookup.take(rows, jnp.clip(count - 1, 0, n - 1))
  if left is None:
    left = y[..., :1] if outside_value is None else outside_value
  if right is None:
    right = y[..., -1:] if outside_value is None else outside_value
  return jnp.where(count == 0, left, jnp.where(count > n, right, inside))


def weight_to_pdf(t: Edges, w: Bins, eps: float = EPS**2) -> Bins:
  """Density p = w / max(eps, width), so that an empty interval stays finite."""
  check(t, w)
  return w / jnp.maximum(eps, jnp.diff(t))


def pdf_to_weight(t: Edges, p: Bins) -> Bins:
  """Weight w = p * width."""
  check(t, p)
  return p * jnp.diff(t)


# --- bounds and the interlevel loss -----------------------------------------


def inner_outer(
  t0: Float[Array, '*#batch knots'], t1: Edges, y1: Bins
) -> tuple[Float[Array, '... m'], Float[Array, '... m']]:
  """Sums of y1 over its intervals inside of, and touching, each of t0's.

  Args:
    t0: Endpoints to sum for.
    t1: Endpoints of the step function.
    y1: Its values (weights).

  Returns:
    (inner, outer): bounds on the weight in each interval of t0 if the function
    may be anything with these weights; inner <= outer for y1 >= 0. `outer` is
    `bound` of 360, Eq. 12.
  """
  check(t1, y1)
  n = y1.shape[-1]
  lo, hi = searchsorted(t1, t0)
  j = jnp.arange(n)
  # Masked sums and not differences of cumulative sums: nothing cancels, and
  # the backward pass is another masked sum, without a scatter.
  total = lambda first, last: jnp.sum(
    jnp.where(
      (j >= first[..., None]) & (j < last[..., None]), y1[..., None, :], 0.0
    ),
    axis=-1,
  )
  inner = total(hi[..., :-1], lo[..., 1:])
  return inner, total(lo[..., :-1], hi[..., 1:])


def lossfun_outer(
  t: Float[Array, '*#batch knots'],
  w: Float[Array, '*#batch m'],
  t_env: Edges,
  w_env: Bins,
  eps: float = EPS,
) -> Float[Array, '... m']:
  """Weight that the envelope does not explain (360, Eq. 13).

  max(0, w - outer(w_env))^2 / (w + eps) per interval of t: zero as long as
  the proposal's histogram (t_env, w_env) could be that of (t, w).
  """
  check(t, w)
  _, bound = inner_outer(t, t_env, w_env)
  return jnp.maximum(0, w - bound) ** 2 / (w + eps)


# --- dilation ----------------------------------------------------------------


def max_dilate(
  t: Edges,
  w: Bins,
  dilation: ArrayLike,
  domain: tuple[ArrayLike, ArrayLike] = (-jnp.inf, jnp.inf),
) -> tuple[Float[Array, '... edges_out'], Float[Array, '... n_out']]:
  """Maximum of the step function over a window of +-dilation.

  Args:
    t: Endpoints.
    w: Values >= 0 (densities, if the result is to be an upper bound).
    dilation: Half width of the window >= 0, in the unit of t.
    domain: Endpoints of the result are clipped to this range.

  Returns:
    Endpoints [..., 3n+1] and values [..., 3n] of the maximum (360, Eq. 14).
  """
  check(t, w)
  start, stop = t[..., :-1] - dilation, t[..., 1:] + dilation
  edges = lookup.sort(jnp.concatenate([t, start, stop], axis=-1))
  edges = jnp.clip(edges, *domain)
  left = edges[..., :-1, None]
  reaches = (start[..., None, :] <= left) & (stop[..., None, :] > left)
  return edges, jnp.max(jnp.where(reaches, w[..., None, :], 0.0), axis=-1)


def max_dilate_weights(
  t: Edges,
  w: Bins,
  dilation: ArrayLike,
  domain: tuple[ArrayLike, ArrayLike] = (-jnp.inf, jnp.inf),
  renormalize: bool = False,
  eps: float = EPS**2,
) -> tuple[Float[Array, '... edges_out'], Float[Array, '... n_out']]:
  """`max_dilate` of the density, expressed as weights again.

  Args:
    t, w, dilation, domain: As in `max_dilate`, with w weights.
    renormalize: Whether the result's weights are divided by their sum.
    eps: Floor of widths and of that sum.

  Returns:
    Endpoints [..., 3n+1] and weights [..., 3n]; w is covered from above.
  """
  edges, p = max_dilate(t, weight_to_pdf(t, w, eps), dilation, domain)
  wide = pdf_to_weight(edges, p)
  if renormalize:
    wide = wide / jnp.maximum(eps, jnp.sum(wide, axis=-1, keepdims=True))
  return edges, wide


# --- sampling ----------------------------------------------------------------


def integrate_weights(w: Bins) -> Float[Array, '... m']:
  """Cumulative weight at the endpoints, exactly 0 first and 1 last.

  Args:
    w: Weights that sum to about 1: what is missing goes to the last interval.

  Returns:
    [..., n+1], within [0, 1], non-decreasing for w >= 0.
  """
  inside = jnp.minimum(1.0, jnp.cumsum(w[..., :-1], axis=-1))
  end = jnp.zeros_like(w[..., :1])
  return jnp.concatenate([end, inside, end + 1.0], axis=-1)


def invert_cdf(
  u: Float[Array, '*#batch m'], t: Edges, w_logits: Bins
) -> Float[Array, '... m']:
  """Where the cumulative weight is u.

  Args:
    u: Fractions in [0, 1].
    t: Endpoints.
    w_logits: Logits of the weights; -inf excludes an interval. If all are
      -inf (a ray without any extent), intervals count alike.

  Returns:
    Positions in t, non-decreasing in u.
  """
  check(t, w_logits)
  # A softmax over nothing but -inf is NaN.
  nothing = jnp.all(w_logits == -jnp.inf, axis=-1, keepdims=True)
  w = jax.nn.softmax(jnp.where(nothing, 0.0, w_logits), axis=-1)
  return lookup.sorted_interp(u, integrate_weights(w), t)


def sample(
  t: Edges,
  w_logits: Bins,
  num_samples: int,
  *,
  jitter: Float[Array, '*#batch d'] | None = None,
  deterministic_center: bool = False,
  eps: float = EPS,
) -> Float[Array, '... m']:
  """Stratified samples of a step function by its inverse CDF.

  Args:
    t, w_logits: As in `invert_cdf`.
    num_samples: How many, m.
    jitter: Uniform random numbers in [0, 1): [..., 1] to shift all samples of
      a ray alike, [..., m] to shift each within its own stratum; None takes
      fixed fractions.
    deterministic_center: Whether the fixed fractions are the strata's centres
      instead of 0 to 1 inclusive.
    eps: How far the fractions stay below 1.

  Returns:
    m positions, non-decreasing.
  """
  n = num_samples
  if jitter is None:
    # 1 - eps and not 1, as the random fractions never reach 1 either.
    pad = 1 / (2 * n) if deterministic_center else 0.0
    u = jnp.linspace(pad, 1.0 - pad - eps, n)
  else:
    highest = eps + (1 - eps) / n
    reach = (1 - highest) / (n - 1) - eps if n > 1 else 1 - eps
    u = jnp.linspace(0.0, 1 - highest, n) + reach * jitter
  batch = jnp.broadcast_shapes(u.shape[:-1], t.shape[:-1], w_logits.shape[:-1])
  return invert_cdf(jnp.broadcast_to(u, (*batch, n)), t, w_logits)


def sample_intervals(
  t: Edges,
  w_logits: Bins,
  num_samples: int,
  *,
  jitter: Float[Array, '*#batch d'] | None = None,
  domain: tuple[ArrayLike, ArrayLike] = (-jnp.inf, jnp.inf),
) -> Float[Array, '... m']:
  """Endpoints of intervals whose centres are samples of a step function.

  Inner endpoints are the midpoints of neighbouring samples; the outer two
  mirror the nearest midpoint at the first and last sample.

  Args:
    t, w_logits, jitter: As in `sample`.
    num_samples: Number of intervals, at least 2.
    domain: Range that the endpoints are clipped to.

  Returns:
    num_samples + 1 endpoints, non-decreasing.

  Raises:
    ValueError: num_samples < 2.
  """
  if num_samples < 2:
    raise ValueError(f'sample_intervals needs 2 or more, got {num_samples}.')
  centers = sample(
    t, w_logits, num_samples, jitter=jitter, deterministic_center=True
  )
  mid = (centers[..., 1:] + centers[..., :-1]) / 2
  first = 2 * centers[..., :1] - mid[..., :1]
  last = 2 * centers[..., -1:] - mid[..., -1:]
  return jnp.clip(jnp.concatenate([first, mid, last], axis=-1), *domain)


def weighted_percentile(
  t: Edges, w: Bins, ps: ArrayLike | tuple[float, ...] | list[float]
) -> Float[Array, '... m']:
  """Positions below which ps percent of the weight lies.

  Args:
    t: Endpoints.
    w: Weights that sum to 1.
    ps: One-dimensional percentages in [0, 100].

  Returns:
    [..., len(ps)].
  """
  check(t, w)
  fractions = jnp.asarray(ps, w.dtype) / 100
  return lookup.sorted_interp(fractions, integrate_weights(w), t)


# --- distortion --------------------------------------------------------------


def lossfun_distortion(t: Edges, w: Bins) -> Float[Array, '...']:
  """Expected distance of two draws, times the squared total (360, Eq. 15).

  sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 (t_{i+1} - t_i), m midpoints.
  The double sum is 2 sum_k (m_{k+1} - m_k) W_k (W - W_k), W_k the weight of
  the first k: linear in n, and without cancellation.

  Args:
    t: Endpoints, sorted (the linear form relies on it).
    w: Weights, any total.

  Returns:
    One loss per ray, in the unit of t.
  """
  check(t, w)
  mid = (t[..., 1:] + t[..., :-1]) / 2
  before = jnp.cumsum(w, axis=-1)[..., :-1]
  after = jnp.flip(jnp.cumsum(jnp.flip(w, -1), axis=-1), -1)[..., 1:]
  between = 2 * jnp.sum(jnp.diff(mid) * before * after, axis=-1)
  return between + jnp.sum(w**2 * jnp.diff(t), axis=-1) / 3


def interval_distortion(
  t0_lo: ArrayLike, t0_hi: ArrayLike, t1_lo: ArrayLike, t1_hi: ArrayLike
) -> Array:
  """Mean distance of two points, uniform in [t0_lo, t0_hi], [t1_lo, t1_hi].

  The intervals broadcast and may be empty (points). Overlapping intervals are
  cut at each other's ends: a pair of pieces contributes the distance of its
  centres, or a third of the common piece with itself, all of them >= 0, so
  that nothing cancels (the closed form in cubes of t does).
  """
  mid0, mid1 = (t0_lo + t0_hi) / 2, (t1_lo + t1_hi) / 2
  lo, hi = jnp.maximum(t0_lo, t1_lo), jnp.minimum(t0_hi, t1_hi)
  middle = (lo + hi) / 2

  def outside(start, stop):
    # Shares of [start, stop] left and right of the common piece, and centres.
    width = stop - start
    below = numerics.safe_div(jnp.maximum(0, lo - start), width)
    above = numerics.safe_div(jnp.maximum(0, stop - hi), width)
    return below, (start + lo) / 2, above, (hi + stop) / 2

  a_lo, a_lo_mid, a_hi, a_hi_mid = outside(t0_lo, t0_hi)
  b_lo, b_lo_mid, b_hi, b_hi_mid = outside(t1_lo, t1_hi)
  common = b_lo * (middle - b_lo_mid) + b_hi * (b_hi_mid - middle)
  common = common + (1 - b_lo - b_hi) * (hi - lo) / 3
  overlapping = a_lo * (mid1 - a_lo_mid) + a_hi * (a_hi_mid - mid1)
  overlapping = overlapping + (1 - a_lo - a_hi) * common
  return jnp.where(lo <= hi, overlapping, jnp.abs(mid0 - mid1))
