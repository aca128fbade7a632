"""The planned memory of a training step against what it took, on one CPU device.

  python benchmarks/memory.py                    # three presets
  python benchmarks/memory.py --presets=360 --rays=16384 --budget=2
  python benchmarks/memory.py --images=10000     # of a megapixel, from a file

Every preset runs in a process of its own. Planned is what the compiler says of
a step's temporaries and results, and an allowance for libraries
(`training.memory_plan`); measured is by how much the process's peak in the
first step exceeds what it had before it, with free memory given back (its
arguments, such as parameters, are there already).

With --images a small field is trained on a sparse file of so many images, whose
first pixels alone are written, and the most memory the process had is printed.
"""

import argparse
import ctypes
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from multinerf import parallel
from multinerf.app import trainer as trainer_lib
from multinerf.app.bench import measure
from multinerf.cameras import camera, projection
from multinerf.config import gin_setup, views
from multinerf.data import base, inspection, pixel_buffer, synthetic
from multinerf.training import stats as stats_lib

SIDE = 1000
SMALL = (
  'Model.num_prop_samples = 8',
  'Model.num_nerf_samples = 8',
  'PropMLP.net_depth = 1',
  'PropMLP.net_width = 16',
  'NerfMLP.net_depth = 1',
  'NerfMLP.net_width = 16',
  'NerfMLP.bottleneck_width = 16',
  'NerfMLP.net_width_viewdirs = 16',
)
PRESETS = {'blender_256': 256, '360': 64, 'blender_refnerf': 32}


def main() -> int:
  """Prints a table, or in a child one row as JSON."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--presets', default=','.join(PRESETS))
  parser.add_argument('--rays', type=int, default=0, help='0: by preset')
  parser.add_argument('--budget', type=float, default=None, help='GiB')
  parser.add_argument('--images', type=int, default=0)
  parser.add_argument('--steps', type=int, default=100, help='with --images')
  parser.add_argument('--child', action='store_true')
  flags = parser.parse_args()
  if flags.images:
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder, 'pixels')
      print(json.dumps(large(path, flags.images, flags.rays, flags.steps)))
    return 0
  if flags.child:
    print(json.dumps(one(flags.presets, flags.rays, flags.budget)))
    return 0
  print(
    '| preset | rays | at once | planned | measured | ratio '
    '| as configured | peak of the process | compiled in | step |'
  )
  print('|---|---|---|---|---|---|---|---|---|---|')
  for name in flags.presets.split(','):
    command = [sys.executable, __file__, '--child', f'--presets={name}']
    command += [f'--rays={flags.rays or PRESETS[name]}']
    command += [f'--budget={flags.budget}'] * (flags.budget is not None)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    print(row(json.loads(done.stdout.splitlines()[-1])), flush=True)
  return 0


def one(preset: str, rays: int, budget: float | None) -> dict:
  """Plans and takes one step; sizes in bytes."""
  parallel.configure_cpu_devices(1)
  setup = gin_setup.load([f'{preset}.gin'], measure.SCENE_BINDINGS)
  config = dataclasses.replace(
    setup.config, batch_size=rays, memory_budget_gib=budget
  )
  scene = base.load_scene(views.view(config, base.DataConfig), 'train')
  with trainer_lib.Trainer(config, scene, setup.build_model()) as trainer:
    trainer.prepare()
    fitted = trainer.memory.fitted
    print(*trainer.memory_lines(), sep='\n', file=sys.stderr, flush=True)
    ctypes.CDLL(None).malloc_trim(0)
    pathlib.Path('/proc/self/clear_refs').write_text('5')  # forgets the peak
    before, start = resident()['VmRSS'], time.perf_counter()
    stats = trainer.step()
    parallel.wait((stats, trainer.device_state))
    seconds, peak = time.perf_counter() - start, resident()['VmHWM']
    return {
      'preset': preset,
      'rays': rays,
      'at_once': fitted.choice.rays_at_once,
      'remat': fitted.choice.remat,
      'planned': fitted.footprint.total - fitted.footprint.arguments,
      'measured': peak - before,
      'refused': fitted.refused,
      'peak': peak,
      'compile_seconds': trainer.compile_seconds,
      'seconds': seconds,
      'loss': float(stats_lib.unpack([stats])['loss'][0]),
    }


def large(path: pathlib.Path, num: int, rays: int, num_steps: int) -> dict:
  """Looks images in a sparse file over and trains on them; sizes in bytes."""
  parallel.configure_cpu_devices(1)
  generator = np.random.default_rng(0)
  with open(path, 'wb') as file:
    file.truncate(num * SIDE * SIDE * 3)
    for i in range(num):
      file.seek(i * SIDE * SIDE * 3)
      file.write(generator.bytes(3000))
  mapped = pixel_buffer.MappedFile(path, key='sparse')
  size = np.full(num, SIDE)
  images = base.PixelBuffer(
    mapped.array(3, np.uint8),
    size,
    size,
    np.arange(num + 1) * SIDE * SIDE,
    file=mapped,
  )
  cameras = camera.make_cameras(
    projection.get_pixtocam(SIDE, SIDE, SIDE),
    synthetic.train_poses(num),
    widths=size,
    heights=size,
    near=2.0,
    far=6.0,
  )
  names = tuple(f'{i}.png' for i in range(num))
  scene = base.Scene('large', 'train', cameras, names, images)
  start = time.perf_counter()
  findings = inspection.inspect(scene)
  inspected = time.perf_counter() - start
  setup = gin_setup.load(['blender_256.gin'], SMALL)
  config = dataclasses.replace(
    setup.config, batch_size=rays or 16384, batching='all_images'
  )
  with trainer_lib.Trainer(config, scene, setup.build_model()) as trainer:
    trainer.prepare()
    start = time.perf_counter()
    most = {}
    for _ in range(num_steps):
      parallel.wait(trainer.step())
      now = resident()
      most = {k: max(v, most.get(k, 0)) for k, v in now.items()}
    return {
      'pixels': images.values.nbytes,
      'findings': [str(f) for f in findings],
      'inspect_seconds': inspected,
      'step_seconds': (time.perf_counter() - start) / num_steps,
      'steps': num_steps,
      **most,
    }


def resident() -> dict[str, int]:
  """Bytes of this process in memory, now and at most."""
  text = pathlib.Path('/proc/self/status').read_text()
  lines = dict(line.split(':', 1) for line in text.splitlines())
  names = ('VmRSS', 'VmHWM', 'RssAnon', 'RssFile')
  return {k: 1024 * int(lines[k].split()[0]) for k in names}


def row(found: dict) -> str:
  """One line of the table."""
  mib = lambda x: '-' if x is None else f'{x / 2**20:,.0f} MiB'
  at_once = found['at_once'] or 'the default'
  cells = [
    f'`{found["preset"]}.gin`',
    f'{found["rays"]:,}',
    f'{at_once}{", recomputed" * found["remat"]}',
    mib(found['planned']),
    mib(found['measured']),
    f'{found["measured"] / found["planned"]:.3f}',
    mib(found['refused']),
    mib(found['peak']),
    f'{found["compile_seconds"]:.0f} s',
    f'{found["seconds"]:.0f} s',
  ]
  return f'| {" | ".join(cells)} |'


if __name__ == '__main__':
  sys.exit(main())
