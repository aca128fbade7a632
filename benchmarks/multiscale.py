"""Training at one size of the images against training at several.

  python benchmarks/multiscale.py --data_dir=../shared/data/chair_200 --out=/tmp/m

Trains a small Zip-NeRF (zipnerf_blender.gin with two levels and smaller grids)
on a Blender scene twice, with the same seeds, number of rays and steps: on
full-size images, and on these and copies 2, 4 and 8 times smaller, as
multiscale.gin has it. Both are measured on some test views at all four sizes.
A pixel of a small image sees what a cone sees: only the second field has been
told what its grids must answer for wide cones.
"""

import argparse
import dataclasses
import pathlib

import numpy as np
import small_runs

from multinerf.config import gin_setup, views
from multinerf.data import base, images
from multinerf.ops import color

COPIES = ('Config.multiscale_train_factors = [2, 4, 8]',)
# Sized for 200x200 pixels and minutes of one core.
SETTINGS = (
  'Config.batch_size = 512',
  'Config.max_steps = 1000',
  'Config.lr_init = 1e-2',
  'Config.lr_final = 1e-3',
  'Config.lr_delay_steps = 20',
  'Config.lr_delay_mult = 0.1',
  'Config.render_chunk_size = 4096',
  "Config.spline_interlevel_params = {'mults': 0.01, 'blurs': 0.03}",
  'Config.param_regularizers = {}',
  'Model.sampling_strategy = ((0, 0, 24), (1, 1, 12))',
  'Model.mlp_params_per_level = (\n'
  "  {'disable_rgb': True, 'net_width': 16, 'unscented_mip_basis': 'mean'},\n"
  '  {},\n)',
  "Model.grid_params_per_level = (\n  {'num_features': 1, 'max_grid_size': 64},"
  "\n  {'num_features': 4, 'max_grid_size': 256},\n)",
  'HashEncoding.hash_map_size = 262144',
  'MLP.bottleneck_width = 16',
  'MLP.net_depth_viewdirs = 2',
  'MLP.net_width_viewdirs = 64',
)
RUNS = ('full size', 'four sizes')


def load(bindings):
  """(set-up, training views, test views) at all sizes."""
  setup = gin_setup.load(['zipnerf_blender.gin'], (*bindings, *COPIES))
  cfg = views.view(setup.config, base.DataConfig)
  return setup, base.load_scene(cfg, 'train'), base.load_scene(cfg, 'test')


def full_size_only(scene):
  """The scene with all pixels of copies masked: none of them is drawn.

  As many cameras as before, so that one compilation serves both runs.
  """
  masks = base.PixelBuffer.allocate(
    scene.images.widths, scene.images.heights, 1, np.uint8
  )
  for i, scale in enumerate(scene.scales):
    masks.image(i)[...] = scale == 1
  return dataclasses.replace(scene, masks=masks)


def chosen_views(scene, num):
  """`num` of the views at each size, evenly spread, as a scene."""
  sizes = sorted(set(scene.scales))
  per_size = len(scene) // len(sizes)
  some = small_runs.spread(per_size, num)
  keep = np.concatenate([k * per_size + some for k in range(len(sizes))])
  return small_runs.take_views(scene, keep)


def coarsest(test):
  """Numbers of the first two views at the coarsest size."""
  return np.flatnonzero(np.array(test.scales) == max(test.scales))[:2]


def run(name, setup, scene, test, out, log):
  """Trains one field, prints what it reaches, keeps its coarsest views."""
  if name == RUNS[0]:
    scene = full_size_only(scene)
  with small_runs.train(setup, scene, log) as trainer:
    found = trainer.evaluate(test)
    rendered = [trainer.render(test.cameras, i).rgb for i in coarsest(test)]
  for scale, mean in found.mean_by_scale.items():
    log(
      f'{name}: 1/{scale} PSNR {mean["psnr"]:.2f} dB, SSIM {mean["ssim"]:.4f}'
    )
  truth = [color.decode_rgb(test.images.image(i)) for i in coarsest(test)]
  for label, row in (('truth', truth), (name, rendered)):
    for i, image in enumerate(row):
      images.write_png(picture(out, label, i), np.asarray(image))


def picture(out, label, i):
  """Where a coarse view is kept."""
  return out / f'{label.replace(" ", "_")}_{i}.png'


def main():
  """Trains and measures; the picture needs both runs."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--data_dir', required=True)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--runs', nargs='*', default=RUNS)
  parser.add_argument('--views', type=int, default=8)
  parser.add_argument('bindings', nargs='*')
  args = parser.parse_args()
  log = lambda message: print(message, flush=True)
  given = (f"Config.data_dir = '{args.data_dir}'", *args.bindings)
  setup, scene, test = load((*SETTINGS, *given))
  test = chosen_views(test, args.views)
  small_runs.prepare_devices(setup.config)
  for name in args.runs:
    run(name, setup, scene, test, args.out, log)
  paths = [
    [picture(args.out, label, i) for i in range(2)]
    for label in ('truth', *RUNS)
  ]
  if all(path.exists() for row in paths for path in row):
    rows = [[images.read_image(p) / 255 for p in row] for row in paths]
    # Views below each other, truth and the two fields side by side.
    grid = [[row[i] for row in rows] for i in range(2)]
    small_runs.write_grid(args.out / 'multiscale.png', grid, factor=8)


if __name__ == '__main__':
  main()
