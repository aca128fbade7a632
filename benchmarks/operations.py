"""Where the arithmetic of a preset goes, operation by operation.

  taskset -c 0 python benchmarks/operations.py blender_refnerf.gin [--rendering]

Runs the gradient of the loss for a few rays, without optimiser (or renders
them, all fields of them), and says how near it comes to the machine's matrix products: rays per second of processor
time, times the work per ray of the reference implementation, over the products'
rate between the repetitions. Then JAX's profiler names the operations that XLA
made of it and the time they took, alike ones together.
"""

import argparse
import collections
import dataclasses
import glob
import gzip
import json
import re
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

from multinerf import losses, models, parallel, types
from multinerf.app.bench import peaks, work
from multinerf.config import gin_setup, views
from multinerf.parallel import heap
from multinerf.training import gradients

_DEFINITION = re.compile(r'\s+(?:ROOT )?%?([\w.\-]+) = (\S+) [\w\-]+\(([^)]*)')


def make_batch(num_rays):
  """Rays that look at the origin from a distance of 4, and any colours."""
  generator = np.random.default_rng(0)
  towards = generator.normal(size=(num_rays, 3))
  towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
  array = lambda x: jnp.asarray(np.broadcast_to(x, (num_rays, 1)), jnp.float32)
  rays = types.Rays(
    origins=jnp.asarray(-4 * towards, jnp.float32),
    directions=jnp.asarray(towards, jnp.float32),
    viewdirs=jnp.asarray(towards, jnp.float32),
    radii=array(1e-3),
    imageplane=jnp.zeros((num_rays, 2)),
    near=array(2.0),
    far=array(6.0),
    cam_idx=jnp.zeros((num_rays, 1), jnp.int32),
  )
  colors = jnp.asarray(generator.uniform(size=(num_rays, 3)), jnp.float32)
  return types.Batch(pixels=None, rays=rays, rgb=colors)


def compile_gradient(setup, batch, options=None):
  """The compiled gradient of the preset's loss, and its arguments.

  Args:
    setup: The preset, loaded.
    batch: From `make_batch`.
    options: Of XLA's compiler.
  """
  model = setup.build_model()
  loss_cfg = dataclasses.replace(
    views.view(setup.config, losses.LossConfig), compute_normal_metrics=False
  )
  gradient_fn = gradients.make_gradient(
    model, loss_cfg, views.view(setup.config, models.ChunkConfig)
  )
  indices = jnp.arange(batch.rgb.shape[0])
  keys = parallel.fold_in_indices(jax.random.key(0), indices)
  few = jax.tree.map(lambda x: x[:2], batch.rays)
  params = jax.jit(lambda: model.init(jax.random.key(0), None, few))()

  def gradient(params, keys, batch):
    frac = jnp.float32(0.5)
    return gradient_fn(params, keys, batch.rays, batch, frac, {})[0]

  args = params, keys, batch
  with heap.compiling():
    return jax.jit(gradient).lower(*args).compile(options), args


def compile_rendering(setup, batch):
  """The compiled rendering as `Renderer` does it, and its arguments."""
  model = setup.build_model()
  few = jax.tree.map(lambda x: x[:2], batch.rays)
  params = jax.jit(lambda: model.init(jax.random.key(0), None, few))()

  def render(params, rays):
    options = dict(compute_extras=True, zero_glo=True)
    return model.apply(params, None, rays, train_frac=1.0, **options)[0][-1]

  args = params, batch.rays
  return parallel.compiled(jax.jit(render), args), args


def timed_operations(compiled, args):
  """Kind and shapes of each operation -> (microseconds, calls), traced once."""
  shapes, operands = {}, {}
  for line in compiled.as_text().splitlines():
    if match := _DEFINITION.match(line):
      name, shapes[match[1]], listed = match[1], match[2], match[3]
      operands[name] = re.findall(r'%([\w.\-]+)', listed)
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      jax.block_until_ready(compiled(*args))
    (path,) = glob.glob(f'{folder}/**/*.trace.json.gz', recursive=True)
    with gzip.open(path) as file:
      events = json.load(file)['traceEvents']
  found = collections.defaultdict(lambda: [0.0, 0])
  for event in events:
    name = event.get('name')
    if event.get('ph') != 'X' or name not in shapes:
      continue
    kind = re.sub(r'[.\d]+$', '', name)
    inputs = ', '.join(shapes.get(x, '?') for x in operands[name][:3])
    entry = found[f'{kind}: {inputs} -> {shapes[name]}']
    entry[0] += event['dur']
    entry[1] += 1
  return found


def main():
  """Prints the rate, then two tables."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('preset')
  parser.add_argument('--rays', type=int, default=64)
  parser.add_argument('--repeats', type=int, default=8)
  parser.add_argument('--lines', type=int, default=30)
  parser.add_argument('--rendering', action='store_true')
  parser.add_argument('bindings', nargs='*')
  args = parser.parse_args()
  given = ("Config.dataset_loader = 'synthetic'", *args.bindings)
  setup = gin_setup.load([args.preset], given)
  parallel.configure_cpu_devices(args.rays)
  compile_it = compile_rendering if args.rendering else compile_gradient
  compiled, inputs = compile_it(setup, make_batch(args.rays))
  run = lambda: compiled(*inputs)
  peaks.seconds(run)
  peak, busy = peaks.MatmulPeak(), []
  for _ in range(args.repeats):
    peak.sample()
    busy.append(peaks.seconds(run).busy)
  costs = work.of_preset(args.preset, setup.build_model())
  per_ray = costs.rendering if args.rendering else costs.training
  most = max(sample.busy for sample in peak.samples)
  print(f'products: {most:.1f} GFLOP per processor second')
  for name, value in (('best', min(busy)), ('median', np.median(busy))):
    rate = args.rays / value
    used = rate * per_ray / 1e3 / most
    print(f'{name}: {rate:.1f} rays per processor second, {used:.2f} of them')
  found = timed_operations(compiled, inputs)
  total = sum(time for time, _ in found.values())
  kinds = collections.Counter()
  for name, (time, _) in found.items():
    kinds[name.split(':')[0]] += time
  print(f'\n{total / 1e3:.0f} ms traced, by kind:')
  for kind, time in kinds.most_common(12):
    print(f'{time / 1e3:9.1f} ms {time / total:6.1%}  {kind}')
  print('\nand by shapes:')
  by_time = sorted(found.items(), key=lambda item: -item[1][0])
  for name, (time, calls) in by_time[: args.lines]:
    print(f'{time / 1e3:9.1f} ms {calls:6d} x {time / calls:8.0f} us  {name}')


if __name__ == '__main__':
  main()
