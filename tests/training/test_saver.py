"""A run outlives checkpoints that cannot be written, but not the last one."""

import errno
import os

import numpy as np
import pytest

from multinerf import errors
from multinerf.training import checkpoints, durable, saver


def state(step):
  return {'step': np.int32(step), 'params': np.full(3, step, np.float32)}


@pytest.fixture
def full_disk(monkeypatch):
  """Switches between a disk that takes all writes and one that takes none."""
  real = os.fsync
  full = [False]

  def fsync(descriptor):
    if full[0]:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    real(descriptor)

  monkeypatch.setattr(durable.os, 'fsync', fsync)
  return lambda value: full.__setitem__(0, value)


def test_a_checkpoint_that_is_not_required_is_only_a_warning(
  tmp_path, full_disk
):
  heard = []
  with saver.CheckpointWriter(tmp_path, keep=9, warn=heard.append) as writer:
    writer.save(state(1), 1, required=False)
    writer.wait()
    full_disk(True)
    for step in (2, 3):
      writer.save(state(step), step, required=False)
    writer.wait()
    full_disk(False)
    writer.save(state(4), 4)
  assert checkpoints.available_steps(tmp_path) == [1, 4]
  assert len(heard) == 2
  assert all('No space left' in h and 'goes on' in h for h in heard)


def test_the_required_one_is_an_error_and_the_one_before_is_intact(
  tmp_path, full_disk
):
  writer = saver.CheckpointWriter(tmp_path, keep=1)
  writer.save(state(1), 1, required=False)
  writer.wait()
  full_disk(True)
  writer.save(state(2), 2, required=True)
  with pytest.raises(errors.CheckpointError, match='No space left'):
    writer.close()
  found, _ = checkpoints.restore(tmp_path, state(0))
  np.testing.assert_array_equal(found['params'], state(1)['params'])


def test_a_bug_on_the_thread_is_raised_whatever_was_required(tmp_path):
  writer = saver.CheckpointWriter(tmp_path, keep=1)
  writer.save(state(1), 2, required=False)  # another step than the state's
  with pytest.raises(ValueError, match='step 1 is saved as step 2'):
    writer.close()


def test_every_so_many_steps_one_stays_for_good(tmp_path):
  with saver.CheckpointWriter(tmp_path, keep=2, keep_every=30) as writer:
    for step in range(10, 101, 10):
      writer.save(state(step), step)
  assert checkpoints.available_steps(tmp_path) == [30, 60, 90, 100]
