"""Curves that bend distances, losses and learning rates."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from multinerf.ops import gradients, numerics
from multinerf.types import Array


def _switch(p, cases: Sequence[tuple], default: Callable):
  """The case whose value equals p, else default(p); static for a number p."""
  if isinstance(p, int | float):
    for value, fn in cases:
      if p == value:
        return fn()
    return default(p)
  p = jnp.asarray(p)
  special = jnp.isin(p, jnp.asarray([value for value, _ in cases], p.dtype))
  # An ordinary p where a special case is taken: no NaN in its dead gradient.
  out = default(jnp.where(special, 0.5, p))
  for value, fn in cases:
    out = jnp.where(p == value, fn(), out)
  return out


def power_ladder_max_output(p: ArrayLike) -> ArrayLike:
  """The limit of power_ladder(x, p) as x grows: (p - 1) / p for p < 0."""
  if isinstance(p, int | float):
    return math.inf if p >= 0 else 1.0 if p == -math.inf else (p - 1) / p
  bounded = jnp.where(p == -jnp.inf, 1.0, numerics.safe_div(p - 1, p))
  return jnp.where(p >= 0, jnp.inf, bounded)


def _ladder(x, p):
  ax = jnp.where(x < 0, -x, x)
  # expm1(p log1p(x)) is (1 + x)^p - 1 without its cancellation at small x.
  general = lambda q: (
    (abs(q - 1) / q)
    * numerics.safe_expm1(
      q * numerics.safe_log1p(ax / jnp.maximum(abs(q - 1), numerics.TINY))
    )
  )
  cases = [
    (1, lambda: ax),
    (0, lambda: numerics.safe_log1p(ax)),
    (-math.inf, lambda: -numerics.safe_expm1(-ax)),
    (math.inf, lambda: numerics.safe_expm1(ax)),
  ]
  return numerics.safe_sign(x) * gradients.clip_finite_nograd(
    _switch(p, cases, general)
  )


def _inv_ladder(y, p):
  ay = jnp.where(y < 0, -y, y)
  highest = gradients.minus_eps(power_ladder_max_output(p))
  ay = gradients.clip_straight_through(ay, 0.0, highest)
  general = lambda q: (
    abs(q - 1)
    * numerics.safe_expm1(
      numerics.safe_log1p(ay * numerics.safe_div(q, abs(q - 1))) / q
    )
  )
  cases = [
    (1, lambda: ay),
    (0, lambda: numerics.safe_expm1(ay)),
    (-math.inf, lambda: -numerics.safe_log1p(-ay)),
    (math.inf, lambda: numerics.safe_log1p(ay)),
  ]
  return numerics.safe_sign(y) * gradients.clip_finite_nograd(
    _switch(p, cases, general)
  )


def _with_slope(fn, slope_fn):
  """fn(x, p) for a number p, with derivative slope_fn(x, p) in x."""
  wrapped = jax.custom_jvp(fn, nondiff_argnums=(1,))

  def jvp(p, primals, tangents):
    (x,) = primals
    return wrapped(x, p), slope_fn(x, p) * tangents[0]

  wrapped.defjvp(jvp)
  return wrapped


def _ladder_slope(x, p):
  """dP/dx = (1 + |x| / |p - 1|)^(p - 1), at most exp(88)."""
  ax = jnp.where(x < 0, -x, x)
  if math.isinf(p):
    return numerics.safe_exp(math.copysign(1.0, p) * ax)
  if p == 1:
    return jnp.ones_like(ax)
  return numerics.safe_exp((p - 1) * numerics.safe_log1p(ax / abs(p - 1)))


def _inv_ladder_slope(y, p):
  """1 / (dP/dx) where P(x) = y, at most exp(88)."""
  x = _inv_ladder(y, p)
  ax = jnp.where(x < 0, -x, x)
  if math.isinf(p):
    return numerics.safe_exp(-math.copysign(1.0, p) * ax)
  if p == 1:
    return jnp.ones_like(ax)
  return numerics.safe_exp((1 - p) * numerics.safe_log1p(ax / abs(p - 1)))


_ladder_fixed = _with_slope(_ladder, _ladder_slope)
_inv_ladder_fixed = _with_slope(_inv_ladder, _inv_ladder_slope)


def power_ladder(
  x: ArrayLike,
  p: ArrayLike,
  premult: ArrayLike | None = None,
  postmult: ArrayLike | None = None,
) -> Array:
  """Tukey's power ladder with slope 1 at 0 (Zip-NeRF, arXiv:2304.06706).

  P(x; p) = sign(x) |p - 1| / p ((|x| / |p - 1| + 1)^p - 1), with the limits
  x (p = 1), log1p (0), 1 - exp(-x) (-inf) and exp(x) - 1 (inf) for x >= 0.

  Args:
    x: Any real numbers.
    p: Exponent. For a Python number, value and slope are finite everywhere
      and special cases cost nothing; an array gets a gradient too.
    premult: Factor on x, or None.
    postmult: Factor on the result, or None.

  Returns:
    An odd, increasing function of x; bounded by (p - 1) / p for p < 0.
  """
  x = jnp.asarray(x, jnp.float32)
  x = x if premult is None else x * premult
  y = (_ladder_fixed if isinstance(p, int | float) else _ladder)(x, p)
  return y if postmult is None else y * postmult


def inv_power_ladder(
  y: ArrayLike,
  p: ArrayLike,
  premult: ArrayLike | None = None,
  postmult: ArrayLike | None = None,
) -> Array:
  """The x for which power_ladder(x, p, premult, postmult) is y.

  For p < 0, |y| is first clipped to the float32 below the supremum, so the
  result is finite (1e5 is about the largest one for p = -1.5).
  """
  y = jnp.asarray(y, jnp.float32)
  y = y if postmult is None else y / postmult
  x = (_inv_ladder_fixed if isinstance(p, int | float) else _inv_ladder)(y, p)
  return x if premult is None else x / premult


@jax.custom_jvp
def approx_erf(x: ArrayLike) -> Array:
  """erf(x) to within 0.007: sign(x) sqrt(1 - exp(-4 x^2 / pi)).

  Zip-NeRF's down-weighting of grid cells smaller than a sample (behaviour.md
  section 11.2). Value and slope are finite everywhere; near 0 the plain
  formula returns 0 and a NaN gradient.
  """
  x = jnp.asarray(x)
  q = (4 / math.pi) * x * x
  small = q < _ERF_SERIES
  tail = jnp.sqrt(-jnp.expm1(-jnp.where(small, 1.0, q)))
  series = (2 / math.sqrt(math.pi)) * x * jnp.sqrt(_erf_ratio(q))
  return jnp.where(small, series, jnp.sign(x) * tail)


_ERF_SERIES = 1e-3  # below, (1 - exp(-q)) / q is taken from its series


def _erf_ratio(q):
  """(1 - exp(-q)) / q for q >= 0, which is 1 at 0."""
  small = q < _ERF_SERIES
  safe = jnp.where(small, 1.0, q)
  return jnp.where(small, 1 - q / 2 + q * q / 6, -jnp.expm1(-safe) / safe)


@approx_erf.defjvp
def _approx_erf_jvp(primals, tangents):
  x = jnp.asarray(primals[0])
  q = jnp.minimum((4 / math.pi) * x * x, 100.0)  # exp(-100) is 0 in float32
  slope = (2 / math.sqrt(math.pi)) * jnp.exp(-q) / jnp.sqrt(_erf_ratio(q))
  return approx_erf(x), slope * tangents[0]


def laplace_cdf(x: ArrayLike, beta: ArrayLike) -> Array:
  """Density of a signed distance (VolSDF, arXiv:2106.12052, Eq. 3), flipped.

  (1 / beta) (1/2 + 1/2 sign(x) (exp(-|x| / beta) - 1)): 1 / beta deep inside
  (x << 0), 1 / (2 beta) on the surface, 0 outside.

  Args:
    x: Signed distance, negative inside.
    beta: Softness > 0, in the unit of x.

  Returns:
    Density in (0, 1 / beta).
  """
  x = jnp.asarray(x)
  edge = 0.5 * jnp.sign(x) * numerics.expm1(-jnp.abs(x) / beta)
  return (0.5 + edge) / beta


def scaled_softplus(x: ArrayLike, scale: ArrayLike = 100.0) -> Array:
  """softplus(scale x) / scale: a ReLU with its corner rounded over 1 / scale."""
  return jax.nn.softplus(scale * jnp.asarray(x)) / scale


def log_lerp(t: ArrayLike, v0: float, v1: float) -> Array:
  """Geometric interpolation: v0 at t <= 0, v1 at t >= 1.

  Raises:
    ValueError: v0 or v1 is not positive.
  """
  if v0 <= 0 or v1 <= 0:
    raise ValueError(f'log_lerp needs v0, v1 > 0, got {v0} and {v1}.')
  log0, log1 = jnp.log(v0), jnp.log(v1)
  return jnp.exp(log0 + jnp.clip(t, 0, 1) * (log1 - log0))


def learning_rate_decay(
  step: ArrayLike,
  lr_init: float,
  lr_final: float,
  max_steps: int,
  lr_delay_steps: int = 0,
  lr_delay_mult: float = 1,
) -> Array:
  """Exponential decay, with an eased start (behaviour.md section 8).

  lr = D exp((1 - p) ln lr_init + p ln lr_final), p = clip(step / max_steps);
  D = m + (1 - m) sin(pi / 2 clip(step / delay)), or 1 without a delay.

  Args:
    step: Number of the update, from 0.
    lr_init: Rate at step 0 (before the delay's factor), > 0.
    lr_final: Rate from max_steps on, > 0.
    max_steps: Steps over which the rate decays.
    lr_delay_steps: Steps over which the start is eased; 0 switches it off.
    lr_delay_mult: The delay's factor m at step 0.

  Returns:
    The rate, float32.
  """
  step = jnp.asarray(step)
  rate = log_lerp(step / max_steps, lr_init, lr_final)
  if lr_delay_steps > 0:
    eased = jnp.sin(0.5 * jnp.pi * jnp.clip(step / lr_delay_steps, 0, 1))
    rate = rate * (lr_delay_mult + (1 - lr_delay_mult) * eased)
  return rate


def generalized_bias_and_gain(
  x: ArrayLike, slope: ArrayLike, threshold: ArrayLike
) -> Array:
  """Schlick's bias and gain in one curve (Barron 2020, arXiv:2010.09714).

  t x / (x + s (t - x)) below the threshold t, and its mirror image
  (1 - t) (x - 1) / (1 - x - s (t - x)) + 1 above.

  Args:
    x: Numbers in [0, 1].
    slope: s > 0, the slope at the threshold; 1 is the identity.
    threshold: t in [0, 1], where the curve changes sides: 0 or 1 gives bias,
      1/2 gain.

  Returns:
    Increasing from 0 to 1, t at x = t.
  """
  x = jnp.asarray(x)
  below = threshold * x / (x + slope * (threshold - x) + numerics.TINY)
  above = 1 - x - slope * (threshold - x) + numerics.TINY
  return jnp.where(x < threshold, below, 1 + (1 - threshold) * (x - 1) / above)
