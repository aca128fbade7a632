"""The `llff` loader: a folder of photographs with COLMAP's poses.

`images/` (and `images_2`, `images_4`, ... if they exist), `sparse/0`, and
perhaps LLFF's `poses_bounds.npy`: the layout of mip-NeRF 360 and LLFF scenes,
and of one's own after COLMAP.
"""

import collections
import dataclasses
import pathlib

import numpy as np
from jaxtyping import Float

from multinerf import errors
from multinerf.cameras import projection
from multinerf.data import (
  base,
  colmap,
  exif,
  photo_files,
  photo_set,
  raw,
)
from multinerf.data import files as files_lib
from multinerf.data import photographs as photographs_lib

_IMAGES = 'images'
_BOUNDS = 'poses_bounds.npy'
# Axes of LLFF's poses, (down, right, back), to OpenGL's (right, up, back).
_LLFF_TO_OPENGL = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@base.SCENES.register('llff')
def load_llff(cfg: base.DataConfig, split: str) -> base.Scene:
  """Loads one split of a COLMAP or LLFF scene.

  Poses come from COLMAP, else from transforms.json (as MultiNeRF falls back),
  else from LLFF's poses_bounds.npy alone; or from where the options say.

  Raises:
    ConfigError: Options contradict each other.
    DataError: A file is missing, malformed or unreadable; names it.
  """
  folder = base.scene_folder(cfg)
  if cfg.load_ngp_format_poses:
    return base.SCENES.get('transforms')(cfg, split)
  photos = read_photographs(cfg, folder)
  if photos is None:
    return base.SCENES.get('transforms')(cfg, split)
  make_scene = (
    raw.make_scene if cfg.rawnerf_mode else photographs_lib.make_scene
  )
  return make_scene(cfg, split, photos)


def read_photographs(
  cfg: base.DataConfig, folder: pathlib.Path
) -> photo_set.Photographs | None:
  """Poses and lenses of a scene; None if only transforms.json has them.

  Raises:
    DataError: There are none, or a file is damaged.
  """
  images = _image_folder(cfg, folder)
  found = None
  if not cfg.llff_load_from_poses_bounds:
    found = colmap.find_model(folder, cfg.colmap_subdir)
  if found is not None:
    model = colmap.read_model(found[0])
    photos = colmap.to_photographs(model, folder, images.name)
    photos = dataclasses.replace(photos, notes=photos.notes + found[1])
    photos = _with_bounds(_found_by_stem(photos, images), folder)
  elif cfg.llff_load_from_poses_bounds:
    photos = _poses_bounds_photographs(folder, images)
  elif (folder / 'transforms.json').is_file():
    return None
  elif (folder / _BOUNDS).is_file():
    photos = _poses_bounds_photographs(folder, images)
  else:
    raise errors.DataError(
      f'{folder} has no camera poses: none of sparse/0, sparse, '
      'colmap/sparse/0 (COLMAP), transforms.json and poses_bounds.npy exists '
      '(gin: Config.data_dir, Config.colmap_subdir, Config.dataset_loader).'
    )
  exposures, notes = exif.read_exposures(photos.files)
  notes += _unposed(photos, images)
  return dataclasses.replace(
    photos, exposures=exposures, notes=photos.notes + notes
  )


def _image_folder(cfg, folder) -> pathlib.Path:
  """Where the images of full size are.

  Raises:
    ConfigError: Config.image_subdir is no single folder's name.
    DataError: It does not exist.
  """
  name = cfg.image_subdir
  if name is None:
    return folder / _IMAGES
  if not name or pathlib.PurePath(name).parts != (name,) or name == '..':
    raise errors.ConfigError(
      f'Config.image_subdir = {name!r} must name a folder in Config.data_dir.'
    )
  if not (folder / name).is_dir():
    raise errors.DataError(
      f'{folder / name} does not exist (gin: Config.image_subdir).'
    )
  return folder / name


def read_poses_bounds(path: pathlib.Path) -> Float[np.ndarray, 'n 17']:
  """The rows of LLFF's file: 3 x 5 [R | t | height, width, focal], 2 bounds.

  Raises:
    DataError: It is no such array, or a number is not finite.
  """
  return files_lib.read_npy(path, (None, 17))


