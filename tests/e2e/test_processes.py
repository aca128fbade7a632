"""Two processes over loopback train one field, and stop and resume together."""

import json
import subprocess
import sys
import time

import numpy as np
import process_util
import pytest
import run_util

from multinerf.app import eval as eval_lib
from multinerf.app import render, train
from multinerf.training import checkpoints

STEPS = 12  # checkpoints at 4, 8 and 12


@pytest.fixture(scope='module')
def scene(tmp_path_factory):
  return run_util.render_scene(tmp_path_factory.mktemp('data') / 'scene')


def arguments(scene, folder, last, *more):
  return run_util.arguments(
    scene, folder, f'Config.early_exit_steps = {last}', *more
  )


def assert_close(got, want, step):
  """Equal to rounding: see test_device_independence.py."""
  got, want = run_util.leaves(got, step), run_util.leaves(want, step)
  assert got.keys() == want.keys()
  for name in want:
    scale = np.abs(want[name]).max()
    np.testing.assert_allclose(
      got[name], want[name], rtol=0, atol=1e-5 * scale, err_msg=name
    )


def assert_same(got, want, step):
  """Equal bit for bit."""
  got, want = run_util.leaves(got, step), run_util.leaves(want, step)
  assert got.keys() == want.keys()
  for name in want:
    np.testing.assert_array_equal(got[name], want[name], err_msg=name)


def all_fine(done):
  for process in done:
    assert (process.returncode, process.stderr) == (0, '')
  # What gloo says about its connections cannot be turned off.
  return [process_util.without_chatter(process.stdout) for process in done]


@pytest.mark.slow
def test_a_checkpoint_of_8_devices_goes_on_in_2_processes_and_back(
  scene, tmp_path, capsys
):
  straight, folder = tmp_path / 'straight', tmp_path / 'run'
  # This process has eight devices (tests/conftest.py).
  assert run_util.run(train.main, *arguments(scene, straight, STEPS)) == 0
  assert run_util.run(train.main, *arguments(scene, folder, 4)) == 0
  lead, other = all_fine(
    process_util.run('train.py', arguments(scene, folder, 8))
  )
  assert 'Devices: 4 x cpu' in lead and 'Resumed from step 4.' in lead
  assert other == ''  # the lead alone talks and writes
  assert_close(folder, straight, 8)
  assert run_util.run(train.main, *arguments(scene, folder, STEPS)) == 0
  assert_close(folder, straight, STEPS)
  assert 'Resumed from step 8.' in capsys.readouterr().out


@pytest.mark.slow
def test_a_folder_of_the_lead_alone_is_enough(scene, tmp_path):
  want, mine = tmp_path / 'want', tmp_path / 'lead'
  all_fine(process_util.run('train.py', arguments(scene, want, STEPS)))
  other = tmp_path / 'other'
  views = 'Config.train_render_every = 4'  # rendered by both
  for last in (4, STEPS):
    lines = process_util.commands([run_util.CHECKOUT / 'train.py'], 2)
    lines = [
      [*line, *arguments(scene, folder, last, views)]
      for line, folder in zip(lines, (mine, other), strict=True)
    ]
    with process_util.started(lines, 2) as running:
      lead, _ = all_fine([process_util.finished(p) for p in running])
    assert f'Eval {last}:' in lead and 'psnr = ' in lead
  assert not other.exists()
  assert_same(mine, want, STEPS)


STOP = """
import os, pathlib, signal, time
from multinerf import parallel
from multinerf.app import trainer

take_step = trainer.Trainer.step

def step(self):
  stats = take_step(self)
  if parallel.process_index() == int(os.environ.get('STOPS', -1)):
    time.sleep(0.1)  # one is late, and the host of the other far ahead
    if self.step_number == 6:
      os.kill(os.getpid(), signal.SIGTERM)
  return stats

trainer.Trainer.step = step
"""


@pytest.mark.slow
@pytest.mark.parametrize('stops', [0, 1])
def test_a_signal_to_one_process_stops_both_after_the_same_step(
  scene, tmp_path, stops
):
  (tmp_path / 'stop_one.py').write_text(STOP)
  want, folder = tmp_path / 'want', tmp_path / 'run'
  last = 40
  bindings = ('import stop_one',)
  args = arguments(scene, folder, last, *bindings)
  path = dict(PYTHONPATH=str(tmp_path))
  done = process_util.run('train.py', args, STOPS=str(stops), **path)
  assert [process.returncode for process in done] == [75, 75], done[0].stderr
  assert 'SIGTERM ended training after step' in done[stops].stderr
  assert 'A signal to another process ended' in done[1 - stops].stderr
  (saved,) = {checkpoints.available_steps(folder)[-1]}
  assert 6 <= saved < last
  for process in done:
    assert f'after step {saved} of' in process.stderr
  all_fine(process_util.run('train.py', args, **path))
  all_fine(process_util.run('train.py', arguments(scene, want, last), **path))
  assert_same(folder, want, last)


DIE = """
import os, pathlib, signal, time
from multinerf import parallel
from multinerf.app import trainer
from multinerf.training import checkpoints

take_step = trainer.Trainer.step
flag = pathlib.Path(os.environ['DIED'])

def step(self):
  stats = take_step(self)
  if self.step_number == 6 and parallel.process_index() == int(
    os.environ['DIES']
  ):
    folder = pathlib.Path(os.environ['FOLDER'])
    while 4 not in checkpoints.available_steps(folder):
      time.sleep(0.01)
    if not flag.exists():
      flag.touch()
      os.kill(os.getpid(), signal.SIGKILL)
  return stats

trainer.Trainer.step = step
"""


