"""Pictures of the parameters in TensorBoard, now and then."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from multinerf import parallel
from multinerf.app import trainer as trainer_lib
from multinerf.training import loop, state_dicts, writer
from multinerf.training import stats as stats_lib

# More numbers than this say nothing more about a distribution.
_MAX_NUMBERS = 2**20
_LEAST_MAGNITUDE = 1e-12  # of what has a logarithm here


class ParamsHook:
  """Histograms of all parameters, and slices through dense grids.

  `param/<path>` and `param/<path>_loghist`, the values and the decimal logarithms
  of their magnitudes; `param/<path>/x0`, `y0`, ... for the planes through the
  middle of a dense grid, one for each axis and feature.
  """

  def __init__(
    self, trainer: trainer_lib.Trainer, summaries: writer.Writer, last: int
  ):
    self._trainer = trainer
    self._writer = summaries
    self._period = trainer.config.visualize_every
    self._last = last

  def __call__(
    self, step: int, state: Any, stats: stats_lib.PackedStats
  ) -> None:
    """Writes when due."""
    del stats
    if not loop.due(step, self._period, last=self._last, first=True):
      return
    if not parallel.is_lead():
      return
    with self._trainer.clock.paused(state):
      params = parallel.unreplicate(state.params)['params']
      for path, values in state_dicts.leaves(params).items():
        self._write(f'param/{path}', values, step)

  def _write(self, tag, values, step) -> None:
    """The pictures of one array."""
    few = values.ravel()[:: -(-values.size // _MAX_NUMBERS)].astype(np.float32)
    self._writer.histogram(tag, few, step)
    large = np.abs(few[np.abs(few) > _LEAST_MAGNITUDE])
    self._writer.histogram(f'{tag}_loghist', np.log10(large), step)
    if '/grid_' in tag and values.ndim == 4:
      for name, plane in slices(values):
        self._writer.image(f'{tag}/{name}', plane[..., None], step)


def slices(
  grid: Num[np.ndarray, 'n n n f'],
) -> Iterator[tuple[str, Float[np.ndarray, 'n n']]]:
  """The planes through the middle of a grid.

  Args:
    grid: Features at its points.

  Yields:
    Name, such as 'x0' for the first feature at half of x, and the plane: grey
    is 0, black and white are the largest magnitude of that feature in it.
  """
  for axis, letter in enumerate('xyz'):
    plane = np.take(grid, grid.shape[axis] // 2, axis=axis)
    for feature in range(grid.shape[-1]):
      values = np.asarray(plane[..., feature], np.float64)
      largest = np.abs(values).max()
      yield f'{letter}{feature}', values / (2 * max(largest, 1e-30)) + 0.5
