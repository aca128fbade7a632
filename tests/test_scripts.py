"""The scripts for the published data sets: which command each one runs."""

import os
import pathlib
import shutil
import subprocess

import pytest

from multinerf.app import cli, launch

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
PRESETS = {
  '360': '360.gin',
  'blender': 'blender_256.gin',
  'llff': 'llff_256.gin',
  'raw': 'llff_raw.gin',
  'shinyblender': 'blender_refnerf.gin',
}
PROGRAMS = ('train', 'eval', 'render')
NAMES = [f'{p}_{d}.sh' for p in PROGRAMS for d in PRESETS]
# Writes down how it was called.
STUB = """#!/bin/bash
printf '%s\\0' "$0" "$@" > "$SEEN"
"""
PREVIEW = [
  '--gin_bindings=Config.render_path = True',
  '--gin_bindings=Config.render_path_frames = 10',
  '--gin_bindings=Config.render_video_fps = 2',
]


class Shell:
  """A copy of the scripts, and a `python` on PATH that only takes notes."""

  def __init__(self, folder: pathlib.Path):
    self.checkout = folder / 'checkout'
    shutil.copytree(CHECKOUT / 'scripts', self.checkout / 'scripts')
    self.seen = folder / 'seen'
    self.runs = folder / 'runs'
    self.environment = {
      'PATH': f'{folder / "bin"}:/usr/bin:/bin',
      'SEEN': str(self.seen),
    }
    self.stub(folder / 'bin' / 'python')

  def stub(self, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STUB)
    path.chmod(0o755)

  def __call__(self, name, *args, **variables):
    """Runs a script from another folder; returns its finished process."""
    self.seen.unlink(missing_ok=True)
    return subprocess.run(
      ['bash', self.checkout / 'scripts' / name, *args],
      cwd=self.checkout.parent,
      env=self.environment | variables,
      capture_output=True,
      text=True,
    )

  def command(self, name, *args, **variables):
    """The command line that a script ran."""
    done = self(name, *args, **variables)
    assert (done.returncode, done.stderr) == (0, '')
    return self.seen.read_text().split('\0')[:-1]


@pytest.fixture
def shell(tmp_path):
  return Shell(tmp_path)


@pytest.mark.parametrize('dataset', PRESETS)
@pytest.mark.parametrize('program', PROGRAMS)
def test_script_runs_the_published_preset_on_one_scene(shell, program, dataset):
  name = f'{program}_{dataset}.sh'
  got = shell.command(name, DATA_DIR='/data/set', SCENE='my scene')
  assert got == [
    str(shell.checkout.parent / 'bin' / 'python'),
    str(shell.checkout / f'{program}.py'),
    f'--gin_configs={PRESETS[dataset]}',
    '--data_dir=/data/set/my scene',
    f'--checkpoint_dir=runs/{dataset}/my scene',
    *(PREVIEW if program == 'render' else []),
  ]
  # Arguments say the same as the environment, and win.
  args = ('DATA_DIR=/data/set', 'SCENE=my scene')
  assert shell.command(name, *args, SCENE='another') == got


@pytest.mark.parametrize('name', NAMES)
def test_programs_understand_what_the_scripts_pass(shell, name):
  flags = shell.command(
    name, "DATA_DIR=/o'clock", 'SCENE=x', '--gin_bindings=Config.factor = 8'
  )[2:]
  scope = 'train' if name.startswith('train') else 'eval'
  config = cli._load([name, *flags], scope).config
  assert config.data_dir == "/o'clock/x"
  assert config.factor == 8  # the last word is the user's
  assert config.render_path == name.startswith('render')


@pytest.mark.parametrize('scene', ['room', 'kitchenlego', 'bonsai', 'counter'])
@pytest.mark.parametrize('program', PROGRAMS)
def test_indoor_scenes_of_the_360_data_are_used_at_half_size(
  shell, program, scene
):
  def bindings(name, scene):
    command = shell.command(name, DATA_DIR='/data', SCENE=scene)
    return [a for a in command if 'Config.factor' in a]

  script = f'{program}_360.sh'
  assert bindings(script, scene) == ['--gin_bindings=Config.factor = 2']
  assert bindings(script, 'garden') == []
  # LLFF has a scene called room, too.
  assert bindings(f'{program}_llff.sh', scene) == []


def test_variables_change_folder_preset_interpreter_and_video(shell, tmp_path):
  mine = tmp_path / 'mine' / 'python3.13'
  shell.stub(mine)
  got = shell.command(
    'render_raw.sh',
    'DATA_DIR=/data',
    'SCENE=s',
    'CHECKPOINT_DIR=/runs/a b',
    'PRESET=llff_raw_test.gin',
    f'PYTHON={mine}',
    'FRAMES=480',
    'FPS=60',
  )
  assert got[0] == str(mine)
  assert got[2:] == [
    '--gin_configs=llff_raw_test.gin',
    '--data_dir=/data/s',
    '--checkpoint_dir=/runs/a b',
    PREVIEW[0],
    '--gin_bindings=Config.render_path_frames = 480',
    '--gin_bindings=Config.render_video_fps = 60',
  ]


