"""A raw scene without a camera: the embedded still life, as DNG files."""

import pathlib
from collections.abc import Callable

import colmap_util
import dng_util
import numpy as np

from multinerf.cameras import poses, projection
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
  directions = _directions(camtoworld, size)
  origins = camtoworld[None, :, 3]
  hits = analytic.trace(origins, directions)
  rgb = analytic.radiance(origins, directions, hits)
  return (rgb @ np.linalg.inv(CAM2RGB).T).reshape(size, size, 3)


def wall(camtoworld: np.ndarray, size: int) -> np.ndarray:
  """Smooth linear camera colours of a plane through the origin.

  It faces the cameras of forward-facing scenes and is quickly learned.
  """
  directions = _directions(camtoworld, size)
  right, up, back = synthetic.test_poses(1)[0, :, :3].T
  origin = camtoworld[:, 3]
  t = -(origin @ back) / (directions @ back)
  points = origin + t[:, None] * directions
  u, v = points @ right, points @ up
  waves = np.stack([np.sin(2 * u), np.cos(2 * v), np.sin(u + v)], -1)
  return (0.35 + 0.3 * waves).reshape(size, size, 3)


def _directions(camtoworld: np.ndarray, size: int) -> np.ndarray:
  """World directions through the pixels' centres, [size^2, 3]."""
  y, x = np.indices((size, size)) + 0.5
  focal = 0.5 * size / np.tan(0.5 * synthetic.CAMERA_ANGLE_X)
  local = np.stack(
    [(x - size / 2) / focal, (size / 2 - y) / focal, -np.ones_like(x)], -1
  )
  return local.reshape(-1, 3) @ camtoworld[:, :3].T


def mosaic_of(linear: np.ndarray, gain: float) -> np.ndarray:
  """What the sensor stores of linear colours at an exposure, uint16."""
  y, x = np.indices(linear.shape[:2])
  measured = (linear * batching.bayer_mask(x, y)).sum(-1) * gain
  stored = BLACK + (WHITE - BLACK) * measured
  return np.clip(np.floor(stored + 0.5), 0, 65535).astype(np.uint16)


def write_shots(
  folder: pathlib.Path,
  names: tuple[str, ...],
  camtoworlds: np.ndarray,
  size: int,
  *,
  look: Callable[[np.ndarray, int], np.ndarray] = radiance,
  late: float = 1.0,
) -> np.ndarray:
  """Writes a DNG file and its metadata for each photograph.

  Args:
    folder: Where they go.
    names: Of the photographs; files have the same stems.
    camtoworlds: [n, 3, 4] in the frame of `data.analytic`.
    size: Side of the images, pixels.
    look: Pose and size to linear camera colours.
    late: The shortest exposures are this much longer than their files say.

  Returns:
    Linear camera colours [n, size, size, 3], before exposure.
  """
  linear = np.stack([look(pose, size) for pose in camtoworlds])
  for i, name in enumerate(names):
    gain = exposure(i) * (late if i % len(SHUTTERS) == 1 else 1.0)
    dng_util.write(
      (folder / name).with_suffix('.dng'),
      mosaic_of(linear[i], gain),
      black=BLACK,
      white=WHITE,
      shutter=SHUTTERS[i % len(SHUTTERS)],
    )
  return linear


def write(
  folder: pathlib.Path, num: int, size: int, subfolder: str = 'raw'
) -> tuple[photo_set.Photographs, np.ndarray]:
  """Writes num DNG files of the embedded scene, all around it.

  Returns:
    The photographs, named i_00.jpg and so on (these do not exist), and the
    linear camera colours they are of, [n, size, size, 3], before exposure.
  """
  camtoworlds = synthetic.train_poses(num)
  names = tuple(f'i_{i:02d}.jpg' for i in range(num))
  linear = write_shots(folder / subfolder, names, camtoworlds, size)
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


def write_llff_scene(
  folder: pathlib.Path, num: int, size: int, **options
) -> np.ndarray:
  """Writes a forward-facing raw scene with COLMAP's poses.

  Args:
    folder: Where it goes.
    num: Photographs, called view_00.png and so on.
    size: Side of the images, pixels.
    **options: As of `write_shots`.

  Returns:
    Linear camera colours [n, size, size, 3], before exposure.
  """
  colmap_util.write_llff_scene(
    folder, num, size, forward_facing=True, poses_bounds=True
  )
  truth = colmap_util.make_truth(num, size, forward_facing=True)
  back = np.linalg.inv(colmap_util.SIMILARITY)
  moved = back @ poses.pad_poses(truth.camtoworlds)
  moved[:, :3, :3] /= np.cbrt(np.linalg.det(back[:3, :3]))
  return write_shots(folder / 'raw', truth.names, moved[:, :3], size, **options)
