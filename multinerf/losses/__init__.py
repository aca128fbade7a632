"""L3: data losses and regularisers, each a plug-in by name."""

# Imported for their registrations.
from multinerf.losses import (
  depth,
  geometric,
  normals,
  photometric,
  robustnerf,
  spline,
  weight_decay,
)
from multinerf.losses.base import (
  DATA_LOSSES,
  REGULARIZERS,
  LossConfig,
  LossInputs,
  StatefulDataLoss,
  active_regularizers,
  all_per_ray,
  init_data_loss_state,
  normalize_weights,
  per_ray,
  register_regularizer,
)
from multinerf.losses.depth import DEPTH_LOSSES
from multinerf.losses.normals import NORMAL_LOSSES

__all__ = [
  'DATA_LOSSES',
  'DEPTH_LOSSES',
  'REGULARIZERS',
  'LossConfig',
  'LossInputs',
  'NORMAL_LOSSES',
  'StatefulDataLoss',
  'active_regularizers',
  'all_per_ray',
  'depth',
  'geometric',
  'init_data_loss_state',
  'normalize_weights',
  'normals',
  'per_ray',
  'photometric',
  'register_regularizer',
  'robustnerf',
  'spline',
  'weight_decay',
]
