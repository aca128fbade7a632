"""Elementwise functions that stay finite, in value and in gradient.

"Safe" here: for every finite float32 input, value and derivative are finite;
on the range where the plain function is finite they are its own. Names follow
`math.py` of google-research/multinerf and jonbarron/camp_zipnerf.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from multinerf.ops import gradients
from multinerf.types import Array, Float

TINY = gradients.TINY  # smallest normal float32; smaller ones are flushed
MAX = gradients.MAX
# exp(88) = 1.65e38 is finite with room for a factor of 2; MultiNeRF clips here.
MAX_EXPONENT = 88.0
# Period at which trigonometric arguments wrap, as a float32, and its upper 12
# bits: k * _WRAP_HIGH and k * _WRAP_LOW are exact for whole k < 2^12.
_WRAP = np.float32(100 * np.pi)
_WRAP_HIGH = (_WRAP.view(np.uint32) & np.uint32(0xFFFFF000)).view(np.float32)
_WRAP_LOW = np.float32(_WRAP - _WRAP_HIGH)


def matmul(
  a: Float[Array, '*#batch m k'], b: Float[Array, '*#batch k n']
) -> Float[Array, '... m n']:
  """Matrix product in full float32, also where the device defaults to less.

  TPUs (bfloat16) and recent GPUs (TF32) would move sample positions by about
  a thousandth, which high-frequency encodings amplify.
  """
  return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def widen(tree: Any) -> Any:
  """The tree with its float16 arrays as float32."""
  return jax.tree.map(
    lambda x: x.astype(jnp.float32) if x.dtype == jnp.float16 else x, tree
  )


def noop(x):
  """Returns its input; what a gin file names to switch an activation off."""
  return x


def safe_sign(x: ArrayLike) -> Array:
  """-1 for x < 0, else 1: never 0, so that it is safe to divide by."""
  return jnp.where(jnp.asarray(x) < 0, -1.0, 1.0)


def remove_zero(x: ArrayLike) -> Array:
  """x, but `TINY` where |x| is smaller than that."""
  x = jnp.asarray(x)
  return jnp.where(jnp.abs(x) < TINY, TINY, x)


def clip_finite(x: ArrayLike) -> Array:
  """+-inf becomes the largest float32; no gradient passes there."""
  return jnp.clip(x, -MAX, MAX)


def clip_pos(x: ArrayLike) -> Array:
  """x, but at least `TINY`; no gradient passes below."""
  return jnp.maximum(x, TINY)


# --- trigonometry ----------------------------------------------------------


@jax.custom_jvp
def _wrap_phase(x):
  """x modulo float32(100 pi) where |x| exceeds that; slope 1 everywhere."""
  # As exact as `%` for |x| < 1.28e6 (above, the spacing of float32 is no small
  # part of a period), at half of its time on a CPU.
  turns = jnp.floor(x / _WRAP)
  wrapped = (x - turns * _WRAP_HIGH) - turns * _WRAP_LOW
  return jnp.where(jnp.abs(x) < _WRAP, x, wrapped)


@_wrap_phase.defjvp
def _wrap_phase_jvp(primals, tangents):
  return _wrap_phase(*primals), tangents[0]


def safe_sin(x: Float[Array, '*shape']) -> Float[Array, '*shape']:
  """sin(x), with |x| >= 100 pi first reduced modulo float32(100 pi).

  Some devices lose sin of large arguments altogether. The reduced period's
  rounding shifts the phase by 3.6e-8 x, as it does in MultiNeRF.
  """
  return jnp.sin(_wrap_phase(x))


def safe_cos(x: Float[Array, '*shape']) -> Float[Array, '*shape']:
  """cos(x), with the argument reduced as in `safe_sin`."""
  return jnp.cos(_wrap_phase(x))


@jax.custom_jvp
def safe_arctan2(y: ArrayLike, x: ArrayLike) -> Array:
  """arctan2(y, x) with a finite gradient, also at the origin (0 there)."""
  return jnp.arctan2(y, x)


@safe_arctan2.defjvp
def _safe_arctan2_jvp(primals, tangents):
  y, x = primals
  # d angle = (x dy - y dx) / (x^2 + y^2). Scaling by the larger magnitude
  # keeps the squares from overflowing or vanishing. Factors, not quotients:
  # XLA turns (a / b) / c into a / (b c), whose denominator vanishes here.
  scale = 1 / jnp.maximum(jnp.maximum(jnp.abs(x), jnp.abs(y)), TINY)
  xs, ys = x * scale, y * scale
  inverse = 1 / jnp.maximum(xs * xs + ys * ys, 0.5)  # 0 at the origin only
  slope_y = (xs * inverse) * scale
  slope_x = (-ys * inverse) * scale
  return safe_arctan2(y, x), slope_y * tangents[0] + slope_x * tangents[1]


def safe_arccos(x: ArrayLike) -> Array:
  """arccos of x clipped to [-1, 1]; the gradient is 0 from +-1 outwards.

  Strictly inside, the gradient is the true one: at most 2.9e3 in float32.
  """
  x = jnp.asarray(x)
  inside = jnp.abs(x) < 1
  angle = jnp.arccos(jnp.where(inside, x, 0.0))
  return jnp.where(inside, angle, jnp.where(x > 0, 0.0, math.pi))


# --- functions with a restricted domain ------------------------------------


def generate_safe_fn(
  fn: Callable[[Array], Array],
  grad_fn: Callable[[Array, Array, Array], Array],
  x_range: tuple[float, float],
) -> Callable[[ArrayLike], Array]:
  """Restricts `fn` to inputs on which it is finite.

  Args:
    fn: Elementwise function.
    grad_fn: (clipped x, fn(clipped x), tangent) -> fn's tangent.
    x_range: What inputs are clipped to, in the value and in the derivative;
      outside, the derivative is that of the nearer bound, not zero.

  Returns:
    The restricted function, for forward and reverse mode.
  """

  @jax.custom_jvp
  def safe_fn(x):
    return fn(jnp.clip(x, *x_range))

  @safe_fn.defjvp
  def safe_fn_jvp(primals, tangents):
    out = safe_fn(*primals)
    return out, grad_fn(jnp.clip(primals[0], *x_range), out, tangents[0])

  return safe_fn


safe_exp = generate_safe_fn(
  jnp.exp, lambda x, y, dx: y * dx, (-MAX, MAX_EXPONENT)
)
safe_expm1 = generate_safe_fn(
  jnp.expm1, lambda x, y, dx: jnp.exp(x) * dx, (-MAX, MAX_EXPONENT)
)
safe_log = generate_safe_fn(jnp.log, lambda x, y, dx: dx / x, (TINY, MAX))
safe_log1p = generate_safe_fn(
  jnp.log1p,
  lambda x, y, dx: dx / (1 + x),
  (float(np.nextafter(np.float32(-1), np.float32(0))), MAX),
)
safe_sqrt = generate_safe_fn(
  jnp.sqrt,
  lambda x, y, dx: dx * (0.5 / jnp.sqrt(jnp.maximum(x, TINY))),
  (0.0, MAX),
)


@jax.custom_jvp
def expm1(x: ArrayLike) -> Array:
  """exp(x) - 1 with derivative exp(x), exact also where expm1(x) is -1."""
  return jnp.expm1(x)


@expm1.defjvp
def _expm1_jvp(primals, tangents):
  return expm1(*primals), jnp.exp(primals[0]) * tangents[0]


@jax.custom_jvp
def safe_div(n: ArrayLike, d: ArrayLike) -> Array:
  """n / d, clipped to finite values; 0 (and no gradient) where |d| < `TINY`.

  Differs from camp_zipnerf's, whose gradient there is that of n / TINY: a zero
  denominator marks an empty interval, which should not move anything.
  """
  return _quotient(n, d)[0]


def _quotient(n, d):
  d = jnp.asarray(d)
  empty = jnp.abs(d) < TINY
  inverse = jnp.where(empty, 0.0, 1 / jnp.where(empty, 1.0, d))
  ratio = jnp.where(empty, 0.0, n / jnp.where(empty, 1.0, d))
  return jnp.clip(ratio, -MAX, MAX), inverse


@safe_div.defjvp
def _safe_div_jvp(primals, tangents):
  ratio, inverse = _quotient(*primals)
  slope_d = jnp.clip(-ratio * inverse, -MAX, MAX)
  return ratio, inverse * tangents[0] + slope_d * tangents[1]
