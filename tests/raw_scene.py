"""A raw scene without a camera: the embedded still life, as DNG files."""

import pathlib

import dng_util
import numpy as np

from multinerf.cameras import projection
from multinerf.data import analytic, batching, photo_set, synthetic
from multinerf.ops import raw

BLACK, WHITE = 1024, 65535
# Shutter times in turn, as exiftool writes them; the first is the longest.
SHUTTERS = ('1/25', '1/100', '1/50')
CAM2RGB = raw.camera_to_rgb(dng_util.COLOR_MATRIX, dng_util.NEUTRAL)


def exposure(i: int) -> float:
  """Shutter time of photograph i relative to the longest."""
  return 25 / int(SHUTTERS[i % len(SHUTTERS)].split('/')[1])


def radiance(camtoworld: np.ndarray, size: int) -> np.ndarray:
  """Linear camera colours [size, size, 3] of the embedded scene."""
  y, x = np.indices((size, size)) + 0.5
  focal = 0.5 * size / np.tan(0.5 * synthetic.CAMERA_ANGLE_X)
  local = np.stack(
    [(x - size / 2) / focal, (size / 2 - y) / focal, -np.ones_like(x)], -1
  )
  directions = local.reshape(-1, 3) @ camtoworld[:, :3].T
  origins = camtoworld[None, :, 3]
  hits = analytic.trace(origins, directions)
  rgb = analytic.radiance(origins, directions, hits)
  return (rgb @ np.linalg.inv(CAM2RGB).T).reshape(size, size, 3)


def mosaic_of(linear: np.ndarray, gain: float) -> np.ndarray:
  """What the sensor stores of linear colours at an exposure, uint16."""
  y, x = np.indices(linear.shape[:2])
  measured = (linear * batching.bayer_mask(x, y)).sum(-1) * gain
  stored = BLACK + (WHITE - BLACK) * measured
  return np.clip(np.floor(stored + 0.5), 0, 65535).astype(np.uint16)


def write(
  folder: pathlib.Path, num: int, size: int, subfolder: str = 'raw'
) -> tuple[photo_set.Photographs, np.ndarray]:
  """Writes num DNG files of the embedded scene.

  Returns:
    The photographs, named i_00.jpg and so on (these do not exist), and the
    linear camera colours they are of, [n, size, size, 3], before exposure.
  """
  camtoworlds = synthetic.train_poses(num)
  linear = np.stack([radiance(pose, size) for pose in camtoworlds])
  names = tuple(f'i_{i:02d}.jpg' for i in range(num))
  for i, name in enumerate(names):
    dng_util.write(
      (folder / subfolder / name).with_suffix('.dng'),
      mosaic_of(linear[i], exposure(i)),
      black=BLACK,
      white=WHITE,
      shutter=SHUTTERS[i % len(SHUTTERS)],
    )
  focal = 0.5 * size / np.tan(0.5 * synthetic.CAMERA_ANGLE_X)
  photos = photo_set.Photographs(
    folder,
    names,
    tuple(folder / 'images' / n for n in names),
    camtoworlds,
    np.tile(projection.get_pixtocam(focal, size, size), (num, 1, 1)),
    np.full(num, size),
    np.full(num, size),
  )
  return photos, linear
