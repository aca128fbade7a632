"""Raw photographs: mosaics to linear colours, and those to what is shown.

A raw image holds one number per pixel, behind a colour filter of RGGB squares
(red at even x and y, blue at odd x and y, green elsewhere). All of this is of
RawNeRF (arXiv:2111.13679). Functions take numpy or jax through `xnp`.
"""

from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Shaped

from multinerf import errors
from multinerf.ops import color

# What an image is auto-exposed to: this percentile of its values is white.
AUTO_PERCENTILE = 97.0
# Linear sRGB to CIE XYZ, white point D65 (IEC 61966-2-1, after B. Lindbloom).
RGB_TO_XYZ = np.array([
  [0.4124564, 0.3575761, 0.1804375],
  [0.2126729, 0.7151522, 0.0721750],
  [0.0193339, 0.1191920, 0.9503041],
])  # fmt: skip


def bilinear_demosaic(
  bayer: Shaped[Any, 'h w'], xnp: ModuleType = jnp
) -> Shaped[Any, 'h w 3']:
  """Fills the two channels that a pixel of an RGGB mosaic did not measure.

  Each is the mean of the nearest pixels that measured it: 2 or 4 of them for
  red and blue, 4 for green. What was measured stays. Neighbours beyond an edge
  are taken from the opposite one.

  Args:
    bayer: The mosaic, float.
    xnp: numpy or jax.numpy.

  Raises:
    DataError: The height or width is odd.
  """
  height, width = bayer.shape
  if height % 2 or width % 2:
    raise errors.DataError(
      f'A mosaic of {width}x{height} pixels is not made of 2x2 squares.'
    )

  def upsample(z):
    """[h/2, w/2] values of the even pixels -> [h, w]."""
    right = 0.5 * (z + xnp.roll(z, -1, axis=1))
    rows = xnp.stack([z, right], axis=-1).reshape(height // 2, width)
    below = 0.5 * (rows + xnp.roll(rows, -1, axis=0))
    return xnp.stack([rows, below], axis=1).reshape(height, width)

  red = upsample(bayer[::2, ::2])
  # Blue is at the odd pixels: at the even ones of the image turned around.
  blue = upsample(bayer[::-1, ::-1][::2, ::2])[::-1, ::-1]
  beside = xnp.roll(bayer, 1, axis=1) + xnp.roll(bayer, -1, axis=1)
  above = xnp.roll(bayer, 1, axis=0) + xnp.roll(bayer, -1, axis=0)
  y, x = np.indices((height, width))
  green = xnp.where((x + y) % 2 == 1, bayer, 0.25 * (beside + above))
  return xnp.stack([red, green, blue], axis=-1)


def demosaic_at(
  here: Float[np.ndarray, '*batch'],
  beside: Float[np.ndarray, '*batch'],
  above: Float[np.ndarray, '*batch'],
  diagonal: Float[np.ndarray, '*batch'],
  x: Int[np.ndarray, '*batch'],
  y: Int[np.ndarray, '*batch'],
) -> Float[np.ndarray, '*batch 3']:
  """`bilinear_demosaic` at single pixels.

  Args:
    here: The mosaic at each pixel.
    beside: Mean of the pixels left and right of it. Here and below, beyond an
      edge counts what is at the opposite one.
    above: Mean of the pixels above and below it.
    diagonal: Mean of the four pixels diagonally next to it.
    x, y: Which pixels these are; only their parities matter.
  """
  odd_x, odd_y = x % 2 == 1, y % 2 == 1
  red = np.where(
    odd_y, np.where(odd_x, diagonal, above), np.where(odd_x, beside, here)
  )
  blue = np.where(
    odd_y, np.where(odd_x, here, beside), np.where(odd_x, above, diagonal)
  )
  green = np.where(odd_x != odd_y, here, 0.5 * (beside + above))
  return np.stack([red, green, blue], axis=-1)


def camera_to_rgb(
  color_matrix: Float[np.ndarray, '*batch 3 3'],
  as_shot_neutral: Float[np.ndarray, '*batch 3'],
) -> Float[np.ndarray, '*batch 3 3']:
  """Matrix from a camera's linear colours to linear sRGB, white balance too.

  inv(M) diag(1 / neutral), with M = color_matrix RGB_TO_XYZ, each row divided
  by its sum, so that the neutral colour becomes (1, 1, 1).

  Args:
    color_matrix: XYZ to camera, the DNG tag ColorMatrix2.
    as_shot_neutral: Camera colour of a white surface, the DNG tag.

  Raises:
    DataError: A matrix is singular, or a neutral value is not positive.
  """
  rgb_to_cam = color_matrix @ RGB_TO_XYZ
  total = rgb_to_cam.sum(axis=-1, keepdims=True)
  spread = np.linalg.svd(rgb_to_cam, compute_uv=False)
  if np.any(total == 0) or np.any(spread[..., 2] <= 1e-9 * spread[..., 0]):
    raise errors.DataError(
      f'ColorMatrix2 {np.asarray(color_matrix).tolist()} is singular.'
    )
  if np.any(as_shot_neutral <= 0):
    raise errors.DataError(
      f'AsShotNeutral {np.asarray(as_shot_neutral).tolist()} is not positive.'
    )
  return np.linalg.inv(rgb_to_cam / total) / as_shot_neutral[..., None, :]


def postprocess_raw(
  raw: Shaped[Any, '*batch 3'],
  camtorgb: Shaped[Any, '3 3'],
  exposure: Any = None,
  xnp: ModuleType = np,
) -> Shaped[Any, '*batch 3']:
  """Linear camera colours to displayable sRGB in [0, 1].

  Args:
    raw: Demosaiced, black level at 0; any range.
    camtorgb: See `camera_to_rgb`.
    exposure: Linear sRGB level that becomes white; None: `AUTO_PERCENTILE` of
      all values of this image.
    xnp: numpy or jax.numpy.
  """
  linear = xnp.matmul(raw, camtorgb.T)
  if exposure is None:
    exposure = xnp.percentile(linear, AUTO_PERCENTILE)
  return color.linear_to_srgb(xnp.clip(linear / exposure, 0.0, 1.0), xnp=xnp)


def best_fit_affine(
  x: Shaped[Any, '...'], y: Shaped[Any, '...'], axis: int | tuple[int, ...]
) -> tuple[Any, Any]:
  """Slope a and offset b that minimise |a x + b - y|^2 over some axes.

  A constant x has no slope: NaN.
  """
  x_mean = x.mean(axis=axis, keepdims=True)
  y_mean = y.mean(axis=axis, keepdims=True)
  # Centred first: a dark raw image has a mean far above its deviations.
  dx, dy = x - x_mean, y - y_mean
  slope = (dx * dy).mean(axis=axis) / (dx * dx).mean(axis=axis)
  return slope, y_mean.squeeze(axis) - slope * x_mean.squeeze(axis)


def match_images_affine(
  est: Shaped[Any, 'h w c'],
  gt: Shaped[Any, 'h w c'],
  axis: int | tuple[int, ...] = (0, 1),
) -> Shaped[Any, 'h w c']:
  """Removes the best affine map gt -> est from each channel of `est`.

  The fit is est = a gt + b, not the other way round, which would shrink a
  noisy estimate towards its mean (RawNeRF, section 6); the result is
  (est - b) / a.
  """
  slope, offset = best_fit_affine(gt, est, axis)
  return (est - offset) / slope
