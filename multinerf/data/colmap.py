"""COLMAP reconstructions -> `Photographs`."""

import dataclasses
import pathlib
import types

import numpy as np

from multinerf import errors
from multinerf.data import (
  base,
  colmap_binary,
  colmap_text,
  files,
  photo_set,
)
from multinerf.data import colmap_model as model_lib

# Where tools leave their reconstructions, below the scene's folder. A folder
# also stands for its subfolders 0, 1, ...
_PLACES = ('sparse', 'colmap/sparse', 'colmap', '.')
_MAX_COORDINATE = 1e15  # beyond it squares lose meaning: damage, not a place
_MAX_NAME = 250  # bytes of a file name that file systems take


@dataclasses.dataclass(frozen=True)
class Model:
  """One reconstruction, checked.

  Attributes:
    folder: Where it was read.
    cameras: By id.
    images: Registered images; each one's camera exists.
    points: None if there is no points3D file.
    notes: What the user should hear, a line each.
  """

  folder: pathlib.Path
  cameras: dict[int, model_lib.ColmapCamera]
  images: tuple[model_lib.ColmapImage, ...]
  points: model_lib.ColmapPoints | None
  notes: tuple[str, ...] = ()


def find_model(
  folder: pathlib.Path, colmap_subdir: str | None = None
) -> tuple[pathlib.Path, tuple[str, ...]] | None:
  """The reconstruction of a scene, and what to say about the choice.

  COLMAP writes one model for each part of the images that hang together: of
  several, the one with the most images is taken.

  Args:
    folder: The scene's folder.
    colmap_subdir: Folder below it, or absolute; None looks in sparse,
      colmap/sparse, colmap and the folder itself, or in their subfolders 0,
      1, ...

  Raises:
    DataError: `colmap_subdir` holds no model.
  """
  for place in (colmap_subdir,) if colmap_subdir else _PLACES:
    found = _models_in(folder / pathlib.Path(place).expanduser())
    if found:
      sizes = [_count_images(m) for m in found]
      best = int(np.argmax(sizes))
      if len(found) == 1:
        return found[0], ()
      others = [
        f'{m.name} with {n}'
        for k, (m, n) in enumerate(zip(found, sizes, strict=True))
        if k != best
      ]
      return found[best], (
        f'Of {len(found)} COLMAP models {found[best]} with {sizes[best]} '
        f'images is used, not {photo_set.listed(others)} '
        '(gin: Config.colmap_subdir).',
      )
  if colmap_subdir:
    raise errors.DataError(
      f'{folder / colmap_subdir} holds no cameras and images of COLMAP, .bin or '
      '.txt (gin: Config.colmap_subdir).'
    )
  return None


def read_model(folder: pathlib.Path) -> Model:
  """Reads a reconstruction, binary or text, of old and new COLMAP.

  Rigs and frames (COLMAP 3.12 and later) are not looked at: images keep
  their own poses beside them.

  Raises:
    DataError: A file is missing, damaged or contradicts another.
  """
  suffix = _suffix(folder)
  if suffix is None:
    raise errors.DataError(
      f'{folder} holds no cameras and images of COLMAP, .bin or .txt '
      '(gin: Config.colmap_subdir).'
    )
  reader = _reader(suffix)
  cameras = reader.read_cameras(folder / f'cameras{suffix}')
  images = reader.read_images(folder / f'images{suffix}')
  points_file = folder / f'points3D{suffix}'
  points = reader.read_points(points_file) if points_file.is_file() else None
  for key, cam in cameras.items():
    if not 0 < min(cam.width, cam.height) <= model_lib.MAX_SIDE or (
      max(cam.width, cam.height) > model_lib.MAX_SIDE
    ):
      raise errors.DataError(
        f'{folder}/cameras{suffix}: camera {key} has {cam.width}x{cam.height} '
        'pixels.'
      )
  for image in images:
    _check_image(image, cameras, folder / f'images{suffix}')
  if points is not None:
    points = _checked_points(points, points_file)
  return Model(folder, cameras, tuple(images), points)


