"""Where patches may lie: the positions of all images together, numbered.

A patch is named by its upper left pixel. Without masks a position is found by
arithmetic alone; with masks through a list of the valid ones, which is made
once, so that a draw costs the same however much is masked.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt32

from multinerf import errors
from multinerf.data import base


@dataclasses.dataclass(frozen=True)
class Positions:
  """All positions of a scene's patches.

  Position k of all images together, valid or not, belongs to the image i with
  first[i] <= k < first[i + 1].

  Attributes:
    first: [n + 1] number of the first position of each image.
    columns: [n] positions side by side in each image.
    border: Pixels left out along each edge.
    index: [m] the valid positions in ascending order; None: all are.
    starts: [n + 1] where each image's begin in `index`; `first` without one.
    even: Whether all images have equally many positions, valid or not.
  """

  first: Int[np.ndarray, ' n1']
  columns: Int[np.ndarray, ' n']
  border: int
  index: UInt32[np.ndarray, ' m'] | Int[np.ndarray, ' m'] | None
  starts: Int[np.ndarray, ' n1']
  even: bool

  def draw(self, generator: np.random.Generator, size: int | None) -> Any:
    """(image, position within the image), uniform over all valid ones.

    Args:
      generator: Advanced by one call, whatever the masks.
      size: How many; None: one, as numbers.
    """
    at = generator.integers(self.starts[-1], size=size)
    if self.index is not None:
      at = self.index[at].astype(np.int64)
    image = self._image_of(at)
    return image, at - self.first[image]

  def draw_in(
    self, generator: np.random.Generator, image: int | np.integer, size: int
  ) -> Int[np.ndarray, ' size']:
    """Positions within one image that has some, uniform over the valid ones."""
    start, end = self.starts[image], self.starts[image + 1]
    at = generator.integers(end - start, size=size)
    if self.index is None:
      return at
    return self.index[start + at].astype(np.int64) - self.first[image]

  def has(self, image: int | np.integer) -> bool:
    """Whether an image has any valid position."""
    return bool(self.starts[image] < self.starts[image + 1])

  def corner(
    self, image: Int[np.ndarray, ' size'], at: Int[np.ndarray, ' size']
  ) -> tuple[Int[np.ndarray, ' size'], Int[np.ndarray, ' size']]:
    """(left column, top row) of positions within their images."""
    top, left = np.divmod(at, self.columns[image])
    return left + self.border, top + self.border

  def _image_of(self, at):
    if self.even:  # of images of one size: a division is cheaper
      return at // self.first[1]
    return np.searchsorted(self.first, at, side='right') - 1


def find(scene: base.Scene, patch_size: int, border: int) -> Positions:
  """Numbers the positions of patches that hold no masked pixel.

  Args:
    scene: With images, and masks or not.
    patch_size: Side of the patches, pixels.
    border: Pixels along each edge of an image that no patch may touch.

  Raises:
    ConfigError: An image is too small for a patch, or the masks leave none.
  """
  found = _number(scene, patch_size, border)
  masks = scene.masks
  # Image by image: they may be in a file that is larger than memory.
  if masks is None or all(masks.image(i).all() for i in range(len(masks))):
    return found
  found = _only(found, scene.images, patch_size, lambda i: masks.image(i) != 0)
  if len(found.index) == 0:
    raise errors.ConfigError(
      f'The masks of scene {scene.name!r} leave no room for a patch of '
      f'{patch_size} pixels inside a border of {border} in any image (gin: '
      'Config.mask_dir, Config.mask_keeps, Config.patch_size, '
      'Config.num_border_pixels_to_mask).'
    )
  return found


def find_opaque(scene: base.Scene, border: int) -> Positions | None:
  """Numbers the pixels in which something was seen: of an opacity above 0.

  Args:
    scene: With images, and masks or not.
    border: Pixels along each edge of an image that are left out.

  Returns:
    None if the images have no opacity, or no pixel is left.
  """
  images, masks = scene.images, scene.masks
  if images.values.shape[-1] != 4:
    return None

  def keep(i):
    opaque = images.image(i)[..., 3:] > 0
    return opaque if masks is None else opaque & (masks.image(i) != 0)

  found = _only(_number(scene, 1, border), images, 1, keep)
  return found if len(found.index) else None


def _number(scene, patch_size, border):
  """All positions, masked or not."""
  lost = 2 * border + patch_size - 1
  columns = scene.images.widths.astype(np.int64) - lost
  rows = scene.images.heights.astype(np.int64) - lost
  for i in np.flatnonzero(np.minimum(columns, rows) < 1)[:1]:
    raise errors.ConfigError(
      f'Image {scene.image_names[i]} ({scene.images.widths[i]}x'
      f'{scene.images.heights[i]}) has no room for a patch of {patch_size} '
      f'pixels inside a border of {border} (gin: Config.patch_size, '
      'Config.num_border_pixels_to_mask).'
    )
  room = columns * rows
  first = np.concatenate([[0], np.cumsum(room)])
  even = bool((room == room[0]).all())
  return Positions(first, columns, border, None, first, even)


def _only(found, images, patch_size, keep):
  """The positions of patches all of whose pixels are kept.

  Args:
    found: All positions.
    images: The buffer they lie in.
    patch_size: Side of the patches.
    keep: Number of an image -> [h, w, 1] bool.
  """
  border, first = found.border, found.first
  # 4 bytes a position, as many as the colours take, while that is enough.
  dtype = np.uint32 if first[-1] <= 2**32 else np.int64
  index = []
  for i in range(len(images)):
    height, width = int(images.heights[i]), int(images.widths[i])
    inside = keep(i)[border : height - border, border : width - border, 0]
    at = np.flatnonzero(_all_in_window(inside, patch_size))
    index.append((first[i] + at).astype(dtype))
  starts = np.concatenate([[0], np.cumsum([len(at) for at in index])])
  return dataclasses.replace(found, index=np.concatenate(index), starts=starts)


def _all_in_window(
  keep: Bool[np.ndarray, 'h w'], side: int
) -> Bool[np.ndarray, 'h2 w2']:
  """Whether all of the window with this upper left pixel is kept.

  By a summed-area table: the cost does not depend on the window.
  """
  if side == 1:
    return keep
  height, width = keep.shape
  sums = np.zeros((height + 1, width + 1), np.int64)
  sums[1:, 1:] = keep.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
  inside = sums[side:, side:] - sums[:-side, side:]
  inside += sums[:-side, :-side] - sums[side:, :-side]
  return inside == side**2
