"""Pixels of many images in one array."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int, Num, UInt8, UInt16

from multinerf import errors


@dataclasses.dataclass(frozen=True)
class PixelBuffer:
  """All images of one kind in one flat array, row-major, one after another.

  Kept as stored on disk (8-bit colours take 3 or 4 bytes a pixel, not 12), so
  a training set fits in memory, and images may differ in size.

  Attributes:
    values: [num_pixels, C] uint8, uint16 or float32.
    widths, heights: [n] image sizes in pixels.
    offsets: [n + 1] row of `values` where each image starts; the last entry
      is num_pixels.
  """

  values: (
    UInt8[np.ndarray, 'pixels c']
    | UInt16[np.ndarray, 'pixels c']
    | Float32[np.ndarray, 'pixels c']
  )
  widths: Int[np.ndarray, ' n']
  heights: Int[np.ndarray, ' n']
  offsets: Int[np.ndarray, ' m']

  def __len__(self) -> int:
    return len(self.widths)

  def image(self, i: int) -> Num[np.ndarray, 'h w c']:
    """Image i as a view, not a copy."""
    rows = self.values[self.offsets[i] : self.offsets[i + 1]]
    return rows.reshape(self.heights[i], self.widths[i], -1)

  def at(
    self,
    cam_idx: Int[np.ndarray, '...'],
    x: Int[np.ndarray, '...'],
    y: Int[np.ndarray, '...'],
  ) -> Num[np.ndarray, '... c']:
    """Values at column x and row y of image cam_idx; the three broadcast.

    Coordinates outside the image are not detected (they read another pixel).
    """
    return self.values[self.offsets[cam_idx] + y * self.widths[cam_idx] + x]

  @classmethod
  def allocate(
    cls,
    widths: Sequence[int] | Int[np.ndarray, ' n'],
    heights: Sequence[int] | Int[np.ndarray, ' n'],
    channels: int,
    dtype: np.typing.DTypeLike,
  ) -> 'PixelBuffer':
    """A buffer of uninitialised pixels, to be filled through `image(i)`."""
    w, h = np.asarray(widths, np.int64), np.asarray(heights, np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(w * h)])
    return cls(np.empty((offsets[-1], channels), dtype), w, h, offsets)

  @classmethod
  def from_images(
    cls, images: Sequence[Num[np.ndarray, '_ _ _']]
  ) -> 'PixelBuffer':
    """Copies images [H, W, C] of one type and channel count, any sizes.

    Raises:
      DataError: There are none, or their types or channel counts differ.
    """
    kinds = sorted({(str(i.dtype), i.shape[2]) for i in images})
    if len(kinds) != 1:
      raise errors.DataError(
        'Images of one buffer need one type and number of channels; got '
        f'{kinds or "no images"}.'
      )
    buffer = cls.allocate(
      [i.shape[1] for i in images],
      [i.shape[0] for i in images],
      images[0].shape[2],
      images[0].dtype,
    )
    for i, image in enumerate(images):
      buffer.image(i)[...] = image
    return buffer
