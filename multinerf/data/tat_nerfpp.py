"""Tanks and Temples as NeRF++ prepared them (arXiv:2010.07492).

  <data_dir>/{train,test}/rgb/<name>.png
                          pose/<name>.txt        4x4 camera-to-world, OpenCV
                          intrinsics/<name>.txt  4x4 camera-to-pixel
  <data_dir>/camera_path/{pose,intrinsics}/<name>.txt    for the video, optional

The cameras already stand in the unit ball; nothing is moved or scaled.
"""

import dataclasses
import pathlib

import numpy as np

from multinerf import errors
from multinerf.cameras import camera
from multinerf.data import (
  base,
  files,
  images,
  photo_files,
  photo_set,
  photographs,
)

_PATH = 'camera_path'
_HINT = 'a NeRF++ scene has it (gin: Config.data_dir)'
# OpenCV axes (down, forward) to OpenGL axes (up, back).
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


@base.SCENES.register('tat_nerfpp')
def load_tat_nerfpp(cfg: base.DataConfig, split: str) -> base.Scene:
  """Loads one split at full size; `factor` has no effect, as in MultiNeRF.

  Differs from multinerf datasets.py TanksAndTemplesNerfPP, which gives all
  images the first one's focal length and a centred principal point: here each
  has its own intrinsics.

  Raises:
    DataError: A file is missing, malformed, or has no partner of its name.
  """
  folder = base.scene_folder(cfg)
  pictures = _pictures(folder / split)
  names, camtoworlds, pixtocams = _read_cameras(folder / split, pictures)
  paths = tuple(pictures[name] for name in names)
  heads = [images.read_header(path) for path in paths]
  notes = ()
  if cfg.factor > 1:
    notes = (
      'tat_nerfpp scenes are loaded at full size: Config.factor = '
      f'{cfg.factor} has no effect.',
    )
  photos = photo_set.Photographs(
    folder=folder,
    names=tuple(path.name for path in paths),
    files=paths,
    camtoworlds=camtoworlds,
    pixtocams=pixtocams,
    widths=np.array([head.width for head in heads]),
    heights=np.array([head.height for head in heads]),
    # The folders are the splits.
    test_names=frozenset(p.name for p in paths if split == 'test'),
    notes=notes,
  )
  cfg = dataclasses.replace(
    cfg, factor=0, normalize_poses='none', forward_facing=False
  )
  return photographs.make_scene(cfg, split, photos)


@base.CAMERA_PATHS.register('tat_nerfpp')
def load_camera_path(cfg: base.DataConfig) -> base.Scene | None:
  """Loads the cameras of the video, as large as the first test image.

  Returns:
    A scene without images; None if there is no folder camera_path.

  Raises:
    DataError: A file is missing, malformed, or has no partner of its name.
  """
  folder = base.scene_folder(cfg)
  if not (folder / _PATH).is_dir():
    return None
  names, camtoworlds, pixtocams = _read_cameras(folder / _PATH, None)
  head = images.read_header(next(iter(_pictures(folder / 'test').values())))
  return base.Scene(
    name=folder.resolve().name,
    split='test',
    cameras=camera.make_cameras(
      pixtocams,
      camtoworlds,
      widths=head.width,
      heights=head.height,
      near=cfg.near,
      far=cfg.far,
    ),
    image_names=tuple(names),
    images=None,
  )


def _pictures(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """Images of a split by name."""
  folder = folder / 'rgb'
  return files.by_stem(folder, photo_files.list_images(folder), _HINT)


def _read_cameras(
  folder: pathlib.Path, pictures: dict[str, pathlib.Path] | None
) -> tuple[list[str], np.ndarray, np.ndarray]:
  """Names, OpenGL poses [n, 3, 4] and inverse intrinsics [n, 3, 3]."""
  found = {
    kind: files.by_stem(folder / kind, (folder / kind).glob('*.txt'), _HINT)
    for kind in ('pose', 'intrinsics')
  }
  if pictures is not None:
    found['rgb'] = pictures
  names = sorted(set().union(*found.values()))
  for kind, have in found.items():
    missing = [name for name in names if name not in have]
    if missing:
      raise errors.DataError(
        f'{folder / kind} has no file for {photo_set.listed(missing)}; '
        f'{", ".join(found)} need the same names.'
      )
  poses = np.stack(
    [files.read_matrix(found['pose'][name], (4, 4)) for name in names]
  )
  pixtocams = [_inverse(found['intrinsics'][name]) for name in names]
  return names, (poses @ _FLIP)[:, :3], np.stack(pixtocams)


def _inverse(path: pathlib.Path) -> np.ndarray:
  """Pixel-to-camera matrix of a file with a camera-to-pixel matrix."""
  intrinsics = files.read_matrix(path, (4, 4))[:3, :3]
  below = np.tril(intrinsics, -1)
  if np.diag(intrinsics).min() <= 0 or below.any():
    raise errors.DataError(
      f'{path} is no camera-to-pixel matrix, which is upper triangular with a '
      f'positive diagonal: {intrinsics.tolist()}.'
    )
  return np.linalg.inv(intrinsics / intrinsics[2, 2])
