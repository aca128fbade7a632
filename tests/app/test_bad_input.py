"""Bad input: one clear line, exit status 1, and nothing overwritten."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
import run_util

from multinerf.app import eval as eval_lib
from multinerf.app import render, train
from multinerf.data import images
from multinerf.training import checkpoints, durable

PROGRAMS = {'train': train.main, 'eval': eval_lib.main, 'render': render.main}
STEPS = 8  # checkpoints at 4 and 8
EARLY = f'Config.early_exit_steps = {STEPS}'


@pytest.fixture(scope='module')
def pristine(tmp_path_factory):
  """A scene, and the folder of a run on it that has ended."""
  root = tmp_path_factory.mktemp('pristine')
  run_util.render_scene(root / 'scene')
  args = run_util.arguments(root / 'scene', root / 'run', EARLY)
  assert run_util.run(train.main, *args) == 0
  return root


@pytest.fixture
def scene(pristine, tmp_path):
  """A scene to damage."""
  return shutil.copytree(pristine / 'scene', tmp_path / 'scene')


@pytest.fixture
def run_dir(pristine, tmp_path):
  """A run's folder to be left alone."""
  return shutil.copytree(pristine / 'run', tmp_path / 'run')


@pytest.fixture
def refuse(capsys):
  """Runs a program that must fail; returns its line on stderr."""

  def call(program, scene, folder, *bindings):
    before = run_util.contents(folder) if folder.is_dir() else None
    capsys.readouterr()
    args = run_util.arguments(scene, folder, EARLY, *bindings)
    assert run_util.run(PROGRAMS[program], *args) == 1
    message = capsys.readouterr().err
    assert message.startswith('error: ') and message.endswith('\n')
    assert message.count('\n') == 1, message
    if before is None:
      assert not folder.is_dir()
    else:
      assert run_util.contents(folder) == before
    return message

  return call


def assert_names(message, *parts):
  missing = [part for part in map(str, parts) if part not in message]
  assert not missing, f'{missing} not in: {message}'


# render.py then takes the cameras from the run's folder.
@pytest.mark.parametrize('program', ['train', 'eval'])
def test_missing_data_folder(program, scene, run_dir, refuse):
  message = refuse(program, scene / 'nowhere', run_dir)
  assert_names(message, scene / 'nowhere', 'does not exist', 'Config.data_dir')


def test_no_data_folder_given(capsys, tmp_path):
  status = run_util.run(
    train.main,
    '--gin_configs=blender_256.gin',
    '--gin_bindings=Config.compilation_cache_dir = None',
    f'--checkpoint_dir={tmp_path}/run',
  )
  assert status == 1
  message = capsys.readouterr().err
  assert message.startswith('error: ') and message.count('\n') == 1
  assert_names(message, 'not set', "Config.data_dir = '")
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'program, split', [('train', 'train'), ('eval', 'test'), ('render', 'test')]
)
def test_missing_transforms_file(program, split, scene, run_dir, refuse):
  path = scene / f'transforms_{split}.json'
  path.unlink()
  message = refuse(program, scene, run_dir)
  assert_names(message, path, 'does not exist', 'Config.data_dir')


def test_missing_test_split_when_training_shows_test_views(
  scene, run_dir, refuse
):
  path = scene / 'transforms_test.json'
  path.unlink()
  message = refuse('train', scene, run_dir, 'Config.train_render_every = 4')
  assert_names(message, path, 'does not exist')


@pytest.mark.parametrize(
  'text', ['{"frames": [', '', 'null', '\xff\xfe', '[' * 100_000]
)
def test_malformed_json(text, scene, run_dir, refuse):
  path = scene / 'transforms_train.json'
  path.write_text(text, encoding='latin-1')
  assert_names(refuse('train', scene, run_dir), path, 'not valid JSON')


def test_zero_frames(scene, run_dir, refuse):
  path = scene / 'transforms_train.json'
  meta = json.loads(path.read_text())
  path.write_text(json.dumps(meta | {'frames': []}))
  message = refuse('train', scene, run_dir)
  assert_names(message, path, 'no frames', 'one is needed')


