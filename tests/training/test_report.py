"""The clock of training, and reports of what happened since the last one."""

import types

import numpy as np
import pytest

from multinerf.training import report, stats


class Time:
  """A hand that the test moves."""

  now = 100.0

  def perf_counter(self):
    return self.now


@pytest.fixture
def hand(monkeypatch):
  hand = Time()
  monkeypatch.setattr(
    report, 'time', types.SimpleNamespace(perf_counter=hand.perf_counter)
  )
  return hand


def test_clock_counts_only_between_start_and_stop(hand):
  clock = report.Clock()
  hand.now += 5
  assert clock.seconds() == 0 and not clock.running
  clock.start()
  hand.now += 3
  assert clock.seconds() == 3 and clock.running
  clock.stop()
  hand.now += 7
  assert clock.seconds() == 3 and not clock.running
  clock.start()
  hand.now += 1
  assert clock.seconds() == 4


def test_clock_started_or_stopped_twice_counts_once(hand):
  clock = report.Clock()
  clock.start()
  hand.now += 2
  clock.start()
  hand.now += 2
  clock.stop()
  clock.stop()
  assert clock.seconds() == 4


def test_clock_of_a_resumed_run_starts_where_it_was(hand):
  clock = report.Clock(seconds=60.0)
  clock.start()
  hand.now += 2
  assert clock.seconds() == 62


def test_pause_is_not_counted_and_goes_on_after_an_error(hand):
  clock = report.Clock()
  clock.start()
  hand.now += 2
  with clock.paused():
    hand.now += 50
    assert clock.seconds() == 2
  hand.now += 1
  assert clock.seconds() == 3
  with pytest.raises(ZeroDivisionError), clock.paused():
    hand.now += 50
    raise ZeroDivisionError
  hand.now += 1
  assert clock.seconds() == 4 and clock.running


def test_pause_waits_for_steps_in_flight_before_it_stops(hand, monkeypatch):
  waited = []

  def wait(state):
    waited.append(state)
    hand.now += 10  # the queued steps

  monkeypatch.setattr(report.parallel, 'wait', wait)
  clock = report.Clock()
  clock.start()
  with clock.paused('state'):
    pass
  assert waited == ['state']
  assert clock.seconds() == 10


def test_report_means_are_over_steps_and_of_the_last_level():
  table = {
    'loss': np.float32([1, 2, 6]),
    'mses': np.float32([[9, 1], [9, 2], [9, 3]]),
  }
  one = report.Report(step=30, table=table, seconds=1.0, total_seconds=2.0)
  assert one.num_steps == 3
  assert one.mean('loss') == 3
  assert one.mean('mses') == 2


def packed(value):
  one = stats.pack({'loss': np.float32(value)})
  return one.replace(values=one.values[None])


def test_reports_at_step_1_every_period_and_last_cover_every_step_once(hand):
  clock, seen = report.Clock(), []
  clock.start()

  def slow_listener(found):
    assert not clock.running
    hand.now += 1000
    seen.append(found)

  hook = report.Reporter(3, 8, clock, [slow_listener])
  for step in range(1, 9):
    hand.now += 2
    hook(step, None, packed(step))
  assert [r.step for r in seen] == [1, 3, 6, 8]
  assert [list(r.table['loss']) for r in seen] == [
    [1],
    [2, 3],
    [4, 5, 6],
    [7, 8],
  ]
  assert [r.seconds for r in seen] == [2, 4, 6, 4]
  assert [r.total_seconds for r in seen] == [2, 6, 12, 16]


def test_reports_of_a_resumed_run_count_its_own_steps(hand):
  clock, seen = report.Clock(seconds=100.0), []
  clock.start()
  hook = report.Reporter(10, 20, clock, [seen.append])
  for step in range(16, 21):
    hand.now += 1
    hook(step, None, packed(step))
  (only,) = seen
  assert only.num_steps == 5
  assert (only.seconds, only.total_seconds) == (5, 105)


def test_listeners_run_in_order_and_an_error_of_one_ends_the_run(hand):
  order = []

  def guard(found):
    order.append('guard')
    raise RuntimeError

  hook = report.Reporter(
    1, 5, report.Clock(), [lambda r: order.append('print'), guard, order.append]
  )
  with pytest.raises(RuntimeError):
    hook(1, None, packed(1))
  assert order == ['print', 'guard']
