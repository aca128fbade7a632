"""How often a small grid field starts dead, and what the guard does.

  python benchmarks/collapse.py --seeds=20 --steps=300 [gin bindings ...]

Trains small.gin on the embedded scene from each seed, with the
collapse guard as train.py has it, and prints the PSNR over the last 50 steps,
the number of restarts, and at the end the worst of all.
"""

import argparse

import small_runs

from multinerf import Trainer, parallel
from multinerf.config import gin_setup, views
from multinerf.data import base
from multinerf.training import guards, report, stats


def run_seed(trainer, seed, steps):
  """(PSNR of the last 50 steps in dB, restarts)."""
  config = trainer.config
  check = max(config.collapse_check_step, 2 * config.lr_delay_steps)
  for restarts in range(config.collapse_max_restarts + 1):
    trainer.start(seed + 10_000 * restarts)
    guard = guards.CollapseGuard(check)
    pending = []
    try:
      for step in range(1, steps + 1):
        pending.append(trainer.step())
        if step % 50 == 0:
          table = stats.unpack(pending)
          pending = []
          guard(report.Report(step, table, 0.0, 0.0))
    except guards.FieldCollapsedError as error:
      print(f'  seed {seed}: {error}', flush=True)
      continue
    return float(table['psnr'].mean()), restarts
  return float('nan'), config.collapse_max_restarts


def main():
  """Runs all seeds and prints a table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--seeds', type=int, default=20)
  parser.add_argument('--first', type=int, default=0)
  parser.add_argument('--steps', type=int, default=300)
  parser.add_argument('bindings', nargs='*')
  args = parser.parse_args()
  setup = gin_setup.load([small_runs.FIELD], args.bindings)
  parallel.configure_cpu_devices(setup.config.batch_size)
  parallel.enable_compilation_cache(setup.config.compilation_cache_dir)
  scene = base.load_scene(views.view(setup.config, base.DataConfig), 'train')
  found = []
  with Trainer(setup.config, scene, setup.build_model()) as trainer:
    for seed in range(args.first, args.first + args.seeds):
      psnr, restarts = run_seed(trainer, seed, args.steps)
      found.append((psnr, restarts))
      print(f'seed {seed:3d}: {psnr:6.2f} dB, {restarts} restarts', flush=True)
  print(
    f'{len(found)} seeds: worst {min(p for p, _ in found):.2f} dB, '
    f'{sum(r for _, r in found)} restarts in all'
  )


if __name__ == '__main__':
  main()
