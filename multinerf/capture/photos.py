"""A folder of photographs -> upright images of one scene folder.

COLMAP and our loaders both ignore EXIF rotation. So a photograph that carries
one is rewritten upright; every other is copied byte for byte.
"""

import concurrent.futures
import dataclasses
import os
import pathlib
import re
import shutil
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from multinerf import errors
from multinerf.capture import files, shrink
from multinerf.data import images

SUFFIXES = ('.jpg', '.jpeg', '.png')
# Photographs by their ending, but in formats that are not read.
_OTHER_PHOTOS = (
  *('.heic', '.heif', '.avif', '.webp', '.tif', '.tiff', '.bmp'),
  *('.dng', '.cr2', '.cr3', '.nef', '.arw', '.raf', '.orf', '.rw2'),
)
MIN_IMAGES = 2
# What Pillow raises on damaged tags.
_EXIF_ERRORS = (
  *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError),
  *(ArithmeticError, AttributeError, MemoryError, struct.error),
  errors.DataError,
)
_EXIF_KEYS = (
  ExifTags.Base.Make,
  ExifTags.Base.Model,
  ExifTags.Base.FocalLength,
  ExifTags.Base.FocalLengthIn35mmFilm,
)


@dataclasses.dataclass(frozen=True)
class Prepared:
  """The images of a scene, ready for COLMAP.

  Attributes:
    names: File names in images/, sorted.
    cameras: One label per image; images of equal label are taken to be by the
      same camera at the same zoom: size, and EXIF maker, model and focal
      length.
    ordered: Whether neighbours in `names` are neighbours in space (a video).
    notes: What the user should hear about the input, a line each.
  """

  names: tuple[str, ...]
  cameras: tuple[str, ...]
  ordered: bool
  notes: tuple[str, ...] = ()

  def to_json(self) -> dict[str, Any]:
    """Plain values for a JSON file."""
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, value: dict[str, Any]) -> 'Prepared':
    """Inverse of `to_json`."""
    return cls(
      tuple(value['names']),
      tuple(value['cameras']),
      bool(value['ordered']),
      tuple(value['notes']),
    )


def list_photos(folder: pathlib.Path) -> tuple[list[pathlib.Path], list[str]]:
  """Finds the JPEG and PNG files of a folder, not of its sub-folders.

  Args:
    folder: Any folder. Hidden files (.DS_Store, ._0001.jpg) are ignored.

  Returns:
    The files, sorted by their name in images/, and notes about photographs left out.

  Raises:
    DataError: There is none or only one, or two differ only in their ending.
  """
  entries = sorted(
    (p for p in folder.iterdir() if p.is_file() and p.name[0] != '.'),
    key=target_name,
  )
  found = [p for p in entries if p.suffix.lower() in SUFFIXES]
  others = [p for p in entries if p.suffix.lower() in _OTHER_PHOTOS]
  if len(found) < MIN_IMAGES:
    raise errors.DataError(_too_few(folder, entries, found, others))
  _check_stems(found)
  notes = []
  if others:
    kinds = sorted({p.suffix.lower() for p in others})
    notes.append(
      f'{len(others)} files ({", ".join(kinds)}) were left out; only JPEG and '
      'PNG are read: convert them if they belong to the scene.'
    )
  return found, notes


def _too_few(folder, entries, found, others) -> str:
  """What is wrong with a folder of no or one photograph, and what to do."""
  if found:
    return (
      f'{folder} holds one photograph ({found[0].name}). Poses are found by '
      'comparing photographs: take 30 or more from different places, each '
      'overlapping the next by two thirds.'
    )
  head = f'{folder} holds no JPEG or PNG photographs'
  if others:
    return (
      f'{head}, but {len(others)} files like {others[0].name}: convert them to '
      'JPEG or PNG first (phones: camera format "most compatible").'
    )
  below = [
    p for p in sorted(folder.iterdir()) if p.is_dir() and _holds_photos(p)
  ]
  if below:
    return f'{head}; its sub-folder {below[0]} does: give that one.'
  if entries:
    return (
      f'{head} (it has {entries[0].name}): give the folder of the '
      'photographs, or the video file itself.'
    )
  return f'{head}; it is empty.'


def _holds_photos(folder: pathlib.Path) -> bool:
  return any(p.suffix.lower() in SUFFIXES for p in folder.iterdir())


def _check_stems(found: Sequence[pathlib.Path]) -> None:
  """Raises if images cannot be told apart by the name without its ending."""
  seen: dict[str, pathlib.Path] = {}
  for path in found:
    stem = pathlib.PurePath(target_name(path)).stem.lower()
    other = seen.setdefault(stem, path)
    if other is not path:
      raise errors.DataError(
        f'{other} and {path.name} differ only in ending, case or spaces; '
        'smaller copies are found by name: rename or remove one.'
      )


