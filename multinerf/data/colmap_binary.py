"""COLMAP's binary files, read with every length checked first.

The files may come from a stranger or a broken download: whatever they hold,
the result is a reconstruction or one `DataError`.
"""

import pathlib
import struct

import numpy as np

from multinerf import errors
from multinerf.data import colmap_model as model_lib

_FEATURE = np.dtype([('xy', '<f8', 2), ('id', '<i8')])
_POINT = np.dtype(
  [
    *(('id', '<i8'), ('xyz', '<f8', 3), ('rgb', 'u1', 3), ('error', '<f8')),
    ('track', '<u8'),
  ]
)
_IMAGE = struct.Struct('<I7dI')
_CAMERA = struct.Struct('<iiQQ')
_TRACK_BYTES = 8
_MAX_NAME = 4096  # bytes


class _Reader:
  """A cursor over the bytes of one file."""

  def __init__(self, path: pathlib.Path):
    try:
      self.data = path.read_bytes()
    except OSError as e:
      raise errors.DataError(f'Cannot read {path}: {e.strerror}.') from e
    self.path = path
    self.at = 0

  def fault(self, what: str) -> errors.DataError:
    return errors.DataError(
      f'{self.path} is damaged or truncated: {what} (byte {self.at} of '
      f'{len(self.data)}). Copy it again, or export it as text '
      '(colmap model_converter).'
    )

  def take(self, count: int, what: str) -> int:
    """Moves on by `count` bytes that must exist; returns where they start."""
    start = self.at
    if count > len(self.data) - start:
      raise self.fault(f'{what} needs {count} more bytes')
    self.at += count
    return start

  def unpack(self, form: struct.Struct, what: str) -> tuple:
    return form.unpack_from(self.data, self.take(form.size, what))

  def count(self, each: int, what: str) -> int:
    """A number of things of at least `each` bytes, which must fit."""
    (num,) = self.unpack(struct.Struct('<Q'), f'the number of {what}')
    if num * each > len(self.data) - self.at:
      raise self.fault(f'it announces {num} {what}')
    return num

  def array(self, dtype: np.dtype, num: int, what: str) -> np.ndarray:
    start = self.take(num * dtype.itemsize, what)
    return np.frombuffer(self.data, dtype, num, start)

  def end(self):
    if self.at != len(self.data):
      raise self.fault('there is more than it announces')


def read_cameras(path: pathlib.Path) -> dict[int, model_lib.ColmapCamera]:
  """cameras.bin: cameras by id."""
  reader = _Reader(path)
  cameras = {}
  for _ in range(reader.count(_CAMERA.size, 'cameras')):
    key, number, width, height = reader.unpack(_CAMERA, 'a camera')
    if number not in model_lib.MODELS:
      raise errors.DataError(
        f'{path}: camera {key} is of the unknown COLMAP model {number}; '
        'undistort the images (colmap image_undistorter).'
      )
    name = model_lib.MODELS[number][0]
    params = reader.array(
      np.dtype('<f8'), model_lib.num_params(name), 'camera parameters'
    )
    if key in cameras:
      raise reader.fault(f'two cameras have the id {key}')
    cameras[key] = model_lib.ColmapCamera(
      name, width, height, params.astype(np.float64)
    )
  reader.end()
  return cameras


def read_images(path: pathlib.Path) -> list[model_lib.ColmapImage]:
  """images.bin: registered images in the file's order."""
  reader = _Reader(path)
  images = []
  for _ in range(reader.count(_IMAGE.size, 'images')):
    _, *pose, camera_id = reader.unpack(_IMAGE, 'an image')
    end = reader.data.find(b'\0', reader.at, reader.at + _MAX_NAME)
    if end < 0:
      raise reader.fault('an image name does not end')
    start = reader.take(end + 1 - reader.at, 'an image name')
    try:
      name = reader.data[start:end].decode('utf-8')
    except UnicodeDecodeError as e:
      raise reader.fault('an image name is not UTF-8') from e
    num = reader.count(_FEATURE.itemsize, f'features of {name!r}')
    features = reader.array(_FEATURE, num, 'features')
    images.append(
      model_lib.ColmapImage(
        name,
        camera_id,
        np.array(pose[:4]),
        np.array(pose[4:]),
        features['xy'].astype(np.float64),
        features['id'].astype(np.int64),
      )
    )
  reader.end()
  return images


def count_images(path: pathlib.Path) -> int:
  """How many images images.bin announces."""
  return _Reader(path).count(_IMAGE.size, 'images')


def read_points(path: pathlib.Path) -> model_lib.ColmapPoints:
  """points3D.bin, without the tracks."""
  reader = _Reader(path)
  num = reader.count(_POINT.itemsize, 'points')
  starts = np.empty(num, np.int64)
  length_of = struct.Struct('<Q').unpack_from
  for i in range(num):
    starts[i] = reader.take(_POINT.itemsize, 'a point')
    (length,) = length_of(reader.data, reader.at - 8)
    reader.take(length * _TRACK_BYTES, 'a track')
  reader.end()
  # All points at once: unpacking them one by one takes ten times as long.
  data = np.frombuffer(reader.data, np.uint8)
  rows = data[starts[:, None] + np.arange(_POINT.itemsize)]
  points = np.ascontiguousarray(rows).view(_POINT)[:, 0]
  return model_lib.ColmapPoints(
    points['id'].astype(np.int64),
    points['xyz'].astype(np.float64),
    points['rgb'].copy(),
    points['error'].astype(np.float64),
  )
