"""Which cores are ours, with and without a system that tells."""

import os
import subprocess
import sys

import pytest

from multinerf import parallel

COUNT = 'import os; print(*sorted(os.sched_getaffinity(0)))'
needs_linux = pytest.mark.skipif(
  not hasattr(os, 'sched_setaffinity'), reason='needs Linux'
)


def cores_of_a_child() -> list[int]:
  done = subprocess.run(
    [sys.executable, '-c', COUNT], capture_output=True, text=True, check=True
  )
  return [int(word) for word in done.stdout.split()]


@needs_linux
def test_the_cores_are_those_of_our_affinity():
  ours = sorted(os.sched_getaffinity(0))
  assert parallel.available_cores() == ours
  with parallel.on_cores(ours[-1:]):
    assert parallel.available_cores() == ours[-1:] == cores_of_a_child()
  assert parallel.available_cores() == ours


@needs_linux
def test_cores_are_ours_again_after_a_failure():
  ours = parallel.available_cores()
  with pytest.raises(ZeroDivisionError), parallel.on_cores(ours[:1]):
    raise ZeroDivisionError
  assert parallel.available_cores() == ours


def test_without_affinity_all_cores_are_ours_and_none_is_pinned(monkeypatch):
  for name in ('sched_getaffinity', 'sched_setaffinity'):  # as on macOS
    monkeypatch.delattr(os, name, raising=False)
  monkeypatch.setattr(os, 'cpu_count', lambda: 3)
  assert parallel.available_cores() == [0, 1, 2]
  with parallel.on_cores([0]):
    assert parallel.available_cores() == [0, 1, 2]
  monkeypatch.setattr(os, 'cpu_count', lambda: None)  # not known
  assert parallel.available_cores() == [0]
