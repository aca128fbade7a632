"""Options of `Config` that concern losses.

See `options_train` for where names and defaults come from; what says
"camp_zipnerf's" is from there (`internal/configs.py`,
jonbarron/camp_zipnerf@8e6d57e).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from multinerf.config.option import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossOptions:
  """Losses."""

  data_loss_type: str = option(
    'charb',
    'Photometric loss; an unknown name lists the known ones.',
  )
  charb_padding: float = option(
    0.001, 'e of the Charbonnier loss sqrt(r^2 + e^2), in colour units.', gt=0
  )
  robust_loss_scale: float = option(
    0.01,
    "Width c of the losses 'cauchy' and 'geman-mcclure', in squared colour "
    "units: they take the squared residual. camp_zipnerf's.",
    gt=0,
  )
  data_loss_mult: float = option(
    1.0, 'Weight of the photometric loss of the last level.', ge=0
  )
  data_coarse_loss_mult: float = option(
    0.0, 'Weight of the photometric loss of every earlier level.', ge=0
  )
  normalize_loss_weights: bool = option(
    True,
    "Divide the rays' loss weights by their mean, as MultiNeRF does; "
    'camp_zipnerf, and so Zip-NeRF here, does not. New here.',
  )
  interlevel_loss_mult: float = option(
    1.0,
    'Weight of the proposal loss (arXiv:2111.12077, Eq. 13); 0 skips it.',
    ge=0,
  )
  spline_interlevel_params: dict[str, Any] | None = option(
    None,
    'In place of that one, the anti-aliased loss (arXiv:2304.06706): '
    "{'mults': 0.01, 'blurs': (0.03, 0.003)}, numbers or one for each "
    'proposal level; blurs are half widths in normalised distance, None '
    "takes the proposals' widths. camp_zipnerf's.",
  )
  distortion_loss_mult: float = option(
    0.01,
    'Weight of the distortion loss (arXiv:2111.12077, Eq. 15); 0 skips it.',
    ge=0,
  )
  distortion_loss_target: Literal['sdist', 'tdist'] = option(
    'sdist',
    'Which distances that loss measures: normalised, or metric ones. '
    "camp_zipnerf's.",
  )
  distortion_loss_curve_fn: tuple[Callable[..., Any], dict[str, Any]] | None = (
    option(
      None,
      'Bends those distances first: (function, arguments), e.g. '
      "(@math.power_ladder, {'p': -0.25, 'premult': 1e4}). camp_zipnerf's.",
    )
  )
  orientation_loss_mult: float = option(
    0.0,
    'Weight of the back-facing-normal loss (arXiv:2112.03907), last level.',
    ge=0,
  )
  orientation_coarse_loss_mult: float = option(
    0.0, 'The same, every earlier level.', ge=0
  )
  orientation_loss_target: Literal['normals', 'normals_pred'] = option(
    'normals_pred', 'Which normals that loss looks at.'
  )
  predicted_normal_loss_mult: float = option(
    0.0,
    'Weight of the difference of predicted and density normals, last level.',
    ge=0,
  )
  predicted_normal_coarse_loss_mult: float = option(
    0.0, 'The same, every earlier level.', ge=0
  )
  eikonal_loss_mult: float = option(
    0.0,
    'Weight of (|gradient of the raw density| - 1)^2, last level; needs '
    "density normals. camp_zipnerf's.",
    ge=0,
  )
  eikonal_coarse_loss_mult: float = option(
    0.0, "The same, every earlier level. camp_zipnerf's.", ge=0
  )
  param_regularizers: dict[
    str, tuple[float, Callable[..., Any], float, float]
  ] = option(
    {},
    'Adds mult * acc(rho(V; alpha, c)), rho the robust loss '
    '(arXiv:1701.03077), for each array V whose path starts with a prefix: '
    "{'grid_0': (0.1, @jnp.mean, 2, 1)}; 'grid_1' starts 'grid_10' too. "
    "camp_zipnerf's.",
  )
  weight_decay_mults: dict[str, float] = option(
    {},
    'Adds m * (sum of squares) for each parameter path, e.g. '
    "{'NerfMLP_0/Dense_3': 0.01}; an unknown path is an error.",
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobustNerfOptions:
  """RobustNeRF: training images with distractors (arXiv:2302.00833)."""

  enable_robustnerf_loss: bool = option(
    False,
    "Mask outlier patches; needs data_loss_type = 'robustnerf'.",
  )
  robustnerf_inlier_quantile: float = option(
    0.5,
    'Quantile of the pixel errors that is the next threshold.',
    ge=0,
    le=1,
  )
  robustnerf_smoothed_filter_size: int = option(
    3, 'Side in pixels of the box filter over the inlier mask.', ge=1
  )
  robustnerf_smoothed_inlier_quantile: float = option(
    0.5,
    'A pixel is an inlier if its box mean is over 1 minus this.',
    ge=0,
    le=1,
  )
  robustnerf_inner_patch_size: int = option(
    8, 'Side in pixels of the inner patch; at most patch_size.', ge=1
  )
  robustnerf_inner_patch_inlier_quantile: float = option(
    0.5,
    'A patch is an inlier if its share of inliers is over 1 minus this.',
    ge=0,
    le=1,
  )
