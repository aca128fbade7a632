"""The step's memory of RobustNeRF's threshold: devices, resume, checkpoints."""

import functools

import jax
import model_util
import numpy as np
import pytest

from multinerf import errors, losses
from multinerf.training import checkpoints

ROBUST = losses.LossConfig(
  data_loss_type='robustnerf',
  enable_robustnerf_loss=True,
  robustnerf_inlier_quantile=0.8,
  robustnerf_inner_patch_size=1,
  data_coarse_loss_mult=0.1,
)
PATCHES, P = 8, 2
# What forgetting the threshold means: it is 1 again.
FORGOTTEN = {'threshold': np.float32(1)}


@functools.cache
def training(num_devices=1, loss=True):
  return model_util.training(num_devices, loss=ROBUST if loss else None)


def batch(seed):
  """Patches of random colours; half of them nearly right at the start."""
  one = model_util.batch(PATCHES * P * P, seed)
  one = jax.tree.map(lambda x: np.reshape(x, (PATCHES, P, P, -1)), one)
  rgb = np.array(one.rgb)
  rgb[::2] = 0.5 + 0.1 * rgb[::2]
  return one.replace(rgb=rgb)


def batches(*steps):
  return [batch(i) for i in steps]


def assert_identical(got, want):
  assert jax.tree.structure(got) == jax.tree.structure(want)
  jax.tree.map(np.testing.assert_array_equal, got, want)


def test_the_threshold_follows_the_errors_and_the_mask_the_threshold():
  last, table = training().run(batches(0, 1, 2))
  thresholds = table['loss_threshold']
  assert last.loss_state['threshold'] == thresholds[-1]
  # The first step has the threshold 1, below which all errors of colours are.
  assert table['is_inlier_loss'][0] == 1 and table['mask'][0] == 1
  assert np.all((thresholds > 0) & (thresholds < 1))
  assert np.all(table['is_inlier_loss'][1:] < 1)
  assert table['losses/data'][1] < table['mses'][1, -1]


@pytest.mark.slow
def test_one_device_and_eight_take_the_same_steps():
  one, one_stats = training(1).run(batches(0, 1, 2))
  eight, eight_stats = training(8).run(batches(0, 1, 2))
  # As in test_step.py, after three steps. The mean of eight quantiles would
  # be another threshold, by 10 % and more, and another mask.
  for name in one_stats:
    np.testing.assert_allclose(
      eight_stats[name], one_stats[name], rtol=1e-4, atol=1e-7, err_msg=name
    )
  np.testing.assert_allclose(
    eight.loss_state['threshold'], one.loss_state['threshold'], rtol=1e-5
  )
  jax.tree.map(
    lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5),
    eight.params,
    one.params,
  )


def test_a_run_resumed_from_a_checkpoint_ends_with_the_same_bits(tmp_path):
  run = training()
  whole, _ = run.run(batches(0, 1, 2, 3))
  half, _ = run.run(batches(0, 1))
  checkpoints.save(tmp_path, half, 2, keep=1)
  found, _ = checkpoints.restore(tmp_path, run.first)
  assert_identical(found, half)
  resumed, _ = run.run(batches(2, 3), first=found)
  assert_identical(resumed, whole)
  # The test would see a forgotten threshold (upstream defect 9).
  forgetful = found.replace(loss_state=FORGOTTEN)
  other, table = run.run(batches(2, 3), first=forgetful)
  assert table['mask'][0] == 1
  kernel = lambda s: s.params['params']['NerfMLP_0']['Dense_0']['kernel']
  assert np.abs(kernel(other) - kernel(whole)).max() > 1e-4


def test_a_checkpoint_without_memory_still_renders_and_resumes(tmp_path):
  # As saved by MultiNeRF (and by us, before losses had a memory).
  plain = training(loss=False).first
  assert plain.loss_state == {}
  fields = {k: v for k, v in vars(plain).items() if k != 'loss_state'}
  checkpoints.save(tmp_path, fields, 0, keep=1)
  found, _ = checkpoints.restore(tmp_path, plain)
  assert_identical(found, plain)
  # For evaluation it does not matter which loss the parameters are from.
  robust = training().first
  found, _ = checkpoints.restore(tmp_path, robust, only=('step', 'params'))
  assert_identical(found, robust)
  # To go on with another loss is another run, and an error that says so.
  with pytest.raises(errors.CheckpointError, match='loss_state/threshold'):
    checkpoints.restore(tmp_path, robust)
