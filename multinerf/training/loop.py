"""The loop around the step, and what runs at its side."""

import gc
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from multinerf.training import stats as stats_lib

Advance = Callable[[], tuple[int, Any, stats_lib.PackedStats]]


@runtime_checkable
class Hook(Protocol):
  """Runs after every dispatch; decides itself whether anything is due.

  A dispatch is one step, or several with `Config.steps_per_dispatch`; it then
  ends at least where `Config` has something due (`dispatch_size`).
  """

  def __call__(
    self, step: int, state: Any, stats: stats_lib.PackedStats
  ) -> None:
    """Sees the replicated state after `step` updates, still on the device.

    The next step takes the state's memory: copy what is needed later.
    """
    ...


def due(step: int, period: int, *, last: int, first: bool = False) -> bool:
  """Whether something with this period happens at `step`.

  Args:
    step: Updates made, >= 1.
    period: Every how many; <= 0 means never.
    last: The final step, at which everything periodic happens once more.
    first: Also at step 1.
  """
  if period <= 0:
    return False
  return step % period == 0 or step == last or (first and step == 1)


def dispatch_size(
  step: int, most: int, periods: Sequence[int], *, last: int
) -> int:
  """How many steps to take at once after `step` updates.

  Either `most` or 1: every other number would be one more program to compile.

  Args:
    step: Updates made, >= 0.
    most: `Config.steps_per_dispatch`.
    periods: Of everything that may be due (see `due`).
    last: The final step.

  Returns:
    `most`, unless that would pass over a step where something is due.
  """
  passed = range(step + 1, step + most)
  if step + most > last or any(
    due(s, period, last=last, first=True) for s in passed for period in periods
  ):
    return 1
  return most


def fit(
  advance: Advance,
  *,
  first_step: int,
  last_step: int,
  hooks: Sequence[Hook],
  stop: Callable[[], bool] = lambda: False,
) -> int:
  """Takes the steps first_step .. last_step and calls the hooks in between.

  Args:
    advance: Takes one dispatch; returns the number of the step it ends with,
      the new state and the statistics, without waiting for them.
    first_step: Number of the first update, 1 for a fresh start.
    last_step: Number of the last; nothing happens if it is smaller.
    hooks: In the order in which they run after each dispatch.
    stop: Asked before each dispatch whether to end early.

  Returns:
    The last step taken.
  """
  step = first_step - 1
  while step < last_step and not stop():
    step, state, stats = advance()
    for hook in hooks:
      hook(step, state, stats)
  return step


class GarbageCollector:
  """Collects garbage at its own times instead of in the middle of a step.

  Args:
    period: Steps between collections; <= 0 leaves Python's own schedule.
  """

  def __init__(self, period: int):
    self._period = period
    self._was_enabled = True

  def __enter__(self) -> 'GarbageCollector':
    self._was_enabled = gc.isenabled()
    if self._period > 0:
      gc.disable()
    return self

  def __exit__(self, *exc_info: Any) -> None:
    if self._was_enabled:
      gc.enable()

  def __call__(
    self, step: int, state: Any, stats: stats_lib.PackedStats
  ) -> None:
    """Collects when due."""
    del state, stats
    if self._period > 0 and step % self._period == 0:
      gc.collect()
