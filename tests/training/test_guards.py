"""What must not happen silently."""

import numpy as np
import pytest

from multinerf import errors
from multinerf.training import guards, report


def nonfinite_report(step, runs, grads=None):
  """A report that ends at `step`, one entry of `runs` for each of its steps."""
  runs = np.float32(runs)
  table = {
    'loss': np.zeros(len(runs)),
    'nonfinite_steps': runs,
    'nonfinite_grads': np.float32(runs > 0 if grads is None else grads),
  }
  return report.Report(step, table, 1.0, 1.0)


@pytest.fixture
def lines():
  return []


def test_finite_steps_say_nothing(lines):
  guards.NonFiniteGuard(1, lines.append)(nonfinite_report(100, [0] * 100))
  assert lines == []


def test_a_few_bad_steps_warn_and_name_them(lines):
  guard = guards.NonFiniteGuard(3, lines.append)
  # Steps 96 .. 100; bad are 97, 98 and 100.
  guard(nonfinite_report(100, [0, 1, 2, 0, 1], [0, 4, 5, 0, 1]))
  (line,) = lines
  assert '10 non-finite gradient values' in line
  assert '3 steps between 97 and 100' in line


@pytest.mark.parametrize('limit, fails', [(2, True), (3, True), (4, False)])
def test_the_limit_counts_consecutive_steps(limit, fails, lines):
  guard = guards.NonFiniteGuard(limit, lines.append)
  found = nonfinite_report(10, [1, 2, 3, 0, 1, 2])
  if not fails:
    guard(found)
    assert len(lines) == 1
    return
  with pytest.raises(errors.TrainingDivergedError) as e:
    guard(found)
  assert '3 consecutive steps, 5 to 7' in str(e.value)
  assert f'Config.nonfinite_grad_limit = {limit}' in str(e.value)


def test_a_run_that_began_before_the_report_is_named_from_its_start(lines):
  guard = guards.NonFiniteGuard(5, lines.append)
  with pytest.raises(errors.TrainingDivergedError, match='7 .*, 97 to 103'):
    guard(nonfinite_report(103, [5, 6, 7]))


def test_limit_zero_only_warns(lines):
  guards.NonFiniteGuard(0, lines.append)(nonfinite_report(50, range(1, 51)))
  assert len(lines) == 1


def loss_report(step, losses):
  return report.Report(step, {'loss': np.float32(losses)}, 1.0, 1.0)


def calm_losses(num_reports=5, num_steps=100):
  gen = np.random.default_rng(0)
  return np.exp(gen.normal(-3, 0.2, (num_reports, num_steps)))


def test_a_loss_that_jumps_is_named_with_its_step_and_the_median(lines):
  guard = guards.SpikeGuard(lines.append)
  for i, losses in enumerate(calm_losses()):
    guard(loss_report(100 * (i + 1), losses))
  assert lines == []
  losses = calm_losses()[0]
  losses[41:43] = 2.0, 3.0
  guard(loss_report(600, losses))
  (line,) = lines
  assert 'jumped to 3 at step 543' in line
  assert 'median is 0.04' in line and '2 such steps' in line


def test_spikes_are_reported_now_and_then_but_all_are_counted(lines):
  guard = guards.SpikeGuard(lines.append)
  guard(loss_report(100, calm_losses()[0]))
  for i in range(11):
    losses = calm_losses()[1]
    losses[5] = 9.0
    guard(loss_report(200 + 100 * i, losses))
  assert len(lines) == 2
  assert '1 such steps' in lines[0] and '10 such steps' in lines[1]


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_losses_that_are_no_numbers_are_spikes_and_leave_no_trace(bad, lines):
  guard = guards.SpikeGuard(lines.append)
  guard(loss_report(100, calm_losses()[0]))
  guard(loss_report(200, [bad] * 100))
  guard(loss_report(300, calm_losses()[1]))
  assert len(lines) == 1 and '100 such steps' in lines[0]


def test_slow_changes_and_the_first_steps_are_no_spikes(lines):
  guard = guards.SpikeGuard(lines.append)
  for i, level in enumerate(np.geomspace(1, 1e-4, 40)):
    guard(loss_report(100 * (i + 1), level * calm_losses()[i % 5]))
  assert lines == []


def collapse_report(step, mse, spread, psnr=20.0, num_steps=10):
  """A report whose last level has the given error; the first is perfect."""
  table = {
    'loss': np.zeros(num_steps),
    'mses': np.float32([[0.0, mse]] * num_steps),
    'color_spread': np.float32([spread] * num_steps),
    'psnr': np.float32([psnr] * num_steps),
  }
  return report.Report(step, table, 1.0, 1.0)


@pytest.mark.parametrize(
  'mse, spread',
  [
    (0.05, 0.05),  # shows the mean colour
    (0.046, 0.05),  # explains 8 %
    (0.3, 0.05),  # shows black on white: worse than the mean
    (2e-6, 2e-6),  # a dark scene with little in it
  ],
)
def test_a_field_that_explains_nothing_is_dead(mse, spread):
  guard = guards.CollapseGuard(200)
  with pytest.raises(guards.FieldCollapsedError, match='After 200 steps'):
    guard(collapse_report(200, mse, spread))


@pytest.mark.parametrize(
  'mse, spread',
  [
    (0.005, 0.05),  # healthy
    (0.044, 0.05),  # slow, but it learns: 12 %
    (0.0, 0.0),  # images of one colour, rendered exactly
    (1e-4, 0.0),  # images of one colour, not learned yet
    (1e-6, 9e-7),  # rounding of 8-bit images of one colour
  ],
)
def test_learning_fields_and_single_colours_are_left_alone(mse, spread):
  guards.CollapseGuard(200)(collapse_report(200, mse, spread))


def test_the_first_report_at_or_after_the_check_step_decides_once():
  guard = guards.CollapseGuard(200)
  guard(collapse_report(100, 0.05, 0.05))  # too early to tell
  guard(collapse_report(300, 0.001, 0.05))  # healthy, decided
  guard(collapse_report(400, 0.05, 0.05))  # a batch of background later on
  late = guards.CollapseGuard(200)
  with pytest.raises(guards.FieldCollapsedError, match='After 300 steps'):
    late(collapse_report(300, 0.05, 0.05))


def test_collapse_is_a_divergence_that_callers_can_catch_alone():
  error = guards.FieldCollapsedError
  assert issubclass(error, errors.TrainingDivergedError)
  assert issubclass(error, errors.MultinerfError)