def to_photographs(
  model: Model, folder: pathlib.Path, images_dir: str = 'images'
) -> photo_set.Photographs:
  """What the common stage needs to know.

  Args:
    model: With at least one image.
    folder: The scene's folder.
    images_dir: Folder below it in which the model's image names are.

  Raises:
    DataError: No image is registered, or a camera that is used cannot be
      represented, or perspective, fisheye and panoramic ones are mixed.
  """
  if not model.images:
    raise errors.DataError(f'{model.folder} has no registered images.')
  used = sorted({i.camera_id for i in model.images})
  lenses = {
    k: model_lib.intrinsics(model.cameras[k], f'{model.folder}: camera {k}')
    for k in used
  }
  kinds = {v.camtype for v in lenses.values()}
  if len(kinds) > 1:
    raise errors.DataError(
      f'{model.folder} mixes {" and ".join(sorted(k.value for k in kinds))} '
      'cameras; undistort the images (colmap image_undistorter) or make two '
      'scenes.'
    )
  per_image = [lenses[i.camera_id] for i in model.images]
  names = sorted({k for v in lenses.values() for k in v.distortion})
  cameras = [model.cameras[i.camera_id] for i in model.images]
  return photo_set.Photographs(
    folder=folder,
    names=tuple(i.name for i in model.images),
    files=tuple(folder / images_dir / i.name for i in model.images),
    camtoworlds=model_lib.camtoworlds(
      np.stack([i.qvec for i in model.images]),
      np.stack([i.tvec for i in model.images]),
    ),
    pixtocams=np.stack([v.pixtocam for v in per_image]),
    widths=np.array([c.width for c in cameras]),
    heights=np.array([c.height for c in cameras]),
    distortion={
      k: np.array([v.distortion.get(k, 0.0) for v in per_image]) for k in names
    }
    or None,
    camtype=per_image[0].camtype,
    points=_points(model.points),
    observations=_observations(model),
    notes=model.notes,
  )


def _reader(suffix: str) -> types.ModuleType:
  return colmap_binary if suffix == '.bin' else colmap_text


def _suffix(folder: pathlib.Path) -> str | None:
  """Which kind of files a folder holds; binary is preferred, as by COLMAP."""
  for suffix in ('.bin', '.txt'):
    if all((folder / f'{n}{suffix}').is_file() for n in ('cameras', 'images')):
      return suffix
  return None


def _models_in(folder: pathlib.Path) -> list[pathlib.Path]:
  """The folder if it is a model, else its numbered subfolders that are."""
  if _suffix(folder):
    return [folder]
  if not folder.is_dir():
    return []
  numbered = [p for p in folder.iterdir() if p.name.isdecimal()]
  return sorted(
    (p for p in numbered if _suffix(p)), key=lambda p: (len(p.name), p.name)
  )


def _count_images(folder: pathlib.Path) -> int:
  suffix = _suffix(folder) or '.bin'
  return _reader(suffix).count_images(folder / f'images{suffix}')


def _check_image(image, cameras, path):
  """Raises unless an image's name is a path below its folder, with camera."""
  parts = image.name.replace('\\', '/').split('/')
  if (
    files.has_controls(image.name)
    or '..' in parts
    or '' in parts
    or max(len(p.encode()) for p in parts) > _MAX_NAME
  ):
    raise errors.DataError(
      f'{path}: {image.name[:80]!r} is no path below the image folder.'
    )
  if image.camera_id not in cameras:
    raise errors.DataError(
      f'{path}: image {image.name} has the camera {image.camera_id}, which '
      'the cameras file lacks.'
    )


def _checked_points(points, path) -> model_lib.ColmapPoints:
  """Points sorted by id, each id once, all at finite places."""
  order = np.argsort(points.ids, kind='stable')
  ids = points.ids[order]
  if len(ids) and (np.diff(ids) == 0).any():
    raise errors.DataError(f'{path}: two points have the same id.')
  # False for NaN, too.
  bad = ~(np.abs(points.xyz) < _MAX_COORDINATE).all(-1)
  if bad.any():
    i = np.flatnonzero(bad)[0]
    raise errors.DataError(
      f'{path}: point {points.ids[i]} is at {points.xyz[i].tolist()}.'
    )
  return model_lib.ColmapPoints(
    ids, points.xyz[order], points.rgb[order], points.errors[order]
  )


def _points(points: model_lib.ColmapPoints | None) -> base.Points | None:
  if points is None:
    return None
  return base.Points(points.xyz, points.errors, points.rgb)


def _observations(model: Model) -> photo_set.Observations | None:
  """Features that belong to a point, of all images together."""
  if model.points is None:
    return None
  ids = model.points.ids
  cams, xys, places = [], [], []
  for i, image in enumerate(model.images):
    place = np.searchsorted(ids, image.point_ids)
    known = place < len(ids)
    known[known] = ids[place[known]] == image.point_ids[known]
    # False for NaN, too.
    known &= (np.abs(image.xy) < model_lib.MAX_SIDE).all(-1)
    cams.append(np.full(np.count_nonzero(known), i))
    xys.append(image.xy[known])
    places.append(place[known])
  return photo_set.Observations(
    np.concatenate(cams), np.concatenate(xys), np.concatenate(places)
  )
