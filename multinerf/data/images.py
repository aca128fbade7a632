"""Image files to arrays and back, with checks on both ways.

Reading never trusts the file: sizes are known and limited before pixels are
decoded, and whatever is wrong becomes one `DataError` that names the file.
Writing is atomic (a reader never meets half a file) and rounds instead of
truncating, so a PNG holds what the metrics were computed on; values that are
not finite are counted, not hidden.
"""

import contextlib
import dataclasses
import io
import os
import pathlib
import secrets
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Num, UInt8
from PIL import Image, TiffImagePlugin

from multinerf import errors
from multinerf.data import png16, tiff_rgb

_FORMATS = ('PNG', 'JPEG', 'WEBP', 'BMP', 'TIFF')
# What Pillow's readers raise on hostile or damaged files: nearly everything.
_DECODE_ERRORS = (
  *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError),
  *(ArithmeticError, AttributeError, MemoryError, struct.error, zlib.error),
  Image.DecompressionBombError,
)
_BITS_PER_SAMPLE = 258  # TIFF 6.0, section 8
# As many as Pillow accepts; a larger image is taken for an attack.
MAX_PIXELS = 2**27


@dataclasses.dataclass(frozen=True)
class ImageHeader:
  """What `read_image` will return, known without decoding.

  Attributes:
    width, height: Size in pixels.
    channels: 3, or 4 with opacity.
    bits: 8 or 16 per channel.
  """

  width: int
  height: int
  channels: int
  bits: int


def read_header(path: str | os.PathLike) -> ImageHeader:
  """Reads size and kind of an image, not its pixels.

  Raises:
    DataError: The file is missing, not an image, too large, or a colour TIFF
      of 16 bits.
  """
  path = pathlib.Path(path)
  if _guarded(path, png16.is_png16):
    with open(path, 'rb') as f:
      head = f.read(29)
    width, height, samples = _guarded(path, lambda _: png16.header(head))
    _check_area(path, width, height)
    return ImageHeader(width, height, 4 if samples in (2, 4) else 3, 16)
  with opened(path) as img:
    _check_area(path, *img.size)
    _check_bits(path, img)
    channels = 4 if _has_alpha(img) else 3
    bits = 16 if img.mode.startswith('I') else 8
    return ImageHeader(img.width, img.height, channels, bits)


def read_image(path: str | os.PathLike) -> Num[np.ndarray, 'h w c']:
  """Reads a PNG, JPEG, WebP, BMP or integer TIFF image.

  Grey becomes RGB and palettes are looked up; opacity is kept. EXIF rotation
  is ignored, as COLMAP ignores it.

  Returns:
    [H, W, 3 or 4], uint8, or uint16 for files of 16 bits per channel (PNG,
    grey TIFF); not premultiplied, 0 .. 255 or 0 .. 65535.

  Raises:
    DataError: The file is missing, damaged, not an image, too large, or a
      colour TIFF of 16 bits.
  """
  path = pathlib.Path(path)
  read_header(path)  # the size is checked before anything is decoded
  if _guarded(path, png16.is_png16):
    values = _guarded(path, lambda p: png16.decode(p.read_bytes()))
    return _expand_grey(values)
  with opened(path) as img:
    return _guarded(path, lambda _: _decode(img))


def read_tiff(path: str | os.PathLike) -> Float32[np.ndarray, 'h w']:
  """Reads a single-channel 32-bit float TIFF, as stored.

  Raises:
    DataError: The file is missing, damaged, or not of this kind.
  """
  path = pathlib.Path(path)
  with opened(path) as img:
    _check_area(path, *img.size)
    if img.mode != 'F':
      raise errors.DataError(
        f'{path} holds pixels of kind {img.mode!r}; a TIFF with one 32-bit '
        'float channel is needed.'
      )
    return _guarded(path, lambda _: np.array(img, np.float32))


