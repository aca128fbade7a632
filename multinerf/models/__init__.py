"""L3: radiance fields as linen modules; the only home of flax.linen."""

from multinerf.models.build import check_num_images, with_compute_dtype
from multinerf.models.checks import check_for_scene, check_options
from multinerf.models.chunks import ChunkConfig
from multinerf.models.empty_rays import num_levels
from multinerf.models.empty_rays import render as render_nonempty
from multinerf.models.encodings import HashEncoding
from multinerf.models.mlp import MLP, NerfMLP, PropMLP
from multinerf.models.model import Model

__all__ = [
  'ChunkConfig',
  'HashEncoding',
  'MLP',
  'Model',
  'NerfMLP',
  'PropMLP',
  'check_for_scene',
  'check_num_images',
  'check_options',
  'num_levels',
  'render_nonempty',
  'with_compute_dtype',
]
