"""Carrying a step function over to other intervals, exactly or blurred.

Shapes and letters as in `stepfun`. Both functions compare every old interval
with every new one: quadratic, but nothing cancels, as differences of a
cumulative sum do, and it is one fused loop on any device.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike

from multinerf.ops import numerics, stepfun
from multinerf.types import Array, Float

EPS = stepfun.EPS
Bins = stepfun.Bins
Edges = stepfun.Edges


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
  left, right = t[..., :-1, None], t[..., 1:, None]
  start, stop = tp[..., None, :-1], tp[..., None, 1:]
  overlap = jnp.minimum(right, stop) - jnp.maximum(left, start)
  overlap = jnp.maximum(0, overlap)
  values = vp[..., None, :]
  if use_avg:
    total = jnp.sum(overlap * values, axis=-1)
    return total / jnp.maximum(eps, jnp.sum(overlap, axis=-1))
  point = (stop == start) & (left < start) & (start <= right)
  share = jnp.where(point, 1.0, numerics.safe_div(overlap, stop - start))
  return jnp.sum(share * values, axis=-1)


def _blurred_cdf(
  x: Array, start: Array, stop: Array, halfwidth: ArrayLike
) -> Array:
  """P(X + B <= x), X uniform in [start, stop], B in [-halfwidth, halfwidth].

  The density of X + B is a trapezoid around the centre of [start, stop]: flat
  to b - a on either side, then a ramp to b + a, with a <= b the two half
  widths. A zero a is a box, both zero a point.
  """
  radius = (stop - start) / 2
  a, b = jnp.minimum(radius, halfwidth), jnp.maximum(radius, halfwidth)
  offset = x - (start + stop) / 2
  distance = jnp.abs(offset)
  ramp = jnp.clip(a + b - distance, 0, 2 * a)
  corner = numerics.safe_div(ramp, 2 * a) * numerics.safe_div(ramp, 2 * b)
  within = jnp.where(
    distance < b - a, numerics.safe_div(distance, b), 1 - corner
  )
  return 0.5 + 0.5 * jnp.sign(offset) * within


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
  start, stop = t[..., None, :-1], t[..., None, 1:]
  halfwidth = jnp.asarray(blur_halfwidth, t.dtype)
  halfwidth = halfwidth[..., None, :] if halfwidth.ndim else halfwidth
  w = jnp.where(t[..., 1:] - t[..., :-1] < numerics.TINY, 0.0, w)
  # A histogram interval far from a new one has its whole weight on one side:
  # both CDFs are exactly 0 or 1, and so their difference adds no error.
  cdf = _blurred_cdf(tq[..., :, None], start, stop, halfwidth)
  share = jnp.maximum(0, cdf[..., 1:, :] - cdf[..., :-1, :])
  return jnp.sum(share * w[..., None, :], axis=-1)
