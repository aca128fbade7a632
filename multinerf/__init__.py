"""JAX/Flax neural radiance fields: train, evaluate and render.

What `__all__` lists is supported; everything else may change. gin files are
read by `multinerf.config.gin_setup.load`, which this module does not import:
the Python API needs neither gin nor absl.
"""

from multinerf.app.trainer import Trainer
from multinerf.cameras.camera import Cameras, ProjectionType, make_cameras
from multinerf.config.schema import Config
from multinerf.data.base import (
  SCENES,
  DataConfig,
  PixelBuffer,
  Scene,
  load_scene,
)
from multinerf.errors import (
  CheckpointError,
  ConfigError,
  DataError,
  MultinerfError,
  TrainingDivergedError,
)
from multinerf.losses import (
  DATA_LOSSES,
  DEPTH_LOSSES,
  NORMAL_LOSSES,
  REGULARIZERS,
  register_regularizer,
)
from multinerf.models import HashEncoding, Model, NerfMLP, PropMLP
from multinerf.training.schedules import SCHEDULES
from multinerf.types import Batch, Pixels, Rays, Rendering

__all__ = [
  'DATA_LOSSES',
  'DEPTH_LOSSES',
  'NORMAL_LOSSES',
  'REGULARIZERS',
  'SCENES',
  'SCHEDULES',
  'Batch',
  'Cameras',
  'CheckpointError',
  'Config',
  'ConfigError',
  'DataConfig',
  'DataError',
  'HashEncoding',
  'Model',
  'MultinerfError',
  'NerfMLP',
  'PixelBuffer',
  'Pixels',
  'ProjectionType',
  'PropMLP',
  'Rays',
  'Rendering',
  'Scene',
  'Trainer',
  'TrainingDivergedError',
  'load_scene',
  'make_cameras',
  'register_regularizer',
]
