"""From photographs or a video to a folder that can be trained on.

Everything is made in OUT.partial, which becomes OUT by one rename at the end:
an OUT that exists is complete. A command that was interrupted and is given
again goes on in OUT.partial where it stopped.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from multinerf import errors
from multinerf.capture import files, photos, sfm, summary, video
from multinerf.capture import model as model_lib
from multinerf.capture import settings as settings_lib

_MARK = 'process.json'  # in OUT.partial: of which input and options it is
_PREPARED = 'prepared.json'  # there too: the images are complete
# Features of one image in the database, and matches, in bytes; generous.
_DATABASE_BYTES = 4 * 2**20


def process(
  source: str | os.PathLike,
  out: str | os.PathLike,
  settings: settings_lib.Settings,
  *,
  overwrite: bool = False,
  verbose: bool = False,
  log: sfm.Log,
) -> dict[str, Any]:
  """Does everything.

  Args:
    source: A folder of JPEG or PNG photographs, or a video file.
    out: The folder to make.
    settings: Options.
    overwrite: Replace an `out` that was made before.
    verbose: Let COLMAP print what it does.
    log: Gets a line about each step.

  Returns:
    The contents of report.json. If `out` is complete already, nothing is done
    and its own is returned.

  Raises:
    ConfigError: An option is wrong, or a package is missing.
    DataError: The input cannot be used, `out` cannot be written, or no poses
      are found; the message says what to do.
  """
  source = pathlib.Path(source).expanduser()
  out = pathlib.Path(out).expanduser().absolute()
  found, notes = _find_input(source)
  _check_places(source, out)
  fingerprint = _fingerprint(found, settings)
  done = _finished(out, fingerprint, overwrite)
  if done is not None:
    log(f'{out} is finished; nothing to do (--overwrite makes it anew).')
    return done
  colmap = sfm.load_pycolmap(verbose)
  with files.explained(_existing(out)):
    scene = _open_partial(out, fingerprint)
    seconds: dict[str, float] = {}
    with _timed('images', seconds):
      prepared = _prepare(found, notes, scene, settings, log)
    with _timed('features', seconds):
      log(f'Finding features of {len(prepared.names)} images')
      sfm.extract(prepared, scene, settings, log)
    with _timed('matching', seconds):
      matching = sfm.match(prepared, scene, settings, log)
    with _timed('mapping', seconds):
      log(f'Placing cameras ({matching.num_verified} pairs agree)')
      models = sfm.reconstruct(prepared, scene, settings, log)
    shutil.rmtree(scene / 'sparse', ignore_errors=True)
    model_lib.write(models, scene)
    outcome = summary.Outcome(
      source=str(source),
      prepared=prepared,
      matching=matching,
      models=tuple(model_lib.from_pycolmap(m) for m in models),
      settings=settings,
      seconds=seconds,
      versions={'pycolmap': colmap.__version__, 'colmap': _version(colmap)},
    )
    summary.write(outcome, scene, fingerprint)
    _finish(scene, out, settings)
  log(f'{outcome.headline}.')
  return summary.to_json(outcome, fingerprint)


def _version(colmap: Any) -> str:
  return str(getattr(colmap, 'COLMAP_version', '?')).removeprefix('COLMAP ')


def _find_input(source: pathlib.Path) -> tuple[list[pathlib.Path], list[str]]:
  """The photographs of a folder, or the one video; notes about them.

  Raises:
    DataError: There is no such thing.
  """
  if source.is_dir():
    try:
      return photos.list_photos(source)
    except OSError as error:
      raise errors.DataError(
        f'Cannot read {error.filename or source}: {error.strerror}.'
      ) from error
  if not source.exists():
    raise errors.DataError(
      f'{source} does not exist; give a folder of photographs or a video.'
    )
  if source.suffix.lower() in photos.SUFFIXES:
    raise errors.DataError(
      f'{source} is one photograph; give the folder that holds all of them.'
    )
  return [source], []


def _check_places(source: pathlib.Path, out: pathlib.Path) -> None:
  """Raises if the result would replace or enclose the input."""
  real, target = source.resolve(), out.resolve()
  if real == target or target in real.parents:
    raise errors.DataError(
      f'OUT ({out}) is or holds the input ({source}), which must stay as it '
      'is; choose another folder, say '
      f'{target.with_name(target.name + "_colmap")}.'
    )


def _fingerprint(
  found: list[pathlib.Path], settings: settings_lib.Settings
) -> str:
  """Tells inputs and options apart; threads do not matter."""
  options = dataclasses.asdict(settings)
  del options['num_threads'], options['keep_database']
  stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in found]
  text = json.dumps([str(found[0].resolve().parent), stats, options])
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _finished(
  out: pathlib.Path, fingerprint: str, overwrite: bool
) -> dict[str, Any] | None:
  """The report of an OUT that is complete; None if there is work to do.

  Raises:
    DataError: OUT is something else and must not be replaced.
  """
  if not out.exists() or (out.is_dir() and not any(out.iterdir())):
    return None
  report = files.read_json(out / summary.REPORT)
  if not isinstance(report, dict) or 'fingerprint' not in report:
    raise errors.DataError(
      f'{out} exists and was not made by this program, so it is left alone '
      '(with --overwrite too); choose another OUT.'
    )
  if overwrite:
    return None
  if report['fingerprint'] != fingerprint:
    raise errors.DataError(
      f'{out} was made from other photographs or with other options; choose '
      'another OUT, or replace it with --overwrite.'
    )
  return report


def _existing(path: pathlib.Path) -> pathlib.Path:
  """The nearest folder above a path that exists."""
  return next(p for p in path.parents if p.is_dir())


def _open_partial(out: pathlib.Path, fingerprint: str) -> pathlib.Path:
  """OUT.partial: that of an interrupted run of the same kind, or a new one.

  Raises:
    DataError: There is a folder of this name, but not by us.
  """
  scene = out.with_name(out.name + '.partial')
  if scene.exists() and any(scene.iterdir()):
    mark = files.read_json(scene / _MARK)
    if not isinstance(mark, dict) or 'fingerprint' not in mark:
      raise errors.DataError(
        f'{scene} is in the way and was not made by this program; move it.'
      )
    if mark['fingerprint'] == fingerprint:
      return scene
    shutil.rmtree(scene)
  scene.mkdir(parents=True, exist_ok=True)
  files.write_json(scene / _MARK, {'fingerprint': fingerprint})
  return scene


def _prepare(found, notes, scene, settings, log) -> photos.Prepared:
  """The images and their smaller copies, unless they are there already."""
  before = files.read_json(scene / _PREPARED)
  if before is not None:
    log('Continuing an interrupted run: its images are there')
    return photos.Prepared.from_json(before)
  if found[0].suffix.lower() in photos.SUFFIXES:
    size = sum(p.stat().st_size for p in found)
    files.check_space(scene, 2 * size + len(found) * _DATABASE_BYTES)
    log(f'Copying {len(found)} photographs')
    prepared = photos.prepare(
      found,
      scene,
      factors=settings.factors,
      num_threads=settings.num_threads,
      notes=notes,
    )
  else:
    files.check_space(scene, settings.num_frames * _DATABASE_BYTES)
    log(f'Choosing sharp frames of {found[0].name}')
    prepared = video.prepare(
      found[0],
      scene,
      num_frames=settings.num_frames,
      factors=settings.factors,
    )
  for note in prepared.notes:
    log(f'  {note}')
  files.write_json(scene / _PREPARED, prepared.to_json())
  return prepared


@contextlib.contextmanager
def _timed(step: str, seconds: dict[str, float]) -> Iterator[None]:
  start = time.monotonic()
  yield
  seconds[step] = time.monotonic() - start


def _finish(
  scene: pathlib.Path, out: pathlib.Path, settings: settings_lib.Settings
) -> None:
  """Removes what only the work needed, and lets OUT appear whole."""
  shutil.rmtree(scene / 'mapping')
  (scene / _PREPARED).unlink()
  if not settings.keep_database:
    for path in scene.glob('database.db*'):
      path.unlink()
  with tempfile.TemporaryDirectory(prefix=f'.{out.name}.', dir=out.parent) as t:
    if out.exists():
      os.rename(out, pathlib.Path(t, 'replaced'))
    os.rename(scene, out)
  (out / _MARK).unlink()