@pytest.mark.slow
@pytest.mark.parametrize('dies', [0, 1])
def test_the_launcher_resumes_a_killed_run_bit_for_bit(scene, tmp_path, dies):
  (tmp_path / 'die_once.py').write_text(DIE)
  want, folder = tmp_path / 'want', tmp_path / 'run'

  def launch(folder, *bindings, died):
    words = [
      *(sys.executable, '-m', 'multinerf.app.launch', '--processes=2', '--'),
      run_util.CHECKOUT / 'train.py',
      *arguments(scene, folder, STEPS, *bindings),
    ]
    start = time.monotonic()
    done = subprocess.run(
      words,
      cwd='/',
      env=process_util.environment(
        1,
        PYTHONPATH=f'{run_util.CHECKOUT}:{tmp_path}',
        FOLDER=str(folder),
        DIES=str(dies),
        DIED=str(died),
      ),
      capture_output=True,
      text=True,
      timeout=600,
    )
    return done, time.monotonic() - start

  done, _ = launch(want, died=tmp_path)
  assert done.returncode == 0, done.stderr
  done, _ = launch(folder, 'import die_once', died=tmp_path / 'died')
  assert done.returncode == 0, done.stderr
  assert f'process {dies} was killed by SIGKILL' in done.stderr
  assert 'restart 1 of 3' in done.stderr
  assert 'Resumed from step 4.' in done.stdout
  for step in (8, STEPS):
    assert_same(folder, want, step)


@pytest.mark.slow
def test_two_processes_measure_and_render_what_one_does(scene, tmp_path):
  folder = tmp_path / 'run'
  args = arguments(scene, folder, 4)
  assert run_util.run(train.main, *args) == 0
  found = {}
  for kind in ('one', 'two'):
    preds, frames = folder / 'test_preds', tmp_path / kind
    more = [*args, f'--gin_bindings=Config.render_dir = {str(frames)!r}']
    if kind == 'one':
      assert run_util.run(eval_lib.main, *args) == 0
      assert run_util.run(render.main, *more) == 0
    else:
      all_fine(process_util.run('eval.py', args))
      all_fine(process_util.run('render.py', more))
    record = json.loads((folder / 'results.json').read_text())
    pictures = {p.name: p.read_bytes() for p in preds.glob('color_*.png')}
    shots = {p.name for p in frames.rglob('*') if p.is_file()}
    found[kind] = (record['mean'], pictures, shots)
    (folder / 'results.json').unlink()
    for path in preds.iterdir():
      path.unlink()
  means, pictures, shots = zip(found['one'], found['two'], strict=True)
  assert means[0].keys() == means[1].keys()
  for name in means[0]:
    # The same rays in other company: a last bit, rarely a level of 8 bits.
    np.testing.assert_allclose(means[1][name], means[0][name], rtol=1e-3)
  assert pictures[0].keys() == pictures[1].keys() and len(pictures[0]) > 0
  assert shots[0] == shots[1]


@pytest.mark.slow
def test_processes_with_other_configurations_do_not_begin(scene, tmp_path):
  lines = process_util.commands([run_util.CHECKOUT / 'train.py'], 2)
  rates = ('Config.lr_init = 1e-2', 'Config.lr_init = 1e-3')
  lines = [
    [*line, *arguments(scene, tmp_path / 'run', STEPS, rate)]
    for line, rate in zip(lines, rates, strict=True)
  ]
  with process_util.started(lines, 2) as running:
    done = [process_util.finished(process) for process in running]
  for process in done:
    assert process.returncode == 1
    assert 'The configuration of process 1 differs' in process.stderr
  assert not (tmp_path / 'run').exists()


@pytest.mark.slow
def test_processes_that_slurm_starts_need_no_flags(scene, tmp_path):
  port = process_util.free_port()
  lines = [
    [
      *('env', 'SLURM_JOB_ID=1', 'SLURM_STEP_NODELIST=localhost'),
      *('SLURM_NTASKS=2', 'SLURM_STEP_NUM_TASKS=2', f'SLURM_PROCID={i}'),
      *(f'SLURM_LOCALID={i}', f'JAX_COORDINATOR_PORT={port}'),
      *(sys.executable, str(run_util.CHECKOUT / 'train.py')),
      *arguments(scene, tmp_path / 'run', 4),
    ]
    for i in range(2)
  ]
  with process_util.started(lines, 2) as running:
    lead, other = all_fine([process_util.finished(p) for p in running])
  assert 'Devices: 4 x cpu' in lead and other == ''


def test_help_names_the_flags_of_several_processes(capsys):
  assert train.main(['train.py', '--help']) == 0
  text = capsys.readouterr().out
  for flag in ('coordinator_address', 'num_processes', 'process_id', 'cluster'):
    assert f'--{flag}' in text


def test_half_of_the_flags_is_one_line(capsys):
  assert train.main(['train.py', '--num_processes=2']) == 1
  assert capsys.readouterr().err.startswith('error: --coordinator_address')
