"""Reports: what happened since the last one, to whoever listens.

Statistics stay on the device until a report fetches them all at once. Time is
training time: compilation, evaluation and checkpoints are left out.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from multinerf import parallel
from multinerf.training import loop
from multinerf.training import stats as stats_lib


class Clock:
  """Counts training seconds; stands still while something else is done.

  Args:
    seconds: Where to start: the time that a resumed run had taken.
  """

  def __init__(self, seconds: float = 0.0):
    self._seconds = seconds
    self._since: float | None = None

  @property
  def running(self) -> bool:
    """Whether it counts at the moment."""
    return self._since is not None

  def start(self) -> None:
    """Starts or goes on counting."""
    if self._since is None:
      self._since = time.perf_counter()

  def stop(self) -> None:
    """Stops counting."""
    self._seconds = self.seconds()
    self._since = None

  def seconds(self) -> float:
    """Returns the training seconds so far."""
    running = 0.0 if self._since is None else time.perf_counter() - self._since
    return self._seconds + running

  @contextlib.contextmanager
  def paused(self, state: Any = None) -> Iterator[None]:
    """Stands still inside the block.

    Args:
      state: Waited for first: steps that were only enqueued are training.
    """
    parallel.wait(state)
    self.stop()
    try:
      yield
    finally:
      self.start()


@dataclasses.dataclass(frozen=True)
class Report:
  """The steps since the last report.

  Attributes:
    step: The latest one.
    table: name -> [steps, ...] statistics.
    seconds: Training time of these steps.
    total_seconds: Training time of the whole run, earlier sessions included.
  """

  step: int
  table: dict[str, np.ndarray]
  seconds: float
  total_seconds: float

  @property
  def num_steps(self) -> int:
    """How many steps the report covers."""
    return len(self.table['loss'])

  def mean(self, name: str) -> float:
    """Mean over the steps; for a vector, of its last entry."""
    values = self.table[name]
    return float(np.mean(values.reshape(len(values), -1)[:, -1]))


class Reporter:
  """Hook that gathers statistics and reports them every `period` steps.

  Args:
    period: Steps between reports; also at steps 1 and `last`.
    last: The final step.
    clock: Of the training loop.
    listeners: Called with each `Report`, in order, the clock standing still.
  """

  def __init__(
    self,
    period: int,
    last: int,
    clock: Clock,
    listeners: Sequence[Callable[[Report], None]],
  ):
    self._period = period
    self._last = last
    self._clock = clock
    self._listeners = listeners
    self._pending: list[stats_lib.PackedStats] = []
    self._reported_seconds = clock.seconds()

  def __call__(
    self, step: int, state: Any, stats: stats_lib.PackedStats
  ) -> None:
    """Keeps the step's statistics; reports when due."""
    self._pending.append(stats)
    if not loop.due(step, self._period, last=self._last, first=True):
      return
    table = stats_lib.unpack(self._pending)
    self._pending = []
    with self._clock.paused(state):
      total = self._clock.seconds()
      seconds = total - self._reported_seconds
      report = Report(step, table, seconds, total)
      for listener in self._listeners:
        listener(report)
    self._reported_seconds = self._clock.seconds()
