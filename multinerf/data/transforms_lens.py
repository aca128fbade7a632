"""Intrinsics and distortion as transforms.json gives them."""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from multinerf import errors
from multinerf.cameras import camera, projection
from multinerf.data import json_fields

ProjectionType = camera.ProjectionType

_PERSPECTIVE = (
  'OPENCV',
  'PINHOLE',
  'SIMPLE_PINHOLE',
  'SIMPLE_RADIAL',
  'RADIAL',
)
_FISHEYE = ('OPENCV_FISHEYE', 'SIMPLE_RADIAL_FISHEYE', 'RADIAL_FISHEYE')
_MODELS = {
  **dict.fromkeys((*_PERSPECTIVE, 'PERSPECTIVE'), ProjectionType.PERSPECTIVE),
  **dict.fromkeys((*_FISHEYE, 'FISHEYE'), ProjectionType.FISHEYE),
  'EQUIRECTANGULAR': ProjectionType.PANORAMIC,
}
# Projections of instant-ngp that are none of these.
_FOREIGN_LENSES = ('ftheta_p0', 'latlong', 'equirectangular', 'orthographic')
# The order of nerfstudio's `distortion_params`.
_PARAMETER_ORDER = ('k1', 'k2', 'k3', 'k4', 'p1', 'p2')


@dataclasses.dataclass(frozen=True)
class Lenses:
  """Intrinsics of n images; fields as in `photo_set.Photographs`."""

  pixtocams: Float[np.ndarray, 'n 3 3']
  widths: Int[np.ndarray, ' n']
  heights: Int[np.ndarray, ' n']
  distortion: Mapping[str, Float[np.ndarray, ' n']] | None
  camtype: ProjectionType


def read(
  frames: Sequence[dict[str, Any]],
  meta: dict[str, Any],
  path: pathlib.Path,
  size_of: Callable[[int], tuple[int, int]],
) -> Lenses:
  """Reads the lens of every frame: its own keys, else those of the file.

  A principal point that is not given is the centre of the image; a missing
  focal length is that of the other axis.

  Args:
    frames: Their entries.
    meta: The whole file.
    path: The file, for messages.
    size_of: Index of a frame -> width and height of its image, asked where
      the file does not say `w` and `h`.

  Raises:
    DataError: No focal length; a number out of range; several projection
      types; a lens that cannot be represented.
  """
  pixtocams, sizes, distortions, camtypes = [], [], [], []
  for i, frame in enumerate(frames):
    where = f'{path} ({frame["file_path"]})'
    camtypes.append(_camtype(frame, meta, where))
    sizes.append(_size(frame, meta, where) or size_of(i))
    pixtocams.append(_pixtocam(frame, meta, where, sizes[-1], camtypes[-1]))
    distortions.append(_distortion(frame, meta, where))
  if len(set(camtypes)) > 1:
    kinds = sorted({c.value for c in camtypes})
    raise errors.DataError(
      f'{path} mixes cameras of the types {kinds}; split it into one folder '
      'for each.'
    )
  values = np.array(distortions)
  used = {
    k: values[:, j]
    for j, k in enumerate(_PARAMETER_ORDER)
    if values[:, j].any()
  }
  if used and camtypes[0] is ProjectionType.PANORAMIC:
    raise errors.DataError(
      f'{path}: EQUIRECTANGULAR images have no distortion, but it gives '
      f'{sorted(used)}.'
    )
  widths, heights = np.array(sizes).T
  return Lenses(np.stack(pixtocams), widths, heights, used or None, camtypes[0])


def _camtype(frame, meta, where) -> ProjectionType:
  """Projection type; perspective if nothing is said."""
  for holder in (frame, meta):
    foreign = [k for k in _FOREIGN_LENSES if holder.get(k)]
    if foreign:
      raise errors.DataError(
        f'{where}: lenses with {foreign[0]} are not supported; known: '
        f'camera_model = {", ".join(_MODELS)}.'
      )
    model = json_fields.text(holder, 'camera_model', where)
    if model is not None:
      if model.upper() not in _MODELS:
        raise errors.DataError(
          f'{where}: camera_model {model[:40]!r} is not supported; known: '
          f'{", ".join(_MODELS)}. Undistort the images first '
          '(colmap image_undistorter).'
        )
      return _MODELS[model.upper()]
    if holder.get('is_fisheye'):
      return ProjectionType.FISHEYE
  return ProjectionType.PERSPECTIVE


def _size(frame, meta, where) -> tuple[int, int] | None:
  """w and h in pixels, if both are given."""
  size = []
  for key in ('w', 'h'):
    value = _own_or_shared(frame, meta, key, where, json_fields.positive)
    if value is None:
      return None
    if value != round(value) or value > 2**30:
      raise errors.DataError(
        f'{where}: {key!r} is {value:g}; a number of pixels is needed.'
      )
    size.append(int(value))
  return size[0], size[1]


def _pixtocam(frame, meta, where, size, camtype) -> np.ndarray:
  """Inverse intrinsics [3, 3] of one image."""
  width, height = size
  if camtype is ProjectionType.PANORAMIC:
    return projection.get_pano_pixtocam(width, height)
  focal = _focals(frame, where, size) or _focals(meta, where, size)
  if focal is None:
    raise errors.DataError(
      f'{where} has no focal length; one of fl_x, fl_y, camera_angle_x and '
      'camera_angle_y is needed.'
    )
  number = json_fields.number
  cx = _own_or_shared(frame, meta, 'cx', where, number)
  cy = _own_or_shared(frame, meta, 'cy', where, number)
  cx = 0.5 * width if cx is None else cx
  cy = 0.5 * height if cy is None else cy
  return np.linalg.inv(projection.intrinsic_matrix(*focal, cx, cy))


def _focals(holder, where, size) -> tuple[float, float] | None:
  """Focal lengths in pixels that one object gives."""
  given = []
  for axis, length in zip('xy', size, strict=True):
    focal = json_fields.positive(holder, f'fl_{axis}', where)
    angle = json_fields.angle(holder, f'camera_angle_{axis}', where)
    if focal is None and angle is not None:
      focal = 0.5 * length / math.tan(0.5 * angle)
    given.append(focal)
  if given == [None, None]:
    return None
  return given[0] or given[1], given[1] or given[0]


def _distortion(frame, meta, where) -> list[float]:
  """k1, k2, k3, k4, p1, p2; 0 for what is not given."""
  for holder in (frame, meta):
    params = holder.get('distortion_params')
    if params is not None:
      return list(json_fields.array(params, (6,), 'distortion_params', where))
    if any(holder.get(k) is not None for k in _PARAMETER_ORDER):
      given = [json_fields.number(holder, k, where) for k in _PARAMETER_ORDER]
      return [value or 0.0 for value in given]
  return [0.0] * len(_PARAMETER_ORDER)


def _own_or_shared(frame, meta, key, where, read_number) -> float | None:
  """A number of the frame, else of the file."""
  value = read_number(frame, key, where)
  return read_number(meta, key, where) if value is None else value
