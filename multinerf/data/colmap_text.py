"""COLMAP's text files."""

import pathlib
from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from multinerf import errors
from multinerf.data import colmap_model as model_lib


def read_cameras(path: pathlib.Path) -> dict[int, model_lib.ColmapCamera]:
  """cameras.txt: cameras by id."""
  cameras = {}
  for number, line in _lines(path):
    words = line.split()
    try:
      key, name = int(words[0]), words[1]
      if name not in model_lib.MODEL_IDS:
        raise errors.DataError(
          f'{path}, line {number}: unknown COLMAP model {name[:40]!r}; '
          'undistort the images (colmap image_undistorter).'
        )
      width, height = int(words[2]), int(words[3])
      params = np.array([float(w) for w in words[4:]])
    except (ValueError, IndexError) as e:
      _refuse(path, number, 'CAMERA_ID MODEL WIDTH HEIGHT PARAMS', e)
    if len(params) != model_lib.num_params(name):
      raise errors.DataError(
        f'{path}, line {number}: {len(params)} parameters for the model '
        f'{name}, which has {model_lib.num_params(name)}.'
      )
    if key in cameras:
      raise errors.DataError(f'{path}: two cameras have the id {key}.')
    cameras[key] = model_lib.ColmapCamera(name, width, height, params)
  return cameras


def read_images(path: pathlib.Path) -> list[model_lib.ColmapImage]:
  """images.txt: registered images in the file's order."""
  images = []
  lines = _lines(path, keep_empty=True)
  for number, line in lines:
    if not line:  # between images, or at the end of the file
      continue
    # The name is the rest of the line: it may hold spaces.
    words = line.split(maxsplit=9)
    try:
      int(words[0])
      pose = np.array([float(w) for w in words[1:8]])
      camera_id, name = int(words[8]), words[9]
    except (ValueError, IndexError) as e:
      _refuse(path, number, 'IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME', e)
    number, line = next(lines, (number + 1, ''))
    words = line.split()
    try:
      if len(words) % 3:
        raise ValueError(f'{len(words)} numbers')
      xy = np.array([words[0::3], words[1::3]], np.float64).T.reshape(-1, 2)
      ids = np.array([_id(w) for w in words[2::3]], np.int64)
    except (ValueError, OverflowError) as e:
      _refuse(path, number, 'triples X Y POINT3D_ID', e)
    images.append(
      model_lib.ColmapImage(name, camera_id, pose[:4], pose[4:], xy, ids)
    )
  return images


def count_images(path: pathlib.Path) -> int:
  """How many images images.txt holds."""
  return len(read_images(path))


def read_points(path: pathlib.Path) -> model_lib.ColmapPoints:
  """points3D.txt, without the tracks."""
  ids, rows, rgb = [], [], []
  for number, line in _lines(path):
    words = line.split(maxsplit=8)
    try:
      ids.append(_id(words[0]))
      rows.append([float(words[i]) for i in (1, 2, 3, 7)])
      rgb.append([int(w) for w in words[4:7]])
      if not all(0 <= c <= 255 for c in rgb[-1]):
        raise ValueError(f'colour {rgb[-1]}')
    except (ValueError, IndexError, OverflowError) as e:
      _refuse(path, number, 'POINT3D_ID X Y Z R G B ERROR TRACK', e)
  table = np.array(rows, np.float64).reshape(-1, 4)
  return model_lib.ColmapPoints(
    np.array(ids, np.int64),
    table[:, :3],
    np.array(rgb, np.uint8).reshape(-1, 3),
    table[:, 3],
  )


def _id(word: str) -> int:
  """A 64-bit id; COLMAP prints 'none' as -1 or as 2^64 - 1."""
  value = int(word)
  if not -(2**63) <= value < 2**64:
    raise ValueError(f'id {word[:40]} has more than 64 bits')
  return value - 2**64 if value >= 2**63 else value


def _lines(
  path: pathlib.Path, *, keep_empty: bool = False
) -> Iterator[tuple[int, str]]:
  """(line number, stripped line), without comments."""
  try:
    with open(path, encoding='utf-8') as f:
      for number, line in enumerate(f, start=1):
        line = line.strip()
        if line.startswith('#') or not (line or keep_empty):
          continue
        yield number, line
  except OSError as e:
    raise errors.DataError(f'Cannot read {path}: {e.strerror}.') from e
  except UnicodeDecodeError as e:
    raise errors.DataError(f'{path} is not text in UTF-8: {e}.') from e


def _refuse(path, number: int, wanted: str, why: Exception) -> NoReturn:
  """Raises the DataError of a malformed line."""
  reason = ' '.join(str(why).split())[:120]
  raise errors.DataError(
    f'{path}, line {number}: {reason}; need {wanted}.'
  ) from why
