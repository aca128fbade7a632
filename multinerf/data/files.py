"""Matrices in files and files by name, for formats that consist of them.

Whatever is wrong with a file becomes one `DataError` that names it.
"""

import pathlib
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from multinerf import errors

_MAX_BYTES = 2**20  # of a text file with one matrix


def by_stem(
  folder: pathlib.Path, paths: Iterable[pathlib.Path], hint: str
) -> dict[str, pathlib.Path]:
  """Paths by file name without extension; hidden files do not count.

  Args:
    folder: Where they are from, for messages.
    paths: The files.
    hint: What to do if there are none.

  Raises:
    DataError: There are none, or two share a stem.
  """
  found: dict[str, pathlib.Path] = {}
  for path in sorted(paths):
    if path.name.startswith('.'):
      continue
    if path.stem in found:
      raise errors.DataError(
        f'{folder} holds both {found[path.stem].name} and {path.name}; '
        'remove one.'
      )
    found[path.stem] = path
  if not found:
    raise errors.DataError(f'{folder} is missing or empty; {hint}.')
  return found


def read_matrix(
  path: pathlib.Path, shape: tuple[int, int]
) -> Float[np.ndarray, 'r c']:
  """Reads a matrix of finite numbers from a text file, row by row.

  Line breaks do not matter: NeRF++ writes 16 numbers in a line.

  Raises:
    DataError: The file is missing, or holds anything else.
  """
  want = f'a {shape[0]}x{shape[1]} matrix of finite numbers is needed'
  try:
    if path.stat().st_size > _MAX_BYTES:
      raise ValueError('it is too large')
    values = np.array(path.read_text(encoding='utf-8').split(), np.float64)
  except FileNotFoundError as e:
    raise errors.DataError(f'{path} does not exist; {want}.') from e
  except (OSError, ValueError) as e:
    raise errors.DataError(f'Cannot read {path}: {e}; {want}.') from e
  if values.size != shape[0] * shape[1] or not np.isfinite(values).all():
    finite = np.count_nonzero(np.isfinite(values))
    raise errors.DataError(
      f'{path} holds {values.size} numbers, {finite} of them finite; {want}.'
    )
  return values.reshape(shape)


def read_npy(
  path: pathlib.Path, shape: tuple[int, ...]
) -> Float[np.ndarray, 'n ...']:
  """Reads an array [n, *shape] of finite numbers; pickles are refused.

  Raises:
    DataError: The file is missing, or holds anything else.
  """
  sides = 'x'.join(str(n) for n in shape)
  want = f'{sides} finite numbers per image are needed'
  try:
    values = np.load(path, allow_pickle=False)
  except FileNotFoundError as e:
    raise errors.DataError(f'{path} does not exist; {want}.') from e
  except (OSError, ValueError, EOFError) as e:
    raise errors.DataError(f'Cannot read {path}: {e}; {want}.') from e
  if (
    not isinstance(values, np.ndarray)
    or values.dtype.kind not in 'fiu'
    or values.shape[1:] != shape
    or not np.isfinite(values).all()
  ):
    found = getattr(values, 'shape', 'several arrays')
    raise errors.DataError(
      f'{path} holds {found}, or numbers that are not finite; {want}.'
    )
  return values.astype(np.float64)
