"""Which of two families of models a configuration describes, never both.

MultiNeRF's files bind `NerfMLP` and `PropMLP`; camp_zipnerf's bind `MLP`, and
say in `Model.sampling_strategy` which field and grid each level has. Values of
one family mean nothing to the other, and a few defaults differ.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import gin

from multinerf import errors
from multinerf.config import gin_values

MULTINERF, ZIPNERF = 'multinerf', 'zipnerf'

# The classes that a model of the family is made of.
PARTS: Mapping[str, tuple[str, ...]] = {
  MULTINERF: ('NerfMLP', 'PropMLP'),
  ZIPNERF: ('MLP', 'HashEncoding'),
}
# The options of Model that only one family has.
_MODEL_OPTIONS: Mapping[str, tuple[str, ...]] = {
  MULTINERF: (
    'nerf_mlp',
    'prop_mlp',
    'num_prop_samples',
    'num_nerf_samples',
    'num_levels',
    'single_mlp',
    'dilation_multiplier',
    'dilation_bias',
  ),
  ZIPNERF: (
    'sampling_strategy',
    'mlp_params_per_level',
    'grid_params_per_level',
  ),
}
# camp_zipnerf's defaults where they are not MultiNeRF's.
_ZIPNERF_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
  'Model': {
    'sampling_strategy': ((0, None, 64), (0, None, 64), (1, None, 32)),
    'num_glo_embeddings': 10000,
  },
  'Config': {
    'interlevel_loss_mult': 0.0,
    'spline_interlevel_params': {'mults': 0.01, 'blurs': (0.03, 0.003)},
    'render_chunk_size': 32768,
    'train_render_every': 0,
  },
}


def find(bindings: Iterable[tuple[str, str, str]]) -> str:
  """Returns the family that bindings belong to.

  Args:
    bindings: (class, option, where it is bound).

  Raises:
    ConfigError: Both; names a binding of each.
  """
  first = {}
  for owner, option, where in bindings:
    for family in (MULTINERF, ZIPNERF):
      # Grids serve as encoders of MultiNeRF's networks as well.
      is_part = owner in PARTS[family] and owner != 'HashEncoding'
      is_option = owner == 'Model' and option in _MODEL_OPTIONS[family]
      if is_part or is_option:
        first.setdefault(family, f'{owner}.{option} ({where})')
  if len(first) == 2:
    raise errors.ConfigError(
      f'{first[MULTINERF]} belongs to models of NerfMLP and PropMLP, '
      f'{first[ZIPNERF]} to models of MLP and grids (Zip-NeRF); a '
      'configuration is of one family.'
    )
  return next(iter(first), MULTINERF)


def fill_defaults(
  family: str, bindings: Iterable[tuple[str, str, str]]
) -> None:
  """Binds the family's own defaults where nothing is bound in any scope."""
  if family != ZIPNERF:
    return
  bound = {(owner, option) for owner, option, _ in bindings}
  for owner, values in _ZIPNERF_DEFAULTS.items():
    for name, value in values.items():
      if (owner, name) not in bound:
        gin.bind_parameter(f'multinerf.{owner}.{name}', value)


def foreign_options(family: str) -> frozenset[str]:
  """The options of Model that mean nothing to the family."""
  other = ZIPNERF if family == MULTINERF else MULTINERF
  return frozenset(_MODEL_OPTIONS[other])


def level_params(
  name: str,
  shared: Mapping[str, Any],
  entries: Iterable[Mapping[str, Any]],
) -> tuple[dict[str, Any], ...]:
  """The options of each level's MLP or grid.

  Args:
    name: 'MLP' or 'HashEncoding'.
    shared: What is bound to the class.
    entries: What each level says, which counts more.

  Raises:
    ConfigError: An entry is no option of the class, or has a wrong value.
  """
  info = gin_values.lookup(f'multinerf.{name}')
  known = gin_values.option_names(info.wrapped)
  levels = []
  for entry in entries:
    for option in entry:
      if option not in known:
        raise errors.ConfigError(
          f'{name} has no option {option!r} (gin: Model.'
          f'{"mlp" if name == "MLP" else "grid"}_params_per_level).'
        )
    own = {k: gin_values.conform(info, k, v) for k, v in entry.items()}
    levels.append({**shared, **own})
  return tuple(levels)
