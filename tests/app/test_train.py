"""What training leaves behind when it must give up."""

import dataclasses

import numpy as np
import pytest

from multinerf import errors
from multinerf.app import train
from multinerf.config import schema
from multinerf.training import checkpoints, guards, report


class Trainer:
  """Stands for one that has taken 7 steps."""

  step_number = 7

  def __init__(self, error=None):
    self.error, self.folders = error, []

  def save(self, folder):
    if self.error:
      raise self.error
    self.folders.append(folder)


class Shown(list):
  def warn(self, message):
    self.append(message)


def give_up(trainer, folder, error, shown):
  with pytest.raises(type(error)) as info:
    with train._state_kept_if_diverged(trainer, str(folder), shown):
      raise error
  assert info.value is error


def test_a_state_that_diverged_is_kept_where_no_resume_sees_it(tmp_path):
  trainer, shown = Trainer(), Shown()
  give_up(trainer, tmp_path, errors.TrainingDivergedError('nan'), shown)
  assert trainer.folders == [str(tmp_path / 'diverged_step_7')]
  assert 'diverged_step_7' in shown[0]
  (tmp_path / 'diverged_step_7').mkdir()
  (tmp_path / 'diverged_step_7' / 'checkpoint_7').write_bytes(b'')
  assert checkpoints.available_steps(tmp_path) == []


def test_a_full_disk_does_not_hide_the_divergence(tmp_path):
  trainer, shown = Trainer(errors.CheckpointError('no room')), Shown()
  give_up(trainer, tmp_path, errors.TrainingDivergedError('nan'), shown)
  assert shown == ['no room']


@pytest.mark.parametrize(
  'error', [guards.FieldCollapsedError('dead'), errors.DataError('x')]
)
def test_other_ends_keep_nothing(tmp_path, error):
  trainer, shown = Trainer(), Shown()
  give_up(trainer, tmp_path, error, shown)
  assert trainer.folders == [] and shown == []


def dead_report(step):
  """Of a field that shows one colour: its error is the colours' variance."""
  same = {'mses': 0.1, 'color_spread': 0.1, 'psnr': 10.0, 'loss': 0.1}
  table = {name: np.full((1,), value) for name, value in same.items()}
  return report.Report(step, table, seconds=1.0, total_seconds=1.0)


@pytest.mark.parametrize(
  'check_step, delay, decides', [(500, 512, 1024), (2000, 512, 2000)]
)
def test_a_field_is_not_called_dead_before_twice_the_warm_up(
  check_step, delay, decides
):
  config = schema.Config(collapse_check_step=check_step, lr_delay_steps=delay)
  guard = train._collapse_guard(config, first=1)
  guard(dead_report(decides - 1))
  with pytest.raises(guards.FieldCollapsedError):
    guard(dead_report(decides))


def test_a_run_resumed_after_the_deciding_report_is_not_looked_at_again():
  config = schema.Config(
    collapse_check_step=950, lr_delay_steps=0, print_every=100
  )
  assert train._collapse_guard(config, first=1000) is not None
  assert train._collapse_guard(config, first=1001) is None
  off = dataclasses.replace(config, collapse_guard=False)
  assert train._collapse_guard(off, first=1) is None
