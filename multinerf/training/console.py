"""What training says on the terminal; the only module of its layer that prints.

The `format_*` functions make the lines, `Console` shows them: beside a progress
bar on a terminal, one by one and flushed at once in a log file, not at all on
processes other than the lead.
"""

import contextlib
import dataclasses
import io
import math
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping

import tqdm

_SHORT = 4  # letters of a loss name, if that is enough to tell them apart


def python_warning(message: str) -> None:
  """What `warn` does unless the caller passes its console."""
  warnings.warn(message, stacklevel=3)


@dataclasses.dataclass(frozen=True)
class Progress:
  """The numbers of one report line.

  Attributes:
    step: Updates made.
    max_steps: The last step there can be; sets the width of `step`.
    loss: Mean total loss since the last report.
    psnr: Mean PSNR of the final level since the last report, in dB.
    learning_rate: At `step`.
    losses: name -> mean value since the last report, in order.
    rays_per_sec: Training rays, compilation and evaluation not counted.
    eta_sec: Seconds left until the last step; None is not shown.
  """

  step: int
  max_steps: int
  loss: float
  psnr: float
  learning_rate: float
  losses: Mapping[str, float]
  rays_per_sec: float
  eta_sec: float | None = None


def format_progress(progress: Progress) -> str:
  """MultiNeRF's report line, with the time left at the end."""
  width = math.ceil(math.log10(max(progress.max_steps, 1))) + 1
  short = short_names(progress.losses)
  losses = ''.join(
    f'{short[name]}={format_loss(value)}, '
    for name, value in progress.losses.items()
  )
  eta = progress.eta_sec
  return (
    f'{progress.step:{width}d}/{progress.max_steps}: '
    f'loss={progress.loss:.5f}, psnr={progress.psnr:6.3f}, '
    f'lr={progress.learning_rate:.2e} | '
    f'{losses}{progress.rays_per_sec:.0f} r/s'
    + ('' if eta is None else f', eta {format_duration(eta)}')
  )


def short_names(names: Iterable[str]) -> dict[str, str]:
  """Cuts names to four letters, or as many more as keep them all different.

  Differs from multinerf train.py, where losses that begin with the same four
  letters are merged into one.

  Args:
    names: Different from each other.

  Returns:
    name -> its shortened form, in the same order.
  """
  names = list(names)
  cut = {}
  for name in names:
    length = _SHORT
    while any(o != name and o[:length] == name[:length] for o in names):
      length += 1
    cut[name] = name[:length]
  return cut


def format_loss(value: float) -> str:
  """Five decimals where these are digits, else an exponent."""
  return f'{value:.5f}' if 1e-4 <= value < 10 else f'{value:.1e}'


def format_duration(seconds: float) -> str:
  """E.g. '0:01:30' or '2 d 3:00:00'; '?' if nobody knows."""
  if not math.isfinite(seconds):
    return '?'
  minutes, secs = divmod(round(max(seconds, 0.0)), 60)
  hours, minutes = divmod(minutes, 60)
  days, hours = divmod(hours, 24)
  return f'{f"{days} d " if days else ""}{hours}:{minutes:02d}:{secs:02d}'


def format_num_params(num_params: int) -> str:
  """MultiNeRF's line about the size of the model."""
  return f'Number of parameters being optimized: {num_params}'


def format_compile_time(seconds: float) -> str:
  """Compilation has its own line: it is not part of any rate."""
  return f'Compiled the training step in {seconds:.1f}s'


def format_test_render(step: int, seconds: float, num_rays: int) -> str:
  """MultiNeRF's line about an image rendered during training."""
  rate = num_rays / seconds if seconds > 0 else math.inf
  return f'Eval {step}: {seconds:.3f}s., {rate:.0f} rays/sec'


def format_metric(name: str, value: float) -> str:
  """MultiNeRF's line about a metric measured during training."""
  return f'{name} = {value:.4f}'


class Console:
  """Shows lines and a progress bar; may be used from several threads."""

  def __init__(
    self, *, enabled: bool = True, stream: io.TextIOBase | None = None
  ):
    """Prints nothing yet.

    Args:
      enabled: False stays silent: for all processes but the lead.
      stream: Where to; None is standard output.
    """
    self._enabled = enabled
    self._stream = sys.stdout if stream is None else stream
    self._bar: tqdm.tqdm | None = None

  def line(self, text: str) -> None:
    """Prints one line, above the progress bar if there is one."""
    if not self._enabled:
      return
    # A log on a full disk or a pipe that nobody reads is no reason to end.
    with contextlib.suppress(OSError):
      if self._bar is not None:
        tqdm.tqdm.write(text, file=self._stream)
      else:
        print(text, file=self._stream, flush=True)

  def warn(self, message: str) -> None:
    """Prints a warning; fits wherever a `warn` callable is wanted."""
    self.line(f'WARNING: {message}')

  def report(self, progress: Progress) -> None:
    """Prints a report line and keeps the PSNR beside the bar."""
    self.line(format_progress(progress))
    if self._bar is not None:
      self._bar.set_postfix_str(f'psnr={progress.psnr:.2f}', refresh=False)

  def advance(self, step: int) -> None:
    """Moves the bar to `step`; cheap enough for every step."""
    if self._bar is not None:
      self._bar.update(step - self._bar.n)

  @contextlib.contextmanager
  def progress_bar(self, first: int, last: int) -> Iterator[None]:
    """Shows a bar inside the block, if the stream is a terminal.

    Args:
      first: Steps made before.
      last: Steps at the end of the bar.
    """
    if not (self._enabled and self._stream.isatty()):
      yield
      return
    self._bar = tqdm.tqdm(
      initial=first,
      total=last,
      file=self._stream,
      unit='step',
      dynamic_ncols=True,
    )
    try:
      yield
    finally:
      self._bar.close()
      self._bar = None
