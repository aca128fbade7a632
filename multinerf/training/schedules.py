"""Learning-rate schedules, chosen by name or given as an optax function."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optax

from multinerf import errors, registry
from multinerf.ops import curves

ScheduleBuilder = Callable[..., optax.Schedule]
SCHEDULES: registry.Registry[ScheduleBuilder] = registry.Registry(
  'learning-rate schedule', 'Config.lr_schedule'
)


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
  """The options of the learning rate; names and defaults as in `Config`."""

  lr_init: float = 0.002
  lr_final: float = 0.00002
  lr_delay_steps: int = 512
  lr_delay_mult: float = 0.01
  max_steps: int = 250000
  lr_schedule: Any = 'log_lerp'
  lr_schedule_kwargs: Mapping[str, Any] = dataclasses.field(
    default_factory=dict
  )


@SCHEDULES.register('log_lerp')
def log_lerp(cfg: ScheduleConfig) -> optax.Schedule:
  """Log-linear from lr_init to lr_final, with a smooth delayed start.

  lr(i) = D(i) exp((1 - p) ln lr_init + p ln lr_final), p = i / max_steps;
  D = m + (1 - m) sin(pi/2 min(1, i / lr_delay_steps)), m = lr_delay_mult
  (JaxNeRF; the schedule of every MultiNeRF preset).
  """
  return create_learning_rate_decay(
    lr_init=cfg.lr_init,
    lr_final=cfg.lr_final,
    max_steps=cfg.max_steps,
    lr_delay_steps=cfg.lr_delay_steps,
    lr_delay_mult=cfg.lr_delay_mult,
  )


@SCHEDULES.register('warmup_cosine')
def warmup_cosine(cfg: ScheduleConfig) -> optax.Schedule:
  """Linear warm-up over lr_delay_steps, then a cosine down to lr_final."""
  return optax.warmup_cosine_decay_schedule(
    init_value=cfg.lr_init * cfg.lr_delay_mult,
    peak_value=cfg.lr_init,
    warmup_steps=cfg.lr_delay_steps,
    decay_steps=cfg.max_steps,
    end_value=cfg.lr_final,
  )


@SCHEDULES.register('piecewise')
def piecewise(cfg: ScheduleConfig) -> optax.Schedule:
  """lr_init, multiplied by a factor at each boundary.

  `Config.lr_schedule_kwargs = {'boundaries': {step: factor, ...}}`; by default
  a third of the total decay after 1/2, 3/4 and 9/10 of training each.
  """
  factor = (cfg.lr_final / cfg.lr_init) ** (1 / 3)
  default = {int(cfg.max_steps * f): factor for f in (0.5, 0.75, 0.9)}
  boundaries = cfg.lr_schedule_kwargs.get('boundaries', default)
  return optax.piecewise_constant_schedule(cfg.lr_init, dict(boundaries))


def make_schedule(cfg: ScheduleConfig) -> optax.Schedule:
  """Returns the function from the number of past updates to the rate.

  Args:
    cfg: `lr_schedule` is a registered name, or a builder such as
      `@optax.warmup_cosine_decay_schedule`, called with `lr_schedule_kwargs`.

  Raises:
    ConfigError: Unknown name, or the builder refuses its arguments.
  """
  if not callable(cfg.lr_schedule):
    return SCHEDULES.get(cfg.lr_schedule)(cfg)
  try:
    return cfg.lr_schedule(**cfg.lr_schedule_kwargs)
  except TypeError as error:
    raise errors.ConfigError(
      f'Config.lr_schedule: {error} (gin: Config.lr_schedule_kwargs = '
      f'{dict(cfg.lr_schedule_kwargs)}).'
    ) from error


def create_learning_rate_decay(**kwargs: Any) -> optax.Schedule:
  """`curves.learning_rate_decay` with everything but the step filled in.

  `Config.lr_schedule = @math.create_learning_rate_decay`, with the arguments in
  `Config.lr_schedule_kwargs`: lr_init, lr_final, max_steps, lr_delay_steps,
  lr_delay_mult.

  Raises:
    TypeError: An argument has another name, or one without default is missing.
  """
  inspect.signature(curves.learning_rate_decay).bind(0, **kwargs)
  return functools.partial(curves.learning_rate_decay, **kwargs)


def join_schedule_defs(
  schedule_defs: Sequence[tuple[Callable[..., optax.Schedule], Mapping]],
  boundaries: Sequence[int],
) -> optax.Schedule:
  """Schedules one after the other; each counts its steps from its boundary.

  Args:
    schedule_defs: (builder, its arguments) of each.
    boundaries: Steps at which the second, third, ... begins.

  Raises:
    ConfigError: Not one boundary fewer than schedules.
  """
  if len(boundaries) != len(schedule_defs) - 1:
    raise errors.ConfigError(
      f'join_schedule_defs: {len(schedule_defs)} schedules need '
      f'{len(schedule_defs) - 1} boundaries; got {list(boundaries)}.'
    )
  return optax.join_schedules(
    [build(**kwargs) for build, kwargs in schedule_defs], list(boundaries)
  )
