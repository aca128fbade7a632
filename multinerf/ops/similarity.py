"""Structural similarity of small tiles, cheap enough to train on."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from multinerf.ops import numerics


def tiled_ssim(
  a: Float[Array, '*batch x y c'],
  b: Float[Array, '*batch x y c'],
  *,
  max_val: float = 1.0,
  k1: float = 0.01,
  k2: float = 0.03,
) -> Float[Array, '*batch']:
  """SSIM whose window is the whole tile, evaluated once.

  (2 m_a m_b + c1) (2 s_ab + c2) / ((m_a^2 + m_b^2 + c1) (s_a^2 + s_b^2 + c2))
  with c_i = (k_i max_val)^2 (Wang et al. 2004, doi:10.1109/TIP.2003.819861, Eq.
  13), m and s means and (co)variances over the pixels, averaged over channels.

  Args:
    a, b: Tiles of the two images.
    max_val: Range of their values.
    k1, k2: Stabilise the comparison of means and of contrasts.

  Returns:
    At most 1, which equal tiles reach; gradients are finite.
  """
  mean = lambda x: jnp.mean(x, axis=(-3, -2))
  mean_a, mean_b = mean(a), mean(b)
  off_a = a - mean_a[..., None, None, :]
  off_b = b - mean_b[..., None, None, :]
  var_a, var_b, cov = mean(off_a**2), mean(off_b**2), mean(off_a * off_b)
  c1, c2 = (k1 * max_val) ** 2, (k2 * max_val) ** 2
  top = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
  bottom = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
  return jnp.mean(numerics.safe_div(top, bottom), axis=-1)
