"""Files that are either complete and on the disk, or absent."""

import contextlib
import os
import pathlib
from collections.abc import Sequence

_PREFIX = '.tmp_multinerf_'


def replace_pair(
  path: pathlib.Path,
  data: bytes,
  sidecar_path: pathlib.Path,
  sidecar: bytes,
) -> None:
  """Writes a file and its sidecar so that a crash never mismatches them.

  Both are written in full under temporary names and synced. A new file gets its
  name after its sidecar, so that it is never without. To replace a file, the
  old sidecar goes, the file gets its name, and the sidecar gets its own. Each
  is made durable before the next: at any moment `path` is complete, and a
  sidecar beside it is that of the file. Left-overs of a killed writer are
  removed first, so there may be only one writer per folder.

  Args:
    path: The file; its folder is made if missing.
    data: Its content.
    sidecar_path: In the same folder.
    sidecar: Its content.

  Raises:
    OSError: As the system says; temporary files are removed.
  """
  temporaries = []
  for final in (path, sidecar_path):
    temporaries.append(final.with_name(_PREFIX + final.name))
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove(sorted(path.parent.glob(_PREFIX + '*')))
    _write_synced(temporaries[0], data)
    _write_synced(temporaries[1], sidecar)
    if path.exists():
      sidecar_path.unlink(missing_ok=True)
      _sync_folder(path.parent)
      pairs = zip(temporaries, (path, sidecar_path), strict=True)
    else:
      pairs = zip(temporaries[::-1], (sidecar_path, path), strict=True)
    for temporary, final in pairs:
      os.replace(temporary, final)
      _sync_folder(path.parent)
  except OSError:
    # What went wrong first matters more than an error met while tidying up.
    with contextlib.suppress(OSError):
      _remove(temporaries)
    raise


def _write_synced(path: pathlib.Path, data: bytes) -> None:
  """Writes `data` down to the disk."""
  with open(path, 'wb') as file:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: pathlib.Path) -> None:
  """Makes the names in `folder` durable."""
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _remove(paths: Sequence[pathlib.Path]) -> None:
  """Removes files; those that are gone already are fine."""
  for path in paths:
    path.unlink(missing_ok=True)