def target_name(path: pathlib.Path) -> str:
  """The name of a photograph in images/: spaces, which COLMAP's lists of pairs
  cannot hold, become underscores."""
  return re.sub(r'\s', '_', path.name)


def prepare(
  found: Sequence[pathlib.Path],
  scene: pathlib.Path,
  *,
  factors: tuple[int, ...] = (),
  num_threads: int = -1,
  notes: Sequence[str] = (),
) -> Prepared:
  """Fills images/ and images_<factor>/ of a scene folder.

  Args:
    found: Photographs, as `list_photos` sorts them.
    scene: An existing folder. Files already there are replaced.
    factors: Smaller copies to make.
    num_threads: -1: as many as there are cores.
    notes: Put before those of this step.

  Returns:
    The readable photographs; the notes name the others.

  Raises:
    DataError: Fewer than two can be read.
    OSError: A file cannot be written.
  """
  (scene / 'images').mkdir(exist_ok=True)
  workers = os.cpu_count() if num_threads == -1 else num_threads
  with concurrent.futures.ThreadPoolExecutor(workers) as pool:
    results = list(pool.map(lambda p: _prepare_one(p, scene, factors), found))
  good = [
    (target_name(p), r) for p, r in zip(found, results, strict=True) if r.camera
  ]
  bad = [
    (p.name, r.error) for p, r in zip(found, results, strict=True) if r.error
  ]
  if len(good) < MIN_IMAGES:
    raise errors.DataError(
      f'{len(bad)} of {len(found)} photographs cannot be read, too many to go '
      f'on. The first: {bad[0][1]}'
    )
  notes = list(notes)
  if bad:
    notes.append(
      f'{len(bad)} photographs cannot be read and were left out: '
      f'{", ".join(name for name, _ in bad)}.'
    )
  rotated = sum(r.rotated for _, r in good)
  if rotated:
    notes.append(
      f'{rotated} photographs were rotated by EXIF and are rewritten upright.'
    )
  return Prepared(
    names=tuple(name for name, _ in good),
    cameras=tuple(r.camera for _, r in good),
    ordered=False,
    notes=tuple(notes),
  )


@dataclasses.dataclass(frozen=True)
class _Result:
  """One photograph: its camera's label, or why it cannot be read."""

  camera: str = ''
  rotated: bool = False
  error: str = ''


def _prepare_one(
  path: pathlib.Path, scene: pathlib.Path, factors: tuple[int, ...]
) -> _Result:
  """Copies one photograph upright, with its smaller copies."""
  try:
    pixels = images.read_image(path)
    exif, orientation = _read_exif(path)
  except errors.DataError as error:
    return _Result(error=str(error))
  target = scene / 'images' / target_name(path)
  if orientation != 1:
    pixels = _rewrite_upright(path, target)
  else:
    files.write_file(target, lambda p: shutil.copyfile(path, p))
  shrink.write_copies(pixels, scene, target.name, factors)
  height, width = pixels.shape[:2]
  label = ' '.join([f'{width}x{height}', *exif])
  return _Result(camera=label, rotated=orientation != 1)


def _read_exif(path: pathlib.Path) -> tuple[list[str], int]:
  """What EXIF says of camera and zoom, and its orientation, 1 .. 8.

  Damaged EXIF is as good as none; the pixels have been read before.
  """
  try:
    with images.opened(path) as picture:
      exif = picture.getexif()
      fields = {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
  except _EXIF_ERRORS:
    fields = {}
  orientation = fields.get(ExifTags.Base.Orientation, 1)
  known = [fields[key] for key in _EXIF_KEYS if key in fields]
  return (
    [str(value).strip('\0 ') for value in known],
    orientation if orientation in range(1, 9) else 1,
  )


def _rewrite_upright(path: pathlib.Path, target: pathlib.Path) -> np.ndarray:
  """Writes the pixels as they are meant to be seen; keeps the other EXIF."""
  with Image.open(path) as picture:
    upright = ImageOps.exif_transpose(picture)
    jpeg = path.suffix.lower() in ('.jpg', '.jpeg')
    options: dict[str, Any] = dict(shrink.JPEG_OPTIONS) if jpeg else {}
    try:
      options['exif'] = upright.getexif().tobytes()
    except _EXIF_ERRORS:
      options['exif'] = b''  # some cameras write what cannot be written again
    files.write_file(target, lambda p: upright.save(p, **options))
  return images.read_image(target)
