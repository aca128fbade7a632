"""Names of `camp_zipnerf/internal/math.py`.

`device_is_tpu` is accepted and changes nothing: one look-up serves all devices.
The functions `..._fwd`, `..._bwd` and `..._jvp` are for `defvjp` and `defjvp`
of a custom derivative built on them.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from multinerf.compat.multinerf import math as multinerf_math
from multinerf.ops import curves, gradients, lookup, numerics, robust
from multinerf.types import Array

laplace_cdf = curves.laplace_cdf
scaled_softplus = curves.scaled_softplus
matmul = numerics.matmul
plus_eps = gradients.plus_eps
minus_eps = gradients.minus_eps
expm1 = numerics.expm1
safe_trig_helper = multinerf_math.safe_trig_helper
safe_cos = numerics.safe_cos
safe_sin = numerics.safe_sin
clip_pos = numerics.clip_pos
safe_sign = numerics.safe_sign
remove_zero = numerics.remove_zero
clip_finite = numerics.clip_finite
safe_div = numerics.safe_div
generate_safe_fn = numerics.generate_safe_fn
safe_log = numerics.safe_log
safe_exp = numerics.safe_exp
safe_sqrt = numerics.safe_sqrt
safe_log1p = numerics.safe_log1p
safe_expm1 = numerics.safe_expm1
safe_arccos = numerics.safe_arccos
apply_fn_to_grad = gradients.apply_fn_to_grad
power_ladder_max_output = curves.power_ladder_max_output
power_ladder = curves.power_ladder
inv_power_ladder = curves.inv_power_ladder
log_lerp = curves.log_lerp
approx_erf = curves.approx_erf
learning_rate_decay = curves.learning_rate_decay
override_gradient = gradients.override_gradient
noop = numerics.noop
general_lossfun = robust.general_lossfun

# What a forward pass hands to the backward pass: the transposed derivative.
_Residual = Callable[[Array], tuple[Array, ...]]


def unstack(x: Array, axis: int = 0) -> tuple[Array, ...]:
  """The slices of an array along an axis, without that axis."""
  return tuple(jnp.moveaxis(jnp.asarray(x), axis, 0))


def _jvp(fn: Callable, primals: Any, tangents: Any) -> tuple[Array, Array]:
  as_arrays = lambda xs: tuple(jnp.asarray(x) for x in xs)
  return jax.jvp(fn, as_arrays(primals), as_arrays(tangents))


def plus_eps_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
  """`plus_eps` and its directional derivative, which is the tangent."""
  return _jvp(plus_eps, primals, tangents)


def minus_eps_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
  """`minus_eps` and its directional derivative, which is the tangent."""
  return _jvp(minus_eps, primals, tangents)


def expm1_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
  """`expm1` and its directional derivative."""
  return _jvp(expm1, primals, tangents)


def fake_clip_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
  """`fake_clip` and its directional derivative, that of the first argument."""
  return _jvp(fake_clip, primals, tangents)


def safe_arctan2(x1: ArrayLike, x2: ArrayLike) -> Array:
  """arctan2(x1, x2) with a finite gradient, also at the origin (0 there)."""
  return numerics.safe_arctan2(x1, x2)


def safe_arctan2_fwd(x1: ArrayLike, x2: ArrayLike) -> tuple[Array, _Residual]:
  """`safe_arctan2`, and what `safe_arctan2_bwd` needs."""
  return jax.vjp(safe_arctan2, jnp.asarray(x1), jnp.asarray(x2))


def safe_arctan2_bwd(res: _Residual, g: Array) -> tuple[Array, ...]:
  """Gradients of both arguments, from that of the angle."""
  return res(g)


def safe_div_fwd(n: ArrayLike, d: ArrayLike) -> tuple[Array, _Residual]:
  """`safe_div`, and what `safe_div_bwd` needs."""
  return jax.vjp(safe_div, jnp.asarray(n), jnp.asarray(d))


def safe_div_bwd(res: _Residual, g: Array) -> tuple[Array, ...]:
  """Gradients of numerator and denominator, from that of the quotient."""
  return res(g)


def generate_clip_nograd_fn(
  a_min: ArrayLike, a_max: ArrayLike
) -> Callable[[ArrayLike], Array]:
  """A clip to [a_min, a_max] whose gradient is that of the identity."""
  return lambda a: gradients.clip_straight_through(a, a_min, a_max)


def fake_clip(a: ArrayLike, a_min: ArrayLike, a_max: ArrayLike) -> Array:
  """jnp.clip(a, a_min, a_max) with the gradient of the identity in a."""
  return gradients.clip_straight_through(a, a_min, a_max)


def select(
  cond_pairs: Sequence[tuple[Array, Array]], default: ArrayLike
) -> Array:
  """The value of the first pair (condition, value) whose condition holds."""
  conditions, values = zip(*cond_pairs, strict=True)
  return jnp.select(list(conditions), list(values), default)


def create_learning_rate_decay(**kwargs: Any) -> Callable[[ArrayLike], Array]:
  """`learning_rate_decay` as a function of the step alone."""
  return functools.partial(learning_rate_decay, **kwargs)


def sorted_lookup(
  x: Array, xp: Array, fps: tuple[Array, ...], device_is_tpu: bool
) -> tuple[tuple[Array, Array], tuple[tuple[Array, Array], ...]]:
  """Indices of the knots around x, and the values of every fp there."""
  del device_is_tpu
  return lookup.sorted_lookup(x, xp, fps)


def sorted_interp(
  x: Array,
  xp: Array,
  fp: Array,
  device_is_tpu: bool,
  eps: float = jnp.finfo(jnp.float32).eps ** 2,
) -> Array:
  """Linear interpolation through sorted knots; constant outside.

  Args:
    x, xp, fp: Queries, knots, values.
    device_is_tpu: Without effect.
    eps: Knots closer than this count as this far apart.
  """
  del device_is_tpu
  (_, _), ((x0, x1), (f0, f1)) = lookup.sorted_lookup(x, xp, (xp, fp))
  offset = jnp.clip((x - x0) / jnp.maximum(eps, x1 - x0), 0, 1)
  return f0 + offset * (f1 - f0)


def searchsorted(
  a: Array, v: Array, device_is_tpu: bool
) -> tuple[Array, Array]:
  """Indices (lo, hi) of the knots with a[lo] <= v < a[hi]."""
  del device_is_tpu
  return lookup.sorted_lookup(v, a)[0]


def average_across_multisamples(x: Array) -> Array:
  """The mean over the second to last axis."""
  return jnp.mean(x, axis=-2)
