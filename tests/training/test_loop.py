"""What is due when, and the order of things in a step."""

import gc

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


def test_fit_calls_every_hook_after_each_step_in_order():
  calls = []
  states = iter('abc')

  def advance():
    state = next(states)
    calls.append(('step', state))
    return state, f'stats of {state}'

  def hook(name):
    return lambda step, state, stats: calls.append((name, step, state, stats))

  loop.fit(advance, first_step=5, last_step=7, hooks=[hook('x'), hook('y')])
  assert calls == [
    call
    for step, state in ((5, 'a'), (6, 'b'), (7, 'c'))
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
    loop.fit(lambda: (0, None), first_step=1, last_step=9, hooks=[hook])
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
