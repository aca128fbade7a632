"""The gradient of a preset in several variants, in turns in one process.

  taskset -c 0 python benchmarks/in_turns.py blender_refnerf.gin --rays=32 \
    --variant="Config.rays_at_once = 32" --variant="Config.rays_at_once = 8"

A variant is gin bindings, or options of XLA's compiler (`xla_name=value`),
separated by semicolons; '' is the preset. Each variant runs once in every round,
so that a machine whose clock changes slows all of them down alike. Prints the
least and the median time, the median of the ratios to the first variant in the
same round, and the temporaries that the compiler plans.
"""

import argparse
import statistics
import time

import jax
import operations

from multinerf import parallel
from multinerf.config import gin_setup


def compile_variant(variant, preset, bindings, rays):
  """The compiled gradient and its arguments."""
  words = [word.strip() for word in variant.split(';') if word.strip()]
  flags = [word for word in words if word.startswith('xla_')]
  options = dict(flag.split('=', 1) for flag in flags)
  given = [word for word in words if word not in flags]
  setup = gin_setup.load(
    [preset], ["Config.dataset_loader = 'synthetic'", *bindings, *given]
  )
  batch = operations.make_batch(rays)
  return operations.compile_gradient(setup, batch, options)


def main():
  """Prints a table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('preset')
  parser.add_argument('--variant', action='append', required=True)
  parser.add_argument('--rays', type=int, default=64)
  parser.add_argument('--repeats', type=int, default=15)
  parser.add_argument('--gin_bindings', action='append', default=[])
  flags = parser.parse_args()
  parallel.configure_cpu_devices(1)
  programs = [
    compile_variant(variant, flags.preset, flags.gin_bindings, flags.rays)
    for variant in flags.variant
  ]
  rounds = []
  for i in range(flags.repeats + 1):
    times = []
    for program, args in programs:
      start = time.perf_counter()
      jax.block_until_ready(program(*args))
      times.append(time.perf_counter() - start)
    if i > 0:  # the first one fills caches
      rounds.append(times)
  print('| variant | least | median | ratio | temporaries |')
  print('|---|---|---|---|---|')
  for i, (variant, (program, _)) in enumerate(
    zip(flags.variant, programs, strict=True)
  ):
    times = [row[i] for row in rounds]
    ratio = statistics.median(row[i] / row[0] for row in rounds)
    mib = program.memory_analysis().temp_size_in_bytes / 2**20
    print(
      f'| {variant or "the preset"} | {1e3 * min(times):.0f} ms | '
      f'{1e3 * statistics.median(times):.0f} ms | {ratio:.3f} | {mib:.0f} MiB |'
    )


if __name__ == '__main__':
  main()
