"""The whole program: order of steps, interruption, refusal, command line."""

import dataclasses
import errno
import json
import os
import types

import capture_util
import numpy as np
import pytest
from PIL import Image

from multinerf import errors
from multinerf.app import process
from multinerf.capture import files, pipeline, settings, sfm, summary
from multinerf.capture import model as model_lib


class FakeColmap:
  """Stands for `sfm` and `model`: notes what was called, finds all images."""

  def __init__(self, monkeypatch):
    self.calls = []
    self.fail_at = None
    self.error = KeyboardInterrupt()
    self.num_placed = None
    module = types.SimpleNamespace(
      __version__='4.2.1', COLMAP_version='COLMAP 4.2'
    )
    monkeypatch.setattr(sfm, 'load_pycolmap', lambda verbose=False: module)
    monkeypatch.setattr(sfm, 'extract', self.extract)
    monkeypatch.setattr(sfm, 'match', self.match)
    monkeypatch.setattr(sfm, 'reconstruct', self.reconstruct)
    monkeypatch.setattr(model_lib, 'from_pycolmap', lambda model: model)

  def step(self, name):
    self.calls.append(name)
    if self.fail_at == name:
      raise self.error

  def extract(self, prepared, scene, options, log):
    for name in prepared.names:
      assert (scene / 'images' / name).exists()
    (scene / 'database.db').write_text('x')
    self.step('extract')

  def match(self, prepared, scene, options, log):
    self.step('match')
    return sfm.Matching('exhaustive', 3, 3)

  def reconstruct(self, prepared, scene, options, log):
    (scene / 'mapping').mkdir(exist_ok=True)
    self.step('reconstruct')
    names = prepared.names[: self.num_placed]
    model = capture_util.make_model(len(names))
    return [FakeModel(**vars(dataclasses.replace(model, names=names)))]


class FakeModel(model_lib.Model):
  """A model that writes itself as COLMAP's would."""

  def write_binary(self, folder):
    with open(f'{folder}/images.bin', 'w') as f:
      f.write('\n'.join(self.names))


@pytest.fixture
def colmap(monkeypatch):
  """COLMAP as far as this module needs it."""
  return FakeColmap(monkeypatch)


@pytest.fixture
def folder(tmp_path):
  """Three photographs."""
  for i in range(3):
    picture = np.full((24, 32, 3), 60 * i, np.uint8)
    (tmp_path / 'in').mkdir(exist_ok=True)
    Image.fromarray(picture).save(tmp_path / 'in' / f'{i}.jpg')
  return tmp_path / 'in'


def run(folder, out, *, overwrite=False, **options):
  """`pipeline.process`, with few threads; returns report and log."""
  lines = []
  options = settings.Settings(num_threads=2, **options)
  report = pipeline.process(
    folder, out, options, overwrite=overwrite, log=lines.append
  )
  return report, lines


def listing(folder):
  """All files below a folder."""
  return sorted(
    p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file()
  )


def test_the_result_is_complete_and_nothing_else_is_left(
  colmap, folder, tmp_path
):
  report, lines = run(folder, tmp_path / 'out')
  names = ['0.jpg', '1.jpg', '2.jpg']
  pictures = [
    f'{kind}/{name}'
    for kind in ('images', 'images_2', 'images_4', 'images_8')
    for name in names
  ]
  reports = ['report.json', 'report.md', 'report.png']
  assert listing(tmp_path / 'out') == sorted(
    [*pictures, *reports, 'sparse/0/images.bin']
  )
  assert sorted(p.name for p in tmp_path.iterdir()) == ['in', 'out']
  assert report == json.loads((tmp_path / 'out' / 'report.json').read_text())
  assert report['num_registered'] == 3
  assert '3 of 3 images placed' in lines[-1]


def test_a_finished_result_is_not_made_again(colmap, folder, tmp_path):
  first, _ = run(folder, tmp_path / 'out')
  again, lines = run(folder, tmp_path / 'out')
  assert again == first
  assert colmap.calls == ['extract', 'match', 'reconstruct']
  assert 'nothing to do' in lines[0]


