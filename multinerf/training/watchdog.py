"""Says what every thread is doing when training stands still.

A dead file server, a peer that never answers, a deadlock: such a run looks
alive to its scheduler and writes nothing. The stacks tell which it is.
"""

import contextlib
import faulthandler
import time
from collections.abc import Callable, Iterator
from typing import Any

from multinerf.training import loop
from multinerf.training import stats as stats_lib

_STDERR = 2


class Watchdog:
  """Hook that writes all stacks when no dispatch has ended for long.

  The clock is faulthandler's, a thread outside of Python: it works also while
  a call into C holds the interpreter for ever. There is one such clock in a
  process. It does not kill: whether to is for people and schedulers to decide.

  Nothing is watched before the first dispatch has ended (it compiles), nor in
  what `excusing` wraps. To be used as a context manager.

  Args:
    minutes: Without a sign of life; 0 watches nothing.
    warn: Called with one line when the next dispatch does end.
    file: Descriptor of an open file that the stacks go to.
  """

  def __init__(
    self,
    minutes: float,
    warn: Callable[[str], Any],
    *,
    file: int = _STDERR,
  ):
    self._seconds = 60 * minutes
    self._warn = warn
    self._file = file
    self._alive: float | None = None  # time of the last sign
    self._armed = 0.0  # when the clock was set

  def __enter__(self) -> 'Watchdog':
    return self

  def __exit__(self, *exc_info: Any) -> None:
    self._disarm()

  def __call__(
    self, step: int, state: Any, stats: stats_lib.PackedStats
  ) -> None:
    """A dispatch has ended."""
    del state, stats
    if not self._seconds:
      return
    now = time.monotonic()
    if self._alive is not None and now - self._alive > self._seconds:
      minutes = (now - self._alive) / 60
      self._warn(
        f'No step ended for {minutes:.1f} minutes before step {step}; what '
        'every thread was doing is on stderr (gin: Config.watchdog_minutes).'
      )
    self._alive = now
    # Setting the clock starts a thread: not at every step.
    if now - self._armed > min(1.0, self._seconds / 10):
      self._arm()

  def excusing(self, hook: loop.Hook) -> loop.Hook:
    """The same hook, which may take as long as it likes."""

    def excused(step: int, state: Any, stats: stats_lib.PackedStats) -> None:
      with self.paused():
        hook(step, state, stats)

    return excused

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Watches nothing inside the block."""
    watched = self._alive is not None
    self._disarm()
    try:
      yield
    finally:
      if watched:
        self._alive = time.monotonic()
        self._arm()

  def _arm(self) -> None:
    if self._seconds:
      self._armed = time.monotonic()
      faulthandler.dump_traceback_later(
        self._seconds, repeat=True, file=self._file
      )

  def _disarm(self) -> None:
    if self._alive is not None:
      faulthandler.cancel_dump_traceback_later()
    self._alive, self._armed = None, 0.0
