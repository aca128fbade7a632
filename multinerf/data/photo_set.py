"""Posed photographs of one place, as every capture format lists them."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num

from multinerf import errors
from multinerf.cameras import camera
from multinerf.data import base

# Largest entry of R R^T - I that still passes for a rotation; files often
# hold poses with 4 or 5 digits.
_ROTATION_TOLERANCE = 1e-2
# What no camera has, in units of the image's longer side: files with such
# numbers are damaged, and float32 would overflow on them.
_MIN_FOCAL, _MAX_FOCAL, _MAX_CENTRE = 1e-3, 1e5, 1e4
_MAX_COEFFICIENT = 1e6
_MAX_COORDINATE = 1e12
_NAMED = 5  # how many of many names a message lists


@dataclasses.dataclass(frozen=True)
class Observations:
  """Where the scene points were seen.

  Attributes:
    cam_idx: [m] which photograph.
    xy: [m, 2] position at full size, pixels; (0, 0) is the top left corner of
      the image, (0.5, 0.5) the centre of its first pixel.
    point_idx: [m] which point.
  """

  cam_idx: Int[np.ndarray, ' m']
  xy: Float[np.ndarray, 'm 2']
  point_idx: Int[np.ndarray, ' m']


@dataclasses.dataclass(frozen=True)
class Photographs:
  """What a format says about its n images, before anything is done to them.

  In the input's own frame and at full size. `photographs.make_scene` checks
  it and makes the scene.

  Attributes:
    folder: The scene's folder.
    names: As the format lists them, with extension; unique.
    files: The full-size images; they need not exist if Config.factor selects
      a folder of smaller ones.
    camtoworlds: [n, 3, 4] OpenGL axes.
    pixtocams: [n, 3, 3] inverse intrinsics for images of widths x heights.
    widths, heights: [n] pixels.
    distortion: [n] numbers by name, see `camera.DISTORTION_KEYS`; or None.
    camtype: One for all.
    masks: Mask file of each image, None where it has none; or None to look
      in Config.mask_dir.
    mask_keeps: Which pixels of `masks` are used, 'white' or 'black'.
    depths: Depth image of each image, None where it has none: 16-bit PNG
      times Config.depth_scale, 32-bit float TIFF or .npy, depth along the
      optical axis in input units, 0 or NaN for unknown; or None.
    bounds: [n, 2] nearest and farthest depth each image sees, or None.
    exposures: [n] seconds times ISO / 1000, or None.
    points: Scene points in the input's frame, or None.
    observations: Where they are seen, or None.
    test_names: The test split; None: every llffhold-th image.
    notes: What the user should hear, a line each.
  """

  folder: pathlib.Path
  names: tuple[str, ...]
  files: tuple[pathlib.Path, ...]
  camtoworlds: Float[np.ndarray, 'n 3 4']
  pixtocams: Float[np.ndarray, 'n 3 3']
  widths: Int[np.ndarray, ' n']
  heights: Int[np.ndarray, ' n']
  distortion: Mapping[str, Num[np.ndarray, ' n']] | None = None
  camtype: camera.ProjectionType = camera.ProjectionType.PERSPECTIVE
  masks: tuple[pathlib.Path | None, ...] | None = None
  mask_keeps: str = 'white'
  depths: tuple[pathlib.Path | None, ...] | None = None
  bounds: Float[np.ndarray, 'n 2'] | None = None
  exposures: Float[np.ndarray, ' n'] | None = None
  points: base.Points | None = None
  observations: Observations | None = None
  test_names: frozenset[str] | None = None
  notes: tuple[str, ...] = ()

  def __len__(self) -> int:
    return len(self.names)

  def reordered(self, order: Int[np.ndarray, ' n']) -> 'Photographs':
    """The same photographs; number k is what number order[k] was."""

    def pick(values):
      if values is None:
        return None
      if isinstance(values, tuple):
        return tuple(values[i] for i in order)
      return values[order]

    seen = self.observations
    if seen is not None:
      place = np.empty(len(self), np.int64)
      place[order] = np.arange(len(self))
      seen = dataclasses.replace(seen, cam_idx=place[seen.cam_idx])
    distortion = self.distortion
    if distortion is not None:
      distortion = {k: pick(v) for k, v in distortion.items()}
    per_image = (
      *('names', 'files', 'camtoworlds', 'pixtocams', 'widths', 'heights'),
      *('masks', 'depths', 'bounds', 'exposures'),
    )
    return dataclasses.replace(
      self,
      distortion=distortion,
      observations=seen,
      **{name: pick(getattr(self, name)) for name in per_image},
    )


@dataclasses.dataclass(frozen=True)
class PixelSource:
  """Where the colours come from, at the resolution that is used.

  Attributes:
    widths, heights: [n] sizes of the images that `read` returns.
    channels: 3, or 4 with opacity.
    dtype: uint8, uint16 or float32, of all images.
    read: Index of a photograph -> [h, w, channels]. Called from threads.
    notes: What the user should hear, a line each.
    origin: All that the images follow from, see `pixel_cache.build`; None: not
      known.
  """

  widths: Int[np.ndarray, ' n']
  heights: Int[np.ndarray, ' n']
  channels: int
  dtype: np.typing.DTypeLike
  read: Callable[[int], Num[np.ndarray, 'h w c']]
  notes: tuple[str, ...] = ()
  origin: tuple[Any, ...] | None = None


def listed(names: Iterable[object]) -> str:
  """'a, b, c (and 7 more)'."""
  texts = [str(n) for n in names]
  more = len(texts) - _NAMED
  text = ', '.join(texts[:_NAMED])
  return f'{text} (and {more} more)' if more > 0 else text


def check(photos: Photographs) -> tuple[str, ...]:
  """Refuses photographs that cannot be used; returns notes on odd ones.

  Raises:
    DataError: There are none; two have one name; a pose is not finite, not a
      rotation, or mirrored; a size or focal length is not positive.
  """
  where = photos.folder
  if not len(photos):
    raise errors.DataError(
      f'{where} lists no posed images (gin: Config.data_dir).'
    )
  if len(set(photos.names)) < len(photos):
    seen: set[str] = set()
    twice = [n for n in photos.names if n in seen or seen.add(n)]
    raise errors.DataError(
      f'{where}: several posed images are called {listed(twice)}; '
      'names must be unique.'
    )
  for i, name in enumerate(photos.names):
    fault = _pose_fault(photos.camtoworlds[i]) or _lens_fault(photos, i)
    if fault:
      raise errors.DataError(f'{where}: image {name} {fault}.')
  if photos.camtype is camera.ProjectionType.PANORAMIC:
    return ()
  centres = np.linalg.inv(photos.pixtocams)[:, :2, 2]
  sizes = np.stack([photos.widths, photos.heights], -1)
  outside = ((centres < 0) | (centres > sizes)).any(-1)
  if not outside.any():
    return ()
  names = [photos.names[i] for i in np.flatnonzero(outside)]
  return (f'The optical axis lies outside of the picture in {listed(names)}.',)


def _pose_fault(pose: np.ndarray) -> str | None:
  """What is wrong with a camera-to-world pose."""
  if not np.isfinite(pose).all():
    return 'has a pose that is not finite'
  if np.abs(pose[:, 3]).max() > _MAX_COORDINATE:
    return f'is at {pose[:, 3].tolist()}'
  rotation = pose[:, :3].astype(np.float64)
  if np.abs(rotation).max() > 2:  # the products below could overflow
    return 'has a pose whose rotation is none'
  if np.abs(rotation @ rotation.T - np.eye(3)).max() > _ROTATION_TOLERANCE:
    return f'has a pose whose rotation is none: {rotation.round(4).tolist()}'
  if np.linalg.det(rotation) < 0:
    return 'has a mirrored pose (its rotation has determinant -1)'
  return None


def _lens_fault(photos: Photographs, i: int) -> str | None:
  """What is wrong with the intrinsics of image i."""
  width, height = photos.widths[i], photos.heights[i]
  if min(width, height) < 1:
    return f'has a camera of {width}x{height} pixels'
  pixtocam = photos.pixtocams[i]
  if not np.isfinite(pixtocam).all():
    return 'has intrinsics that are not finite'
  if min(pixtocam[0, 0], pixtocam[1, 1]) <= 0:
    return 'has a focal length that is not positive'
  side = max(width, height)
  focal = 1.0 / pixtocam[[0, 1], [0, 1]] / side
  centre = -pixtocam[:2, 2] * focal  # in units of the longer side
  if focal.min() < _MIN_FOCAL or focal.max() > _MAX_FOCAL:
    return f'of {width}x{height} has the focal lengths {focal * side}'
  if np.abs(centre).max() > _MAX_CENTRE:
    return f'of {width}x{height} has its principal point at {centre * side}'
  for name, values in (photos.distortion or {}).items():
    if not abs(values[i]) < _MAX_COEFFICIENT:  # False for NaN, too
      return f'has the distortion {name} = {values[i]}'
  return None
