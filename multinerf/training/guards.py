"""Guards: what must not happen silently, watched at every report."""

from collections.abc import Callable

import numpy as np

from multinerf import errors
from multinerf.training import report as report_lib

# A field that explains less than this share of the colours' variance after
# `collapse_check_step` steps is dead: it shows the same colour everywhere.
# Healthy fields are past 0.8 by then (docs/troubleshooting.md).
MIN_EXPLAINED = 0.1


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
