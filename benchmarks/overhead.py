"""What checkpoints every 100 steps and all guards cost, measured in pairs.

  python benchmarks/overhead.py --pairs=6

One trainer of quickstart.gin takes blocks of 100 steps, by turns with reports
alone and with everything that guards a run besides: a checkpoint in the
background, the guards against non-finite gradients, loss spikes and dead
fields, the watchdog and the signal handlers. A block ends when its checkpoint
is on the disk and its last step is done. Printed is the ratio of each pair, in
processor time of all threads and in wall time, and their medians; which block
of a pair comes first alternates.
"""

import argparse
import contextlib
import statistics
import tempfile
import time

import small_runs

from multinerf import Trainer, parallel
from multinerf.app import hooks
from multinerf.training import (
  console,
  guards,
  loop,
  preemption,
  report,
  saver,
  watchdog,
  writer,
)

BLOCK = 100
REPORTS = 50  # steps between them, as in quickstart.gin


class Blocks:
  """Takes blocks of steps with one trainer."""

  def __init__(self, trainer: Trainer, folder: str):
    self.trainer = trainer
    self.folder = folder
    self.shown = console.Console(enabled=False)

  def advance(self):
    """One dispatch, as train.py takes it."""
    stats = self.trainer.step()
    return self.trainer.step_number, self.trainer.device_state, stats

  def take(self, guarded: bool) -> tuple[float, float]:
    """(processor, wall) seconds of one block."""
    parallel.wait(self.trainer.device_state)
    first = self.trainer.step_number + 1
    with contextlib.ExitStack() as stack:
      summaries = stack.enter_context(writer.Writer(self.folder))
      begun = time.process_time(), time.perf_counter()
      self._fit(guarded, first, summaries, stack)
      parallel.wait(self.trainer.device_state)
      ended = time.process_time(), time.perf_counter()
    return ended[0] - begun[0], ended[1] - begun[1]

  def _fit(self, guarded, first, summaries, stack) -> None:
    trainer, last = self.trainer, first + BLOCK - 1
    listeners = [hooks.ReportWriter(trainer, self.shown, summaries, last)]
    more, stop = [], lambda: False
    if guarded:
      listeners += [
        guards.SpikeGuard(self.shown.warn),
        guards.NonFiniteGuard(10, self.shown.warn),
        guards.CollapseGuard(last),
      ]
      checkpoints = saver.CheckpointWriter(self.folder, keep=2)
      dog = stack.enter_context(watchdog.Watchdog(10.0, self.shown.warn))
      stop = stack.enter_context(preemption.StopSignals())
      more = [hooks.CheckpointHook(trainer, checkpoints, last), dog]
    loop.fit(
      self.advance,
      first_step=first,
      last_step=last,
      hooks=[report.Reporter(REPORTS, last, trainer.clock, listeners), *more],
      stop=stop,
    )
    if guarded:
      checkpoints.close()  # waits for the disk


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--pairs', type=int, default=6)
  flags = parser.parse_args()
  bindings = [f'Config.max_steps = {BLOCK * (2 * flags.pairs + 1)}']
  bindings += [f'Config.checkpoint_every = {BLOCK}']
  setup, scene, _ = small_runs.load(bindings)
  small_runs.prepare_devices(setup.config)
  ratios = []
  with (
    tempfile.TemporaryDirectory() as folder,
    Trainer(setup.config, scene, setup.build_model()) as trainer,
  ):
    blocks = Blocks(trainer, folder)
    blocks.take(True)  # compiles
    for pair in range(flags.pairs):
      order = (False, True) if pair % 2 else (True, False)
      taken = {guarded: blocks.take(guarded) for guarded in order}
      ratios.append(
        [a / b for a, b in zip(taken[True], taken[False], strict=True)]
      )
      print(
        f'pair {pair}: plain {taken[False][0]:.2f} s of processor, '
        f'{taken[False][1]:.2f} s; guarded {taken[True][0]:.2f} s, '
        f'{taken[True][1]:.2f} s; ratios {ratios[-1][0]:.4f}, '
        f'{ratios[-1][1]:.4f}',
        flush=True,
      )
  for name, column in zip(
    ('processor', 'wall'), zip(*ratios, strict=True), strict=True
  ):
    print(f'{name}: median {statistics.median(column):.4f}')


if __name__ == '__main__':
  main()
