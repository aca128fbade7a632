"""Arrays in .npy and .npz files of strangers.

numpy refuses pickles, but takes the memory that a header asks for before it
looks for the numbers, and raises a dozen kinds of errors. Here a header is
compared with the length of the data first, and whatever is wrong is one
`ValueError` of one line, or an `OSError`.
"""

import io
import math
import os
import pathlib
import struct
import tokenize
import zipfile
import zlib
from typing import Any

import numpy as np

_ARCHIVE_BYTES = 2**30  # of all arrays in a .npz file, unpacked
_NUMBERS = 'fiu'
# What numpy raises for damaged headers, and zipfile for damaged archives.
_DAMAGED = (
  *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError),
  *(SyntaxError, RecursionError, MemoryError, EOFError, NotImplementedError),
  *(RuntimeError, tokenize.TokenError, struct.error),
  *(zipfile.BadZipFile, zlib.error),
)


def read(path: str | os.PathLike, kinds: str = _NUMBERS) -> np.ndarray:
  """Reads a .npy file.

  Args:
    path: The file.
    kinds: The kinds (`numpy.dtype.kind`) of entries that are accepted.

  Returns:
    The array, read-only.

  Raises:
    ValueError: The file holds anything else; one line.
    OSError: It cannot be read.
  """
  return _parse(pathlib.Path(path).read_bytes(), kinds)


def read_archive(
  path: str | os.PathLike, kinds: str = _NUMBERS
) -> dict[str, np.ndarray]:
  """Reads all arrays of a .npz file, of 1 GiB at most, by name.

  Raises: As `read`.
  """
  found = {}
  try:
    with zipfile.ZipFile(path) as archive:
      members = archive.infolist()
      size = sum(info.file_size for info in members)
      if size > _ARCHIVE_BYTES:
        raise ValueError(f'it unpacks to {size} bytes')
      for info in members:
        name = info.filename.removesuffix('.npy')
        found[name] = _parse(archive.read(info), kinds)
  except _DAMAGED as error:
    raise ValueError(_one_line(error)) from error
  return found


def _parse(data: bytes, kinds: str) -> np.ndarray:
  """The array that a .npy file's content stands for."""
  try:
    shape, is_fortran, dtype, start = _header(data)
    if not isinstance(dtype, np.dtype) or dtype.kind not in kinds:
      raise ValueError(f'it holds entries of type {str(dtype)[:80]}')
    if not all(type(n) is int and n >= 0 for n in shape):
      raise ValueError(f'its shape is {str(shape)[:80]}')
    need = math.prod(shape) * dtype.itemsize
    if need != len(data) - start or not dtype.itemsize:
      raise ValueError(
        f'an array of shape {str(shape)[:80]} needs {str(need)[:20]} bytes, it '
        f'has {len(data) - start}'
      )
    flat = np.frombuffer(data, dtype, offset=start)
    return flat.reshape(shape, order='F' if is_fortran else 'C')
  except _DAMAGED as error:
    raise ValueError(_one_line(error)) from error


def _header(data: bytes) -> tuple[Any, bool, Any, int]:
  """Shape, order and type of an array, and where its numbers begin."""
  stream = io.BytesIO(data)
  version = np.lib.format.read_magic(stream)
  read_header = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }.get(version)
  if read_header is None:
    raise ValueError(f'it is of the unknown .npy version {version}')
  shape, is_fortran, dtype = read_header(stream)
  return shape, is_fortran, dtype, stream.tell()


def _one_line(error: Exception) -> str:
  """The message, or what kind of error has none."""
  return ' '.join(str(error).split())[:200] or type(error).__name__
