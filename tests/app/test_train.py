"""What training leaves behind when it must give up."""

import pytest

from multinerf import errors
from multinerf.app import train
from multinerf.training import checkpoints, guards


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
