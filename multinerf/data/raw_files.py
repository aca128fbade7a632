"""Raw photographs on disk: DNG files, and what exiftool says about them.

DNG files are decoded by LibRaw through rawpy, which is not a dependency of
this package: `pip install "multinerf[raw]"`.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt16

from multinerf import errors
from multinerf.ops import raw

_MAX_JSON_BYTES = 2**24
_PATTERN = 'RGGB'


@dataclasses.dataclass(frozen=True)
class Exif:
  """What is needed of the metadata of n raw files.

  Attributes:
    black_levels: [n, 2, 2] stored value of no light, by parity of row and
      column.
    white_levels: [n] stored value of a saturated pixel.
    as_shot_neutral: [n, 3] camera colour of white.
    color_matrices: [n, 3, 3] XYZ to camera (ColorMatrix2).
    shutter_times: [n] seconds.
    isos: [n] sensitivities; NaN where a file does not say.
  """

  black_levels: Float[np.ndarray, 'n 2 2']
  white_levels: Float[np.ndarray, ' n']
  as_shot_neutral: Float[np.ndarray, 'n 3']
  color_matrices: Float[np.ndarray, 'n 3 3']
  shutter_times: Float[np.ndarray, ' n']
  isos: Float[np.ndarray, ' n']

  def __len__(self) -> int:
    return len(self.white_levels)

  def cam2rgb(self, i: int) -> Float[np.ndarray, '3 3']:
    """Matrix from the linear colours of image i to linear sRGB."""
    return raw.camera_to_rgb(self.color_matrices[i], self.as_shot_neutral[i])


def read_exif(paths: Sequence[pathlib.Path]) -> Exif:
  """Reads files that `exiftool -json photo.dng > photo.json` wrote.

  Raises:
    DataError: A file is missing, not of this kind, or lacks a field.
  """
  return parse_exif([_read_json(p) for p in paths], [str(p) for p in paths])


def parse_exif(
  entries: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None
) -> Exif:
  """Takes the numbers out of exiftool's fields.

  Numbers may be numbers or strings, lists strings with spaces in between, and
  the shutter time a fraction ('1/30').

  Args:
    entries: One mapping per image.
    names: What messages call them.

  Raises:
    DataError: A field is missing or is not what it should be.
  """
  names = names or [f'EXIF entry {i}' for i in range(len(entries))]
  if not entries:
    raise errors.DataError('There is no raw file to read metadata of.')
  rows = [_row(e, n) for e, n in zip(entries, names, strict=True)]
  return Exif(**{key: np.stack([row[key] for row in rows]) for key in rows[0]})


def read_mosaic(path: pathlib.Path) -> UInt16[np.ndarray, 'h w']:
  """Reads the stored values of the visible pixels of a raw file.

  Raises:
    ConfigError: rawpy is not installed.
    DataError: The file is missing or damaged, or not an RGGB mosaic.
  """

  def read(file: Any) -> np.ndarray:
    _check_pattern(file, path)
    return np.array(file.raw_image_visible, np.uint16)

  return _with_file(path, read)


def read_size(path: pathlib.Path) -> tuple[int, int]:
  """Returns width and height that `read_mosaic` will give, quickly.

  Raises: As `read_mosaic`, but for damaged pixels.
  """
  return _with_file(path, lambda f: (f.sizes.width, f.sizes.height))


def _with_file(path: pathlib.Path, read: Callable[[Any], Any]) -> Any:
  """read(opened file), with every way to fail turned into one line."""
  try:
    import rawpy
  except ImportError as e:
    raise errors.ConfigError(
      'Raw photographs (gin: Config.rawnerf_mode) need rawpy; '
      'pip install "multinerf[raw]".'
    ) from e
  if not path.is_file():
    raise errors.DataError(f'Raw file {path} does not exist.')
  try:
    with rawpy.imread(str(path)) as file:
      return read(file)
  except (rawpy.LibRawError, rawpy.NotSupportedError) as e:
    reason = e.args[0] if e.args else type(e).__name__
    reason = reason.decode() if isinstance(reason, bytes) else reason
    raise errors.DataError(f'Cannot read raw file {path}: {reason}.') from e


def _check_pattern(file: Any, path: pathlib.Path) -> None:
  """Raises unless the visible pixels are RGGB squares."""
  if file.raw_pattern is None:
    raise errors.DataError(
      f'{path} holds all colours of every pixel; raw photographs must be '
      'mosaics, as the sensor measured them.'
    )
  top, left = file.sizes.top_margin, file.sizes.left_margin
  square = [(y, x) for y in range(2) for x in range(2)]
  kinds = [file.raw_color(top + y, left + x) for y, x in square]
  found = ''.join(chr(file.color_desc[kind]) for kind in kinds)
  if found != _PATTERN:
    raise errors.DataError(
      f'{path} has colour filters {found}; only {_PATTERN} is known.'
    )


def _read_json(path: pathlib.Path) -> Mapping[str, Any]:
  """The only entry of the list in one file."""
  try:
    if path.stat().st_size > _MAX_JSON_BYTES:
      raise ValueError('it is too large')
    found = json.loads(path.read_bytes())
    if not isinstance(found, list) or len(found) != 1:
      raise ValueError('it is not a list of one entry')
    if not isinstance(found[0], dict):
      raise ValueError('its entry is not an object')
  except FileNotFoundError as e:
    raise errors.DataError(
      f'{path} does not exist; write it with `exiftool -json '
      f'{path.stem}.dng > {path.name}`.'
    ) from e
  except (OSError, ValueError, RecursionError) as e:
    raise errors.DataError(
      f'{path} is not what `exiftool -json` writes: {e}.'
    ) from e
  return found[0]


def _row(entry: Mapping[str, Any], name: str) -> dict[str, Any]:
  """The fields of `Exif` for one image."""
  black = _numbers(entry, 'BlackLevel', (1, 4), name)
  white = _numbers(entry, 'WhiteLevel', (1,), name)[0]
  if not (black < white).all():
    raise errors.DataError(
      f'{name}: BlackLevel {black.tolist()} is not below WhiteLevel {white:g}.'
    )
  # Cameras that set a shutter speed by themselves may report only the other.
  key = 'ShutterSpeed' if 'ShutterSpeed' in entry else 'ExposureTime'
  shutter = _numbers(entry, key, (1,), name)[0]
  if shutter <= 0:
    raise errors.DataError(f'{name}: {key} {shutter:g} is not positive.')
  iso = np.nan
  if 'ISO' in entry:
    iso = _numbers(entry, 'ISO', (1,), name)[0]
  matrix = _numbers(entry, 'ColorMatrix2', (9,), name)
  return {
    'black_levels': np.broadcast_to(black, 4).reshape(2, 2),
    'white_levels': white,
    'as_shot_neutral': _numbers(entry, 'AsShotNeutral', (3,), name),
    'color_matrices': matrix.reshape(3, 3),
    'shutter_times': shutter,
    'isos': np.float64(iso),
  }


def _number(word: str) -> float:
  """A number or a fraction of two.

  `fractions.Fraction` would take 1e999999999 and write out its digits.
  """
  above, slash, below = word.partition('/')
  return float(above) / float(below) if slash else float(above)


def _numbers(
  entry: Mapping[str, Any], key: str, counts: tuple[int, ...], name: str
) -> Float[np.ndarray, ' m']:
  """The finite numbers of one field."""
  if key not in entry:
    raise errors.DataError(
      f'{name} has no {key}; write it anew with exiftool -json.'
    )
  value = entry[key]
  words = value if isinstance(value, list) else str(value).split()
  try:
    found = np.array([_number(str(w)) for w in words])
  except (ValueError, OverflowError, ZeroDivisionError):
    found = np.array([np.nan])
  if len(found) not in counts or not np.isfinite(found).all():
    wanted = ' or '.join(map(str, counts))
    raise errors.DataError(
      f'{name}: {key} is {str(value)[:80]!r}; {wanted} finite numbers are '
      'needed.'
    )
  return found
