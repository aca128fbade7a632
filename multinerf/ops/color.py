"""Colour: sRGB transfer, stored pixel values, PSNR, resizing, correction."""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from multinerf import errors

_EPS = float(np.finfo(np.float32).eps)


def mse_to_psnr(mse: Any) -> Any:
  """Peak signal-to-noise ratio in dB of values in [0, 1]: -10 log10(mse)."""
  return -10 / np.log(10) * jnp.log(mse)


def psnr_to_mse(psnr: Any) -> Any:
  """Inverse of `mse_to_psnr`."""
  return jnp.exp(-0.1 * np.log(10) * psnr)


def linear_to_srgb(
  linear: Any, eps: float | None = None, xnp: ModuleType = jnp
) -> Any:
  """Encodes linear values for display (IEC 61966-2-1).

  (323/25) x for x <= 0.0031308, else (211 x^(5/12) - 11) / 200.

  Args:
    linear: Linear values; above 1 the curve goes on, negative is linear.
    eps: Floor of the argument of the power, whose gradient is inf at 0; None
      takes float32's epsilon.
    xnp: numpy or jax.numpy.
  """
  eps = _EPS if eps is None else eps
  curve = (211 * xnp.maximum(eps, linear) ** (5 / 12) - 11) / 200
  return xnp.where(linear <= 0.0031308, 323 / 25 * linear, curve)


def srgb_to_linear(
  srgb: Any, eps: float | None = None, xnp: ModuleType = jnp
) -> Any:
  """Inverse of `linear_to_srgb`; the threshold is 0.04045."""
  eps = _EPS if eps is None else eps
  curve = xnp.maximum(eps, (200 * srgb + 11) / 211) ** (12 / 5)
  return xnp.where(srgb <= 0.04045, 25 / 323 * srgb, curve)


def decode_rgb(values: Any) -> Any:
  """Turns stored pixels into float32 RGB over a white background.

  Args:
    values: [..., 3 or 4] uint8 (divided by 255), uint16 (by 65535) or float
      (taken as it is). A fourth channel is alpha, not premultiplied.

  Returns:
    [..., 3] float32: rgb, or rgb * alpha + (1 - alpha).

  Raises:
    DataError: Another number of channels, or another type of integer.
  """
  values = jnp.asarray(values)
  channels = values.shape[-1] if values.ndim else 0
  if channels not in (3, 4):
    raise errors.DataError(
      f'Images need 3 (RGB) or 4 (RGBA) channels, got shape {values.shape}.'
    )
  if values.dtype in (jnp.uint8, jnp.uint16):
    values = values.astype(jnp.float32) / jnp.iinfo(values.dtype).max
  elif not jnp.issubdtype(values.dtype, jnp.floating):
    raise errors.DataError(
      f'Images must be uint8, uint16 or float, got {values.dtype}.'
    )
  values = values.astype(jnp.float32)
  if channels == 3:
    return values
  rgb, alpha = values[..., :3], values[..., 3:]
  return rgb * alpha + (1 - alpha)


def tinted(specular: Any, raw_diffuse: Any, raw_tint: Any = None) -> Any:
  """Diffuse plus tinted specular light, tone-mapped (Ref-NeRF, Eq. 10).

  Args:
    specular: [..., 3] colour in [0, 1].
    raw_diffuse: [..., 3] any numbers.
    raw_tint: [..., 3] the same; None: a tint of 1/2.

  Returns:
    [..., 3] sRGB in [0, 1].
  """
  # Starts diffuse near 1/4, so that both parts matter from the beginning.
  diffuse = jax.nn.sigmoid(raw_diffuse - np.log(3.0))
  tint = 0.5 if raw_tint is None else jax.nn.sigmoid(raw_tint)
  return jnp.clip(linear_to_srgb(tint * specular + diffuse), 0.0, 1.0)


def downsample(img: np.ndarray, factor: int) -> np.ndarray:
  """Shrinks an image by averaging boxes of factor x factor pixels.

  Args:
    img: [H, W] or [H, W, C].
    factor: Side of a box; must divide H and W.

  Raises:
    DataError: It does not.
  """
  height, width = img.shape[:2]
  if height % factor or width % factor:
    raise errors.DataError(
      f'Cannot shrink an image of {width}x{height} pixels by {factor}: the '
      'factor must divide both sides (gin: Config.factor).'
    )
  boxes = (height // factor, factor, width // factor, factor)
  return img.reshape(boxes + img.shape[2:]).mean(axis=(1, 3))


def _quadratic_features(rgb: Any, xnp: ModuleType) -> Any:
  """[n, c] -> [n, c(c+1)/2 + c + 1]: products c_i c_j, c_i, and 1."""
  n, channels = rgb.shape
  i, j = np.triu_indices(channels)
  ones = xnp.ones((n, 1), rgb.dtype)
  return xnp.concatenate([rgb[:, i] * rgb[:, j], rgb, ones], axis=-1)


def _least_squares(a: Any, b: Any, xnp: ModuleType) -> Any:
  """The shortest x that minimises |a x - b|, for a tall matrix a."""
  if xnp is np:
    # The normal equations are much cheaper than an SVD of a, and float64
    # affords their squared condition number.
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.linalg.lstsq(a.T @ a, a.T @ b, rcond=1e-15)[0]
  q, r = jnp.linalg.qr(a)
  return jnp.linalg.lstsq(r, q.T @ b)[0]


def color_correct(
  img: Any, ref: Any, num_iters: int = 5, eps: float = 0.5 / 255
) -> Any:
  """Warps the colours of `img` to match `ref` by least-squares quadratics.

  Each round fits every channel of ref by a quadratic polynomial of all
  channels of the current estimate. Pixels are left out of a channel's fit
  where the original, the estimate or ref is clipped there.

  Args:
    img: [..., c] values in [0, 1], numpy (then all is done in numpy, float64
      is kept) or jax.
    ref: Of the same shape.
    num_iters: Rounds; later ones make use of pixels that stopped clipping.
    eps: Values outside [eps, 1 - eps] count as clipped.

  Returns:
    The corrected image, in [0, 1]. Not meant to be differentiated.

  Raises:
    DataError: The numbers of channels differ.
  """
  channels = img.shape[-1]
  if ref.shape[-1] != channels:
    raise errors.DataError(
      f'img has {channels} channels, ref has {ref.shape[-1]}; they must agree.'
    )
  both_numpy = isinstance(img, np.ndarray) and isinstance(ref, np.ndarray)
  xnp = np if both_numpy else jnp
  shape = img.shape
  img, ref = img.reshape(-1, channels), ref.reshape(-1, channels)

  def unclipped(x: Any) -> Any:
    return (x >= eps) & (x <= 1 - eps)

  usable = unclipped(img) & unclipped(ref)
  for _ in range(num_iters):
    features = _quadratic_features(img, xnp)
    use = usable & unclipped(img)
    columns = []
    for c in range(channels):
      keep = use[:, c]
      a = xnp.where(keep[:, None], features, 0)
      b = xnp.where(keep, ref[:, c], 0)
      columns.append(features @ _least_squares(a, b, xnp).astype(img.dtype))
    img = xnp.clip(xnp.stack(columns, axis=-1), 0, 1)
  return img.reshape(shape)
