"""DTU's robot data set (Jensen et al., CVPR 2014), rectified images.

  <data_dir>/rect_<number>_<light>.png          Rectified/scan<n>
  <data_dir>/../../cal18/pos_<number>.txt       or <data_dir>/cal18

`pos_*.txt` are 3x4 projection matrices, world to pixel.
"""

import dataclasses
import pathlib
import re

import numpy as np
from jaxtyping import Float
from scipy import linalg

from multinerf import errors
from multinerf.cameras import poses
from multinerf.data import base, files, images, photo_set, photographs

# From this number on the robot moved on another path, named in the files.
_SECOND_PATH = 50
_ALL_LIGHTS = 7


@base.SCENES.register('dtu')
def load_dtu(cfg: base.DataConfig, split: str) -> base.Scene:
  """Loads one split of a scan under the light `dtu_light_cond`.

  Every `dtuhold`-th image, in the order of the numbers, is a test image. The
  average camera becomes the origin and looks along +z with y down; the
  largest coordinate of a camera centre becomes 1.

  Raises:
    DataError: An image or projection matrix is missing or malformed.
  """
  folder = base.scene_folder(cfg)
  pictures = _find_images(folder, cfg.dtu_light_cond)
  calibration = _calibration(folder)
  numbers = sorted(pictures)
  intrinsics, cameras = [], []
  for number in numbers:
    path = calibration / f'pos_{number:03d}.txt'
    matrix, pose = decompose_projection(files.read_matrix(path, (3, 4)), path)
    intrinsics.append(matrix)
    cameras.append(pose)
  camtoworlds, transform = _normalize(np.stack(cameras))
  paths = tuple(pictures[number] for number in numbers)
  heads = [images.read_header(path) for path in paths]
  photos = photo_set.Photographs(
    folder=folder,
    names=tuple(path.name for path in paths),
    files=paths,
    camtoworlds=camtoworlds,
    pixtocams=np.linalg.inv(np.stack(intrinsics)),
    widths=np.array([head.width for head in heads]),
    heights=np.array([head.height for head in heads]),
    test_names=frozenset(path.name for path in paths[:: cfg.dtuhold]),
  )
  cfg = dataclasses.replace(cfg, normalize_poses='none', forward_facing=False)
  scene = photographs.make_scene(cfg, split, photos)
  return dataclasses.replace(scene, world_transform=transform)


def decompose_projection(
  projection: Float[np.ndarray, '3 4'], source: object
) -> tuple[Float[np.ndarray, '3 3'], Float[np.ndarray, '3 4']]:
  """Splits P = K [R | t], of any scale and sign, into camera and pose.

  Args:
    projection: World points to pixels.
    source: What it is called in messages.

  Returns:
    K, upper triangular with a positive diagonal that ends in 1, and the
    camera-to-world pose [R^T | -R^T t] in OpenCV axes.

  Raises:
    DataError: The left 3x3 part is singular: no camera has such a matrix.
  """
  left = projection[:, :3]
  # Unit-free: focal lengths are some 10^3 pixels, so 1e-9 is far below.
  spread = np.linalg.svd(left, compute_uv=False)
  if spread[-1] <= 1e-9 * spread[0]:
    raise errors.DataError(
      f'{source} is no projection matrix: its left 3x3 part is singular.'
    )
  center = -np.linalg.solve(left, projection[:, 3])
  # P and -P project alike; only one of them has R with determinant +1.
  left = left * np.sign(np.linalg.det(left))
  intrinsics, rotation = linalg.rq(left)
  signs = np.sign(np.diag(intrinsics))
  intrinsics, rotation = intrinsics * signs, signs[:, None] * rotation
  pose = np.concatenate([rotation.T, center[:, None]], -1)
  return intrinsics / intrinsics[2, 2], pose


def _find_images(
  folder: pathlib.Path, light_cond: int
) -> dict[int, pathlib.Path]:
  """Images under one light by number; the scan's own numbers, from 1."""
  seen: dict[int, set[str]] = {}
  for path in folder.iterdir():
    match = re.fullmatch(r'rect_(\d+)_(\w+)\.png', path.name)
    if match:
      seen.setdefault(int(match[1]), set()).add(match[2])
  if not seen:
    raise errors.DataError(
      f'{folder} holds no images rect_<number>_<light>.png '
      '(gin: Config.data_dir).'
    )

  def light(number: int) -> str:
    if light_cond == _ALL_LIGHTS:
      return 'max'
    return f'{light_cond}_r{5000 if number < _SECOND_PATH else 7000}'

  missing = [
    f'rect_{number:03d}_{light(number)}.png'
    for number in sorted(seen)
    if light(number) not in seen[number]
  ]
  if missing:
    raise errors.DataError(
      f'{folder} has images of {len(seen)} positions, but lacks '
      f'{photo_set.listed(missing)} (gin: Config.dtu_light_cond).'
    )
  return {n: folder / f'rect_{n:03d}_{light(n)}.png' for n in seen}


def _calibration(folder: pathlib.Path) -> pathlib.Path:
  """The folder of the projection matrices."""
  choices = (folder / 'cal18', folder.resolve().parent.parent / 'cal18')
  for path in choices:
    if path.is_dir():
      return path
  raise errors.DataError(
    f'No calibration in {choices[0]} or {choices[1]}; DTU has it in '
    'Calibration/cal18.'
  )


def _normalize(camtoworlds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """OpenCV poses to centred, scaled OpenGL ones, and what moved the world."""
  centered, transform = poses.recenter_poses(camtoworlds)
  extent = np.abs(centered[:, :, 3]).max()
  # Cameras that all stand in one point say nothing about the scale.
  scale = 1 / extent if extent > 0 else 1.0
  centered[:, :, 3] *= scale
  flipped = centered @ np.diag([1.0, -1.0, -1.0, 1.0])
  return flipped, np.diag([scale, scale, scale, 1.0]) @ transform
