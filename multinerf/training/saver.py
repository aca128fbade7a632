"""Saves checkpoints in the background, so that training does not wait."""

import concurrent.futures
import pathlib
from typing import Any

from multinerf import errors
from multinerf.training import checkpoints, console


class CheckpointWriter:
  """Saves in the background, one checkpoint at a time.

  Serialising, hashing and syncing happen on a thread that the first `save`
  starts. A checkpoint that cannot be written (a full disk, say) is a warning
  if it was not required: earlier ones are intact, and the run is worth more
  than any of them. Every other error of the thread is raised by the next
  `save`, `wait` or `close`. Leaving the `with` block waits for the last
  checkpoint.
  """

  def __init__(
    self,
    folder: checkpoints.Folder,
    *,
    keep: int,
    keep_every: int = 0,
    is_lead: bool = True,
    warn: checkpoints.Warn = console.python_warning,
  ):
    """See `checkpoints.save` for the arguments; `warn` is called on the thread."""
    self._folder = folder
    self._options = {
      'keep': keep,
      'keep_every': keep_every,
      'is_lead': is_lead,
      'warn': warn,
    }
    self._warn = warn
    self._pending: concurrent.futures.Future | None = None
    self._pool = concurrent.futures.ThreadPoolExecutor(1)

  def save(
    self,
    state: Any,
    step: int,
    *,
    manifest: checkpoints.Manifest | None = None,
    required: bool = True,
  ) -> pathlib.Path:
    """Starts `save`, after the one before is done.

    Args:
      state: See `checkpoints.save`. A snapshot on the host that nobody changes
        any more.
      step: The step that `state` holds.
      manifest: Extras for the manifest.
      required: Whether failing to write it is an error; else a warning.

    Returns:
      Where the checkpoint will be; it is durable after the next `wait`.
    """
    self.wait()
    self._pending = self._pool.submit(
      self._save, state, step, manifest, required
    )
    return checkpoints.checkpoint_path(self._folder, step)

  def _save(self, state, step, manifest, required) -> None:
    """Writes one checkpoint, on the thread."""
    try:
      checkpoints.save(
        self._folder, state, step, manifest=manifest, **self._options
      )
    except errors.CheckpointError as error:
      if required:
        raise
      self._warn(f'{error} Training goes on without it.')

  def wait(self) -> None:
    """Waits for the save in progress and raises its error, once."""
    pending, self._pending = self._pending, None
    if pending is not None:
      pending.result()

  def close(self) -> None:
    """Waits as `wait` does, and ends the thread."""
    try:
      self.wait()
    finally:
      self._pool.shutdown()

  def __enter__(self) -> 'CheckpointWriter':
    return self

  def __exit__(self, exc_type, exc_value, traceback) -> None:
    try:
      self.close()
    except errors.CheckpointError as error:
      # The error that ended the block is the one to show first.
      if exc_type is None:
        raise
      self._warn(str(error))
