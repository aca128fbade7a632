"""Normals on a glossy scene: blender_refnerf.gin against blender_256.gin.

  python benchmarks/glossy.py --steps=800 --tie=20 --orientation=0.1 [bindings ...]

Trains both presets, made smaller alike (`SMALL`), for equal steps on the
glossy embedded scene, and prints PSNR and the mean angular error of the
normals on the test views. `<out>/glossy.png` shows, from left to right, the
truth, blender_256 and blender_refnerf: colours above, normals below.
"""

import argparse
import dataclasses
import pathlib
import time

import numpy as np

from multinerf import Trainer, parallel
from multinerf.app import renderer
from multinerf.config import gin_setup, views
from multinerf.data import base, images
from multinerf.evaluation import evaluator
from multinerf.ops import color

SCENE = (
  'Config.dataset_loader = "synthetic"',
  'Config.synthetic_look = "glossy"',
  'Config.compute_normal_metrics = True',
)
# Full presets take days on two cores. Widths, depth and samples are cut in
# both alike, everything that makes one of them Ref-NeRF stays.
SMALL = (
  'Config.batching = "all_images"',
  'Config.synthetic_resolution = 64',
  'Config.batch_size = 256',
  # Rates and clipping for a run of a thousand steps, not of 250,000.
  'Config.lr_init = 5e-3',
  'Config.lr_final = 5e-4',
  'Config.lr_delay_steps = 50',
  'Config.grad_max_norm = 0.',
  'Config.render_chunk_size = 4096',
  'Model.num_prop_samples = 32',
  'Model.num_nerf_samples = 32',
  'NerfMLP.net_depth = 4',
  'NerfMLP.net_width = 64',
  'NerfMLP.bottleneck_width = 32',
  'NerfMLP.net_width_viewdirs = 64',
  'PropMLP.net_depth = 2',
  'PropMLP.net_width = 64',
  'NerfMLP.max_deg_point = 5',
  'PropMLP.max_deg_point = 5',
)


def normal_bindings(preset, tie, orientation):
  """Ref-NeRF's weights of the losses of normals, times factors.

  They are meant for a finished run, of 250,000 steps and 36 dB. One of a
  thousand steps ends near 21 dB, with 30 times that squared error, beside which
  the loss that ties predicted to density normals is small; and the loss that
  turns normals to the camera then shapes what is still fog.
  """
  if preset != 'blender_refnerf.gin':
    return ()
  return (
    f'Config.predicted_normal_loss_mult = {3e-4 * tie}',
    f'Config.predicted_normal_coarse_loss_mult = {3e-5 * tie}',
    f'Config.orientation_loss_mult = {0.1 * orientation}',
    f'Config.orientation_coarse_loss_mult = {0.01 * orientation}',
  )


def train(preset, steps, seed, bindings):
  """(trainer, test scene) after `steps` steps; density normals rendered."""
  common = (*SCENE, *SMALL, f'Config.max_steps = {steps}', *bindings)
  setup = gin_setup.load([preset], common)
  scene_cfg = views.view(setup.config, base.DataConfig)
  scene = base.load_scene(scene_cfg, 'train')
  # Only the test views' normals are measured; training does not look at them.
  scene = dataclasses.replace(scene, normals=None, alphas=None)
  config = dataclasses.replace(setup.config, compute_normal_metrics=False)
  config = dataclasses.replace(config, jax_rng_seed=seed)
  trainer = Trainer(config, scene, setup.build_model())
  start = time.monotonic()
  for step in range(1, steps + 1):
    trainer.step()
    if step % 100 == 0:
      parallel.wait(trainer.device_state)
      seconds = time.monotonic() - start
      print(f'  {preset} step {step} ({seconds:.0f} s)', flush=True)
  return trainer


def measure(preset, trainer, bindings):
  """(mean metrics, renderings of the test views) with density normals."""
  extra = ('NerfMLP.disable_density_normals = False',)
  steps = trainer.config.max_steps
  common = (*SCENE, *SMALL, f'Config.max_steps = {steps}', *bindings, *extra)
  setup = gin_setup.load([preset], common)
  test = base.load_scene(views.view(setup.config, base.DataConfig), 'test')
  shown = renderer.Renderer(setup.build_model(), setup.config)
  params = trainer.device_state.params
  pictures = [shown.view(params, test.cameras, i) for i in range(len(test))]
  found = evaluator.evaluate(
    test, lambda i: pictures[i], steps, None, evaluator.EvalConfig()
  )
  return found.mean, pictures, test


def sheet(path, test, renderings, index):
  """Truth and renderings of one view side by side, normals below."""
  truth = np.asarray(color.decode_rgb(test.images.image(index)))
  alpha = test.alphas.image(index)
  normals = test.normals.image(index)
  columns = [(truth, 0.5 + 0.5 * normals * alpha)]
  for pictures in renderings:
    one = pictures[index]
    columns.append((one.rgb, 0.5 + 0.5 * np.asarray(one.normals)))
  rows = [np.concatenate([c[k] for c in columns], axis=1) for k in (0, 1)]
  grid = np.clip(np.concatenate(rows), 0, 1)
  images.write_png(path, np.repeat(np.repeat(grid, 3, 0), 3, 1))


def main():
  """Trains, measures and draws."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--steps', type=int, default=800)
  parser.add_argument('--seed', type=int, default=20200823)
  parser.add_argument('--out', default='/tmp/glossy')
  for name in ('--tie', '--orientation'):
    parser.add_argument(name, type=float, default=1.0, help='a factor')
  parser.add_argument('bindings', nargs='*')
  args = parser.parse_args()
  parallel.configure_cpu_devices(256)
  parallel.enable_compilation_cache('~/.cache/multinerf/xla')
  out = pathlib.Path(args.out)
  renderings = []
  for preset in ('blender_256.gin', 'blender_refnerf.gin'):
    ours = normal_bindings(preset, args.tie, args.orientation)
    bindings = (*ours, *args.bindings)
    with train(preset, args.steps, args.seed, bindings) as trainer:
      found, pictures, test = measure(preset, trainer, bindings)
    renderings.append(pictures)
    print(preset, {k: round(float(v), 3) for k, v in found.items()}, flush=True)
  sheet(out / 'glossy.png', test, renderings, 0)


if __name__ == '__main__':
  main()
