"""Time of the grid look-up and its gradient, against other formulations.

  taskset -c 0 python benchmarks/hash_grid.py

`corners` gathers all eight corners as one axis and is differentiated by JAX;
`multinerf` is ops/hash_grid.py. Nanoseconds of processor time per corner
look-up, the two measured in turn: compare them with each other only.
"""

import argparse
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np

from multinerf.ops import hash_grid

TABLE_SIZE = 2**18
CORNERS = np.array(list(itertools.product((0, 1), repeat=3)), np.int32)


def corners(tables, x, *, sizes, table_size):
  """The look-up with the corners as an axis."""
  out = []
  for table, size in zip(tables, sizes, strict=True):
    position = x * size - 0.5
    low = jnp.floor(position)
    frac = position - low
    cell = low.astype(jnp.int32) + CORNERS[:, None]
    sides = jnp.where(CORNERS[:, None] == 1, frac, 1 - frac)
    weight = jnp.prod(sides, axis=-1)
    if hash_grid.is_dense(size, table_size):
      inside = jnp.all((cell >= 0) & (cell < size), axis=-1)
      weight, cell = weight * inside, jnp.clip(cell, 0, size - 1)
    rows = hash_grid.corner_index(cell, size, table_size)
    out.append(jnp.sum(weight[..., None] * table[rows], axis=0))
  return jnp.concatenate(out, axis=-1)


def measure(fns, *args, repeats=15):
  """{name: (seconds to compile, lower quartile of the seconds a call)}.

  Processor time: on one pinned core it leaves out what other jobs took.
  """
  compiled, compile_seconds = {}, {}
  for name, fn in fns.items():
    start = time.process_time()
    compiled[name] = jax.jit(fn).lower(*args).compile()
    compile_seconds[name] = time.process_time() - start
    jax.block_until_ready(compiled[name](*args))
  seconds = {name: [] for name in fns}
  for _ in range(repeats):
    for name, fn in compiled.items():
      start = time.process_time()
      jax.block_until_ready(fn(*args))
      seconds[name].append(time.process_time() - start)
  return {
    name: (compile_seconds[name], float(np.percentile(times, 25)))
    for name, times in seconds.items()
  }


def main():
  """Prints one line per grid, formulation and direction."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--rays', type=int, default=2048)
  args = parser.parse_args()
  gen = np.random.default_rng(0)
  rays, samples = args.rays, 24
  start = gen.uniform(0.2, 0.8, (rays, 1, 3))
  along = gen.normal(size=(rays, 1, 3)) * 0.01
  steps = np.arange(samples)[:, None]
  x = jnp.asarray((start + along * steps).reshape(-1, 3), jnp.float32)
  for sizes, features in (
    ((16, 23, 32, 45, 64, 91, 128, 181, 256), 2),
    ((16, 32, 64, 128, 256), 4),
    ((32, 64), 8),
  ):
    tables = [
      jnp.asarray(
        gen.normal(size=(min(s**3, TABLE_SIZE), features)), jnp.float32
      )
      for s in sizes
    ]
    count = len(sizes) * 8 * len(x)
    forward, gradient = {}, {}
    for name, fn in (('corners', corners), ('multinerf', hash_grid.lookup)):

      def look_up(tables, x, fn=fn, sizes=sizes):
        return fn(tables, x, sizes=sizes, table_size=TABLE_SIZE)

      def loss(tables, x, look_up=look_up):
        return jnp.sum(jnp.sin(look_up(tables, x)))

      forward[name], gradient[name] = look_up, jax.grad(loss)
    for label, fns in (('forward', forward), ('gradient', gradient)):
      for name, (compiled, seconds) in measure(fns, tables, x).items():
        print(
          f'{len(sizes)} levels x {features}  {name:9s} {label:8s} '
          f'{seconds / count * 1e9:6.1f} ns/look-up, '
          f'compiled in {compiled:.1f} s',
          flush=True,
        )


if __name__ == '__main__':
  main()
