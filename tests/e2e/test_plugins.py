"""A user's own losses, in a file of theirs, train without a change of ours."""

import importlib
import sys

import gin
import numpy as np
import pytest
import run_util

from multinerf import losses
from multinerf.app import train
from multinerf.app import trainer as trainer_lib
from multinerf.config import gin_setup, views
from multinerf.data import base
from multinerf.training import stats

# What a user would write: one file, no change to the package.
MY_LOSSES = '''
import gin
import jax.numpy as jnp

from multinerf import losses


@losses.DATA_LOSSES.register('my_loss')
def my_loss(pred, target, cfg):
  """Absolute error; the 7 is to be found in the logs."""
  return 7 + jnp.abs(pred - target)


@gin.configurable
def opacity(inputs, cfg, mult=0.0):
  """Empties all rays, with an option of its own."""
  return mult * jnp.mean(jnp.sum(inputs.levels[-1].weights, axis=-1))


losses.register_regularizer('opacity', lambda cfg: True)(opacity)


@losses.DEPTH_LOSSES.register('my_depth')
def my_depth(level, depths, weights, cfg):
  """Nothing may be in front of the measured depth."""
  before = level.tdist[..., 1:] < depths[..., None]
  return 5 + jnp.mean(weights * jnp.sum(before * level.weights, axis=-1))
'''
MY_GIN = """
include 'blender_256.gin'
import {module}

Config.data_loss_type = 'my_loss'
Config.distortion_loss_mult = 0.
Config.depth_loss_mult = 2.
Config.depth_loss_type = 'my_depth'
opacity.mult = {mult}
"""
MODULE = 'losses_of_a_test'
STEPS = 40


@pytest.fixture(scope='module')
def scene(tmp_path_factory):
  return run_util.render_scene(tmp_path_factory.mktemp('data') / 'toys')


@pytest.fixture(scope='module')
def my_folder(tmp_path_factory):
  """A folder with the user's file on Python's path, forgotten afterwards."""
  folder = tmp_path_factory.mktemp('user')
  (folder / f'{MODULE}.py').write_text(MY_LOSSES)
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(folder))
    patch.delitem(sys.modules, MODULE, raising=False)
    for table in (losses.DATA_LOSSES, losses.REGULARIZERS, losses.DEPTH_LOSSES):
      patch.setattr(table, '_entries', dict(table._entries))
    yield folder


def test_losses_named_in_a_gin_file_train_and_are_logged(
  my_folder, scene, tmp_path
):
  config = tmp_path / 'my.gin'
  config.write_text(MY_GIN.format(module=MODULE, mult=10))
  run_dir = tmp_path / 'run'
  args = run_util.arguments(
    scene, run_dir, f'Config.early_exit_steps = {STEPS}'
  )
  args[0] = f'--gin_configs={config}'
  assert run_util.run(train.main, *args) == 0
  read = run_util.summaries(run_dir)
  found = {
    tag: {step: value.simple_value for step, value in values.items()}
    for tag, values in read.items()
  }
  acc = found['train_avg_acc']
  assert acc[STEPS] < 0.2 * acc[1]  # measured: 0.45 -> 0.00
  for step in (1, STEPS):
    value = {
      name: found[f'train_avg_losses/{name}'][step]
      for name in ('data', 'opacity', 'depth')
    }
    assert 7 < value['data'] < 8
    np.testing.assert_allclose(value['opacity'], 10 * acc[step], rtol=1e-5)
    assert 2 * 5 <= value['depth'] < 2 * 6
  # A resumed run finds them again: the file is part of what was saved.
  assert f'import {MODULE}' in (run_dir / 'config.gin').read_text()
  for name in ('config.gin', 'operative_config.gin'):
    again = gin_setup.load([str(run_dir / name)]).config
    assert again.depth_loss_type == 'my_depth'
    assert again.data_loss_type == 'my_loss'


@pytest.mark.slow
def test_losses_registered_by_a_program_train_without_gin_files(
  my_folder, scene
):
  # As in a program that just started: other tests leave gin locked.
  gin.clear_config()
  importlib.import_module(MODULE)
  setup = gin_setup.load(
    'blender_256.gin',
    [
      *run_util.BINDINGS,
      f"Config.data_dir = '{scene}'",
      "Config.data_loss_type = 'my_loss'",
      'Config.depth_loss_mult = 1.',
      "Config.depth_loss_type = 'my_depth'",
    ],
  )
  cfg = views.view(setup.config, base.DataConfig)
  with trainer_lib.Trainer(
    setup.config, base.load_scene(cfg, 'train'), setup.build_model()
  ) as trainer:
    table = stats.unpack([trainer.step() for _ in range(2)])
  for name in ('data', 'depth', 'opacity'):
    assert table[f'losses/{name}'].shape == (2,)
  assert np.all(table['losses/data'] > 7) and np.all(table['losses/depth'] >= 5)
