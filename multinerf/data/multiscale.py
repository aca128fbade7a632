"""Smaller copies of all images of a split, to train on and to measure.

The multi-scale protocol of Zip-NeRF (arXiv:2304.06706, section 4.2) with the
order and weights of camp_zipnerf: all images at their size, then all at each
factor; the loss of a pixel counts with its side in full-size pixels. Pixels
are averages over areas, where camp_zipnerf resizes bicubically.
"""

import math
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Num

from multinerf import errors
from multinerf.cameras import camera
from multinerf.data import pixel_buffer, pixel_cache, resize

# (image [h, w, c], new width, new height) -> image [new height, new width, c].
Shrink = Callable[[np.ndarray, int, int], np.ndarray]


def with_pixel_size(
  pixtocams: Float[np.ndarray, 'n 3 3'], size: Num[np.ndarray, ' n']
) -> Float[np.ndarray, 'n 3 3']:
  """Inverse intrinsics of pixels `size` times as wide and high.

  Corner (0, 0) of the image stays where it is, so the centre of a new pixel is
  the centre of the size x size old ones that it covers.
  """
  scaled = np.array(pixtocams)
  scaled[:, :, :2] *= np.asarray(size, scaled.dtype)[:, None, None]
  return scaled


def with_copies(
  cameras: camera.Cameras, names: Sequence[str], factors: Sequence[int]
) -> tuple[camera.Cameras, tuple[str, ...], tuple[int, ...]]:
  """Cameras of all images, then of all of them at each of the factors.

  A copy is of the largest part, from the upper left corner, that all factors
  divide. Poses, lenses and bounds are those of the original; `lossmult` is the
  factor (times what it was).

  Args:
    cameras: n cameras.
    names: n file names.
    factors: k whole numbers > 1.

  Returns:
    n (k + 1) cameras, their names (`r_0.png`, ..., `r_0_2x.png`, ...), and by
    how much each is smaller (1, ..., 2, ...).

  Raises:
    ConfigError: A factor is there twice, or less than 2.
    DataError: An image is smaller than the least common multiple.
  """
  if len(set(factors)) < len(factors) or min(factors, default=2) < 2:
    raise errors.ConfigError(
      f'Config.multiscale_train_factors = {list(factors)} must be different '
      'numbers > 1; images of full size are always there.'
    )
  widths, heights = np.asarray(cameras.widths), np.asarray(cameras.heights)
  multiple = math.lcm(*factors)
  for i in np.flatnonzero(np.minimum(widths, heights) < multiple)[:1]:
    raise errors.DataError(
      f'{names[i]} is {widths[i]}x{heights[i]}, too small for copies at '
      f'{list(factors)}, for which each side must be at least {multiple} pixels '
      '(gin: Config.multiscale_train_factors, Config.factor).'
    )
  num = len(cameras)
  scales = np.repeat([1, *factors], num)
  copies = np.arange(len(scales)) >= num
  cameras = cameras.take(np.tile(np.arange(num), len(factors) + 1))

  def side(full):
    rest = np.where(copies, full % multiple, 0)
    return ((full - rest) // scales).astype(np.int32)

  before = 1.0 if cameras.lossmult is None else np.asarray(cameras.lossmult)
  cameras = cameras.replace(
    pixtocams=with_pixel_size(cameras.pixtocams, scales),
    widths=side(np.asarray(cameras.widths)),
    heights=side(np.asarray(cameras.heights)),
    lossmult=(before * scales).astype(np.float32),
  )
  paths = [pathlib.PurePath(name) for name in names]
  copied = [
    str(path.with_name(f'{path.stem}_{factor}x{path.suffix}'))
    for factor in factors
    for path in paths
  ]
  return cameras, (*names, *copied), tuple(int(s) for s in scales)


def append(
  buffer: pixel_buffer.PixelBuffer,
  cameras: camera.Cameras,
  scales: Sequence[int],
  shrink: Shrink = resize.area_average,
  *,
  cache: str | None = None,
) -> pixel_buffer.PixelBuffer:
  """The images of a buffer and smaller copies, of the same type.

  Needs memory for the result besides the buffer, and a few MiB per thread; or
  space in the cache.

  Args:
    buffer: n images.
    cameras, scales: What `with_copies` returned.
    shrink: Makes an image of a size that divides the given one's.
    cache: Folder of `pixel_cache.build`.
  """
  num = len(buffer)

  def copy(i: int, targets: Mapping[str, np.ndarray]):
    target, scale = targets['scales'], scales[i]
    height, width = target.shape[:2]
    if i < num:
      target[...] = buffer.image(i)
      return
    part = buffer.image(i % num)[: height * scale, : width * scale]
    target[...] = shrink(part, width, height)

  return pixel_cache.build(
    (cameras.widths, cameras.heights),
    {'scales': pixel_cache.Kind(buffer.values.shape[1], buffer.values.dtype)},
    copy,
    folder=cache,
    origin=pixel_cache.derived(buffer, tuple(scales), shrink.__name__),
  )['scales']


def least(
  image: Num[np.ndarray, 'h w c'], width: int, height: int
) -> Num[np.ndarray, 'height width c']:
  """The least value under each new pixel: a mask holds where all pixels do."""
  high, wide = image.shape[0] // height, image.shape[1] // width
  boxes = image.reshape(height, high, width, wide, -1)
  return boxes.min(axis=(1, 3))
