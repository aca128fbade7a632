"""Barron's general robust loss (CVPR 2019, arXiv:1701.03077)."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from multinerf.ops import curves, numerics
from multinerf.types import Array

# With these bounds slope * quotient / scale is below 3.4e38 for any input:
# exp(43) * 1e12 / 1.2e-7.
_MAX_QUOTIENT = 1e12
_MAX_LOG_SLOPE = 43.0
_MIN_SCALE = float(jnp.finfo(jnp.float32).eps)


def general_lossfun(x: ArrayLike, alpha: ArrayLike, scale: ArrayLike) -> Array:
  """rho(x, alpha, c) = |alpha-2|/alpha (((x/c)^2/|alpha-2| + 1)^(alpha/2) - 1).

  That is the power ladder with exponent alpha / 2 on (x/c)^2 / 2. Special
  cases: 2 half squares, 1 Charbonnier, 0 Cauchy, -2 Geman-McClure, -inf Welsch.

  Args:
    x: Residuals; the loss stays constant where |x| exceeds 1e12 scales or,
      for alpha > 2, where its slope in (x/c)^2 / 2 exceeds exp(43).
    alpha: Shape in [-inf, inf], smaller is more robust. With a Python
      number the slope in x is finite everywhere; an array gets a gradient.
    scale: Width c > 0 of the quadratic bowl, in the unit of x.

  Returns:
    Losses >= 0, about (x/c)^2 / 2 for |x| < c.
  """
  # Scales below 1.2e-7 count as that.
  quotient = jnp.asarray(x, jnp.float32) / jnp.maximum(scale, _MIN_SCALE)
  quotient = jnp.clip(quotient, -_MAX_QUOTIENT, _MAX_QUOTIENT)
  p = alpha / 2
  return curves.power_ladder(jnp.minimum(0.5 * quotient**2, _highest(p)), p)


def _highest(p):
  """Where the slope (1 + z / (p - 1))^(p - 1) reaches exp(43), for p > 1."""
  excess = jnp.where(p > 1, p - 1.0, 1.0)
  steep = excess * jnp.expm1(jnp.minimum(_MAX_LOG_SLOPE / excess, 80.0))
  steep = jnp.where(p == jnp.inf, _MAX_LOG_SLOPE, steep)
  return jnp.where(p > 1, steep, numerics.MAX)
