"""Silence is noticed, also that of a call which never gives Python back."""

import contextlib
import pathlib
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from multinerf.training import stats as stats_lib
from multinerf.training import watchdog

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 0.2
STATS = stats_lib.PackedStats(np.zeros(0), ())


@contextlib.contextmanager
def started(tmp_path, seconds=SECONDS):
  """A watchdog, what it says, and the file that stacks go to."""
  heard, path = [], tmp_path / 'stacks'
  with open(path, 'wb') as file:
    dog = watchdog.Watchdog(seconds / 60, heard.append, file=file.fileno())
    with dog:
      yield dog, heard, path


def wait_for(condition, seconds=20.0):
  end = time.monotonic() + seconds
  while not condition() and time.monotonic() < end:
    time.sleep(0.01)
  assert condition()


def test_stacks_come_again_and_again_while_no_step_ends(tmp_path):
  with started(tmp_path) as (dog, heard, path):
    dog(1, None, STATS)
    wait_for(lambda: path.read_text().count('Timeout') >= 2)
    assert 'wait_for' in path.read_text()  # this function was on the stack
    dog(2, None, STATS)
  assert len(heard) == 1 and 'before step 2' in heard[0]
  said = path.read_text()
  time.sleep(2 * SECONDS)
  assert path.read_text() == said  # nothing after the end of training


def test_steps_that_end_and_excused_hooks_are_no_silence(tmp_path):
  calls = []

  def slow(step, state, stats):
    calls.append(step)
    time.sleep(6 * SECONDS)

  with started(tmp_path, 5 * SECONDS) as (dog, heard, path):
    hook = dog.excusing(slow)
    for step in range(1, 4):
      dog(step, None, STATS)
      time.sleep(SECONDS)
    hook(4, None, STATS)
    dog(4, None, STATS)
  assert calls == [4] and heard == [] and path.read_text() == ''


def test_the_time_before_the_first_step_is_not_watched(tmp_path):
  with started(tmp_path) as (_, heard, path):
    time.sleep(3 * SECONDS)
  assert heard == [] and path.read_text() == ''


@pytest.mark.parametrize('calls', [0, 3])
def test_zero_minutes_watch_nothing(tmp_path, calls):
  with started(tmp_path, 0.0) as (dog, heard, path):
    for step in range(calls):
      dog(step, None, STATS)
    time.sleep(SECONDS)
  assert heard == [] and path.read_text() == ''


def test_a_call_that_holds_the_interpreter_is_seen():
  """re.match does not let other threads run while it backtracks."""
  code = """
    import re
    from multinerf.training import watchdog
    with watchdog.Watchdog(0.2 / 60, print) as dog:
      dog(1, None, None)
      re.match(r'(a+)+$', 'a' * 200 + 'b')
  """
  process = subprocess.Popen(
    [sys.executable, '-c', textwrap.dedent(code)],
    cwd=CHECKOUT,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    assert 'Timeout' in process.stderr.readline()
  finally:
    process.kill()
    process.communicate()