def to_uint8(image: Num[np.ndarray, '...']) -> UInt8[np.ndarray, '...']:
  """Quantises [0, 1] to 0 .. 255, rounding half up; clips what is outside.

  Differs from multinerf utils.py save_img_u8 (truncates): the file then differs
  from what metrics with rounding saw by half a level on average. NaN becomes 0
  (see `count_nonfinite`). uint8 is passed through.
  """
  if image.dtype == np.uint8:
    return image
  finite = np.nan_to_num(image, nan=0.0, posinf=1.0, neginf=0.0)
  return np.floor(np.clip(finite, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def count_nonfinite(image: Num[np.ndarray, '...']) -> int:
  """Number of values that are NaN or infinite."""
  return int(image.size - np.count_nonzero(np.isfinite(image)))


def write_png(path: str | os.PathLike, image: Num[np.ndarray, 'h w *c']) -> int:
  """Writes an 8-bit PNG, atomically; missing folders are made.

  Args:
    path: The file to write or replace.
    image: [H, W] or [H, W, 1] grey, [H, W, 3] RGB or [H, W, 4] RGBA; float in
      [0, 1] (rounded, clipped) or uint8 (as is).

  Returns:
    How many values were not finite; they are written as 0 (NaN, -inf) or 1.
    The caller must report a count above zero.

  Raises:
    ValueError: The shape is none of the above.
  """
  if image.ndim == 3 and image.shape[2] == 1:
    image = image[..., 0]
  if image.ndim == 3 and image.shape[2] not in (3, 4):
    raise ValueError(
      f'A PNG has 1, 3 or 4 channels; got an array of shape {image.shape}.'
    )
  picture = Image.fromarray(np.ascontiguousarray(to_uint8(image)))
  _replace_file(path, lambda f: picture.save(f, format='PNG'))
  return count_nonfinite(image)


def write_tiff(
  path: str | os.PathLike, image: Float[np.ndarray, 'h w *c']
) -> int:
  """Writes a TIFF of 32-bit floats, atomically; keeps NaN and inf.

  Args:
    path: The file to write or replace; missing folders are made.
    image: [H, W] or [H, W, 1] for one channel, [H, W, 3] for RGB, which
      Pillow and `read_tiff` do not read; any float.

  Returns:
    How many values are not finite.

  Raises:
    ValueError: The shape is none of the above.
  """
  if image.ndim == 3 and image.shape[2] == 3:
    _replace_file(path, lambda f: f.write(tiff_rgb.encode(image)))
    return count_nonfinite(image)
  if image.ndim == 3 and image.shape[2] != 1:
    raise ValueError(
      f'Expected 1 or 3 channels, got an array of shape {image.shape}.'
    )
  plane = np.ascontiguousarray(image.reshape(image.shape[:2]), np.float32)
  picture = Image.fromarray(plane)
  _replace_file(path, lambda f: picture.save(f, format='TIFF'))
  return count_nonfinite(plane)


def write_npy(path: str | os.PathLike, array: Num[np.ndarray, '...']) -> None:
  """Writes an array as .npy, atomically; missing folders are made."""
  _replace_file(path, lambda f: np.save(f, array))


def _replace_file(path: str | os.PathLike, save: Callable[[Any], None]):
  """Writes beside `path` and renames, so that no one sees half a file."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  temp = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.tmp')
  try:
    with open(temp, 'wb') as f:
      save(f)
    os.replace(temp, path)
  finally:
    temp.unlink(missing_ok=True)


class _File(io.BufferedReader):
  """A file of which no more can be asked for than it has.

  Python allocates what `read` asks for, and Pillow asks for what a chunk of a
  PNG says: 2 GB for a file of 100 bytes (found by benchmarks/fuzz.py).
  """

  def __init__(self, path: pathlib.Path):
    super().__init__(io.FileIO(path))
    self._size = os.fstat(self.fileno()).st_size

  def read(self, size: int | None = -1, /) -> bytes:
    """See `io.BufferedReader`."""
    left = max(self._size - self.tell(), 0)
    return super().read(left if size is None or size < 0 else min(size, left))


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Image.Image]:
  """An image of Pillow's, of the formats above, whose header is read.

  Raises:
    DataError: The file is missing, or not an image.
  """
  with _guarded(path, _File) as file:
    with _guarded(path, lambda _: Image.open(file, formats=_FORMATS)) as img:
      yield img


def _guarded(path: pathlib.Path, fn: Callable[[pathlib.Path], Any]) -> Any:
  """fn(path), with every way to fail turned into a DataError."""
  try:
    return fn(path)
  except FileNotFoundError as e:
    raise errors.DataError(f'Image {path} does not exist.') from e
  except _DECODE_ERRORS as e:
    reason = ' '.join(str(e).split()) or type(e).__name__
    raise errors.DataError(
      f'Cannot read image {path}: {reason}. Replace the file.'
    ) from e


def _check_area(path: pathlib.Path, width: int, height: int):
  if width * height > MAX_PIXELS:
    raise errors.DataError(
      f'Image {path} is {width}x{height}; at most {MAX_PIXELS} pixels are read.'
    )


def _check_bits(path: pathlib.Path, img: Image.Image):
  """Raises on a TIFF of which Pillow keeps the high bytes only, in silence."""
  is_tiff = isinstance(img, TiffImagePlugin.TiffImageFile)
  if not is_tiff or not img.mode.startswith('RGB'):
    return
  bits = _guarded(path, lambda _: max(img.tag_v2[_BITS_PER_SAMPLE]))
  if bits > 8:
    raise errors.DataError(
      f'{path} is a colour TIFF of {bits} bits per channel, of which 8 could '
      'be read; convert it to a 16-bit PNG.'
    )


def _has_alpha(img: Image.Image) -> bool:
  return 'A' in img.mode or 'a' in img.mode or 'transparency' in img.info


def _decode(img: Image.Image) -> np.ndarray:
  """Pixels of an opened Pillow image of any mode."""
  if img.mode == 'F':
    raise ValueError('it holds float pixels; PNG or JPEG colours are needed')
  if img.mode in ('CMYK', 'LAB'):  # without a profile RGB is a guess
    raise ValueError(f'its colours are {img.mode}; convert it to RGB')
  if img.mode.startswith('I'):
    values = np.array(img)
    if values.min() < 0 or values.max() > 65535:
      raise ValueError('more than 16 bits per channel')
    return _expand_grey(values.astype(np.uint16)[..., None])
  mode = 'RGBA' if _has_alpha(img) else 'RGB'
  return np.array(img if img.mode == mode else img.convert(mode), np.uint8)


def _expand_grey(values: np.ndarray) -> np.ndarray:
  """[H, W, 1 or 2] grey (+ alpha) to [H, W, 3 or 4]; others unchanged."""
  if values.shape[-1] > 2:
    return values
  grey = np.repeat(values[..., :1], 3, axis=-1)
  return np.concatenate([grey, values[..., 1:]], axis=-1)
