"""Flags, --help and exit status."""

import dataclasses
import json
import subprocess
import sys

import jax
import pytest
import run_util
import shot_util

from multinerf import errors
from multinerf.app import cli, quickstart, render, train
from multinerf.app import eval as eval_lib
from multinerf.config import schema
from multinerf.data import base
from multinerf.training import console

PROGRAMS = {'train': train.main, 'eval': eval_lib.main, 'render': render.main}


@pytest.fixture
def load():
  """Parses flags as a program does; returns the setup it would get."""

  def call(*args, scope='train'):
    seen = []
    status = cli.main(
      seen.append, scope=scope, doc='A test.', argv=['program', *args]
    )
    assert status == 0 and len(seen) == 1
    return seen[0]

  return call


@pytest.fixture
def refused(capsys):
  """Parses flags that must be refused; returns the line on stderr."""

  def call(*args):
    seen = []
    status = cli.main(
      seen.append, scope='train', doc='A test.', argv=['program', *args]
    )
    message = capsys.readouterr().err
    assert (status, seen) == (1, [])
    assert message.startswith('error: ') and message.count('\n') == 1
    return message

  return call


@pytest.mark.parametrize('program', PROGRAMS)
@pytest.mark.parametrize('flag', ['--help', '-h', '--helpfull'])
def test_help_explains_every_option(program, flag, capsys):
  assert run_util.run(PROGRAMS[program], flag) == 0
  out, err = capsys.readouterr()
  assert err == ''
  assert f'{program}.py --gin_configs=' in out
  for flag in ('gin_configs', 'gin_bindings', 'data_dir', 'checkpoint_dir'):
    assert f'--{flag}' in out
  names = [field.name for field in dataclasses.fields(schema.Config)]
  assert len(names) > 100
  assert not [n for n in names if f'\n  Config.{n} = ' not in out]
  for name in ('Model.num_levels', 'NerfMLP.net_depth'):
    assert f'\n  {name} = ' in out


