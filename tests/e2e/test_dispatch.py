"""Where pixels lie and how steps are dispatched changes nothing but speed."""

import jax
import model_util
import numpy as np
import pytest

import multinerf
from multinerf.training import stats

LAST = 16


@pytest.fixture(scope='module')
def scene():
  cfg = multinerf.DataConfig(
    dataset_loader='synthetic', synthetic_resolution=16, synthetic_num_train=4
  )
  return multinerf.load_scene(cfg, 'train')


def run(scene, **options):
  """(steps at which dispatches ended, state at the end, statistics)."""
  config = multinerf.Config(
    batch_size=64,
    max_steps=LAST,
    print_every=5,
    lr_delay_steps=0,
    compilation_cache_dir=None,
    **options,
  )
  ends, packed = [], []
  with multinerf.Trainer(config, scene, model_util.model()) as trainer:
    while trainer.step_number < LAST:
      packed.append(trainer.step())
      ends.append(trainer.step_number)
    return ends, trainer.state, stats.unpack(packed)


@pytest.fixture(scope='module')
def plain(scene):
  return run(scene, pixels_on_device=False)


def assert_same_run(got, want):
  # On the CPU bit by bit; elsewhere compilers may order sums differently.
  for tree, other in ((got[1], want[1]), (got[2], want[2])):
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, tree, other)


@pytest.mark.slow
def test_pixels_on_the_devices_and_several_steps_at_once_are_the_same_run(
  scene, plain
):
  got = run(scene, pixels_on_device=True, steps_per_dispatch=4)
  assert plain[0] == list(range(1, LAST + 1))
  assert got[0] == [1, 5, 9, 10, 14, 15, 16]  # reports at 1, 5, 10, 15, 16
  assert_same_run(got, plain)


@pytest.mark.slow
@pytest.mark.parametrize(
  'options', [{'pixels_on_device': True}, {'steps_per_dispatch': 3}]
)
def test_each_alone_is_the_same_run(scene, plain, options):
  assert_same_run(run(scene, **options), plain)
