"""The processor cores of this process, and of those it starts.

Linux tells and sets them. Elsewhere (macOS) Python has no such calls: all cores
count as ours, and nothing is pinned.
"""

import contextlib
import os
from collections.abc import Collection, Iterator


def available_cores() -> list[int]:
  """Returns the numbers of the cores that this process may use, ascending."""
  if can_pin_cores():
    return sorted(os.sched_getaffinity(0))
  return list(range(os.cpu_count() or 1))


def can_pin_cores() -> bool:
  """Returns whether `on_cores` has an effect on this system."""
  return hasattr(os, 'sched_getaffinity') and hasattr(os, 'sched_setaffinity')


@contextlib.contextmanager
def on_cores(cores: Collection[int] | None) -> Iterator[None]:
  """What is started inside runs on these cores.

  Args:
    cores: Some of `available_cores`; None: all of them.
  """
  if cores is None or not can_pin_cores():
    yield
    return
  before = os.sched_getaffinity(0)
  os.sched_setaffinity(0, cores)
  try:
    yield
  finally:
    os.sched_setaffinity(0, before)
