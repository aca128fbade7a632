"""L3: data losses and regularisers, each a plug-in by name."""

# Imported for their registrations.
from multinerf.losses import geometric, photometric, weight_decay
from multinerf.losses.base import (
  DATA_LOSSES,
  REGULARIZERS,
  LossConfig,
  LossInputs,
  active_regularizers,
  register_regularizer,
)

__all__ = [
  'DATA_LOSSES',
  'REGULARIZERS',
  'LossConfig',
  'LossInputs',
  'active_regularizers',
  'geometric',
  'photometric',
  'register_regularizer',
  'weight_decay',
]
