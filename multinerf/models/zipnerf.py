"""Which field, on which grid, at which level: Zip-NeRF's way of saying it.

Names of parameters are those of camp_zipnerf @8e6d57e: MLP_<i> and grid_<i> at
the top, so that regularisers and checkpoints can refer to them.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from multinerf import errors
from multinerf.models import encodings, mlp


def levels(
  strategy: Sequence[Sequence[Any]],
  mlp_params: Sequence[Mapping[str, Any]],
  grid_params: Sequence[Mapping[str, Any]],
) -> list[tuple[Callable[..., Any], int]]:
  """Makes the fields of all levels; call it inside the model's scope.

  Args:
    strategy: (index into mlp_params, index into grid_params or None, number
      of intervals) of each level, coarsest first.
    mlp_params, grid_params: Options of each field and grid.

  Returns:
    (field, number of intervals) of each level. Levels that name the same
    field share its parameters.

  Raises:
    ConfigError: An index has no entry, or an entry no level.
  """
  check(strategy, len(mlp_params), len(grid_params))
  mlps = [mlp.MLP(name=f'MLP_{i}', **p) for i, p in enumerate(mlp_params)]
  grids = [
    encodings.HashEncoding(name=f'grid_{i}', **p)
    for i, p in enumerate(grid_params)
  ]
  plan = []
  for mlp_idx, grid_idx, num_samples in strategy:
    field = mlps[mlp_idx]
    if grid_idx is not None:
      field = functools.partial(field, encoder=grids[grid_idx])
    plan.append((field, num_samples))
  return plan


def check(
  strategy: Sequence[Sequence[Any]], num_mlps: int, num_grids: int
) -> None:
  """Checks that levels use exactly the fields and grids that there are.

  Raises:
    ConfigError: They do not.
  """
  if not strategy or any(len(level) != 3 for level in strategy):
    raise errors.ConfigError(
      f'Model.sampling_strategy = {strategy!r}: every level is '
      '(index of the MLP, index of the grid or None, number of intervals).'
    )
  for column, (name, count) in enumerate(
    [('mlp_params_per_level', num_mlps), ('grid_params_per_level', num_grids)]
  ):
    used = {level[column] for level in strategy} - {None}
    if used != set(range(count)):
      raise errors.ConfigError(
        f'Model.sampling_strategy uses the entries {sorted(used)} of '
        f'Model.{name}, which has {count}; every one must be used.'
      )
