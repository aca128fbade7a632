"""multinerf-check end to end."""

import json

import numpy as np
import pytest
import run_util

from multinerf.app import check
from multinerf.data import images


@pytest.fixture
def scene(tmp_path):
  return run_util.render_scene(tmp_path / 'scene')


def run(*args):
  return check.main(['multinerf-check', *map(str, args)])


def test_a_sound_folder_is_described_and_passes(scene, tmp_path, capsys):
  out = tmp_path / 'report'
  assert run(scene, f'--out={out}') == 0
  text = capsys.readouterr().out
  assert 'blender loader' in text
  assert '4 perspective images of 16x16' in text
  assert 'Memory: ' in text
  record = json.loads((out / 'check.json').read_text())
  assert record['errors'] == []
  assert record['splits']['train']['images'] == 4
  picture = images.read_image(out / 'check.png')
  assert picture.shape[1] > 2 * 256  # three columns


def test_the_tilde_of_the_report_folder_is_the_home_folder(
  scene, tmp_path, monkeypatch
):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert run(scene, '--out=~/report') == 0
  assert (tmp_path / 'report' / 'check.json').is_file()


@pytest.mark.parametrize('dashes', ['-', '--'])
def test_flags_may_be_two_words(scene, tmp_path, capsys, dashes):
  out, known = tmp_path / 'report', "Config.dataset_loader = 'blender'"
  args = [f'{dashes}gin_bindings', 'Config.factor = 0', scene]
  assert run(*args, f'{dashes}out', out) == 0
  assert 'blender loader' in capsys.readouterr().out  # guessed
  assert (out / 'check.json').is_file()
  # A preset or a binding that names the loader spares the guess.
  for flags in (['gin_configs', 'blender_256.gin'], ['gin_bindings', known]):
    args = [f'{dashes}{flags[0]}', flags[1], '--jax_log_compiles=false']
    assert run(*args, '--jax_platforms', 'cpu', scene, f'--out={out}') == 0
    assert 'Looks like' not in capsys.readouterr().out


def test_a_loader_that_is_named_is_not_guessed(tmp_path, capsys):
  (tmp_path / 'empty').mkdir()
  binding = "--gin_bindings=Config.dataset_loader = 'blender'"
  assert run(tmp_path / 'empty', binding, f'--out={tmp_path / "report"}') == 1
  assert 'transforms_train.json' in capsys.readouterr().err


@pytest.mark.parametrize(
  'flag, words',
  [('--out', 'needs a folder'), ('--gin_configs', 'Missing value')],
)
def test_a_flag_without_its_value_is_named(flag, words, capsys):
  assert run(flag) == 1
  err = capsys.readouterr().err
  assert flag.lstrip('-') in err and words in err and err.count('\n') == 1


def test_an_unwritable_report_folder_names_the_flag(scene, tmp_path, capsys):
  blocker = tmp_path / 'file'
  blocker.write_text('in the way')
  assert run(scene, f'--out={blocker}/report') == 1
  err = capsys.readouterr().err
  assert str(blocker) in err and '(--out)' in err and 'Config.' not in err


def test_every_broken_image_is_named_not_only_the_first(
  scene, tmp_path, capsys
):
  for name in ('r_1', 'r_3'):
    path = scene / 'train' / f'{name}.png'
    path.write_bytes(path.read_bytes()[:60])
  assert run(scene, 'blender_256.gin', f'--out={tmp_path / "report"}') == 1
  err = capsys.readouterr().err
  assert 'r_1.png' in err
  assert 'r_3.png' in err
  record = json.loads((tmp_path / 'report' / 'check.json').read_text())
  assert len(record['errors']) == 2
  assert list(record['splits']) == ['test']


def test_warnings_do_not_fail_the_check(scene, tmp_path, capsys):
  path = scene / 'train' / 'r_1.png'
  images.write_png(path, np.full((16, 16, 4), 255, np.uint8))
  assert run(scene, f'--out={tmp_path / "report"}') == 0
  assert 'r_1.png' in capsys.readouterr().out


def test_a_folder_of_no_known_format_is_refused(tmp_path, capsys):
  (tmp_path / 'empty').mkdir()
  assert run(tmp_path / 'empty') == 1
  assert 'no format' in capsys.readouterr().err


def test_training_warns_about_what_the_check_finds(scene, tmp_path, capfd):
  from multinerf.app import train

  path = scene / 'train' / 'r_1.png'
  images.write_png(path, np.full((16, 16, 4), 255, np.uint8))
  args = run_util.arguments(
    scene, tmp_path / 'run', 'Config.early_exit_steps = 1'
  )
  assert run_util.run(train.main, *args) == 0
  captured = capfd.readouterr()
  assert 'r_1.png' in captured.out + captured.err
