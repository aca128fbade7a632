"""One line about a file that cannot be written, instead of a traceback."""

import contextlib
import os
from collections.abc import Iterator

from multinerf import errors


@contextlib.contextmanager
def into(
  folder: str | os.PathLike, key: str | None = None, *, flag: str | None = None
) -> Iterator[None]:
  """Names the file, the reason and the option when writing fails.

  Args:
    folder: Where the block writes, for errors that name no file.
    key: The `Config` option that chooses the folder.
    flag: The flag that does instead, in programs where no option does.

  Raises:
    CheckpointError: In place of an OSError of the block.
  """
  try:
    yield
  except OSError as error:
    hint = flag or f'gin: Config.{key}'
    raise errors.CheckpointError(
      f'Cannot write to {error.filename or folder}: {error.strerror or error} '
      f'({hint}).'
    ) from error