def test_other_options_or_photographs_need_overwrite(colmap, folder, tmp_path):
  run(folder, tmp_path / 'out')
  with pytest.raises(errors.DataError, match='other options.*--overwrite'):
    run(folder, tmp_path / 'out', max_image_size=800)
  (folder / '2.jpg').unlink()
  with pytest.raises(errors.DataError, match='other photographs'):
    run(folder, tmp_path / 'out')
  report, _ = run(folder, tmp_path / 'out', overwrite=True)
  assert report['num_images'] == 2
  assert 'images/2.jpg' not in listing(tmp_path / 'out')
  assert sorted(p.name for p in tmp_path.iterdir()) == ['in', 'out']


@pytest.mark.parametrize('step', ['extract', 'match', 'reconstruct'])
def test_an_interrupted_run_leaves_no_result_and_goes_on(
  colmap, folder, tmp_path, step
):
  colmap.fail_at = step
  with pytest.raises(KeyboardInterrupt):
    run(folder, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()
  prepared = tmp_path / 'out.partial' / 'images' / '0.jpg'
  before = prepared.stat().st_mtime_ns
  colmap.fail_at = None
  _, lines = run(folder, tmp_path / 'out')
  assert 'Continuing' in lines[0]
  assert (tmp_path / 'out' / 'images' / '0.jpg').stat().st_mtime_ns == before
  assert not (tmp_path / 'out.partial').exists()


def test_an_interrupted_run_of_other_options_starts_afresh(
  colmap, folder, tmp_path
):
  colmap.fail_at = 'match'
  with pytest.raises(KeyboardInterrupt):
    run(folder, tmp_path / 'out', factors=(2,))
  colmap.fail_at = None
  _, lines = run(folder, tmp_path / 'out', factors=(4,))
  assert 'Continuing' not in lines[0]
  assert not (tmp_path / 'out' / 'images_2').exists()


def test_a_failed_overwrite_keeps_the_old_result(colmap, folder, tmp_path):
  run(folder, tmp_path / 'out')
  before = listing(tmp_path / 'out')
  colmap.fail_at, colmap.error = 'match', errors.DataError('no matches')
  with pytest.raises(errors.DataError):
    run(folder, tmp_path / 'out', overwrite=True, factors=())
  assert listing(tmp_path / 'out') == before


def test_folders_that_are_not_ours_are_never_replaced(colmap, folder, tmp_path):
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out' / 'thesis.tex').write_text('x')
  for overwrite in (False, True):
    with pytest.raises(errors.DataError, match='left alone'):
      run(folder, tmp_path / 'out', overwrite=overwrite)
  (tmp_path / 'new.partial').mkdir()
  (tmp_path / 'new.partial' / 'thesis.tex').write_text('x')
  with pytest.raises(errors.DataError, match='in the way'):
    run(folder, tmp_path / 'new')
  (tmp_path / 'file').write_text('x')
  with pytest.raises(errors.DataError, match='choose another OUT'):
    run(folder, tmp_path / 'file')


def test_an_empty_folder_may_be_the_result(colmap, folder, tmp_path):
  (tmp_path / 'out').mkdir()
  report, _ = run(folder, tmp_path / 'out')
  assert report['num_registered'] == 3


@pytest.mark.parametrize('out', ['in', '.'])
def test_the_result_may_not_hold_the_input(colmap, folder, tmp_path, out):
  with pytest.raises(errors.DataError, match='is or holds the input'):
    run(folder, tmp_path / out)


def test_the_result_may_lie_in_the_folder_of_the_photographs(colmap, folder):
  run(folder, folder / 'scene')
  report, lines = run(folder, folder / 'scene')
  assert report['num_images'] == 3 and 'nothing to do' in lines[0]


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('nowhere', 'does not exist'),
    ('in/0.jpg', 'one photograph; give the folder'),
  ],
)
def test_an_input_that_is_none_says_so(colmap, folder, tmp_path, name, message):
  with pytest.raises(errors.DataError, match=message):
    run(tmp_path / name, tmp_path / 'out')
  assert not (tmp_path / 'out.partial').exists()


