"""JSON files of strangers, read with every surprise turned into `DataError`.

`where` in the functions below is what a message begins with: the file, and
the place in it.
"""

import json
import math
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float

from multinerf import errors
from multinerf.data import files

# Python's lists take thirty times the room of their text.
_MAX_BYTES = 2**26
_MAX_NAME = 200  # bytes; file systems end at 255
_MAX_PATH = 2000  # bytes; Linux ends at 4095
# Beyond, squares and quotients leave float32, in which cameras are.
_LARGEST, _SMALLEST = 1e12, 1e-12


def read(path: pathlib.Path, *, hint: str) -> dict[str, Any]:
  """The object in a JSON file of sane size.

  Args:
    path: The file.
    hint: What to do if there is none, e.g. 'the blender loader needs it'.

  Raises:
    DataError: There is no such file, or it holds anything else.
  """
  try:
    size = path.stat().st_size
    if size > _MAX_BYTES:
      raise errors.DataError(
        f'{path} has {size} bytes; at most {_MAX_BYTES} are read.'
      )
    meta = json.loads(path.read_bytes())
    if not isinstance(meta, dict):
      raise ValueError(f'it holds a {type(meta).__name__}, not an object')
  except FileNotFoundError as e:
    raise errors.DataError(f'{path} does not exist; {hint}.') from e
  except (OSError, ValueError, RecursionError) as e:
    raise errors.DataError(f'{path} is not valid JSON: {e}.') from e
  return meta


def need(holder: Any, key: str, kind: Any, where: Any) -> Any:
  """holder[key], which must be of a type, or one of a tuple of types.

  Raises:
    DataError: It is missing or of another type; true is no number.
  """
  value = holder.get(key) if isinstance(holder, dict) else None
  if not isinstance(value, kind) or isinstance(value, bool):
    names = [k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,))]
    found = 'is missing' if value is None else f'is {str(value)[:40]!r}'
    raise errors.DataError(
      f'{where}: {key!r} {found}; a {" or ".join(names)} is needed.'
    )
  return value


def number(holder: Any, key: str, where: Any) -> float | None:
  """holder[key] as a number of sane size; None if it is absent or null.

  Raises:
    DataError: It is anything else.
  """
  if not isinstance(holder, dict) or holder.get(key) is None:
    return None
  value = need(holder, key, (int, float), where)
  try:
    value = float(value)
  except OverflowError:  # an integer of 400 digits
    value = math.inf
  if not abs(value) <= _LARGEST:
    raise errors.DataError(
      f'{where}: {key!r} is {value:g}; it must be finite and at most '
      f'{_LARGEST:g}.'
    )
  return value


def positive(holder: Any, key: str, where: Any) -> float | None:
  """The same, above zero."""
  value = number(holder, key, where)
  if value is not None and value < _SMALLEST:
    raise errors.DataError(
      f'{where}: {key!r} is {value:g}; it must be positive.'
    )
  return value


def angle(holder: Any, key: str, where: Any) -> float | None:
  """The same, a field of view in radians between 0 and pi."""
  value = number(holder, key, where)
  if value is not None and not 0 < value < math.pi:
    raise errors.DataError(
      f'{where}: {key} is {value:g}; it must lie between 0 and pi.'
    )
  return value


def text(holder: Any, key: str, where: Any) -> str | None:
  """holder[key] as a string; None if it is absent or null.

  Raises:
    DataError: It is anything else.
  """
  if not isinstance(holder, dict) or holder.get(key) is None:
    return None
  return need(holder, key, str, where)


def array(
  value: Any, shape: tuple[int, ...], what: str, where: Any
) -> Float[np.ndarray, '...']:
  """Nested lists as an array of numbers of sane size and one shape.

  Args:
    value: The lists.
    shape: What they must have; -1 is any length.
    what: Name for the message.
    where: See above.

  Raises:
    DataError: They are ragged, not numbers, not finite, larger than 1e12, or
      of another shape.
  """
  try:
    found = np.array(value, np.float64)
  except (ValueError, TypeError, OverflowError):  # ragged, or not numbers
    found = None
  if (
    found is None
    or found.ndim != len(shape)
    or any(w not in (-1, n) for w, n in zip(shape, found.shape, strict=True))
    or not (np.abs(found) <= _LARGEST).all()
  ):
    size = 'x'.join('n' if n == -1 else str(n) for n in shape)
    raise errors.DataError(
      f'{where}: {what} is not {size} finite numbers: {str(value)[:80]}.'
    )
  return found


def path_below(folder: pathlib.Path, name: str, where: Any) -> pathlib.Path:
  """folder / name, for a name that can be that of a file.

  Windows separators are understood. `..` and absolute names are allowed.

  Raises:
    DataError: It is empty, ends in dots, is too long, has control characters,
      or cannot be encoded.
  """
  parts = name.replace('\\', '/').split('/')
  # Lone surrogates, which JSON can hold, become '?'.
  lengths = [len(p.encode('utf-8', 'replace')) for p in parts]
  if (
    files.has_controls(name)
    or not parts[-1].strip('. ')
    or max(lengths) > _MAX_NAME
    or sum(lengths) > _MAX_PATH
    or name.encode('utf-8', 'replace').decode() != name
  ):
    raise errors.DataError(f'{where}: {name[:80]!r} is no file path.')
  return folder.joinpath('/'.join(parts))
