"""`Config`: every option of a run, flat, typed, documented and checked.

The flat names are what users write in .gin files (`Config.batch_size = 4096`)
and stay as MultiNeRF had them. Code below this layer never sees a `Config`:
`views.view` cuts it into the small dataclasses that components declare.

From Python, `Config` is an ordinary frozen dataclass with keyword arguments
and needs no gin.
"""

import dataclasses
import typing
import warnings
from typing import Any

from multinerf import errors, registry
from multinerf.config import (
  option,
  options_losses,
  options_output,
  options_supervision,
  options_train,
)

# Declared by MultiNeRF and never read there (upstream_defects 18). Accepted,
# so that its users' files load; setting one to a non-default value warns.
DEAD = {
  'vocab_tree_path': 'COLMAP is not run from here',
  'render_spherical': "use Config.render_camtype = 'pano' instead",
  'autoexpose_renders': 'use Config.exposure_percentile instead',
}


class ConfigWarning(UserWarning):
  """An option was accepted, but does nothing."""


# The test suite's annotation checker stays out: it would refuse, before
# __post_init__ can convert it, an int for a float.
@typing.no_type_check
@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(
  options_output.RawOptions,
  options_output.RenderOptions,
  options_output.EvalOptions,
  options_train.OptimOptions,
  options_losses.RobustNerfOptions,
  options_supervision.SupervisionOptions,
  options_losses.LossOptions,
  options_train.TrainingOptions,
  options_train.BatchOptions,
  options_train.DataOptions,
):
  """All options; explained where they are declared, see `GROUPS`.

  Values are converted to the declared types (int to float, list to tuple).

  Raises:
    ConfigError: A value has the wrong type, is out of range or contradicts
      another one.
  """

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = option.check('Config', field, getattr(self, field.name))
      object.__setattr__(self, field.name, value)
    _check_together(self)
    _check_robustnerf(self)
    _warn_dead(self)


# The topics of --help, in its order.
GROUPS: tuple[type, ...] = tuple(
  base for base in reversed(Config.__mro__[1:-1])
)

_FIELDS = {f.name: f for f in dataclasses.fields(Config)}


def field(name: str) -> dataclasses.Field:
  """Returns the declaration of one option.

  Raises:
    ConfigError: There is no option of that name.
  """
  if name not in _FIELDS:
    raise errors.ConfigError(
      f'Config has no option {name!r}.{registry.suggest(name, _FIELDS)}'
    )
  return _FIELDS[name]


def check_value(name: str, value: Any) -> Any:
  """Returns `value` converted to the type of option `name`.

  Raises:
    ConfigError: Unknown option, wrong type or out of range.
  """
  return option.check('Config', field(name), value)


def _check_together(config: Config) -> None:
  """Raises ConfigError where two options contradict each other."""
  if config.near >= config.far:
    raise errors.ConfigError(
      f'Config.near must be < Config.far; got {config.near} and {config.far}.'
    )
  if config.patch_size**2 > config.batch_size:
    raise errors.ConfigError(
      f'Config.patch_size = {config.patch_size} needs at least '
      f'{config.patch_size**2} rays per batch; Config.batch_size is '
      f'{config.batch_size}.'
    )
  if config.render_job_id >= config.render_num_jobs:
    raise errors.ConfigError(
      'Config.render_job_id must be < Config.render_num_jobs; got '
      f'{config.render_job_id} and {config.render_num_jobs}.'
    )


def _check_robustnerf(config: Config) -> None:
  """Raises ConfigError where RobustNeRF's masks could not be made."""
  if not config.enable_robustnerf_loss:
    return
  if config.data_loss_type != 'robustnerf':
    raise errors.ConfigError(
      "Config.enable_robustnerf_loss needs Config.data_loss_type = 'robustnerf'"
      f'; got {config.data_loss_type!r}.'
    )
  if config.patch_size < 2:
    raise errors.ConfigError(
      'Config.enable_robustnerf_loss needs patches of pixels: set '
      f'Config.patch_size = 16; got {config.patch_size}.'
    )
  if config.robustnerf_inner_patch_size > config.patch_size:
    raise errors.ConfigError(
      'Config.robustnerf_inner_patch_size must be <= Config.patch_size; got '
      f'{config.robustnerf_inner_patch_size} and {config.patch_size}.'
    )


def _is_set(config: Config, name: str) -> bool:
  """Whether an option differs from its default."""
  return getattr(config, name) != option.default_of(_FIELDS[name])


def _warn_dead(config: Config) -> None:
  """Warns about options that were set but do nothing."""
  for name, advice in DEAD.items():
    if _is_set(config, name):
      warnings.warn(
        f'Config.{name} has no effect ({advice}).',
        ConfigWarning,
        stacklevel=4,
      )
