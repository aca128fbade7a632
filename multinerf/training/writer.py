"""TensorBoard: the only place that knows how summaries are stored.

Uses tensorboardX's summaries and record format without its `SummaryWriter`,
whose thread dies on a full disk and then blocks training for ever.
"""

import collections
import concurrent.futures
import contextlib
import functools
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Num
from tensorboardX import record_writer, summary
from tensorboardX.proto import event_pb2

from multinerf import errors
from multinerf.training import console

_FLUSH_SECONDS = 10.0
_NUM_BINS = 30
_NOT_FINITE_COLOR = (255, 0, 255)  # magenta, seldom seen in a scene


class Writer:
  """Appends curves, pictures, distributions and texts to a folder.

  Encoding and writing happen on a thread that the first summary starts; what is
  written reaches the disk within seconds, or at `flush` and `close`. If the
  disk fails, `warn` hears of it once and training goes on without summaries.
  """

  def __init__(
    self,
    folder: str | os.PathLike,
    *,
    enabled: bool = True,
    purge_step: int | None = None,
    warn: Callable[[str], Any] = console.python_warning,
  ):
    """Opens a new event file.

    Args:
      folder: Made if missing; files of earlier sessions stay.
      enabled: False writes nothing, not even the folder: for all processes but
        the lead.
      purge_step: First step of this session. TensorBoard then hides what an
        earlier session wrote at this step or later. Curves over seconds
        (`train_avg_psnr_timed`) are cut at the same number: their format has
        only one such mark.
      warn: Called with one line about pixels that are not finite and about a
        disk that fails.

    Raises:
      CheckpointError: The folder is not writable.
    """
    self._folder = pathlib.Path(folder)
    self._warn = warn
    self._jobs: collections.deque = collections.deque()
    self._pool = concurrent.futures.ThreadPoolExecutor(1)
    self._records: record_writer.RecordWriter | None = None
    self._last_flush = time.monotonic()
    if not enabled:
      return
    # Unlike tensorboardX's own, the name is unique within a second, too.
    name = f'events.out.tfevents.{time.time_ns()}.{os.getpid()}.multinerf'
    try:
      self._folder.mkdir(parents=True, exist_ok=True)
      self._records = record_writer.RecordWriter(str(self._folder / name))
    except OSError as error:
      raise errors.CheckpointError(
        f'Cannot write summaries to {self._folder}: '
        f'{error.strerror or error} (gin: Config.checkpoint_dir).'
      ) from error
    self._submit(0, lambda: {'file_version': 'brain.Event:2'})
    if purge_step is not None:
      start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
      self._submit(purge_step, lambda: {'session_log': start})

  def scalar(self, tag: str, value: ArrayLike, step: int) -> None:
    """Adds one point of a curve; NaN and infinity are shown as such."""
    number = float(np.asarray(value))
    self._submit(step, lambda: {'summary': summary.scalar(tag, number)})

  def histogram(
    self, tag: str, values: Num[np.ndarray, '*any'], step: int
  ) -> None:
    """Adds a distribution, of the finite values; none if there are none."""
    values = np.asarray(values, np.float64)
    finite = values[np.isfinite(values)]
    if finite.size:
      self._submit(
        step,
        lambda: {'summary': summary.histogram(tag, finite, bins=_NUM_BINS)},
      )

  def image(
    self, tag: str, image: Float[np.ndarray, 'h w c'], step: int
  ) -> None:
    """Adds a picture.

    Args:
      tag: Its name.
      image: Values in [0, 1], others are clipped; c is 3, or 1 for grey. Pixels
        that are not finite are counted, reported and shown in magenta.
      step: When.

    Raises:
      ValueError: c is neither 1 nor 3.
    """
    if image.shape[-1] not in (1, 3):
      raise ValueError(f'{tag} has {image.shape[-1]} channels, not 1 or 3.')
    if self._records is None:
      return
    bad = ~np.isfinite(image).all(axis=-1)
    levels = np.clip(np.where(bad[..., None], 0.0, image), 0.0, 1.0) * 255.0
    pixels = np.broadcast_to(levels.round(), (*bad.shape, 3)).astype(np.uint8)
    if bad.any():
      self._warn(
        f'{bad.sum()} of {bad.size} pixels of {tag} at step {step} are not '
        f'finite; they are shown in magenta.'
      )
      pixels[bad] = _NOT_FINITE_COLOR
    encode = functools.partial(summary.image, tag, pixels, dataformats='HWC')
    self._submit(step, lambda: {'summary': encode()})

  def text(self, tag: str, text: str, step: int) -> None:
    """Adds a text; TensorBoard renders it as Markdown."""

    def make():
      made = summary.text(tag, text)
      made.value[0].tag = tag  # tensorboardX appends '/text_summary'.
      return {'summary': made}

    self._submit(step, make)

  def flush(self) -> None:
    """Waits until everything is on the disk."""
    if self._records is not None:
      self._jobs.append(self._pool.submit(self._records.flush))
      self._collect(wait=True)

  def close(self) -> None:
    """Flushes and ends; nothing can be added afterwards."""
    try:
      self.flush()
    finally:
      self._end()

  def __enter__(self) -> 'Writer':
    return self

  def __exit__(self, *exc_info: Any) -> None:
    self.close()

  def _submit(self, step: int, make: Callable[[], dict[str, Any]]) -> None:
    """Queues one event; `make` encodes its content on the thread."""
    if self._records is not None:
      self._collect(wait=False)
    if self._records is not None:
      job = self._pool.submit(
        self._write, self._records, make, int(step), time.time()
      )
      self._jobs.append(job)

  def _write(self, records, make, step, wall_time) -> None:
    """Encodes and writes one event, on the thread."""
    event = event_pb2.Event(step=step, wall_time=wall_time, **make())
    records.write(event.SerializeToString())
    if time.monotonic() - self._last_flush > _FLUSH_SECONDS:
      records.flush()
      self._last_flush = time.monotonic()

  def _collect(self, *, wait: bool) -> None:
    """Raises what the thread met; a failing disk only ends the summaries."""
    while self._jobs and (wait or self._jobs[0].done()):
      try:
        self._jobs.popleft().result()
      except OSError as error:
        self._end()
        self._warn(
          f'Summaries in {self._folder} end here: {error.strerror or error}.'
        )

  def _end(self) -> None:
    """Ends the thread and closes the file."""
    records, self._records = self._records, None
    self._pool.shutdown(cancel_futures=True)
    self._jobs.clear()
    if records is not None:
      # Closing tries to write once more what a full disk has refused.
      with contextlib.suppress(OSError):
        records.close()


