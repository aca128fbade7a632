"""How an image's appearance code reaches the colours of an MLP.

Codes are as in NeRF in the Wild (arXiv:2008.02268); the layers between, and the
affine mode, are Zip-NeRF's (arXiv:2304.06706, Appendix), with the parameter
names of camp_zipnerf @8e6d57e. Called from inside a field, whose parameters
these layers become.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from multinerf import errors
from multinerf.ops import numerics

MODES = ('concatenate', 'affine')


def check(mode: str, bottleneck_width: int) -> None:
  """Checks the options of a field that gets a code.

  Raises:
    ConfigError: There is no such mode, or nothing for it to act on.
  """
  if mode not in MODES:
    raise errors.ConfigError(
      f'Unknown glo_mode {mode!r}; known: {", ".join(MODES)} '
      '(gin: NerfMLP.glo_mode).'
    )
  if mode == 'affine' and bottleneck_width <= 0:
    raise errors.ConfigError(
      "glo_mode = 'affine' scales the bottleneck, but bottleneck_width = "
      f'{bottleneck_width} (gin: NerfMLP.bottleneck_width).'
    )


def transform(
  code: Float[Array, '*batch g'],
  widths: Sequence[int],
  activation: Callable[[Any], Any],
) -> Float[Array, '*batch h']:
  """The code behind the layers GLO_MLP_0, GLO_MLP_1, ...; () is no layer."""
  for i, width in enumerate(widths):
    code = activation(nn.Dense(width, name=f'GLO_MLP_{i}')(code))
  return code


def affine(
  code: Float[Array, '*batch h'],
  bottleneck: Float[Array, '*batch n b'],
  layer_idx: int,
) -> Float[Array, '*batch n b']:
  """Scales and shifts the bottleneck: exp(log a) * x + b.

  Args:
    code: What `transform` made of the code, one per ray.
    bottleneck: Features of each sample.
    layer_idx: Number of the layer GLO_MLP_<layer_idx> that makes (log a, b),
      which lie side by side for each feature.
  """
  width = bottleneck.shape[-1]
  pairs = nn.Dense(2 * width, name=f'GLO_MLP_{layer_idx}')(code)
  pairs = pairs.reshape(*code.shape[:-1], 1, width, 2)
  return numerics.safe_exp(pairs[..., 0]) * bottleneck + pairs[..., 1]
