"""A run's folder is enough: no data set, and checkpoints of MultiNeRF."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import optax
import pytest
import run_util
from flax.training import checkpoints as flax_checkpoints
from flax.training import train_state

from multinerf import errors
from multinerf.app import eval as eval_lib
from multinerf.app import render, snapshots, train
from multinerf.config import gin_setup, views
from multinerf.data import base, snapshot
from multinerf.training import checkpoints, console

EARLY = 'Config.early_exit_steps = 4'
PATH = ('Config.render_path = True', 'Config.render_path_frames = 2')
BINDINGS = (
  EARLY,
  'Config.render_video_exts = ()',
  'Config.render_rgb_only = True',
)


@pytest.fixture(scope='module')
def scene(tmp_path_factory):
  return run_util.render_scene(tmp_path_factory.mktemp('data') / 'toys')


@pytest.fixture(scope='module')
def run_dir(scene, tmp_path_factory):
  """A run of four steps, its test views and a path rendered with the data."""
  folder = tmp_path_factory.mktemp('runs') / 'tiny' / 'toys'
  args = run_util.arguments(scene, folder, *BINDINGS)
  assert run_util.run(train.main, *args) == 0
  for more in ((), PATH):
    args = run_util.arguments(scene, folder, *BINDINGS, *more)
    assert run_util.run(render.main, *args) == 0
  return folder


@pytest.mark.parametrize('more', [(), PATH], ids=['test_preds', 'path_renders'])
def test_it_renders_the_same_pictures_without_the_data(
  run_dir, tmp_path, more, capsys
):
  elsewhere = tmp_path / 'copy'
  shutil.copytree(
    run_dir, elsewhere, ignore=shutil.ignore_patterns('render', 'events*')
  )
  # Nothing but the folder is named; config.gin names a data set that is gone.
  text = (elsewhere / 'config.gin').read_text()
  gone = text.replace('/toys', '/gone')
  assert gone != text
  (elsewhere / 'config.gin').write_text(gone)
  args = [f'--gin_configs={elsewhere}/config.gin']
  args += [f'--checkpoint_dir={elsewhere}', '--safe_gin']
  args += [f'--gin_bindings={b}' for b in more]
  assert run_util.run(render.main, *args) == 0
  assert 'cameras are those that training left' in capsys.readouterr().out
  kind = 'path_renders' if more else 'test_preds'
  got, want = (
    run_util.contents(folder / 'render' / f'{kind}_step_4')
    for folder in (elsewhere, run_dir)
  )
  pictures = [name for name in want if name.endswith('.png')]
  assert len(pictures) == 2
  assert all(got[name] == want[name] for name in pictures)


def test_evaluation_still_asks_for_the_data(run_dir, tmp_path, capsys):
  args = run_util.arguments(tmp_path / 'gone', run_dir, *BINDINGS)
  assert run_util.run(eval_lib.main, *args) == 1
  assert 'Config.data_dir' in capsys.readouterr().err


def record(data, folder, capsys):
  """What `snapshots.record` writes and says."""
  setup = gin_setup.load(
    ['blender_256.gin'], [f"Config.data_dir = '{data}'"], scope='train'
  )
  cfg = views.view(setup.config, base.DataConfig)
  scene = base.load_scene(cfg, 'train')
  snapshots.record(setup, str(folder), console.Console(), scene, None)
  return setup.config, folder / snapshot.FILE, capsys.readouterr().out


def test_the_same_data_are_written_once_and_new_poses_replace_them(
  scene, tmp_path, capsys
):
  data, folder = tmp_path / 'toys', tmp_path / 'run'
  shutil.copytree(scene, data)
  _, path, said = record(data, folder, capsys)
  before = path.stat().st_ino
  record(data, folder, capsys)
  assert path.stat().st_ino == before and said == ''
  file = data / 'transforms_train.json'
  meta = json.loads(file.read_text())
  meta['frames'][0]['transform_matrix'][0][3] += 0.5
  file.write_text(json.dumps(meta))
  old = snapshot.read(path).scenes['train'].cameras.camtoworlds
  record(data, folder, capsys)
  new = snapshot.read(path).scenes['train'].cameras.camtoworlds
  assert new[0, 0, 3] == pytest.approx(old[0, 0, 3] + 0.5)


def test_a_split_that_is_missing_is_a_note_and_rendering_says_so(
  scene, tmp_path, capsys
):
  data, folder = tmp_path / 'half', tmp_path / 'run'
  shutil.copytree(scene, data)
  (data / 'transforms_test.json').unlink()
  config, _, said = record(data, folder, capsys)
  assert 'cameras.json has no test cameras' in said and said.count('\n') == 1
  assert not snapshots.needed(config, str(folder))
  shutil.rmtree(data)
  assert snapshots.needed(config, str(folder))
  with pytest.raises(errors.DataError, match='has no test views'):
    snapshots.load_test_scene(config, str(folder))
  config = dataclasses.replace(config, render_path=True, render_path_frames=5)
  assert len(snapshots.load_test_scene(config, str(folder))) == 5


@pytest.mark.parametrize(
  'orbax', [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_a_checkpoint_of_multinerf_is_rendered_but_not_resumed(
  run_dir, scene, tmp_path, capsys, monkeypatch, orbax
):
  """In the layout of upstream's train.py: a flax TrainState, by flax itself."""
  own = flax_checkpoints.restore_checkpoint(
    checkpoints.checkpoint_path(run_dir, 4), target=None
  )
  upstream = train_state.TrainState.create(
    apply_fn=None, params=own['params'], tx=optax.adam(1e-3)
  )
  upstream = jax.device_get(upstream).replace(step=4)
  config = flax_checkpoints.config
  before = config.flax_use_orbax_checkpointing
  config.update('flax_use_orbax_checkpointing', orbax)
  try:
    flax_checkpoints.save_checkpoint(tmp_path, upstream, 4, keep=100)
  finally:
    config.update('flax_use_orbax_checkpointing', before)
  assert (tmp_path / 'checkpoint_4').is_dir() == orbax
  args = run_util.arguments(scene, tmp_path, *BINDINGS)
  assert run_util.run(eval_lib.main, *args) == 0
  assert run_util.run(render.main, *args) == 0
  got, want = (
    run_util.contents(folder / 'render' / 'test_preds_step_4')
    for folder in (tmp_path, run_dir)
  )
  pictures = [name for name in want if name.endswith('.png')]
  assert pictures and all(got[name] == want[name] for name in pictures)
  # Training needs the optimiser's state, which has another structure.
  files = run_util.contents(tmp_path)
  assert run_util.run(train.main, *args) == 1
  message = capsys.readouterr().err
  assert 'another model or optimizer' in message and 'seed' in message
  assert run_util.contents(tmp_path) == files


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    (lambda m: m.update(format_version=2), 'format_version'),
    (lambda m: m.pop('key'), 'key'),
    (lambda m: m['scenes']['test'].pop('cameras'), 'cameras'),
    (lambda m: m['scenes']['test'].update(camtype='x'), 'camtype'),
    (lambda m: m['scenes']['test']['image_names'].pop(), 'image names'),
    (lambda m: m['scenes']['test']['cameras'].pop('near'), 'near'),
    (lambda m: m['scenes']['test']['cameras'].update(far=[1, 2, 3]), 'far'),
    (lambda m: m['scenes']['test']['cameras'].update(widths='x'), 'widths'),
    (lambda m: m['scenes']['test'].update(raw=[1]), 'raw'),
    (lambda m: m['scenes'].update(test=7), 'test'),
  ],
)
def test_a_damaged_record_is_one_line(run_dir, tmp_path, change, words):
  meta = json.loads((run_dir / snapshot.FILE).read_text())
  change(meta)
  path = tmp_path / snapshot.FILE
  path.write_text(json.dumps(meta))
  with pytest.raises(errors.DataError, match=words) as info:
    snapshot.read(path)
  assert str(path) in str(info.value) or 'Camera' in str(info.value)


def test_cameras_come_back_bit_for_bit(run_dir, tmp_path):
  found = snapshot.read(run_dir / snapshot.FILE)
  assert snapshot.to_text(found) == (run_dir / snapshot.FILE).read_text()
  table = found.scenes['train'].cameras
  assert np.asarray(table.camtoworlds).dtype == np.float32
