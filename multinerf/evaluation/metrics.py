"""Image quality in float64: PSNR, SSIM, errors of colour, depth and normals.

Metrics never hide values that are not finite: one NaN pixel makes an image's
metric NaN, and the evaluator reports how many there were.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Num

from multinerf import errors
from multinerf.data import images
from multinerf.ops import color, raw

# A distance between two RGB images [h, w, 3] in [0, 1], e.g. LPIPS.
PairMetric = Callable[[np.ndarray, np.ndarray], float]


def quantize(image: Float[np.ndarray, '*shape']) -> Float[np.ndarray, '*shape']:
  """Rounds [0, 1] to the 256 values that a PNG file can hold.

  Exactly what `images.write_png` stores, so the files reproduce the metrics;
  NaN and infinities stay as they are.
  """
  levels = images.to_uint8(image).astype(np.float64) / 255.0
  return np.where(np.isfinite(image), levels, np.asarray(image, np.float64))


def crop(
  image: Num[np.ndarray, 'h w *c'], borders: int
) -> Num[np.ndarray, '_ _ *c']:
  """Cuts `borders` pixels off each side.

  Raises:
    ConfigError: Nothing would be left, or `borders` is negative.
  """
  height, width = image.shape[:2]
  if borders < 0 or 2 * borders >= min(height, width):
    raise errors.ConfigError(
      f'Cannot crop {borders} pixels off each side of a {width}x{height} '
      'image (gin: Config.eval_crop_borders).'
    )
  return image[borders : height - borders, borders : width - borders]


def psnr(
  pred: Float[np.ndarray, '*shape'], gt: Float[np.ndarray, '*shape']
) -> float:
  """Peak signal-to-noise ratio, -10 log10(mean squared error), in dB.

  Values are meant to lie in [0, 1]; equal images give inf.
  """
  mse = float(np.mean((_float64(pred) - _float64(gt)) ** 2))
  return math.inf if mse == 0.0 else -10.0 * math.log10(mse)


def mae(
  pred: Float[np.ndarray, '*shape'], gt: Float[np.ndarray, '*shape']
) -> float:
  """Mean absolute error of colour, in [0, 1]."""
  return float(np.mean(np.abs(_float64(pred) - _float64(gt))))


def ssim(
  pred: Float[np.ndarray, 'h w c'],
  gt: Float[np.ndarray, 'h w c'],
  *,
  window: int = 11,
  sigma: float = 1.5,
  k1: float = 0.01,
  k2: float = 0.03,
) -> float:
  """Structural similarity of two images with values in [0, 1].

  Local means, variances and covariance under a Gaussian window, only where
  the window lies inside the image; the map is averaged over pixels and
  channels (Wang et al. 2004, doi:10.1109/TIP.2003.819861, Eq. 13). Variances
  are kept non-negative and the covariance within the Cauchy-Schwarz bound, as
  in dm_pix.ssim, whose defaults these are.

  Args:
    pred: The image to judge.
    gt: The reference.
    window: Side of the window in pixels.
    sigma: Standard deviation of the window in pixels.
    k1: Stabilises the comparison of means.
    k2: Stabilises the comparison of variances.

  Returns:
    At most 1, which equal images reach.

  Raises:
    DataError: The image is smaller than the window.
  """
  if min(pred.shape[:2]) < window:
    raise errors.DataError(
      f'SSIM needs images of at least {window}x{window} pixels, this one has '
      f'{pred.shape[1]}x{pred.shape[0]} (gin: Config.eval_crop_borders, '
      'Config.factor).'
    )
  a, b = _float64(pred), _float64(gt)
  offsets = np.arange(window) - (window - 1) / 2
  taps = np.exp(-0.5 * (offsets / sigma) ** 2)
  taps /= taps.sum()

  def blur(x):
    return _filter_valid(_filter_valid(x, taps, 0), taps, 1)

  mean_a, mean_b = blur(a), blur(b)
  var_a = np.maximum(0.0, blur(a * a) - mean_a**2)
  var_b = np.maximum(0.0, blur(b * b) - mean_b**2)
  bound = np.sqrt(var_a * var_b)
  cov = np.clip(blur(a * b) - mean_a * mean_b, -bound, bound)
  c1, c2 = k1**2, k2**2
  top = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
  bottom = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
  return float(np.mean(top / bottom))


def disparity_mse(
  distance: Float[np.ndarray, 'h w'], disps: Float[np.ndarray, 'h w']
) -> float:
  """Mean squared error of 1 / (1 + distance) against true disparity."""
  disparity = 1.0 / (1.0 + _float64(distance))
  return float(np.mean((disparity - _float64(disps)) ** 2))


def normals_mae(
  normals: Float[np.ndarray, '*batch 3'],
  normals_gt: Float[np.ndarray, '*batch 3'],
  weights: Float[np.ndarray, '*batch'],
) -> float:
  """Weighted mean angle between two fields of normals, in degrees.

  sum_i w_i arccos(n_i . m_i) / sum_i w_i, both normalised first (Ref-NeRF,
  arXiv:2112.03907, section 5). Normals of zero length are at 90 degrees.

  Args:
    normals: Rendered normals, any length.
    normals_gt: True normals, any length.
    weights: Rendered opacity times true opacity.

  Returns:
    The mean angle; NaN where all weights are 0.
  """
  w = _float64(weights)
  total = float(np.sum(w))
  if total == 0.0:
    return math.nan
  cosine = np.sum(_unit(normals) * _unit(normals_gt), axis=-1)
  angle = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
  return float(np.sum(w * angle)) / total


def affine_correct(
  pred: Float[np.ndarray, 'h w c'],
  gt: Float[np.ndarray, 'h w c'],
  mask: Num[np.ndarray, 'h w'] | None = None,
) -> Float[np.ndarray, 'h w c']:
  """Removes the best affine map gt -> pred from each channel of `pred`.

  The fit pred = a gt + b is by least squares over the image, and the result
  is (pred - b) / a (RawNeRF, arXiv:2111.13679, section 6). It is for linear
  raw colours, which are not limited to [0, 1].

  Args:
    pred: Prediction.
    gt: Truth.
    mask: 0 where pixels take no part in the fit; they are corrected, too.

  Returns:
    The corrected image; NaN where a channel is constant or all is masked.
  """
  pred, gt = _float64(pred), _float64(gt)
  valid = np.ones(gt.shape[:2], bool) if mask is None else mask > 0
  if not valid.any():
    return np.full_like(pred, math.nan)
  with np.errstate(divide='ignore', invalid='ignore'):
    slope, offset = raw.best_fit_affine(gt[valid], pred[valid], 0)
    return (pred - offset) / slope


def quadratic_correct(
  pred: Float[np.ndarray, 'h w 3'],
  gt: Float[np.ndarray, 'h w 3'],
  mask: Num[np.ndarray, 'h w'] | None = None,
) -> Float[np.ndarray, 'h w 3']:
  """`ops.color.color_correct`, fitted to the pixels that count.

  Args:
    pred: Prediction in [0, 1].
    gt: Truth in [0, 1].
    mask: 0 where pixels take no part in the fit; they are corrected, too.
  """
  pred, gt = _float64(pred), _float64(gt)
  if mask is not None:
    # No value that is clipped takes part in the fit, and NaN is none that fits.
    gt = np.where(mask[..., None] > 0, gt, math.nan)
  return color.color_correct(pred, gt)


@dataclasses.dataclass(frozen=True)
class Metrics:
  """What is measured on every pair of prediction and truth.

  Attributes:
    quantize: Round predictions, not the truth, to 8 bits first.
    crop_borders: Pixels cut off each side first.
    lpips: A perceptual distance (`lpips.load`); None leaves it out.
  """

  quantize: bool = True
  crop_borders: int = 0
  lpips: PairMetric | None = None

  def __call__(
    self,
    pred: Float[np.ndarray, 'h w 3'],
    gt: Float[np.ndarray, 'h w 3'],
    mask: Num[np.ndarray, 'h w'] | None = None,
  ) -> dict[str, float]:
    """Returns 'psnr', 'ssim', 'mae' and, where there is one, 'lpips'.

    All are NaN if the prediction holds values that are not finite.

    Args:
      pred: Prediction in [0, 1]; clipped if it is quantised.
      gt: Truth in [0, 1].
      mask: 0 where pixels do not count: psnr and mae are means over the
        others, and metrics with a window see the truth there.
    """
    pred = quantize(pred) if self.quantize else _float64(pred)
    pred = crop(pred, self.crop_borders)
    gt = crop(_float64(gt), self.crop_borders)
    fns = {'psnr': psnr, 'ssim': ssim, 'mae': mae}
    if self.lpips is not None:
      fns['lpips'] = self.lpips
    if not np.all(np.isfinite(pred)):
      return dict.fromkeys(fns, math.nan)
    if mask is None:
      return {name: float(fn(pred, gt)) for name, fn in fns.items()}
    valid = crop(mask, self.crop_borders) > 0
    if not valid.any():
      return dict.fromkeys(fns, math.nan)
    filled = np.where(valid[..., None], pred, gt)
    found = {name: float(fn(filled, gt)) for name, fn in fns.items()}
    for name in ('psnr', 'mae'):
      found[name] = float(fns[name](pred[valid], gt[valid]))
    return found


def _filter_valid(x: np.ndarray, taps: np.ndarray, axis: int) -> np.ndarray:
  """Correlates one axis with `taps`, only where they fit."""
  length = x.shape[axis] - len(taps) + 1
  out = np.zeros(x.shape[:axis] + (length,) + x.shape[axis + 1 :])
  for i, tap in enumerate(taps):
    out += tap * np.take(x, np.arange(i, i + length), axis)
  return out


def _unit(x: np.ndarray) -> np.ndarray:
  x = _float64(x)
  norm = np.linalg.norm(x, axis=-1, keepdims=True)
  return x / np.maximum(norm, np.finfo(np.float64).tiny)


def _float64(x: np.ndarray) -> np.ndarray:
  return np.asarray(x, np.float64)
