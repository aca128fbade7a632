"""Writing files so that an interruption leaves none half written."""

import contextlib
import errno
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

from multinerf import errors

# Below this much free space a failure is taken for a full disk.
_FULL_BYTES = 32 * 2**20


def write_file(path: pathlib.Path, save: Callable[[pathlib.Path], Any]) -> None:
  """Lets `save` write beside `path`, with the same ending, and renames."""
  temp = path.with_name(f'.tmp.{path.name}')
  try:
    save(temp)
    os.replace(temp, path)
  finally:
    temp.unlink(missing_ok=True)


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a JSON file."""
  text = json.dumps(value, indent=1) + '\n'
  write_file(path, lambda p: p.write_text(text, encoding='utf-8'))


def read_json(path: pathlib.Path) -> Any:
  """The contents of a JSON file; None if it is absent or damaged."""
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except (FileNotFoundError, NotADirectoryError, ValueError):
    return None


def check_space(folder: pathlib.Path, needed: int) -> None:
  """Checks that a disk has room.

  Args:
    folder: An existing folder on it.
    needed: Estimate, in bytes.

  Raises:
    DataError: There is less.
  """
  free = shutil.disk_usage(folder).free
  if free < needed:
    raise errors.DataError(
      f'{folder} has {errors.format_bytes(free)} free, and about '
      f'{errors.format_bytes(needed)} are needed: free some space, or choose another '
      'disk for OUT.'
    )


@contextlib.contextmanager
def explained(folder: pathlib.Path) -> Iterator[None]:
  """Turns failing writes of the block into one line that says what to do.

  Args:
    folder: An existing folder on the disk that is written to.

  Raises:
    DataError: In place of an OSError.
  """
  try:
    yield
  except OSError as error:
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or is_full(folder):
      raise disk_full(folder) from error
    raise errors.DataError(
      f'Cannot write to {error.filename or folder}: {error.strerror or error}. '
      'Choose another OUT, or mend its permissions.'
    ) from error


def is_full(folder: pathlib.Path) -> bool:
  """Whether a disk has hardly any room left."""
  return shutil.disk_usage(folder).free < _FULL_BYTES


def disk_full(folder: pathlib.Path) -> errors.DataError:
  """The error to raise when a disk is full."""
  return errors.DataError(
    f'The disk of {folder} is full: free some space and give the same command '
    'again, which continues where this one stopped.'
  )
