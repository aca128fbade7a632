"""Names of `internal/image.py`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from multinerf.evaluation import metrics
from multinerf.ops import color

mse_to_psnr = color.mse_to_psnr
psnr_to_mse = color.psnr_to_mse
linear_to_srgb = color.linear_to_srgb
srgb_to_linear = color.srgb_to_linear
downsample = color.downsample
color_correct = color.color_correct


def ssim_to_dssim(ssim: Any) -> Any:
  """Dissimilarity (1 - SSIM) / 2, from 0 for equal images."""
  return (1 - ssim) / 2


def dssim_to_ssim(dssim: Any) -> Any:
  """Inverse of `ssim_to_dssim`."""
  return 1 - 2 * dssim


class MetricHarness:
  """PSNR and SSIM of an image pair, by name."""

  def __call__(
    self,
    rgb_pred: Any,
    rgb_gt: Any,
    name_fn: Callable[[str], str] = lambda s: s,
  ) -> dict[str, float]:
    """Measures an image [H, W, 3] in [0, 1] against the truth.

    Args:
      rgb_pred, rgb_gt: The two images; computed in float64.
      name_fn: Makes the keys of the result out of 'psnr' and 'ssim'.
    """
    pred = np.asarray(rgb_pred, np.float64)
    truth = np.asarray(rgb_gt, np.float64)
    return {
      name_fn('psnr'): metrics.psnr(pred, truth),
      name_fn('ssim'): metrics.ssim(pred, truth),
    }
