"""Guards: what must not happen silently, watched at every report."""

from collections.abc import Callable

import numpy as np

from multinerf import errors
from multinerf.training import report as report_lib

# A field that explains less than this share of the colours' variance after
# `collapse_check_step` steps is dead: it shows the same colour everywhere.
# Healthy fields are past 0.8 by then (docs/troubleshooting.md).
MIN_EXPLAINED = 0.1

# A loss this many deviations (and this many times) above the running median
# is a spike. Batches are random: on healthy runs 5 deviations happen.
_SPIKE_DEVIATIONS = 10.0
_SPIKE_RATIO = 2.0
_SPIKE_WINDOW = 1000  # steps that the median is taken over
_SPIKE_HISTORY = 100  # as many are needed before anything is compared
_SPIKE_REPORTS = 10  # one line at most in so many reports


class FieldCollapsedError(errors.TrainingDivergedError):
  """The field is dead and should be started again from another seed."""


class NonFiniteGuard:
  """Warns about non-finite gradients; an error when they persist.

  Args:
    limit: Consecutive steps with any that are an error; 0 only warns.
    warn: Called with one line.
  """

  def __init__(self, limit: int, warn: Callable[[str], None]):
    self._limit = limit
    self._warn = warn

  def __call__(self, report: report_lib.Report) -> None:
    """Looks at the steps of a report.

    Raises:
      TrainingDivergedError: `limit` steps in a row had non-finite gradients;
        names them.
    """
    runs = report.table['nonfinite_steps']
    bad = np.flatnonzero(runs > 0)
    if not bad.size:
      return
    steps = report.step - report.num_steps + 1 + bad
    elements = int(np.sum(report.table['nonfinite_grads']))
    worst = int(np.argmax(runs))
    run = int(runs[worst])
    if self._limit and run >= self._limit:
      end = report.step - report.num_steps + 1 + worst
      raise errors.TrainingDivergedError(
        f'Gradients were non-finite in {run} consecutive steps, '
        f'{end - run + 1} to {end} (Config.nonfinite_grad_limit = '
        f'{self._limit}). Lower Config.lr_init, or look for non-finite '
        'values in the data.'
      )
    self._warn(
      f'{elements} non-finite gradient values were set to 0 in '
      f'{bad.size} steps between {steps[0]} and {steps[-1]}.'
    )


class SpikeGuard:
  """Tells of losses far above what they were, one line now and then.

  Compared are the losses since the last report with the median of the last
  thousand steps, in units of their median deviation from it (scaled to that
  of a normal distribution). Spikes do not count towards the median.

  Args:
    warn: Called with one line.
  """

  def __init__(self, warn: Callable[[str], None]):
    self._warn = warn
    self._history = np.zeros(0)
    self._unreported = 0
    self._quiet = 0  # reports for which nothing more is said

  def __call__(self, report: report_lib.Report) -> None:
    """Looks at the losses of a report."""
    losses = np.asarray(report.table['loss'], np.float64).reshape(-1)
    is_spike = np.zeros(losses.shape, bool)
    if len(self._history) >= _SPIKE_HISTORY:
      median = np.median(self._history)
      deviation = 1.4826 * np.median(np.abs(self._history - median))
      limit = max(
        median + _SPIKE_DEVIATIONS * deviation, _SPIKE_RATIO * abs(median)
      )
      # Not `>`: a loss of NaN is one, too.
      is_spike = ~(losses <= limit)
      self._report(report, losses, is_spike, median)
    kept = losses[~is_spike & np.isfinite(losses)]
    self._history = np.concatenate([self._history, kept])[-_SPIKE_WINDOW:]

  def _report(self, report, losses, is_spike, median) -> None:
    self._quiet = max(self._quiet - 1, 0)
    self._unreported += int(is_spike.sum())
    if not is_spike.any() or self._quiet:
      return
    at = int(
      np.argmax(np.where(is_spike, np.nan_to_num(losses, nan=np.inf), 0))
    )
    self._warn(
      f'The loss jumped to {losses[at]:.3g} at step '
      f'{report.step - report.num_steps + 1 + at}; its running median is '
      f'{median:.3g} ({self._unreported} such steps since the last warning).'
    )
    self._unreported, self._quiet = 0, _SPIKE_REPORTS


class CollapseGuard:
  """Finds a dead field early.

  A NeRF can start so unluckily that its density is 0 (or its last layer is
  saturated) everywhere; gradients vanish and the loss never moves again. Such
  a field shows one colour, so that its error is the variance of the true
  colours.

  Args:
    check_step: The first report at or after this step decides, once.
  """

  def __init__(self, check_step: int):
    self._check_step = check_step
    self._done = False

  def __call__(self, report: report_lib.Report) -> None:
    """Looks at a report.

    Raises:
      FieldCollapsedError: The field explains nothing of what it sees.
    """
    if self._done or report.step < self._check_step:
      return
    self._done = True
    mse = report.mean('mses')
    spread = report.mean('color_spread')
    explained = 1 - mse / max(spread, np.finfo(np.float32).tiny)
    # Images of a single colour have nothing to explain.
    if spread > 1e-6 and explained < MIN_EXPLAINED:
      raise FieldCollapsedError(
        f'After {report.step} steps the field explains '
        f'{100 * max(explained, 0):.0f} % of the variance of the colours '
        f'(PSNR {report.mean("psnr"):.2f} dB): it is dead.'
      )