def _found_by_stem(photos, folder) -> photo_set.Photographs:
  """Replaces files that have another extension than the poses' names.

  Images are often converted after their poses are found. Only where one file,
  and one pose, has that path without extension.
  """
  missing = [f for f in photos.files if not f.is_file()]
  if not missing:
    return photos
  by_stem: dict[pathlib.Path, list[pathlib.Path]] = {}
  for file in photo_files.list_images(folder):
    by_stem.setdefault(file.with_suffix(''), []).append(file)
  poses = collections.Counter(f.with_suffix('') for f in photos.files)
  other = {
    f: by_stem[f.with_suffix('')][0]
    for f in missing
    if len(by_stem.get(f.with_suffix(''), ())) == 1
    and poses[f.with_suffix('')] == 1
  }
  if not other:
    return photos
  names = photo_set.listed(f.name for f in other.values())
  note = (
    f'{len(other)} images have another extension than their poses say: {names}.'
  )
  return dataclasses.replace(
    photos,
    files=tuple(other.get(f, f) for f in photos.files),
    notes=(*photos.notes, note),
  )


def _with_bounds(photos, folder) -> photo_set.Photographs:
  """Adds the depth bounds of poses_bounds.npy, if there is one.

  Its rows are in the order of sorted names. If their number is another, the
  bounds of all together serve every image.
  """
  path = folder / _BOUNDS
  if not path.is_file():
    return photos
  bounds = read_poses_bounds(path)[:, 15:]
  if not len(bounds):
    return photos
  if len(bounds) == len(photos):
    by_name = np.argsort(np.array(photos.names))
    place = np.empty(len(photos), np.int64)
    place[by_name] = np.arange(len(photos))
    return dataclasses.replace(photos, bounds=bounds[place])
  note = (
    f'{path.name} has {len(bounds)} rows for {len(photos)} posed images; only '
    'its nearest and farthest depths are used.'
  )
  whole = np.tile([bounds.min(), bounds.max()], (len(photos), 1))
  return dataclasses.replace(photos, bounds=whole, notes=(*photos.notes, note))


def _poses_bounds_photographs(folder, images) -> photo_set.Photographs:
  """A scene whose only poses are LLFF's, paired with the sorted images."""
  rows = read_poses_bounds(folder / _BOUNDS)
  files = photo_files.list_images(images)
  if len(files) != len(rows):
    raise errors.DataError(
      f'{folder / _BOUNDS} has {len(rows)} poses for the {len(files)} images '
      f'of {images}; it pairs them by place, so that the numbers must '
      'be equal.'
    )
  poses = rows[:, :15].reshape(-1, 3, 5)
  heights, widths, focals = poses[:, :, 4].T
  sizes = np.concatenate([heights, widths])
  if ((sizes < 1) | (sizes > 2**20) | (sizes % 1 != 0)).any():
    raise errors.DataError(
      f'{folder / _BOUNDS}: image sizes are not whole numbers of pixels.'
    )
  if (focals <= 1e-6).any():
    raise errors.DataError(
      f'{folder / _BOUNDS}: a focal length is not positive.'
    )
  return photo_set.Photographs(
    folder=folder,
    names=tuple(str(f.relative_to(images)) for f in files),
    files=tuple(files),
    camtoworlds=np.concatenate(
      [poses[:, :, :3] @ _LLFF_TO_OPENGL, poses[:, :, 3:4]], -1
    ),
    pixtocams=np.stack(
      [
        projection.get_pixtocam(f, w, h)
        for f, w, h in zip(focals, widths, heights, strict=True)
      ]
    ),
    widths=widths.astype(np.int64),
    heights=heights.astype(np.int64),
    bounds=rows[:, 15:],
  )


def _unposed(photos, folder) -> tuple[str, ...]:
  """A note on image files without a pose."""
  posed = set(photos.files)
  others = [f for f in photo_files.list_images(folder) if f not in posed]
  if not others:
    return ()
  names = photo_set.listed(f.relative_to(folder) for f in others)
  return (
    f'{len(others)} of {len(others) + len(photos)} images in {folder} have no '
    f'pose and are not used: {names}.',
  )
