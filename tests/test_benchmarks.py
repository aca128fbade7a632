"""The benchmarks start, and the short ones end: figures can be repeated."""

import os
import pathlib
import subprocess
import sys

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = CHECKOUT / 'benchmarks'
PROGRAMS = sorted(
  path.name
  for path in FOLDER.glob('*.py')
  if "__name__ == '__main__'" in path.read_text()
)
# Arguments that make an end within a minute, and what is printed then.
SHORT = {
  'hash_grid.py': (['--rays=64'], 'ns/look-up'),
  'operations.py': (
    ['benchmarks/small.gin', '--rays=16', '--repeats=1', '--rendering'],
    'rays per processor second',
  ),
  'preset_costs.py': (['blender_256.gin'], '835,205'),
  'rendering.py': (
    ['--preset=benchmarks/small.gin', '--side=8', '--views=1', '--rounds=1']
    + ['--steps=1', '--batch_size=64', '--ways=plain,full'],
    'times plain',
  ),
  'step_profile.py': (
    ['benchmarks/small.gin', '--rays=16', '--steps=2', '--warm_up=2'],
    'cond/branch_0_fun/add',
  ),
}


def run(name, *args):
  """What a benchmark prints."""
  done = subprocess.run(
    [sys.executable, FOLDER / name, *args],
    cwd=CHECKOUT,
    env=os.environ | {'PYTHONPATH': str(CHECKOUT)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize('name', PROGRAMS)
def test_a_benchmark_says_how_it_is_called(name):
  assert run(name, '--help').startswith('usage: ')


@pytest.mark.slow
@pytest.mark.parametrize('name', SHORT)
def test_a_short_benchmark_ends(name):
  args, printed = SHORT[name]
  assert printed in run(name, *args)
