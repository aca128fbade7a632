"""Ends a run when the machine is wanted back, without losing a step."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from multinerf import parallel

# Sent by job schedulers some time before they kill, and by Ctrl-C.
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
  """Notes the first of `SIGNALS`; the second ends the process at once.

  Inside the `with` block, in the main thread; elsewhere signals stay with
  whoever handles them, and nothing is ever received.
  """

  def __init__(self):
    self.received: signal.Signals | None = None
    self._before: dict[signal.Signals, object] = {}

  def __enter__(self) -> 'StopSignals':
    if threading.current_thread() is threading.main_thread():
      for number in SIGNALS:
        self._before[number] = signal.signal(number, self._on_signal)
    return self

  def __exit__(self, *exc_info: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)
    self._before = {}

  def __call__(self) -> bool:
    """Whether the run should end."""
    return self.received is not None

  @property
  def name(self) -> str:
    """What ended the run, if something did."""
    if self.received is None:
      return 'A signal to another process'
    return self.received.name

  def _on_signal(self, number: int, frame: FrameType | None) -> None:
    del frame
    if self.received is not None:
      os._exit(128 + number)
    self.received = signal.Signals(number)


def agreed(
  signals: StopSignals,
) -> contextlib.AbstractContextManager[Callable[[], bool]]:
  """What to ask before each dispatch: the same in all processes.

  Args:
    signals: Those of this process, noted inside its `with` block.

  Returns:
    A context manager; with a single process the signals decide at once.
  """
  if parallel.is_distributed():
    return parallel.StopTogether(signals)
  return contextlib.nullcontext(signals)