def test_help_starts_no_device():
  code = (
    'import sys; from multinerf.app import train; '
    "status = train.main(['train.py', '--help']); "
    'from jax._src import xla_bridge; '
    'sys.exit(status or xla_bridge.backends_are_initialized())'
  )
  done = subprocess.run(
    [sys.executable, '-c', code],
    cwd=run_util.CHECKOUT,
    env=run_util.environment(1),
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert (done.returncode, done.stderr) == (0, '')


def test_short_flags_are_bindings_that_come_last(load):
  setup = load(
    '--gin_configs=blender.gin',
    "--gin_bindings=Config.data_dir = '/from/binding'",
    '--data_dir=/from/flag',
    '--checkpoint_dir=/runs/a',
  )
  assert setup.config.data_dir == '/from/flag'
  assert setup.config.checkpoint_dir == '/runs/a'


def test_a_path_with_quotes_survives_the_short_flag(load):
  path = """/data/it's "here" \\ {x}"""
  assert load(f'--data_dir={path}').config.data_dir == path


def test_later_files_and_bindings_replace_earlier_ones(load):
  setup = load(
    '--gin_configs=blender_256.gin',
    '--gin_configs=debug.gin',
    '--gin_bindings=Config.factor = 2',
    '--gin_bindings=Config.factor = 8',
  )
  assert setup.config.batch_size == 2048  # debug.gin
  assert setup.config.factor == 8


def test_bindings_of_a_scope_hold_in_it_only(load):
  args = (
    '--gin_bindings=Config.render_chunk_size = 100',
    '--gin_bindings=eval/Config.render_chunk_size = 200',
  )
  assert load(*args, scope='train').config.render_chunk_size == 100
  assert load(*args, scope='eval').config.render_chunk_size == 200


def test_flags_of_old_launch_scripts_are_accepted(load):
  setup = load(
    '--mode=local',
    '--base_folder=/old',
    '--logtostderr',
    '--alsologtostderr',
    '--gin_configs=configs/360.gin',
  )
  assert setup.config.max_steps > 0


def test_flags_of_jax_are_jax_s(load):
  assert not jax.config.jax_debug_nans
  try:
    load('--jax_debug_nans=true')
    assert jax.config.jax_debug_nans
    jax.config.update('jax_debug_nans', False)
    load()
    assert not jax.config.jax_debug_nans
  finally:
    jax.config.update('jax_debug_nans', False)


def test_a_process_may_parse_twice_without_remembering(load):
  load('--data_dir=/first', '--gin_bindings=Config.factor = 2')
  setup = load()
  assert setup.config.data_dir is None
  assert setup.config.factor == 0


@pytest.mark.parametrize(
  'args, part',
  [
    (['--gin_config=blender.gin'], 'gin_config'),
    (['--nonsense=3'], 'nonsense'),
    (['blender.gin'], "'blender.gin'"),
    (['--data_dir'], 'data_dir'),
  ],
)
def test_wrong_flags_are_one_line(args, part, refused):
  message = refused(*args)
  assert part in message and '--help' in message


def test_an_error_on_purpose_is_a_line_and_a_bug_is_a_traceback(capsys):
  def fail(setup):
    raise errors.DataError('the file x is bad (gin: Config.data_dir).')

  assert cli.main(fail, scope='train', doc='', argv=['program']) == 1
  want = 'error: the file x is bad (gin: Config.data_dir).\n'
  assert capsys.readouterr().err == want
  with pytest.raises(ZeroDivisionError):
    cli.main(lambda setup: 1 / 0, scope='train', doc='', argv=['program'])


@pytest.mark.parametrize(
  'args, want',
  [
    (['--checkpoint_dir=/a/b'], '/a/b'),
    (['--data_dir=/data/chair/'], 'runs/chair'),
    (["--gin_bindings=Config.dataset_loader = 'synthetic'"], 'runs/synthetic'),
  ],
)
def test_a_run_has_a_folder_even_if_none_is_given(args, want, load):
  assert cli.run_folder(load(*args)) == want


def test_the_tilde_of_a_run_folder_is_the_home_folder(load, monkeypatch):
  # A shell expands it in `--checkpoint_dir ~/a`, not in `--checkpoint_dir=~/a`.
  monkeypatch.setenv('HOME', '/home/me')
  assert cli.run_folder(load('--checkpoint_dir=~/a')) == '/home/me/a'


def test_a_camera_path_is_drawn_through_the_training_cameras(load, tmp_path):
  data = run_util.render_scene(tmp_path / 'scene')
  args = run_util.arguments(data, tmp_path / 'run')
  test = cli.load_test_scene(load(*args, scope='eval').config)
  assert (test.split, len(test)) == ('test', run_util.NUM_TEST)
  more = [
    '--gin_bindings=Config.render_path = True',
    '--gin_bindings=Config.render_path_frames = 7',
  ]
  config = load(*args, *more, scope='eval').config
  path = cli.load_test_scene(config)
  assert len(path) == 7 and path.images is None
  (data / 'transforms_test.json').unlink()  # not even looked at
  again = cli.load_test_scene(config)
  assert (again.cameras.camtoworlds == path.cameras.camtoworlds).all()


def test_remarks_of_both_splits_are_printed_once_each(tmp_path, capsys):
  """Frames without an image concern both, and are told of once."""
  frames = []
  for i, pose in enumerate(shot_util.look_at_scene(4)):
    shot = shot_util.Shot(pose)
    shot_util.write(tmp_path / f'{i}.png', shot)
    matrix = [*pose.tolist(), [0, 0, 0, 1]]
    frames.append({'file_path': f'{i}.png', 'transform_matrix': matrix})
  (tmp_path / '2.png').unlink()
  meta = {'fl_x': shot.focal[0], 'frames': frames}
  (tmp_path / 'transforms.json').write_text(json.dumps(meta))
  cfg = base.DataConfig('transforms', str(tmp_path), near=0.1)
  scenes = [base.load_scene(cfg, split) for split in base.SPLITS]
  cli.show_notes(console.Console(), *scenes, None)
  assert capsys.readouterr().out == (
    'note: 1 of 4 frames of transforms.json have no image and were left out: '
    '2.png.\n'
  )


def test_quickstart_stops_at_the_first_error(capsys, tmp_path):
  status = quickstart.main(
    [
      'quickstart',
      f'--data_dir={tmp_path}/none',
      f'--checkpoint_dir={tmp_path}/r',
    ]
    + ['--gin_bindings=Config.compilation_cache_dir = None']
  )
  out, err = capsys.readouterr()
  assert status == 1
  assert err.startswith('error: ') and err.count('\n') == 1
  assert f'{tmp_path}/none' in err
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'args, want',
  [
    (['--data_dir=/data/helper'], ['train', 'show']),
    (['-h'], []),
    (['--help'], []),
  ],
)
def test_quickstart_trains_then_shows_unless_asked_for_help(
  args, want, monkeypatch, capsys
):
  ran = []
  monkeypatch.setattr(train, 'run', lambda setup: ran.append('train'))
  monkeypatch.setattr(quickstart, '_show', lambda setup: ran.append('show'))
  assert quickstart.main(['quickstart', *args]) == 0
  assert ran == want
  # Once, not once for each of its parts.
  assert capsys.readouterr().out.count('--gin_bindings:') == (not want)
