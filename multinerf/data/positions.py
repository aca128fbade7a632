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
  index, starts = None, first
  if scene.masks is not None and not scene.masks.values.all():
    index, starts = _valid_positions(scene.masks, first, patch_size, border)
    if len(index) == 0:
      raise errors.ConfigError(
        f'The masks of scene {scene.name!r} leave no room for a patch of '
        f'{patch_size} pixels inside a border of {border} in any image (gin: '
        'Config.mask_dir, Config.mask_keeps, Config.patch_size, '
        'Config.num_border_pixels_to_mask).'
      )
  even = bool((room == room[0]).all())
  return Positions(first, columns, border, index, starts, even)


def _valid_positions(masks, first, patch_size, border):
  """`Positions.index` and `Positions.starts`."""
  # 4 bytes a position, as many as the colours take, while that is enough.
  dtype = np.uint32 if first[-1] <= 2**32 else np.int64
  found = []
  for i in range(len(masks)):
    height, width = int(masks.heights[i]), int(masks.widths[i])
    keep = masks.image(i)[border : height - border, border : width - border, 0]
    at = np.flatnonzero(_all_in_window(keep != 0, patch_size))
    found.append((first[i] + at).astype(dtype))
  counts = [len(at) for at in found]
  return np.concatenate(found), np.concatenate([[0], np.cumsum(counts)])


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
