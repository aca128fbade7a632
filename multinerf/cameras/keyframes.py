"""Choosing key frames, and how large a scene is in metres."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Num

from multinerf import errors

# What a scene scaled to [-1, 1]^3 is taken to measure if nobody says.
METERS_PER_UNIT = 8.0


def listed_names(path: str | os.PathLike) -> list[str]:
  """The lines of a text file that are not blank, or the files of a folder.

  Raises:
    DataError: There is no such file or folder, or it is no text.
  """
  path = pathlib.Path(path).expanduser()
  if path.is_dir():
    return sorted(p.name for p in path.iterdir())
  if not path.is_file():
    raise errors.DataError(f'No file or folder {path} with names of images.')
  try:
    lines = path.read_text(encoding='utf-8').splitlines()
  except (OSError, UnicodeDecodeError) as e:
    raise errors.DataError(
      f'{path} is no text file with names of images: {e}.'
    ) from e
  return [line.strip() for line in lines if line.strip()]


def drop_outliers(
  poses: Num[np.ndarray, 'n 3 4'],
  keys: Int[np.ndarray, 'k'],
  *,
  quantile: float,
  multiplier: float,
) -> Int[np.ndarray, 'm']:
  """Leaves out key frames that are followed by a jump.

  Args:
    poses: Cameras.
    keys: Which of them are key frames, in order.
    quantile: In [0, 1], of the distances between neighbours.
    multiplier: A distance at least this many times that quantile is a jump;
      the key frame before it goes. The last one always stays.
  """
  steps = np.diff(poses[keys][:, :, 3], axis=0)
  lengths = np.linalg.norm(steps, axis=-1)
  stays = lengths < multiplier * np.quantile(lengths, quantile)
  return keys[np.append(stays, True)]


def meters_per_unit(
  poses: Num[np.ndarray, 'n 3 4'],
  image_names: Sequence[str],
  calibration: str | os.PathLike | None,
  distance: float,
) -> float:
  """How many metres a unit of the world is.

  Args:
    poses: Cameras.
    image_names: Their names.
    calibration: File or folder of names (`listed_names`): pairs of images that
      were taken `distance` metres apart. Pairs of which either is not among
      the images do not count.
    distance: In metres.

  Returns:
    The mean over the pairs; 8 without any, what a scene of [-1, 1]^3 that was
    photographed by someone walking is likely to be.

  Raises:
    DataError: The file is missing or holds an odd number of names.
  """
  if calibration is None:
    return METERS_PER_UNIT
  names = listed_names(calibration)
  if len(names) % 2:
    raise errors.DataError(
      f'{calibration} must hold pairs of image names; it holds {len(names)} '
      'names (gin: Config.render_calibration_keyframes).'
    )
  index = {name: i for i, name in enumerate(image_names)}
  pairs = [
    (index[a], index[b])
    for a, b in zip(names[::2], names[1::2], strict=True)
    if a in index and b in index
  ]
  if not pairs:
    return METERS_PER_UNIT
  centers = poses[np.array(pairs)][..., 3]
  apart = np.linalg.norm(centers[:, 0] - centers[:, 1], axis=-1)
  return float(distance / apart.mean())
