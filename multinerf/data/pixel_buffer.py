"""Pixels of many images in one array, in memory or in a file."""

import concurrent.futures
import dataclasses
import mmap
import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int, Num, UInt8, UInt16

from multinerf import errors

_READERS = 16  # threads that read a batch from a file


class MappedFile:
  """A file whose bytes are read as memory and need not stay in it.

  Args:
    path: The file; it must neither shrink nor change while it is in use.
    key: What its contents follow from, see `pixel_cache`.

  Raises:
    OSError: It cannot be read.
    ValueError: It is empty.
  """

  def __init__(self, path: str | os.PathLike, key: str):
    self.key = key
    with open(path, 'rb') as file:
      self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # Batches are from all over the file: reading on would be for nothing.
    self._map.madvise(mmap.MADV_RANDOM)

  def array(
    self, channels: int, dtype: np.typing.DTypeLike
  ) -> Num[np.ndarray, 'pixels c']:
    """All of it as [num_pixels, channels]; cannot be written to."""
    return np.frombuffer(self._map, dtype).reshape(-1, channels)

  def expect(self, start: int, stop: int) -> None:
    """Has bytes start .. stop read ahead, in the background."""
    start -= start % mmap.PAGESIZE
    if stop > start:
      self._map.madvise(mmap.MADV_WILLNEED, start, stop - start)

  def forget(self) -> None:
    """Gives back the memory of what was read; reading it again is possible.

    Without this, pages that were read once count as the process's memory until
    the kernel runs short of it.
    """
    self._map.madvise(mmap.MADV_DONTNEED)


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
    file: What `values` are mapped from; None: they are in memory. Read them
      through `image` and `at`, which keep no more in memory than one call's.
  """

  values: (
    UInt8[np.ndarray, 'pixels c']
    | UInt16[np.ndarray, 'pixels c']
    | Float32[np.ndarray, 'pixels c']
  )
  widths: Int[np.ndarray, ' n']
  heights: Int[np.ndarray, ' n']
  offsets: Int[np.ndarray, ' m']
  file: MappedFile | None = dataclasses.field(default=None, kw_only=True)

  def __len__(self) -> int:
    return len(self.widths)

  def image(self, i: int) -> Num[np.ndarray, 'h w c']:
    """Image i as a view, not a copy; not writable if it is from a file."""
    rows = self.rows(i)
    if self.file is not None:
      start, stop = (int(self.offsets[k]) for k in (i, i + 1))
      self.file.expect(start * rows.strides[0], stop * rows.strides[0])
    return rows.reshape(self.heights[i], self.widths[i], -1)

  def rows(self, i: int) -> Num[np.ndarray, 'pixels c']:
    """The same, flat and as stored; nothing is read before it is looked at."""
    self.forget()
    return self.values[self.offsets[i] : self.offsets[i + 1]]

  def at(
    self,
    cam_idx: Int[np.ndarray, '...'],
    x: Int[np.ndarray, '...'],
    y: Int[np.ndarray, '...'],
  ) -> Num[np.ndarray, '... c']:
    """Values at column x and row y of image cam_idx; the three broadcast.

    Coordinates outside the image are not detected (they read another pixel).
    """
    rows = self.offsets[cam_idx] + y * self.widths[cam_idx] + x
    if self.file is None:
      return self.values[rows]
    self.forget()
    # Each thread waits for the disk, most of the time.
    parts = np.array_split(np.ravel(rows), _READERS)
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
      found = np.concatenate(list(pool.map(self.values.__getitem__, parts)))
    return found.reshape(*np.shape(rows), -1)

  def forget(self) -> None:
    """Gives back the memory of what earlier calls have read from a file."""
    if self.file is not None:
      self.file.forget()

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
