"""Tanks and Temples as Free View Synthesis prepared them (arXiv:2008.05511).

  <data_dir>/dense/ibr3d_<size>/im_<number>.png    or .jpg
                                Ks.npy [n, 3, 3]   camera to pixel
                                Rs.npy [n, 3, 3]   world to camera, OpenCV
                                ts.npy [n, 3]

The number of an image is its row in the arrays.
"""

import dataclasses
import pathlib
import re

import numpy as np

from multinerf import errors
from multinerf.data import (
  base,
  files,
  images,
  photo_files,
  photo_set,
  photographs,
)

_HINT = 'a Free View Synthesis scene has it (gin: Config.data_dir)'


@base.SCENES.register('tat_fvs')
def load_tat_fvs(cfg: base.DataConfig, split: str) -> base.Scene:
  """Loads one split of a scene, at the resolution that `factor` counts off.

  `factor` is the place of the folder among dense/ibr3d* in descending order
  of their names: 0 is the largest. Every `llffhold`-th image is a test image.

  Differs from multinerf datasets.py TanksAndTemplesFVS, which gives all images
  the first one's focal length and a centred principal point: here each has
  its own intrinsics.

  Raises:
    DataError: A file is missing or malformed, or there is no such resolution.
  """
  folder = base.scene_folder(cfg)
  photos = _read_photographs(folder, _resolution(folder, cfg.factor))
  cfg = dataclasses.replace(cfg, factor=0, forward_facing=False)
  return photographs.make_scene(cfg, split, photos)


def _resolution(folder: pathlib.Path, factor: int) -> pathlib.Path:
  """The folder of images that `factor` counts off."""
  dense = folder / 'dense'
  if not dense.is_dir():
    raise errors.DataError(f'{dense} is not a folder; {_HINT}.')
  found = sorted(p.name for p in dense.glob('ibr3d*') if p.is_dir())[::-1]
  if factor >= len(found):
    raise errors.DataError(
      f'{dense} has {len(found)} resolutions ({photo_set.listed(found)}); '
      f'number {factor} is not among them. For tat_fvs Config.factor is the '
      'place in this list, from 0.'
    )
  return dense / found[factor]


def _read_photographs(
  scene: pathlib.Path, folder: pathlib.Path
) -> photo_set.Photographs:
  """All images of a resolution with their cameras, in the input's frame."""
  intrinsics = files.read_npy(folder / 'Ks.npy', (None, 3, 3))
  rotations = files.read_npy(folder / 'Rs.npy', (None, 3, 3))
  translations = files.read_npy(folder / 'ts.npy', (None, 3))
  num = len(intrinsics)
  if not num == len(rotations) == len(translations):
    raise errors.DataError(
      f'{folder}: Ks.npy, Rs.npy and ts.npy hold {num}, {len(rotations)} and '
      f'{len(translations)} cameras; as many of each are needed.'
    )
  paths = _numbered(folder, num)
  diagonal = np.diagonal(intrinsics, axis1=1, axis2=2)
  for i in np.flatnonzero((diagonal <= 0).any(-1))[:1]:
    raise errors.DataError(
      f'{folder / "Ks.npy"}: the diagonal {diagonal[i].tolist()} of camera {i} '
      'is not positive.'
    )
  inverse = np.swapaxes(rotations, 1, 2)  # photo_set.check verifies that
  centers = -inverse @ translations[:, :, None]
  heads = [images.read_header(path) for path in paths]
  return photo_set.Photographs(
    folder=scene,
    names=tuple(path.name for path in paths),
    files=paths,
    # OpenCV axes (down, forward) to OpenGL axes (up, back).
    camtoworlds=np.concatenate([inverse * [1, -1, -1], centers], -1),
    pixtocams=np.linalg.inv(intrinsics),
    widths=np.array([head.width for head in heads]),
    heights=np.array([head.height for head in heads]),
  )


def _numbered(folder: pathlib.Path, num: int) -> tuple[pathlib.Path, ...]:
  """The images im_<number> for the numbers 0 to num - 1."""
  listing = files.by_stem(folder, photo_files.list_images(folder), _HINT)
  found = {
    int(match[1]): path
    for stem, path in listing.items()
    if (match := re.fullmatch(r'im_(\d+)', stem))
  }
  odd = sorted(set(found) ^ set(range(num)))
  if odd:
    raise errors.DataError(
      f'{folder} has {num} cameras and {len(found)} images im_<number>; '
      f'without a partner: {photo_set.listed(odd)}.'
    )
  return tuple(found[i] for i in range(num))
