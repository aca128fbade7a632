"""Carrying a step function over to other intervals, exactly or blurred.

Shapes and letters as in `stepfun`. Both functions compare every old interval
with every new one: quadratic, but nothing cancels, as differences of a
cumulative sum do.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from multinerf.ops import numerics, stepfun
from multinerf.types import Array, Float

EPS = stepfun.EPS
Bins = stepfun.Bins
Edges = stepfun.Edges


def _sum_over_bins(part, t: Array, *bins: Array) -> Array:
  """Sums part(t, *bins of one interval) -> [..., m] over all intervals.

  Args:
    part: Takes t and the bins with axes that broadcast.
    t: [..., m + 1] endpoints.
    *bins: [..., n] each, or numbers.
  """

  def at_once(t, *bins):  # one fused sum: for accelerators
    return jnp.sum(part(t[..., None, :], *(b[..., None] for b in bins)), -2)

  def in_turn(t, *bins):  # on a CPU six times as fast
    columns = jnp.moveaxis(jnp.stack(bins), -1, 0)[..., None]
    add = lambda total, column: (total + part(t, *column), None)
    return jax.lax.scan(add, jnp.zeros_like(t[..., 1:]), columns, unroll=2)[0]

  bins = jnp.broadcast_arrays(*bins)
  batch = jnp.broadcast_shapes(t.shape[:-1], bins[0].shape[:-1])
  wide = [jnp.broadcast_to(x, (*batch, x.shape[-1])) for x in (t, *bins)]
  return jax.lax.platform_dependent(*wide, cpu=in_turn, default=at_once)


def resample(
  t: Float[Array, '*#batch knots'],
  tp: Edges,
  vp: Bins,
  use_avg: bool = False,
  eps: float = EPS,
) -> Float[Array, '... m']:
  """Sums, or averages, a step function over other intervals.

  Args:
    t: Endpoints of the new intervals.
    tp, vp: The step function; each value spreads evenly over its interval (a
      value at an empty one is a point mass).
    use_avg: Whether to average the values by overlap, instead of summing the
      overlapping shares.
    eps: Floor of the overlap that averages divide by.

  Returns:
    Values on t; sums add up to those of vp if t covers tp.
  """
  stepfun.check(tp, vp)
  bins = tp[..., :-1], tp[..., 1:]
  if use_avg:
    total = _sum_over_bins(
      lambda t, start, stop, v: _overlap(t, start, stop) * v, t, *bins, vp
    )
    covered = _sum_over_bins(_overlap, t, *bins)
    return total / jnp.maximum(eps, covered)
  return _sum_over_bins(
    lambda t, start, stop, v: _shared(t, start, stop) * v, t, *bins, vp
  )


def _overlap(t, start, stop):
  """Length that [start, stop] and each interval of t have in common."""
  left, right = t[..., :-1], t[..., 1:]
  return jnp.maximum(0, jnp.minimum(right, stop) - jnp.maximum(left, start))


def _shared(t, start, stop):
  """The part of [start, stop], or of the point, in each interval of t."""
  left, right = t[..., :-1], t[..., 1:]
  point = (stop == start) & (left < start) & (start <= right)
  part = numerics.safe_div(_overlap(t, start, stop), stop - start)
  return jnp.where(point, 1.0, part)


def _blurred(tq: Array, start: Array, stop: Array, halfwidth: Array) -> Array:
  """P(tq_k < X + B <= tq_{k+1}), X uniform in [start, stop], |B| <= halfwidth.

  The density of X + B is a trapezoid around the centre of [start, stop]: flat
  to b - a on either side, then a ramp to b + a, with a <= b the two half
  widths. A zero a is a box, both zero a point.
  """
  radius = (stop - start) / 2
  a, b = jnp.minimum(radius, halfwidth), jnp.maximum(radius, halfwidth)
  # Divided once for all of tq: a division costs as much as all the rest.
  per_a, per_b = numerics.safe_div(1.0, 2 * a), numerics.safe_div(1.0, 2 * b)
  offset = tq - (start + stop) / 2
  distance = jnp.abs(offset)
  ramp = jnp.clip(a + b - distance, 0, 2 * a)
  corner = (ramp * per_a) * (ramp * per_b)
  within = jnp.where(distance < b - a, 2 * distance * per_b, 1 - corner)
  cdf = 0.5 + 0.5 * jnp.sign(offset) * within
  # An interval far from [tq_k, tq_{k+1}] lies on one side of it: both values
  # are exactly 0 or 1, and so their difference adds no error.
  return jnp.maximum(0, cdf[..., 1:] - cdf[..., :-1])


def blur_and_resample_weights(
  tq: Float[Array, '*#batch knots'],
  t: Edges,
  w: Bins,
  blur_halfwidth: ArrayLike,
) -> Float[Array, '... m']:
  """Blurs a histogram with a box, then collects its weight in new intervals.

  The target of Zip-NeRF's interlevel loss (arXiv:2304.06706, section 4;
  behaviour.md section 11.3). In closed form, where upstream sorts knots and
  integrates a linear spline twice (`linspline`): the same numbers without
  the rounding of two cumulative sums.

  Args:
    tq: Endpoints of the new intervals.
    t: Endpoints of the histogram.
    w: Its weights; those of empty intervals are dropped.
    blur_halfwidth: Half width of the box, >= 0, in the unit of t: one number,
      or one per interval of t, [..., n].

  Returns:
    Weights >= 0 on tq; what the blur carries past tq's ends is lost.
  """
  stepfun.check(t, w)
  w = jnp.where(jnp.diff(t) < numerics.TINY, 0.0, w)
  return _sum_over_bins(
    lambda tq, start, stop, r, w: _blurred(tq, start, stop, r) * w,
    tq,
    t[..., :-1],
    t[..., 1:],
    jnp.asarray(blur_halfwidth, t.dtype),
    w,
  )
