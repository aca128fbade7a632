"""Whether training waits: for batches, for Python, for more images.

  python benchmarks/pipeline.py [--batch_size 256] [--seconds 10]

Trains a tiny field, whose steps take about a millisecond, on random images, and
prints for each way of feeding it

  host     milliseconds of Python per step: the main thread, which dispatches
           steps and runs the hooks, and the thread that prepares batches;
  waiting  what the steps take longer than the same steps on one batch that
           lies on the device already, in turns: the share of time for which
           the devices wait.

Then rays per second for 10 to 1,000 images, for larger images and for growing
batches, in turns.
On a CPU the threads of the host and the devices share the cores: a device
waits whenever a thread of the host runs, unless there is a core to spare.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import sampler

import multinerf
from multinerf import parallel
from multinerf.data import base
from multinerf.training import loop

_MLP = dict(
  net_depth=2,
  net_width=16,
  max_deg_point=4,
  basis_shape='octahedron',
  basis_subdivisions=1,
  disable_density_normals=True,
)


def tiny_model() -> multinerf.Model:
  """One proposal level of 8 samples, and 8 for the colours."""
  return multinerf.Model(
    num_levels=2,
    num_prop_samples=8,
    num_nerf_samples=8,
    nerf_mlp=multinerf.NerfMLP(
      name='NerfMLP_0', bottleneck_width=16, net_width_viewdirs=16, **_MLP
    ),
    prop_mlp=multinerf.PropMLP(name='PropMLP_0', disable_rgb=True, **_MLP),
  )


class Run:
  """A tiny training that can be taken a few steps further.

  Args:
    scene: To train on.
    batch_size: Rays per step.
    **options: Of `Config`.
  """

  def __init__(self, scene: base.Scene, batch_size: int, **options):
    config = multinerf.Config(
      batch_size=batch_size, max_steps=10**6, print_every=10**6, **options
    )
    self.trainer = multinerf.Trainer(config, scene, tiny_model())
    self.batch_size = batch_size
    while self.trainer.step_number < 2 * config.steps_per_dispatch:
      self.trainer.step()  # compiles
    self.main = 0.0
    self.steps = 0

  def advance(self, steps: int) -> float:
    """Seconds per step of about so many steps, hooks included."""
    trainer = self.trainer
    first = trainer.step_number
    parallel.wait(trainer.device_state)
    start, busy = time.perf_counter(), time.thread_time()

    def take():
      stats = trainer.step()
      return trainer.step_number, trainer.device_state, stats

    collector = loop.GarbageCollector(0)
    loop.fit(
      take, first_step=first + 1, last_step=first + steps, hooks=[collector]
    )
    self.main += time.thread_time() - busy
    parallel.wait(trainer.device_state)
    taken = trainer.step_number - first
    self.steps += taken
    return (time.perf_counter() - start) / taken

  def repeat(self, steps: int) -> float:
    """The same of steps on a single batch that is on the device already."""
    trainer = self.trainer
    count, batch = self._batch()
    args = (batch, trainer._cameras, trainer._tables, trainer._yes_no[False])
    run, state = trainer._compiled[count], trainer.device_state
    parallel.wait(state)
    start = time.perf_counter()
    for _ in range(-(-steps // count)):
      state, _ = run(state, *args)
    parallel.wait(state)
    seconds = time.perf_counter() - start
    trainer._state = state
    return seconds / (-(-steps // count) * count)

  def _batch(self):
    if not hasattr(self, '_kept'):
      self._kept = next(self.trainer._stream)
      self.trainer._step += self._kept[0]  # its steps are not taken
    return self._kept


def in_turns(
  functions: Sequence[Callable[[int], float]], steps: int, seconds: float
) -> np.ndarray:
  """Results [repeats, functions] for so many seconds, at least 5 repeats."""
  rows, start = [], time.perf_counter()
  while len(rows) < 5 or time.perf_counter() - start < seconds:
    rows.append([fn(steps) for fn in functions])
  return np.array(rows)


def waiting(scene: base.Scene, args: argparse.Namespace) -> None:
  """Prints a line for each way of feeding the steps."""
  for on_device in (False, True):
    for most in (1, 8):
      run = Run(
        scene,
        args.batch_size,
        pixels_on_device=on_device,
        steps_per_dispatch=most,
      )
      with run.trainer:
        times = in_turns([run.advance, run.repeat], args.steps, args.seconds)
        ratio = np.median(times[:, 0] / times[:, 1])
        main = run.main / run.steps
        prepare = _seconds_to_prepare(run)
        print(
          f'pixels on {"device" if on_device else "host":6s}, {most} steps a '
          f'dispatch: step {1e3 * np.median(times[:, 1]):6.3f} ms, host '
          f'{1e3 * main:6.3f} (main) and {1e3 * prepare:6.3f} ms (batches), '
          f'waiting {100 * (1 - 1 / ratio):5.1f} %',
          flush=True,
        )


def _seconds_to_prepare(run: Run) -> float:
  """Processor time per step for batches, as the prefetch thread takes it."""
  trainer = run.trainer
  trainer.close()
  stream = trainer._batch_stream()
  start, steps = time.thread_time(), 0
  for _ in range(50):
    steps += next(stream)[0]
  return (time.thread_time() - start) / steps


def growth(args: argparse.Namespace) -> None:
  """Prints rays per second by number of images, their size, and batch size."""
  rays = 4 * args.batch_size
  images = {
    f'{count} images': Run(sampler.make_scene(count, args.size), rays)
    for count in (10, 100, 1000)
  }
  _print_rates(images, args)
  sides = {
    f'{side} x {side} pixels': Run(sampler.make_scene(50, side), rays)
    for side in (100, 200, 400, 800)
  }
  _print_rates(sides, args)
  scene = sampler.make_scene(100, args.size)
  batches = {
    f'{n * rays} rays a step': Run(scene, n * rays) for n in (1, 2, 4, 8)
  }
  _print_rates(batches, args)


def _print_rates(runs: dict[str, Run], args: argparse.Namespace) -> None:
  """Prints each run's rays per second, and closes it."""
  times = in_turns(
    [run.advance for run in runs.values()], args.steps, args.seconds
  )
  rates = np.array([run.batch_size for run in runs.values()]) / times
  for name, rate, ratio in zip(
    runs, rates.T, (rates / rates[:, :1]).T, strict=True
  ):
    print(
      f'{name:20s} {np.median(rate):10.0f} rays/s, '
      f'{np.median(ratio):.2f} of the first',
      flush=True,
    )
    runs[name].trainer.close()


def main() -> None:
  """Prints everything."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--batch_size', type=int, default=256)
  parser.add_argument('--size', type=int, default=100)
  parser.add_argument('--steps', type=int, default=200)
  parser.add_argument('--seconds', type=float, default=10.0)
  parser.add_argument('--only', choices=('waiting', 'growth'))
  args = parser.parse_args()
  parallel.configure_cpu_devices(args.batch_size)
  parallel.enable_compilation_cache('~/.cache/multinerf/xla')
  print(f'Devices: {parallel.device_description()}')
  if args.only != 'growth':
    waiting(sampler.make_scene(100, args.size), args)
  if args.only != 'waiting':
    growth(args)


if __name__ == '__main__':
  main()