def test_missing_image(scene, run_dir, refuse):
  path = scene / 'train' / 'r_2.png'
  path.unlink()
  message = refuse('train', scene, run_dir)
  assert_names(message, '1 of 4 images', path, 'Config.data_dir')


def test_wrong_image_size(scene, run_dir, refuse):
  path = scene / 'train' / 'r_2.png'
  images.write_png(path, np.zeros((8, 12, 4)))
  message = refuse('train', scene, run_dir)
  assert_names(message, path, '12x8', '16x16', 'need one size')


def test_truncated_image(scene, run_dir, refuse):
  path = scene / 'test' / 'r_1.png'
  path.write_bytes(path.read_bytes()[:200])
  assert_names(refuse('eval', scene, run_dir), path)


@pytest.mark.parametrize('program', PROGRAMS)
def test_unknown_loader(program, scene, run_dir, refuse):
  message = refuse(program, scene, run_dir, "Config.dataset_loader = 'blendr'")
  assert_names(message, "'blendr'", 'blender', 'Config.dataset_loader')


def test_batch_size_not_divisible_by_the_devices(scene, run_dir, refuse):
  message = refuse('train', scene, run_dir, 'Config.batch_size = 60')
  assert_names(message, 'Config.batch_size = 60', '8 devices', '56 or 64')


@pytest.mark.parametrize(
  'binding, parts',
  [
    ('NerfMPL.net_depth = 2', ["'NerfMPL'", 'NerfMLP']),
    ('Config.bath_size = 2', ["'bath_size'", 'batch_size']),
    ('NerfMLP.net_dept = 2', ["'net_dept'", 'net_depth']),
    ('Config.batch_size = "many"', ['Config.batch_size', 'int', "'many'"]),
    ('Config.batch_size = 0', ['Config.batch_size', '0', '1']),
    ('NerfMLP.net_width = 1.5', ['NerfMLP.net_width', 'int', '1.5']),
    ('Config.lr_schedule = @nothing', ['@nothing']),
    ('Config.batch_size 64', ["'Config.batch_size 64'", '=']),
    ('import no_such_plug_in', ['no_such_plug_in', 'PYTHONPATH']),
    ("include 'no_such.gin'", ['no_such.gin', 'blender.gin']),
  ],
)
def test_wrong_gin_statement(binding, parts, scene, run_dir, refuse):
  message = refuse('train', scene, run_dir, binding)
  assert_names(message, '--gin_bindings', *parts)


def test_missing_gin_file(capsys):
  assert run_util.run(train.main, '--gin_configs=blendr_256.gin') == 1
  message = capsys.readouterr().err
  assert message.startswith('error: ') and message.count('\n') == 1
  assert_names(message, 'blendr_256.gin', 'blender_256.gin')


@pytest.mark.parametrize('program', ['eval', 'render'])
def test_no_checkpoint(program, scene, tmp_path, refuse):
  message = refuse(program, scene, tmp_path / 'absent')
  assert_names(message, 'No checkpoint in', tmp_path / 'absent')
  assert_names(message, 'does not exist', 'Config.checkpoint_dir')

  folder = tmp_path / 'other'
  folder.mkdir()
  (folder / 'notes.txt').write_text('not a run')
  message = refuse(program, scene, folder)
  assert_names(message, folder, 'notes.txt', 'Config.checkpoint_dir')


def test_no_checkpoint_while_waiting_for_one(scene, tmp_path, refuse):
  message = refuse(
    'eval',
    scene,
    tmp_path / 'absent',
    'Config.eval_only_once = False',
    'Config.eval_checkpoint_wait_timeout_sec = 0',
  )
  assert_names(message, tmp_path / 'absent', 'wait_timeout_sec')


