"""Options of `Config` that compare geometry with measurements.

MultiNeRF has none of them; see `options_train` for the others.
"""

import dataclasses
from typing import Literal

from multinerf.config.option import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class SupervisionOptions:
  """Depths and normals from outside."""

  depth_loss_mult: float = option(
    0.0, 'Weight of the supervised depth loss; 0 skips it. New here.', ge=0
  )
  depth_loss_type: str = option(
    'mse',
    'Supervised depth loss; an unknown name lists the known ones. New here.',
  )
  depth_source: Literal['maps', 'points'] = option(
    'maps',
    "Where depths come from: 'maps' the depth images of the data set, "
    "'points' its structure-from-motion points. New here.",
  )
  depth_scale: float = option(
    1e-3,
    'Unit of 16-bit depth images in units of the input poses '
    '(1e-3: millimetres under metres). New here.',
    gt=0,
  )
  depth_sigma: float = option(
    0.01,
    'Standard deviation of a measured depth, in units of t (ds_nerf, urf). '
    'New here.',
    gt=0,
  )
  depth_ray_fraction: float = option(
    0.25,
    "Share of a batch drawn from pixels with points (depth_source = 'points'). "
    'New here.',
    ge=0,
    le=1,
  )
  normal_loss_mult: float = option(
    0.0, 'Weight of the supervised normal loss; 0 skips it. New here.', ge=0
  )
  normal_loss_type: str = option(
    'l1_cosine',
    'Supervised normal loss; an unknown name lists the known ones. New here.',
  )
  normal_loss_target: Literal['normals', 'normals_pred'] = option(
    'normals',
    'Which normals that loss looks at: those of the density (need '
    'NerfMLP.disable_density_normals = False) or predicted ones (need '
    'NerfMLP.enable_pred_normals = True). New here.',
  )
