"""Names of `internal/math.py`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from multinerf.ops import curves, lookup, numerics
from multinerf.types import Array

matmul = numerics.matmul
safe_cos = numerics.safe_cos
safe_sin = numerics.safe_sin
safe_exp = numerics.safe_exp
log_lerp = curves.log_lerp
learning_rate_decay = curves.learning_rate_decay
sorted_interp = lookup.sorted_interp


def safe_trig_helper(
  x: Array, fn: Callable[[Array], Array], t: float = 100 * jnp.pi
) -> Array:
  """`fn` of x, reduced modulo t where |x| >= t; the slope is that of `fn`.

  `safe_sin` and `safe_cos` reduce more exactly, with the default period only.
  """
  return fn(jnp.where(jnp.abs(x) >= t, jnp.mod(x, t), x))


def safe_exp_jvp(
  primals: tuple[Any], tangents: tuple[Any]
) -> tuple[Array, Array]:
  """`safe_exp` and its directional derivative."""
  (x,), (dx,) = primals, tangents
  return jax.jvp(safe_exp, (jnp.asarray(x),), (jnp.asarray(dx),))


def interp(*args: Any) -> Array:
  """`lookup.interp(x, xp, fp)`: `jnp.interp` along the last axis."""
  return lookup.interp(*args)