@pytest.mark.parametrize('program', PROGRAMS)
def test_checkpoint_of_another_architecture(program, scene, run_dir, refuse):
  message = refuse(program, scene, run_dir, 'NerfMLP.net_width = 24')
  assert_names(
    message,
    run_dir / f'checkpoint_{STEPS}',
    'params/params/NerfMLP_0/Dense_1/kernel is float32[16, 16] in the file '
    'and float32[24, 24] in the model',
    'Config.checkpoint_dir',
  )


@pytest.mark.parametrize('program', PROGRAMS)
def test_all_checkpoints_damaged(program, scene, run_dir, refuse):
  for path in run_dir.glob('checkpoint_*'):
    path.write_bytes(path.read_bytes()[:-1])
  message = refuse(program, scene, run_dir)
  assert_names(message, run_dir / 'checkpoint_4', 'checkpoint_8', 'damaged')


# A path below a regular file cannot be written by anybody; permissions would
# not stop root, who runs tests in containers.


def test_unwritable_run_folder(scene, tmp_path, refuse):
  blocker = tmp_path / 'file'
  blocker.write_text('in the way')
  message = refuse('train', scene, blocker / 'run')
  assert_names(message, blocker / 'run', 'Config.checkpoint_dir')
  assert blocker.read_text() == 'in the way'


@pytest.mark.slow
def test_unwritable_folder_of_evaluation(scene, run_dir, refuse):
  (run_dir / 'test_preds').write_text('in the way')
  message = refuse('eval', scene, run_dir)
  assert_names(message, run_dir / 'test_preds', 'Config.checkpoint_dir')


def test_unwritable_folder_of_renderings(scene, run_dir, tmp_path, refuse):
  blocker = tmp_path / 'file'
  blocker.write_text('in the way')
  message = refuse(
    'render', scene, run_dir, f"Config.render_dir = '{blocker}/frames'"
  )
  assert_names(message, blocker, 'Config.render_dir')


def test_unwritable_folder_of_summaries(scene, run_dir, refuse):
  (run_dir / 'eval').write_text('in the way')
  message = refuse('eval', scene, run_dir, 'Config.eval_only_once = False')
  assert_names(message, run_dir / 'eval', 'Config.checkpoint_dir')


def test_full_disk_while_writing_a_checkpoint(
  scene, tmp_path, capsys, monkeypatch
):
  folder = tmp_path / 'run'
  args = run_util.arguments(scene, folder, EARLY)
  write = durable._write_synced

  def fill_up(path, data):
    if 'checkpoint_8' not in path.name:
      return write(path, data)
    path.write_bytes(data[: len(data) // 2])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

  with monkeypatch.context() as patch:
    patch.setattr(durable, '_write_synced', fill_up)
    assert run_util.run(train.main, *args) == 1
  message = capsys.readouterr().err
  assert message.startswith('error: ') and message.count('\n') == 1
  assert_names(message, folder / 'checkpoint_8', 'No space left on device')
  assert_names(message, 'free space', 'Config.checkpoint_dir')

  # The earlier one is whole, nothing is left of the other, and with space
  # regained training goes on.
  assert checkpoints.available_steps(folder) == [4]
  assert not list(folder.glob('.tmp*'))
  assert run_util.run(eval_lib.main, *args) == 0
  assert 'Evaluating step 4' in capsys.readouterr().out
  assert run_util.run(train.main, *args) == 0
  assert 'Resumed from step 4.' in capsys.readouterr().out
  assert checkpoints.available_steps(folder) == [4, 8]


@pytest.mark.parametrize(
  'program, key',
  [('eval', 'Config.checkpoint_dir'), ('render', 'Config.render_dir')],
)
def test_full_disk_while_writing_pictures(
  program, key, scene, run_dir, capsys, monkeypatch
):
  def refuse_to_write(path, picture):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

  monkeypatch.setattr(images, 'write_png', refuse_to_write)
  args = run_util.arguments(scene, run_dir, EARLY)
  assert run_util.run(PROGRAMS[program], *args) == 1
  message = capsys.readouterr().err
  assert message.startswith('error: ') and message.count('\n') == 1
  assert_names(message, 'color_000.png', 'No space left on device', key)
