"""L3: data losses and regularisers, each a plug-in by name."""

# Imported for their registrations.
from multinerf.losses import geometric, photometric, robustnerf, weight_decay
from multinerf.losses.base import (
  DATA_LOSSES,
  REGULARIZERS,
  LossConfig,
  LossInputs,
  StatefulDataLoss,
  active_regularizers,
  init_data_loss_state,
  register_regularizer,
)

__all__ = [
  'DATA_LOSSES',
  'REGULARIZERS',
  'LossConfig',
  'LossInputs',
  'StatefulDataLoss',
  'active_regularizers',
  'geometric',
  'init_data_loss_state',
  'photometric',
  'register_regularizer',
  'robustnerf',
  'weight_decay',
]
