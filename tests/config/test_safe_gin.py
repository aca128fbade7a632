"""Files of strangers: with --safe_gin they are data, not code."""

import sys

import pytest

from multinerf import errors
from multinerf.app import cli
from multinerf.config import gin_files, gin_setup

PRESETS = sorted(p.name for p in gin_files.find_gin_configs().glob('*.gin'))


@pytest.mark.parametrize('preset', PRESETS)
def test_every_preset_is_safe_and_says_the_same(preset):
  safe = gin_setup.load([preset], safe=True)
  assert safe.config_str == gin_setup.load([preset]).config_str


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('import harm', 'run code'),
    ('from os import path', 'run code'),
    ('import os.path as p', 'run code'),
    ('gin.singleton.constructor = @jnp.exp', 'none of multinerf'),
    ('Model.nerf_mlp = @gin.singleton()', 'none of multinerf'),
    ('X = [1, {"a": (@x/gin.singleton(),)}]', 'none of multinerf'),
    ("include '/etc/passwd'", 'neither beside'),
    ("include '../other.gin'", 'neither beside'),
    ("include '~/other.gin'", 'neither beside'),
  ],
)
def test_what_could_do_harm_is_refused_and_not_done(
  text, words, tmp_path, monkeypatch
):
  (tmp_path / 'harm.py').write_text('raise SystemExit("it ran")')
  monkeypatch.syspath_prepend(tmp_path)
  path = tmp_path / 'run.gin'
  path.write_text(f'Config.factor = 2\n{text}\n')
  with pytest.raises(errors.ConfigError, match=words) as info:
    gin_setup.load([str(path)], safe=True)
  assert str(info.value).startswith(f'{path}:2: ')
  assert 'harm' not in sys.modules


def test_a_plug_in_that_is_imported_already_is_refused_by_name(
  tmp_path, monkeypatch
):
  module = 'plug_in_of_the_safe_gin_test'
  (tmp_path / f'{module}.py').write_text(
    'import gin\n@gin.configurable\ndef reach(path="x"):\n  return path\n'
  )
  monkeypatch.syspath_prepend(tmp_path)
  gin_setup.load([], [f'import {module}', 'reach.path = "y"'])
  for text in ('reach.path = "/etc"', 'Config.render_dir = @reach()'):
    with pytest.raises(errors.ConfigError, match='none of multinerf'):
      gin_setup.load([], [text], safe=True)


def test_macros_scopes_and_files_beside_are_still_there(tmp_path):
  (tmp_path / 'base.gin').write_text("include 'blender_256.gin'\nN = 3\n")
  path = tmp_path / 'run.gin'
  path.write_text(
    "include 'base.gin'\nConfig.factor = %N\neval/Config.factor = 1\n"
    'math.power_ladder.p = -1.5\nNerfMLP.warp_fn = @math.power_ladder\n'
  )
  assert gin_setup.load([str(path)], safe=True).config.factor == 3
  assert gin_setup.load([str(path)], scope='eval', safe=True).config.factor == 1


def test_the_programs_have_the_flag(capsys):
  def program(setup):
    raise AssertionError(setup)

  argv = ['train.py', '--safe_gin', '--gin_bindings=import antigravity']
  assert cli.main(program, scope='train', doc='', argv=argv) == 1
  assert '--safe_gin refuses' in capsys.readouterr().err
  assert 'antigravity' not in sys.modules
