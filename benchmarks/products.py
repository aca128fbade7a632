"""How fast this machine multiplies matrices of the shapes that fields have.

  taskset -c 0 python benchmarks/products.py --rows=1024 --widths=128,256

What a dense layer needs, forward (x W), for its input's gradient (y W^T) and
for its weights' (x^T y), each alone, eight of them a call, in turns with a
square product of 1,024: best of the repetitions, as a share of that. No field
made of such layers can be nearer to the square product than they are.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

_SQUARE = 1024
_COUNT = 8
_KINDS = {
  'x W': lambda x, y, w: x @ w,
  'y W^T': lambda x, y, w: y @ w.T,
  'x^T y': lambda x, y, w: x.T @ y,
}


def make(kind, rows, inputs, outputs):
  """A function that makes _COUNT products, and their number of operations."""
  generator = np.random.default_rng(0)
  array = lambda *shape: jnp.asarray(
    generator.normal(size=(_COUNT, *shape)), jnp.float32
  )
  args = array(rows, inputs), array(rows, outputs), array(inputs, outputs)
  program = jax.jit(
    lambda *args: [_KINDS[kind](*one) for one in zip(*args, strict=True)]
  )
  compiled = program.lower(*args).compile()
  run = lambda: jax.block_until_ready(compiled(*args))
  return run, 2 * _COUNT * rows * inputs * outputs


def main():
  """Prints a table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--rows', type=int, default=1024)
  parser.add_argument('--widths', default='3,128,256')
  parser.add_argument('--inputs', type=int, default=256)
  parser.add_argument('--repeats', type=int, default=20)
  options = parser.parse_args()
  cases = {'square': make('x W', _SQUARE, _SQUARE, _SQUARE)}
  for width in map(int, options.widths.split(',')):
    for kind in _KINDS:
      name = f'{kind} | {options.rows} | {options.inputs} | {width}'
      cases[name] = make(kind, options.rows, options.inputs, width)
  best = dict.fromkeys(cases, 0.0)
  for _ in range(options.repeats):
    for name, (run, work) in cases.items():
      start = time.perf_counter()
      run()
      rate = work / (time.perf_counter() - start) / 1e9
      best[name] = max(best[name], rate)
  square = best.pop('square')
  print(f'Square products: {square:.1f} GFLOP/s')
  print('| product | rows | inputs | outputs | GFLOP/s | share |')
  print('|---|---|---|---|---|---|')
  for name, rate in best.items():
    print(f'| {name} | {rate:.1f} | {rate / square:.2f} |')


if __name__ == '__main__':
  main()
