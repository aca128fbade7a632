"""Time of the grid look-up and its gradient, against the obvious formulation.

  taskset -c 0 python benchmarks/hash_grid.py

`corners` gathers all eight corners as one axis and is differentiated by JAX;
`multinerf` is ops/hash_grid.py. Nanoseconds per corner look-up; compare the
two of one run only.
"""

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


def measure(fn, *args, repeats=5):
  """(seconds to compile, median seconds a call)."""
  start = time.perf_counter()
  compiled = jax.jit(fn).lower(*args).compile()
  compile_seconds = time.perf_counter() - start
  jax.block_until_ready(compiled(*args))
  seconds = []
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(compiled(*args))
    seconds.append(time.perf_counter() - start)
  return compile_seconds, float(np.median(seconds))


def main():
  """Prints one line per grid, formulation and direction."""
  gen = np.random.default_rng(0)
  rays, samples = 2048, 24
  start = gen.uniform(0.2, 0.8, (rays, 1, 3))
  along = gen.normal(size=(rays, 1, 3)) * 0.01
  steps = np.arange(samples)[:, None]
  x = jnp.asarray((start + along * steps).reshape(-1, 3), jnp.float32)
  for sizes, features in (
    ((16, 23, 32, 45, 64, 91, 128, 181, 256), 2),
    ((16, 32, 64, 128, 256), 4),
  ):
    tables = [
      jnp.asarray(
        gen.normal(size=(min(s**3, TABLE_SIZE), features)), jnp.float32
      )
      for s in sizes
    ]
    count = len(sizes) * 8 * len(x)
    for name, fn in (('corners', corners), ('multinerf', hash_grid.lookup)):

      def forward(tables, x, fn=fn, sizes=sizes):
        return fn(tables, x, sizes=sizes, table_size=TABLE_SIZE)

      def loss(tables, x, forward=forward):
        return jnp.sum(jnp.sin(forward(tables, x)))

      for label, run in (('forward', forward), ('gradient', jax.grad(loss))):
        compile_seconds, seconds = measure(run, tables, x)
        print(
          f'{len(sizes)} levels x {features}  {name:9s} {label:8s} '
          f'{seconds / count * 1e9:6.1f} ns/look-up, '
          f'compiled in {compile_seconds:.1f} s',
          flush=True,
        )


if __name__ == '__main__':
  main()
