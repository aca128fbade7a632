"""Names of `camp_zipnerf/internal/image_utils.py`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from multinerf.compat.multinerf import image
from multinerf.evaluation import histogram, metrics
from multinerf.ops import color, similarity, vignette
from multinerf.types import Array

mse_to_psnr = color.mse_to_psnr
psnr_to_mse = color.psnr_to_mse
ssim_to_dssim = image.ssim_to_dssim
dssim_to_ssim = image.dssim_to_ssim
linear_to_srgb = color.linear_to_srgb
srgb_to_linear = color.srgb_to_linear
downsample = color.downsample
compute_vignette = vignette.compute_vignette


def render_histogram(x: Any, **kwargs: Any) -> np.ndarray:
  """A picture [480, 640, 3] uint8 of the histogram of some numbers.

  Args:
    x: The numbers.
    **kwargs: Of `np.histogram` (bins, range, density, weights), and `log` for
      logarithmic heights; those of matplotlib that concern looks do not exist.
  """
  return histogram.render_histogram(x, **kwargs)


def tiled_ssim(a: Array, b: Array, **kwargs: Any) -> Array:
  """Structural similarity [...] of tiles [..., x, y, c], one window each.

  Args:
    a, b: The tiles.
    **kwargs: max_val, k1, k2; see `ops.similarity.tiled_ssim`.
  """
  return similarity.tiled_ssim(a, b, **kwargs)


class MetricHarness:
  """PSNR and SSIM of an image pair, by name.

  Args:
    disable_ssim: Leave out SSIM.
  """

  def __init__(self, disable_ssim: bool = False):
    self._metrics = {'psnr': metrics.psnr}
    if not disable_ssim:
      self._metrics['ssim'] = metrics.ssim

  def __call__(
    self,
    rgb_pred: Any,
    rgb_gt: Any,
    name_fn: Callable[[str], str] = lambda s: s,
  ) -> dict[str, float]:
    """Measures an image [H, W, 3] in [0, 1] against the truth, in float64."""
    pair = (np.asarray(rgb_pred, np.float64), np.asarray(rgb_gt, np.float64))
    return {name_fn(k): fn(*pair) for k, fn in self._metrics.items()}
