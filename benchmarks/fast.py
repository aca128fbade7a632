"""Quality over training time: trains a preset and measures it on the way.

  python benchmarks/fast.py --data_dir=../shared/data/chair_200

Training stops at each of the times and the test views are rendered and
measured, which counts neither as training nor as time; nor does compilation.
Processor seconds tell what a machine that other jobs share hides: on cores that
do nothing else they are the time by the clock, times the number of cores.
"""

import argparse
import time

import jax
import small_runs

from multinerf import Trainer, parallel
from multinerf.config import gin_setup, views
from multinerf.data import base
from multinerf.training import stats

# Steps between looks at the clock, which waits for the devices.
_BURST = 10


def curve(trainer, config, stops, log, *, processor_time):
  """Trains up to each of `stops` (s of training) and measures there."""
  clock = time.process_time if processor_time else time.perf_counter
  spent = {'clock': 0.0, 'processor': 0.0, 'stop': 0.0}
  for stop in stops:
    while spent['stop'] < stop and trainer.step_number < trainer.last_step:
      starts = time.perf_counter(), time.process_time(), clock()
      for _ in range(_BURST):
        packed = trainer.step()
        if trainer.step_number >= trainer.last_step:
          break
      jax.block_until_ready(packed)
      spent['clock'] += time.perf_counter() - starts[0]
      spent['processor'] += time.process_time() - starts[1]
      spent['stop'] += clock() - starts[2]
    rays = trainer.step_number * config.batch_size
    train = float(stats.unpack([packed])['psnr'][0])
    found = trainer.evaluate().mean
    log(
      f'| {spent["clock"]:.0f} s | {spent["processor"]:.0f} s '
      f'| {trainer.step_number} | {rays / spent["clock"]:.0f} '
      f'| {rays / spent["processor"]:.0f} | {train:.2f} dB '
      f'| {found["psnr"]:.2f} dB | {found["ssim"]:.4f} |'
    )


def main():
  """Prints one line of a table per time."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--data_dir', help='not for the embedded scene')
  parser.add_argument('--preset', default='fast.gin')
  parser.add_argument('--seconds', default='60,180,300', help='when to measure')
  parser.add_argument(
    '--processor_time',
    action='store_true',
    help='--seconds are processor seconds of all cores',
  )
  parser.add_argument('--views', type=int, help='measure on so many test views')
  parser.add_argument('bindings', nargs='*')
  args = parser.parse_args()
  log = lambda message: print(message, flush=True)
  given = (f'Config.data_dir = {args.data_dir!r}', *args.bindings)
  setup = gin_setup.load([args.preset], given)
  small_runs.prepare_devices(setup.config)
  cfg = views.view(setup.config, base.DataConfig)
  train, test = (base.load_scene(cfg, split) for split in ('train', 'test'))
  if args.views:
    test = small_runs.take_views(test, small_runs.spread(len(test), args.views))
  with Trainer(
    setup.config, train, setup.build_model(), test_scene=test
  ) as trainer:
    jax.block_until_ready(trainer.step())
    log(
      f'{args.preset} on {parallel.device_description()}, '
      f'{len(train)} views; {trainer.num_params} parameters; '
      f'{trainer.compile_seconds:.1f} s to compile'
    )
    log(
      '| clock | processor | steps | rays/s | per processor second | training '
      '| test PSNR | SSIM |\n|---|---|---|---|---|---|---|---|'
    )
    stops = [float(text) for text in args.seconds.split(',')]
    curve(trainer, setup.config, stops, log, processor_time=args.processor_time)


if __name__ == '__main__':
  main()
