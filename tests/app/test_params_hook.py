"""Pictures of parameters in TensorBoard."""

import numpy as np
import pytest
import run_util

from multinerf.app import params_hook, train


def test_histograms_come_first_periodically_and_last(tmp_path):
  data_dir = run_util.render_scene(tmp_path / 'scene')
  flags = run_util.arguments(
    data_dir,
    tmp_path / 'run',
    'Config.visualize_every = 2',
    'Config.checkpoint_init = True',
    'Config.checkpoint_every = 100',
    'Config.early_exit_steps = 3',
  )
  assert run_util.run(train.main, *flags) == 0
  read = run_util.summaries(tmp_path / 'run')
  found = {tag: list(steps) for tag, steps in read.items()}
  for name in ('NerfMLP_0/Dense_0/kernel', 'PropMLP_0/Dense_1/bias'):
    assert found[f'param/{name}'] == [1, 2, 3]
  assert found['param/NerfMLP_0/Dense_0/kernel_loghist'] == [1, 2, 3]
  saved = sorted(p.name for p in (tmp_path / 'run').glob('checkpoint_*'))
  assert [n for n in saved if n.split('_')[1].isdecimal()] == [
    'checkpoint_1',
    'checkpoint_3',
  ]


def test_slices_are_the_planes_through_the_middle():
  grid = np.zeros((4, 4, 4, 2), np.float32)
  grid[2, 1, 3, 0] = -2.0  # in the plane x = 2 alone
  grid[0, 2, 2, 1] = 5.0  # in those of y and z
  found = dict(params_hook.slices(grid))
  assert list(found) == ['x0', 'x1', 'y0', 'y1', 'z0', 'z1']
  dark = np.full((4, 4), 0.5)
  dark[1, 3] = 0.0
  np.testing.assert_array_equal(found['x0'], dark)
  bright = np.full((4, 4), 0.5)
  bright[0, 2] = 1.0
  np.testing.assert_array_equal(found['y1'], bright)
  np.testing.assert_array_equal(found['z1'], bright)
  for name in ('x1', 'y0', 'z0'):
    np.testing.assert_array_equal(found[name], 0.5)


class Pictures:
  """Stands for the writer."""

  def __init__(self):
    self.found = {}

  def histogram(self, tag, values, step):
    self.found[tag] = values

  def image(self, tag, image, step):
    self.found[tag] = image


@pytest.mark.parametrize(
  'name', ['grid_0/grid_016', 'NerfMLP_0/encoder/grid_8']
)
def test_dense_grids_are_drawn_and_all_arrays_counted(name):
  seen = Pictures()
  hook = params_hook.ParamsHook.__new__(params_hook.ParamsHook)
  hook._writer = seen
  values = np.random.default_rng(0).normal(size=(4, 4, 4, 1))
  values[0] = 0  # has no logarithm
  hook._write(f'param/{name}', values, 1)
  assert set(seen.found) == {
    f'param/{name}',
    f'param/{name}_loghist',
    *(f'param/{name}/{plane}' for plane in ('x0', 'y0', 'z0')),
  }
  assert seen.found[f'param/{name}'].size == 64
  assert seen.found[f'param/{name}_loghist'].size == 48
  np.testing.assert_allclose(
    np.sort(seen.found[f'param/{name}_loghist']),
    np.sort(np.log10(np.abs(values[1:].ravel()))),
    atol=1e-6,
  )


def test_of_large_arrays_a_million_numbers_are_enough():
  seen = Pictures()
  hook = params_hook.ParamsHook.__new__(params_hook.ParamsHook)
  hook._writer = seen
  hook._write('param/grid_0/hash_512', np.ones((3 * 2**20, 2)), 1)
  assert 2**19 < seen.found['param/grid_0/hash_512'].size <= 2**20
