"""A run does not depend on how many devices and processes share its batches."""

import json
import sys

import colmap_util
import independence_util
import numpy as np
import process_util
import pytest
import raw_scene
import run_util

# 'processes x devices in each'; the tests' own process has 8 devices.
TOPOLOGIES = ('1x1', '1x2', '1x4', '2x2')
# Sums over a batch are grouped differently, so gradients differ by roundings
# (6e-8 each); Adam divides small ones by themselves, which makes them larger.
# Relative to the norm of an array; a single ray with another random number
# would change it by 1e-2. RawNeRF weighs errors by inverse colours, up to a
# million: its losses agree to 1e-7 at the first step and to 2e-5 at the sixth.
RTOL, LOSS_RTOL = 1e-4, 1e-5
RAW_RTOL, RAW_LOSS_RTOL = 1e-3, 1e-4


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
  """Writes a scene of a kind once; returns its folder."""
  made = {}

  def write(kind):
    folder = tmp_path_factory.mktemp('data') / kind
    if kind == 'blender':
      return run_util.render_scene(folder)
    if kind == 'raw':
      pytest.importorskip('rawpy', reason='DNG files need rawpy')
      raw_scene.write_llff_scene(folder, 9, 48)
      return folder
    return colmap_util.write_llff_scene(
      folder, size=48, factors=(4,), forward_facing=kind == 'llff'
    )

  def get(name):
    kind = independence_util.FAMILIES[name][1]
    if kind not in made:
      made[kind] = write(kind)
    return str(made[kind])

  return get


@pytest.fixture(scope='module')
def eight(scenes):
  """Returns a function: family -> its run on the eight devices here."""
  made = {}

  def get(name):
    if name not in made:
      made[name] = independence_util.train(name, scenes(name))
    return made[name]

  return get


def elsewhere(topology, name, data_dir, folder):
  """The runs of all processes of another topology."""
  num_processes, num_devices = map(int, topology.split('x'))
  spec = folder / 'spec.json'
  spec.write_text(json.dumps({name: data_dir}))
  command = [independence_util.__file__, spec, folder]
  lines = [[sys.executable, *map(str, command)]]
  if num_processes > 1:
    lines = process_util.commands(command, num_processes)
  path = f'{run_util.CHECKOUT}:{run_util.CHECKOUT / "tests"}'
  with process_util.started(lines, num_devices, PYTHONPATH=path) as running:
    for process in running:
      done = process_util.finished(process)
      assert done.returncode == 0, done.stderr
  return [
    independence_util.load(folder / f'{name}_{i}.npz')
    for i in range(num_processes)
  ]


def assert_equal_to_rounding(name, got, want):
  """Losses and all arrays of the state: parameters, moments, threshold."""
  rtol, loss_rtol = RTOL, LOSS_RTOL
  if name == 'raw':
    rtol, loss_rtol = RAW_RTOL, RAW_LOSS_RTOL
  np.testing.assert_allclose(got.losses, want.losses, rtol=loss_rtol)
  assert got.leaves.keys() == want.leaves.keys()
  for path, x in want.leaves.items():
    difference = np.linalg.norm(np.float64(got.leaves[path]) - x)
    assert difference <= rtol * np.linalg.norm(np.float64(x)), path


@pytest.mark.slow
@pytest.mark.parametrize('topology', TOPOLOGIES)
@pytest.mark.parametrize('name', independence_util.FAMILIES)
def test_any_devices_and_processes_train_what_eight_devices_do(
  name, topology, scenes, eight, tmp_path
):
  want = eight(name)
  runs = elsewhere(topology, name, scenes(name), tmp_path)
  for run in runs:
    assert_equal_to_rounding(name, run, want)
    # Processes hold copies of one state, and must not drift apart at all.
    for path, x in runs[0].leaves.items():
      np.testing.assert_array_equal(run.leaves[path], x, err_msg=path)


@pytest.mark.slow
@pytest.mark.parametrize('remat', [False, True])
@pytest.mark.parametrize('name', independence_util.FAMILIES)
def test_eight_micro_batches_train_what_one_does(name, remat, scenes, eight):
  rays = 32 if name == 'robust' else 8  # of each of the eight devices
  run = independence_util.train(
    name,
    scenes(name),
    f'Config.rays_at_once = {rays // 8}',
    f'Config.remat = {remat}',
  )
  assert_equal_to_rounding(name, run, eight(name))


@pytest.mark.slow
def test_another_seed_is_noticed(scenes, eight):
  # Else all of the above would pass for runs that ignore their seed.
  run = independence_util.train(
    'blender', scenes('blender'), 'Config.np_rng_seed = 1'
  )
  with pytest.raises(AssertionError):
    assert_equal_to_rounding('blender', run, eight('blender'))
