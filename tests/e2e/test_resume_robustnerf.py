"""RobustNeRF's threshold survives kill -9 (upstream_defects 9)."""

import signal

import numpy as np
import pytest
import run_util

from multinerf.training import checkpoints

STEPS = 12  # checkpoints at 4, 8 and 12
ROBUST = (
  f'Config.early_exit_steps = {STEPS}',
  "Config.data_loss_type = 'robustnerf'",
  'Config.enable_robustnerf_loss = True',
  'Config.robustnerf_inlier_quantile = 0.7',
  'Config.robustnerf_inner_patch_size = 2',
  'Config.patch_size = 4',
)
THRESHOLD = "['loss_state']['threshold']"
# As in test_resume.py: kill -9 at step 6, between two checkpoints.
PLUG_IN = """
import os, pathlib, signal, time
from multinerf.app import trainer
from multinerf.training import checkpoints

take_step = trainer.Trainer.step

def step(self):
  stats = take_step(self)
  if self.step_number == 6 and 'SURVIVE' not in os.environ:
    folder = pathlib.Path(self.config.checkpoint_dir)
    while 4 not in checkpoints.available_steps(folder):
      time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
  return stats

trainer.Trainer.step = step
"""


@pytest.mark.slow
def test_a_killed_robust_run_ends_bit_identical_to_one_that_was_not(tmp_path):
  scene = run_util.render_scene(tmp_path / 'scene')
  straight = tmp_path / 'straight'
  args = run_util.arguments(scene, straight, *ROBUST)
  done = run_util.start('train.py', args)
  assert (done.returncode, done.stderr) == (0, '')

  (tmp_path / 'die_early.py').write_text(PLUG_IN)
  folder = tmp_path / 'run'
  args = run_util.arguments(scene, folder, *ROBUST, 'import die_early')
  killed = run_util.start('train.py', args, PYTHONPATH=str(tmp_path))
  assert killed.returncode == -signal.SIGKILL, killed.stderr
  again = run_util.start(
    'train.py', args, PYTHONPATH=str(tmp_path), SURVIVE='1'
  )
  assert again.returncode == 0, again.stderr
  assert 'Resumed from step 4.' in again.stdout
  assert checkpoints.available_steps(folder) == [4, 8, STEPS]
  for step in (8, STEPS):
    got = run_util.leaves(folder, step)
    want = run_util.leaves(straight, step)
    assert got.keys() == want.keys() and 0 < want[THRESHOLD] < 1
    for name in want:
      np.testing.assert_array_equal(got[name], want[name], err_msg=name)