def write_train_stats(
  writer: Writer,
  table: Mapping[str, Num[np.ndarray, 'steps *any']],
  step: int,
  *,
  learning_rate: float,
  steps_per_sec: float,
  rays_per_sec: float,
  num_params: int,
  elapsed_sec: float,
  approx_elapsed_sec: float | None = None,
) -> None:
  """Writes what happened since the last report, under MultiNeRF's tags.

  Args:
    writer: Where to.
    table: name -> [steps, ...] statistics; entries of vectors get the tags
      `<name>/<i>`.
    step: The latest step, the x axis.
    learning_rate: At that step.
    steps_per_sec: Since the last report.
    rays_per_sec: Since the last report.
    num_params: How many numbers are being optimised.
    elapsed_sec: Training time so far, the x axis of `train_avg_psnr_timed`.
    approx_elapsed_sec: The same if every step took the mean time; None writes
      no `train_avg_psnr_timed_approx`.
  """
  for name, values in split_vectors(table):
    writer.histogram(f'train_{name}', values, step)
    writer.scalar(f'train_avg_{name}', values.mean(), step)
    writer.scalar(f'train_max_{name}', values.max(), step)
  writer.scalar('train_num_params', num_params, step)
  writer.scalar('train_learning_rate', learning_rate, step)
  writer.scalar('train_steps_per_sec', steps_per_sec, step)
  writer.scalar('train_rays_per_sec', rays_per_sec, step)
  if 'psnr' in table:
    psnr = table['psnr'].mean()
    writer.scalar('train_avg_psnr_timed', psnr, int(elapsed_sec))
    if approx_elapsed_sec is not None:
      seconds = int(approx_elapsed_sec)
      writer.scalar('train_avg_psnr_timed_approx', psnr, seconds)


def split_vectors(
  table: Mapping[str, Num[np.ndarray, 'steps *any']],
) -> Iterator[tuple[str, Num[np.ndarray, ' steps']]]:
  """Splits statistics into one series per number, named `<name>/<i>`."""
  for name, values in table.items():
    for index in np.ndindex(values.shape[1:]):
      yield '/'.join([name, *map(str, index)]), values[(slice(None), *index)]
