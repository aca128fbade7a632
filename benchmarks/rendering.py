"""Whole images: rays per second before and after what `Renderer` does.

  taskset -c 1 python benchmarks/rendering.py --preset=benchmarks/small.gin --side=200

Times, in turns, views of the embedded scene rendered

  plain    in chunks of Config.render_chunk_size, the last one padded, all
           fields, the device waiting for the host between images;
  full     by `Renderer.stream`: equal chunks, no pauses;
  rgb      the same with colours alone;
  bfloat16 the same as `full` with Config.render_compute_dtype.

The field is trained for a few steps first, so that it is not empty. Rates are
in rays of the image per second; compare those of one run only.
"""

import argparse
import dataclasses
import itertools
import statistics
import sys
import time

import jax
import numpy as np

from multinerf import parallel
from multinerf.app import renderer as renderer_lib
from multinerf.app import trainer as trainer_lib
from multinerf.app.bench import measure
from multinerf.cameras import projection
from multinerf.config import gin_setup, views
from multinerf.data import base
from multinerf.training import step as step_lib


def main(argv: list[str]) -> int:
  """Prints a line for each way and the ratios to `plain`."""
  args = _parse(argv)
  parallel.configure_cpu_devices(64)
  parallel.enable_compilation_cache('~/.cache/multinerf/xla')
  bindings = [*measure.SCENE_BINDINGS, *args.gin_bindings]
  setup = gin_setup.load([args.preset], bindings, scope='eval')
  config = dataclasses.replace(setup.config, batch_size=args.batch_size)
  scene = base.load_scene(views.view(config, base.DataConfig), 'train')
  model = setup.build_model()
  with trainer_lib.Trainer(config, scene, model) as trainer:
    for _ in range(args.steps):
      trainer.step()
    params = trainer.device_state.params
  cameras = measure.square(scene.cameras, args.side)
  ours = renderer_lib.Renderer(model, config)
  half = renderer_lib.Renderer(
    model, dataclasses.replace(config, render_compute_dtype='bfloat16')
  )
  indices = list(range(args.views))
  ways = {
    'plain': _plain(model, config, params, cameras, indices),
    'full': lambda: list(ours.stream(params, cameras, indices)),
    'rgb': lambda: list(ours.stream(params, cameras, indices, fields=('rgb',))),
    'bfloat16': lambda: list(half.stream(params, cameras, indices)),
  }
  ways = {name: ways[name] for name in args.ways.split(',')}
  for render in ways.values():
    render()  # compiles
  rates = {name: [] for name in ways}
  for _, (name, render) in itertools.product(range(args.rounds), ways.items()):
    start = time.process_time() if args.busy else time.perf_counter()
    render()
    end = time.process_time() if args.busy else time.perf_counter()
    rates[name].append(args.views * args.side**2 / (end - start))
  first = next(iter(rates))
  for name, values in rates.items():
    ratios = [a / b for a, b in zip(values, rates[first], strict=True)]
    print(
      f'{name:10s} {statistics.median(values):10,.0f} rays/s   '
      f'{statistics.median(ratios):5.2f} times {first} '
      f'({min(ratios):.2f} to {max(ratios):.2f})'
    )
  return 0


def _plain(model, config, params, cameras, indices):
  """The obvious way: one image, one chunk after the other."""
  program = parallel.pmap_step(
    step_lib.make_render_step(model), donate_state=False
  )
  frac = parallel.replicate(np.float32(1.0))
  count = parallel.local_device_count()

  def image(index):
    one = cameras.take(index)
    replicated = parallel.replicate(one)
    flat = jax.tree.map(
      lambda x: x.reshape((-1, *x.shape[2:])), projection.image_pixels(one, 0)
    )
    total = len(flat.pix_x_int)
    size = -(-min(config.render_chunk_size, total) // count) * count
    parts = []
    for start in range(0, total, size):
      rows = np.minimum(np.arange(start, start + size), total - 1)
      chunk = jax.tree.map(lambda x, rows=rows: x[rows], flat)
      done = parallel.merge(
        program(params, parallel.shard(chunk), replicated, frac)
      )
      parts.append(jax.tree.map(np.asarray, done))
    return jax.tree.map(lambda *x: np.concatenate(x)[:total], *parts)

  return lambda: [image(i) for i in indices]


def _parse(argv: list[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--preset', default='quickstart.gin')
  parser.add_argument('--side', type=int, default=200)
  parser.add_argument('--views', type=int, default=2)
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--steps', type=int, default=20)
  parser.add_argument('--batch_size', type=int, default=512)
  parser.add_argument('--ways', default='plain,full,rgb,bfloat16')
  parser.add_argument(
    '--busy', action='store_true', help='processor time, not the clock'
  )
  parser.add_argument('--gin_bindings', action='append', default=[])
  return parser.parse_args(argv[1:])


if __name__ == '__main__':
  sys.exit(main(sys.argv))
