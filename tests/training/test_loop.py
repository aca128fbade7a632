"""What is due when, and the order of things in a step."""

import gc
import itertools

import pytest

from multinerf.training import loop, stats

NOTHING = stats.PackedStats(values=None, layout=())


@pytest.mark.parametrize(
  'period, first, want',
  [
    (4, False, [4, 8, 10]),
    (4, True, [1, 4, 8, 10]),
    (5, False, [5, 10]),
    (1, True, list(range(1, 11))),
    (100, False, [10]),
    (100, True, [1, 10]),
    (0, True, []),
    (-1, True, []),
  ],
)
def test_due_every_period_at_the_last_step_and_if_asked_at_the_first(
  period, first, want
):
  got = [s for s in range(1, 11) if loop.due(s, period, last=10, first=first)]
  assert got == want


def dispatches(most, periods, *, last, start=0):
  """The steps at which dispatches end."""
  ends, step = [], start
  while step < last:
    step += loop.dispatch_size(step, most, periods, last=last)
    ends.append(step)
  return ends


@pytest.mark.parametrize('most', [1, 2, 3, 4, 7, 50])
@pytest.mark.parametrize('start', [0, 5])
def test_no_dispatch_passes_over_a_step_where_something_is_due(most, start):
  periods, last = (10, 15, 0), 52
  ends = dispatches(most, periods, last=last, start=start)
  for step in range(start + 1, last + 1):
    if any(loop.due(step, p, last=last, first=True) for p in periods):
      assert step in ends
  sizes = {b - a for a, b in zip([start, *ends], ends, strict=False)}
  assert sizes <= {1, most}


def test_steps_are_taken_together_where_nothing_is_due():
  assert dispatches(5, (10,), last=30) == [1, 6, *range(7, 11), 15, 20, 25, 30]
  assert dispatches(4, (100,), last=10, start=1) == [5, 9, 10]


def test_fit_calls_every_hook_after_each_dispatch_in_order():
  calls = []
  results = iter([(5, 'a'), (6, 'b'), (9, 'c')])

  def advance():
    step, state = next(results)
    calls.append(('step', state))
    return step, state, f'stats of {state}'

  def hook(name):
    return lambda step, state, stats: calls.append((name, step, state, stats))

  loop.fit(advance, first_step=5, last_step=9, hooks=[hook('x'), hook('y')])
  assert calls == [
    call
    for step, state in ((5, 'a'), (6, 'b'), (9, 'c'))
    for call in (
      ('step', state),
      ('x', step, state, f'stats of {state}'),
      ('y', step, state, f'stats of {state}'),
    )
  ]


def test_fit_of_a_finished_run_takes_no_step():
  def advance():
    raise AssertionError('a step too many')

  loop.fit(advance, first_step=11, last_step=10, hooks=[])


def test_fit_stops_at_a_hook_s_error():
  steps = []

  def hook(step, state, stats):
    steps.append(step)
    if step == 3:
      raise ValueError

  with pytest.raises(ValueError):
    count = itertools.count(1)
    advance = lambda: (next(count), None, None)
    loop.fit(advance, first_step=1, last_step=9, hooks=[hook])
  assert steps == [1, 2, 3]


def test_garbage_is_collected_at_its_own_times_only(monkeypatch):
  collected = []
  with loop.GarbageCollector(3) as collector:
    assert not gc.isenabled()
    monkeypatch.setattr(gc, 'collect', lambda: collected.append(step))
    for step in range(1, 8):
      collector(step, None, NOTHING)
  assert collected == [3, 6]
  assert gc.isenabled()


@pytest.mark.parametrize('period', [0, -1])
def test_without_a_period_python_s_own_schedule_is_left_alone(
  period, monkeypatch
):
  monkeypatch.setattr(gc, 'collect', lambda: pytest.fail('collected'))
  with loop.GarbageCollector(period) as collector:
    assert gc.isenabled()
    collector(10, None, NOTHING)
  assert gc.isenabled()


@pytest.mark.parametrize('period', [0, 3])
def test_the_collector_of_a_user_who_switched_it_off_stays_off(period):
  gc.disable()
  try:
    with loop.GarbageCollector(period):
      assert not gc.isenabled()
    assert not gc.isenabled()
  finally:
    gc.enable()