def test_a_full_disk_is_named_and_work_is_kept(colmap, folder, tmp_path):
  colmap.fail_at = 'match'
  colmap.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'database.db')
  with pytest.raises(errors.DataError, match='is full: free some space'):
    run(folder, tmp_path / 'out')
  colmap.fail_at = None
  _, lines = run(folder, tmp_path / 'out')
  assert 'Continuing' in lines[0]


def test_a_disk_with_too_little_room_is_found_before_the_work(
  colmap, folder, tmp_path, monkeypatch
):
  usage = types.SimpleNamespace(free=5_000_000)
  monkeypatch.setattr(files.shutil, 'disk_usage', lambda path: usage)
  with pytest.raises(
    errors.DataError, match='has 5 MiB free, and about 12 MiB'
  ):
    run(folder, tmp_path / 'out')
  assert colmap.calls == []


def test_a_result_that_cannot_be_written_is_named(colmap, folder, tmp_path):
  (tmp_path / 'file').write_text('x')
  with pytest.raises(errors.DataError, match='Cannot write to .*another OUT'):
    run(folder, tmp_path / 'file' / 'out')


def test_database_stays_if_asked_for(colmap, folder, tmp_path):
  run(folder, tmp_path / 'out', keep_database=True)
  assert (tmp_path / 'out' / 'database.db').exists()


def test_command_prints_warnings_and_how_to_train(
  colmap, folder, tmp_path, capsys
):
  colmap.num_placed = 1
  out = tmp_path / 'my scene'
  argv = ['multinerf-process', str(folder), str(out), '--factors=2']
  assert process.main([*argv, '--camera_model=PINHOLE']) == 0
  said = capsys.readouterr().out
  assert 'WARNING: Only 1 of 3 images' in said
  assert '1.jpg, 2.jpg' in said
  # Not train.py, which is in the checkout alone.
  assert said.rstrip().splitlines()[-1] == (
    '  multinerf-train --gin_configs=capture.gin '
    f"--gin_bindings=\"Config.dataset_loader = 'llff'\" --data_dir='{out}'"
  )
  report = json.loads((out / summary.REPORT).read_text())
  assert report['settings']['camera_model'] == 'PINHOLE'
  assert report['settings']['factors'] == [2]


@pytest.mark.parametrize(
  ('flag', 'message'),
  [
    ('--factors=2,x', 'not a list of whole numbers'),
    ('--factors=1', 'each must be in 2 .. 64'),
    ('--num_frames=1', 'not in 2 .. 100000'),
    ('--max_image_size=10', 'not in 64 .. 100000'),
    ('--num_threads=0', 'neither -1'),
    ('--seed=-1', '--seed=-1 is not in'),
  ],
)
def test_command_refuses_a_wrong_option_in_one_line(
  colmap, folder, tmp_path, capsys, flag, message
):
  argv = ['multinerf-process', str(folder), str(tmp_path / 'out'), flag]
  assert process.main(argv) == 1
  said = capsys.readouterr().err
  assert said.startswith('error: ') and message in said
  assert said.count('\n') == 1


def test_command_that_is_interrupted_says_how_to_go_on(
  colmap, folder, tmp_path, capsys
):
  colmap.fail_at = 'extract'
  argv = ['multinerf-process', str(folder), str(tmp_path / 'out')]
  assert process.main(argv) == 130
  assert 'the same command goes on' in capsys.readouterr().err


def test_every_option_of_the_command_is_one_of_settings():
  shown = {name for name, _, _ in process._OPTIONS}
  fields = {f.name for f in dataclasses.fields(settings.Settings)}
  assert fields - shown == {'factors', 'keep_database'}
  assert shown <= fields
