"""Signals end a run in order, a second one at once."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from multinerf.training import loop, preemption

SECOND = """
import os, signal, sys, time
from multinerf.training import preemption
with preemption.StopSignals() as stop:
  for _ in range(2):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.05)
print('still here')
"""


@pytest.mark.parametrize('number', preemption.SIGNALS)
def test_the_first_signal_ends_the_loop_after_the_step_it_came_in(number):
  step = 0

  def advance():
    nonlocal step
    step += 1
    if step == 3:
      os.kill(os.getpid(), number)
    return step, None, None

  seen = []
  before = signal.getsignal(number)
  with preemption.StopSignals() as stop:
    last = loop.fit(
      advance,
      first_step=1,
      last_step=9,
      hooks=[lambda step, state, stats: seen.append(step)],
      stop=stop,
    )
  assert last == 3 and seen == [1, 2, 3] and stop.received == number
  assert signal.getsignal(number) is before


def test_without_signals_the_loop_goes_to_its_end():
  steps = iter(range(1, 10))
  with preemption.StopSignals() as stop:
    last = loop.fit(
      lambda: (next(steps), None, None),
      first_step=1,
      last_step=9,
      hooks=[],
      stop=stop,
    )
  assert last == 9 and not stop()


def test_the_second_signal_ends_the_process_at_once():
  done = subprocess.run(
    [sys.executable, '-c', SECOND], capture_output=True, text=True, check=False
  )
  assert done.returncode == 128 + signal.SIGTERM
  assert 'still here' not in done.stdout


def test_in_another_thread_signals_are_left_alone():
  before = signal.getsignal(signal.SIGTERM)

  def enter():
    with preemption.StopSignals():
      found.append(signal.getsignal(signal.SIGTERM))

  found = []
  thread = threading.Thread(target=enter)
  thread.start()
  thread.join()
  assert found == [before]
