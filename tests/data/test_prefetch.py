"""Items come in order, ahead of time but not too far, and errors arrive."""

import threading
import time
import traceback

import pytest

from multinerf.data import prefetch

_PATIENCE = 20.0  # seconds before a hang is called one; never waited when fine


def _wait_until(condition):
  limit = time.monotonic() + _PATIENCE
  while not condition():
    assert time.monotonic() < limit, 'waited in vain'
    time.sleep(0.001)


def _threads():
  return [t for t in threading.enumerate() if 'prefetch' in t.name]


@pytest.mark.parametrize('queue_size', [1, 3])
def test_items_come_in_order_from_the_start_step(queue_size):
  with prefetch.Prefetcher(lambda s: s * s, 7, queue_size) as items:
    assert [next(items) for _ in range(50)] == [s * s for s in range(7, 57)]


def test_look_ahead_is_bounded_and_used():
  calls = []
  with prefetch.Prefetcher(calls.append, 0, 3) as items:
    _wait_until(lambda: len(calls) == 3)
    time.sleep(0.05)  # time for a fourth call, were there one
    assert calls == [0, 1, 2]
    next(items)
    _wait_until(lambda: len(calls) == 4)
    time.sleep(0.05)
    assert calls == [0, 1, 2, 3]


def test_work_overlaps_with_the_consumer():
  computed = threading.Event()

  def fn(step):
    if step == 1:
      computed.set()
    return step

  with prefetch.Prefetcher(fn, 0, 2) as items:
    assert next(items) == 0
    assert computed.wait(_PATIENCE)  # without asking for step 1


def test_no_thread_before_the_first_use():
  before = len(_threads())
  items = prefetch.Prefetcher(lambda s: s)
  assert len(_threads()) == before
  assert next(items) == 0
  assert len(_threads()) == before + 1
  items.close()
  assert len(_threads()) == before


def _fails_at_three(step):
  if step == 3:
    raise KeyError('rotten pixel')
  return step


def test_error_arrives_at_its_step_with_its_traceback():
  with prefetch.Prefetcher(_fails_at_three, 0, 8) as items:
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match='rotten pixel') as info:
      next(items)
    frames = [f.name for f in traceback.extract_tb(info.value.__traceback__)]
    assert '_fails_at_three' in frames


def test_error_is_raised_again_instead_of_hanging():
  with prefetch.Prefetcher(_fails_at_three, 3) as items:
    lengths = []
    for _ in range(3):
      with pytest.raises(KeyError) as info:
        next(items)
      lengths.append(len(traceback.extract_tb(info.value.__traceback__)))
  assert lengths[1] == lengths[2]  # the traceback does not grow


def test_stop_iteration_in_the_function_is_not_the_end_of_the_data():
  def fn(step):
    raise StopIteration

  with prefetch.Prefetcher(fn) as items:
    with pytest.raises(RuntimeError, match='StopIteration'):
      for _ in items:
        pass


def test_close_while_the_thread_waits_for_room_joins_it():
  calls = []
  items = prefetch.Prefetcher(calls.append, 0, 2)
  items.__enter__()
  _wait_until(lambda: len(calls) == 2)
  closer = threading.Thread(target=items.close)
  closer.start()
  closer.join(_PATIENCE)
  assert not closer.is_alive()
  assert items._thread is not None and not items._thread.is_alive()
  assert len(calls) == 2


def test_close_during_a_call_waits_for_that_call_only():
  running, release, calls = threading.Event(), threading.Event(), []

  def fn(step):
    calls.append(step)
    running.set()
    assert release.wait(_PATIENCE)

  items = prefetch.Prefetcher(fn)
  items.__enter__()
  assert running.wait(_PATIENCE)
  closer = threading.Thread(target=items.close)
  closer.start()
  _wait_until(lambda: items._closed)
  release.set()
  closer.join(_PATIENCE)
  assert not closer.is_alive()
  assert calls == [0]


def test_close_wakes_a_consumer_that_waits():
  release, outcome = threading.Event(), []
  items = prefetch.Prefetcher(lambda s: release.wait(_PATIENCE))

  def consume():
    try:
      next(items)
    except RuntimeError as e:
      outcome.append(str(e))

  consumer = threading.Thread(target=consume)
  consumer.start()
  _wait_until(lambda: items._thread is not None)
  closer = threading.Thread(target=items.close)
  closer.start()
  consumer.join(_PATIENCE)
  assert outcome == ['The prefetcher is closed.']
  release.set()
  closer.join(_PATIENCE)
  assert not closer.is_alive()


def test_closed_prefetcher_refuses_and_close_may_repeat():
  items = prefetch.Prefetcher(lambda s: s)
  items.close()
  items.close()
  with pytest.raises(RuntimeError, match='closed'):
    next(items)


def test_error_in_the_with_block_still_joins_the_thread():
  with pytest.raises(ZeroDivisionError):
    with prefetch.Prefetcher(lambda s: s) as items:
      thread = items._thread
      raise ZeroDivisionError
  assert thread is not None and not thread.is_alive()


def test_queue_without_room_is_refused():
  with pytest.raises(ValueError, match='prefetch_batches'):
    prefetch.Prefetcher(lambda s: s, 0, 0)
