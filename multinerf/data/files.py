"""Files of data sets: by name, as matrices and arrays, many at a time.

Whatever is wrong with a file becomes one `DataError` that names it.
"""

import concurrent.futures
import os
import pathlib
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Float

from multinerf import errors, npy

_MAX_BYTES = 2**20  # of a text file with one matrix
_NUM_THREADS = 8  # decoding releases the GIL; more threads only cost memory


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
  path: pathlib.Path, shape: tuple[int | None, ...], *, finite: bool = True
) -> Float[np.ndarray, '...']:
  """Reads an array of numbers; nothing is unpickled.

  Nothing is allocated before the file is known to be as long as it says.

  Args:
    path: The .npy file.
    shape: Of the array; None for a side of any length >= 1.
    finite: Whether numbers that are not finite are refused.

  Raises:
    DataError: The file is missing, or holds anything else.
  """
  sides = ', '.join('any' if n is None else str(n) for n in shape)
  want = f'a .npy array [{sides}] of {"finite " * finite}numbers is needed'
  try:
    found = npy.read(path)
    fits = found.ndim == len(shape) and all(
      n in (None, m) for n, m in zip(shape, found.shape, strict=True)
    )
    if not fits or not found.size:
      raise ValueError(f'it holds {found.dtype} of shape {found.shape}')
    with np.errstate(over='ignore'):
      values = np.array(found, np.float64)
  except FileNotFoundError as e:
    raise errors.DataError(f'{path} does not exist; {want}.') from e
  except (OSError, ValueError) as e:
    raise errors.DataError(f'Cannot read {path}: {e}; {want}.') from e
  if finite and not np.isfinite(values).all():
    row = np.argwhere(~np.isfinite(values))[0][0]
    raise errors.DataError(f'{path}: row {row} is not finite; {want}.')
  return values


def fill(num: int, load: Callable[[int], None]) -> None:
  """load(0) ... load(num - 1) in a few threads; the first error is raised."""
  workers = max(1, min(_NUM_THREADS, os.cpu_count() or 1, num))
  with concurrent.futures.ThreadPoolExecutor(workers) as pool:
    jobs = [pool.submit(load, i) for i in range(num)]
    try:
      for job in jobs:
        job.result()
    finally:
      pool.shutdown(cancel_futures=True)


def has_controls(name: str) -> bool:
  """Whether a name holds control characters, such as line breaks.

  Not `isprintable`, which denies spaces but the plain one, too: macOS puts
  U+202F before AM and PM into the names of screenshots.
  """
  return any(ord(c) < ord(' ') for c in name)