def test_the_environment_of_the_checkout_is_used_unless_one_is_active(shell):
  venv = shell.checkout / '.venv' / 'bin' / 'python'
  shell.stub(venv)
  scene = dict(DATA_DIR='/data', SCENE='s')
  assert shell.command('train_llff.sh', **scene)[0] == str(venv)
  active = shell.command('train_llff.sh', VIRTUAL_ENV='/active', **scene)
  assert active[0] == str(shell.checkout.parent / 'bin' / 'python')


@pytest.mark.parametrize(
  'args, message',
  [
    ([], 'DATA_DIR is not set'),
    (['DATA_DIR=/data'], 'SCENE is not set; it is the name of a folder'),
    (['DATA_DIR=/data', 'garden'], "unexpected argument 'garden'"),
    (['DATADIR=/data'], "unexpected argument 'DATADIR=/data'"),
  ],
)
def test_mistakes_are_one_line_and_run_nothing(shell, args, message):
  done = shell('train_360.sh', *args)
  assert done.returncode == 1
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert message in done.stderr
  assert not shell.seen.exists()


def test_the_exit_status_is_that_of_the_program(shell, tmp_path):
  (tmp_path / 'bin' / 'python').write_text('#!/bin/bash\nexit 7\n')
  done = shell('train_360.sh', 'DATA_DIR=/data', 'SCENE=s')
  assert done.returncode == 7


@pytest.mark.parametrize('name', ['_run.sh', *NAMES])
def test_scripts_parse_and_delete_nothing(name):
  path = CHECKOUT / 'scripts' / name
  subprocess.run(['bash', '-n', path], check=True)
  # MultiNeRF's training scripts begin with rm "$CHECKPOINT_DIR"/*.
  words = path.read_text().replace('(', ' ').replace(';', ' ').split()
  assert not {'rm', 'mv', 'rmdir', 'unlink'} & set(words)
  assert name == '_run.sh' or 'set -euo pipefail' in path.read_text()


def test_a_run_that_exists_is_left_as_it_is(shell, tmp_path):
  run = tmp_path / 'runs' / '360' / 's'
  run.mkdir(parents=True)
  (run / 'checkpoint_25000').write_bytes(b'precious')
  shell.command('train_360.sh', 'DATA_DIR=/data', 'SCENE=s')
  assert [p.name for p in run.iterdir()] == ['checkpoint_25000']
  assert os.listdir(tmp_path / 'runs') == ['360']


CLUSTER = CHECKOUT / 'scripts' / 'cluster'


@pytest.mark.parametrize('name', ['slurm.sbatch', 'ssh.sh', 'tpu_pod.sh'])
def test_launchers_of_clusters_parse_and_name_what_is_missing(name, tmp_path):
  subprocess.run(['bash', '-n', CLUSTER / name], check=True)
  done = subprocess.run(
    ['bash', CLUSTER / name],
    env={'PATH': '/usr/bin:/bin', 'SLURM_SUBMIT_DIR': '/', 'HOSTS': 'a'},
    cwd=tmp_path,
    capture_output=True,
    text=True,
  )
  assert done.returncode != 0
  want = 'TPU: name' if name == 'tpu_pod.sh' else 'DATA_DIR: the folder'
  assert want in done.stderr


def test_ssh_launcher_understands_what_its_script_passes(shell, tmp_path):
  seen = shell.command(
    'cluster/ssh.sh',
    '--gin_bindings=Config.factor = 8',
    HOSTS='a,b',
    DATA_DIR='/data/s',
    CHECKPOINT_DIR='/runs/s',
    PYTHON=str(tmp_path / 'bin' / 'python'),
  )
  assert seen[1:3] == ['-m', 'multinerf.app.launch']
  at = seen.index('--')
  parser = launch._parser()
  layout = launch._layout(parser.parse_args(seen[3:at]), parser)
  assert layout.hosts == ('a', 'b') and layout.total == 2
  first, second = launch.commands(layout, seen[at + 1 :])
  assert 'a' in first.words and 'b' in second.words
  config = cli._load(seen[at + 1 :], 'train').config
  assert (config.data_dir, config.factor) == ('/data/s', 8)


def test_job_set_is_yaml_whose_numbers_agree():
  yaml = pytest.importorskip('yaml', reason='needs PyYAML')
  text = (CLUSTER / 'jobset.yaml').read_text()
  spec = yaml.safe_load(text)['spec']
  (job,) = spec['replicatedJobs']
  job = job['template']['spec']
  (container,) = job['template']['spec']['containers']
  environment = {e['name']: e.get('value') for e in container['env']}
  count = environment['JAX_NUM_PROCESSES']
  assert job['parallelism'] == job['completions'] == int(count)
  ports = [port['containerPort'] for port in container['ports']]
  assert environment['JAX_COORDINATOR_ADDRESS'].endswith(f':{ports[0]}')
  flags = [a for a in container['command'] if a.startswith('--')]
  assert cli._load(['train', *flags], 'train').config.factor == 4
