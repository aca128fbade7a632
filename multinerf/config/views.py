"""Cuts the flat `Config` into the small dataclasses that components declare.

A component (data, sampler, losses, optimiser, ...) owns a frozen dataclass
whose fields are named as in `Config`, and never sees the rest.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from multinerf.config import option, schema

T = TypeVar('T')

# Options that the programs (app/) read themselves, each in one place: when to
# stop, report, restart. Making views of them would only move the dot.
APP_OPTIONS = (
  'checkpoint_dir',
  'checkpoint_every',
  'checkpoint_init',
  'checkpoint_keep',
  'checkpoint_keep_every',
  'collapse_check_step',
  'collapse_guard',
  'collapse_max_restarts',
  'compilation_cache_dir',
  'compute_dtype',
  'early_exit_steps',
  'eval_checkpoint_wait_timeout_sec',
  'eval_only_once',
  'gc_every',
  'jax_rng_seed',
  'memory_budget_gib',
  'nonfinite_grad_limit',
  'pixels_on_device',
  'prefetch_batches',
  'print_every',
  'render_chunk_size',
  'render_compute_dtype',
  'render_dir',
  'render_empty_below',
  'render_rgb_only',
  'render_spline_keyframes_choices',
  'steps_per_dispatch',
  'train_render_every',
  'visualize_every',
  'watchdog_minutes',
)

# Options that no view claims, and why. Shrink this as features arrive:
# `check_views` reports an entry that has become superfluous.
UNCLAIMED: dict[str, str] = {
  **{name: 'declared by MultiNeRF, never read' for name in schema.DEAD},
  **{name: 'read by app/' for name in APP_OPTIONS},
  'cast_rays_in_train_step': 'rays are always cast on the device',
}


def view(config: Any, cls: type[T]) -> T:
  """Returns a `cls` whose fields are those of the same name in `config`.

  Args:
    config: A `schema.Config`, or any object with its attributes.
    cls: A dataclass; fields with `init=False` are left to it.

  Raises:
    TypeError: `cls` is not a dataclass, or has a field that `config` lacks.
      Both are mistakes in our code, not in a user's file.
  """
  names = _view_fields(cls)
  missing = [n for n in names if not hasattr(config, n)]
  if missing:
    raise TypeError(
      f'{cls.__name__} has fields that Config does not: {missing}.'
    )
  return cls(**{n: getattr(config, n) for n in names})


def check_views(
  config_cls: type,
  view_classes: Iterable[type],
  unclaimed: Mapping[str, str] = UNCLAIMED,
) -> list[str]:
  """Returns what is wrong with the division of `Config` into views.

  Wrong is: a view field that `Config` lacks, or whose default differs; an
  option that no view claims and that `unclaimed` does not excuse; an entry of
  `unclaimed` that is claimed or does not exist.
  """
  options = {f.name: f for f in dataclasses.fields(config_cls)}
  problems = []
  claimed: set[str] = set()
  for cls in view_classes:
    for name, field in _view_fields(cls).items():
      claimed.add(name)
      default = option.default_of(field)
      if name not in options:
        problems.append(f'{cls.__name__}.{name} is not an option of Config')
      elif default is not dataclasses.MISSING and default != (
        want := option.default_of(options[name])
      ):
        problems.append(
          f'{cls.__name__}.{name} defaults to {default!r}, Config to {want!r}'
        )
  for name in sorted(set(options) - claimed - set(unclaimed)):
    problems.append(f'Config.{name} is claimed by no view')
  for name in sorted(set(unclaimed) & claimed):
    problems.append(f'Config.{name} is claimed, yet listed as unclaimed')
  for name in sorted(set(unclaimed) - set(options)):
    problems.append(f'{name} is listed as unclaimed, but is no option')
  return problems


def _view_fields(cls: type) -> dict[str, dataclasses.Field]:
  """Returns the constructor fields of a view by name."""
  if not dataclasses.is_dataclass(cls):
    raise TypeError(f'A view must be a dataclass; {cls!r} is not.')
  return {f.name: f for f in dataclasses.fields(cls) if f.init}
