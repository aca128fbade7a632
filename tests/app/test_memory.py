"""A run that would not fit is made to fit, and its results are the same."""

import dataclasses

import jax
import numpy as np
import pytest
import run_util

from multinerf import errors, parallel
from multinerf.app import cli
from multinerf.app import renderer as renderer_lib
from multinerf.app import trainer as trainer_lib
from multinerf.config import gin_setup, views
from multinerf.data import base
from multinerf.training import memory_plan
from multinerf.training import stats as stats_lib


@pytest.fixture(scope='module')
def case(tmp_path_factory):
  """(setup, scene) of a tiny field with batches that outweigh it."""
  data = run_util.render_scene(tmp_path_factory.mktemp('scene'))
  setup = gin_setup.load(
    ['blender_256.gin'],
    [
      *run_util.BINDINGS,
      f"Config.data_dir = '{data}'",
      'Config.batch_size = 2048',
      'Config.distortion_loss_mult = 0.01',
    ],
  )
  scene = base.load_scene(views.view(setup.config, base.DataConfig), 'train')
  return setup, scene


@pytest.fixture(scope='module')
def train(case):
  """A function: options -> what two steps say, and what they took."""
  setup, scene = case

  def run(**options):
    config = dataclasses.replace(setup.config, **options)
    with trainer_lib.Trainer(config, scene, setup.build_model()) as trainer:
      losses = [stats_lib.unpack([trainer.step()])['loss'][0] for _ in range(2)]
      lines = trainer.memory_lines()
      return losses, trainer.state.params, trainer.memory.fitted, lines

  return run


@pytest.mark.slow
def test_half_the_memory_gives_the_same_losses_and_says_how(train):
  losses, params, fitted, lines = train()
  assert fitted.refused is None and len(lines) == 2
  assert lines[0].startswith('Memory per device: ')
  for word in ('parameters', 'optimiser', 'activations', 'libraries'):
    assert word in lines[0]
  needs = fitted.footprint
  limit = needs.fixed + needs.temporaries // 2
  small = train(memory_budget_gib=limit / memory_plan.GIB)
  assert small[2].choice.remat
  assert small[2].footprint.total <= limit < small[2].refused == needs.total
  assert f'{small[2].choice.rays_at_once} rays at once' in small[3][-1]
  # Sums in another order.
  np.testing.assert_allclose(small[0], losses, rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
    small[1],
    params,
  )


@pytest.mark.slow
def test_too_little_memory_is_refused_before_the_first_step(case):
  setup, scene = case
  config = dataclasses.replace(
    setup.config, batch_size=64, memory_budget_gib=1e-6
  )
  with trainer_lib.Trainer(config, scene, setup.build_model()) as trainer:
    with pytest.raises(errors.OutOfMemoryError, match='memory_budget_gib'):
      trainer.prepare()


def test_rendering_goes_in_smaller_chunks_where_memory_is_short(case):
  setup, scene = case
  config = dataclasses.replace(setup.config, render_chunk_size=256)
  model = setup.build_model()
  with trainer_lib.Trainer(config, scene, model) as trainer:
    params = trainer.device_state.params
  plenty = renderer_lib.Renderer(model, config)
  want = plenty.view(params, scene.cameras, fields=('rgb',))
  assert plenty.chunk_size == 256
  (program,) = plenty._programs.values()
  needs = memory_plan.footprint(program)
  little = renderer_lib.Renderer(
    model, config, budget=needs.fixed + needs.temporaries // 2
  )
  found = little.view(params, scene.cameras, fields=('rgb',))
  assert little.chunk_size < 256
  assert little.chunk_size % parallel.local_device_count() == 0
  np.testing.assert_allclose(found.rgb, want.rgb, rtol=1e-4, atol=1e-5)


def test_a_program_out_of_memory_ends_with_one_line(capsys):
  def program(_):
    raise jax.errors.JaxRuntimeError(
      'RESOURCE_EXHAUSTED: Out of memory allocating 5 bytes.\nBuffers: ...'
    )

  assert cli.main(program, scope='eval', doc='', argv=['eval.py']) == 1
  (line,) = capsys.readouterr().err.splitlines()
  assert '5 bytes' in line and 'Config.memory_budget_gib' in line
