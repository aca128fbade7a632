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
