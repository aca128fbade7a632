"""What each depth and normal loss does for a scene with few views.

  python benchmarks/supervision.py [--steps=300] [--views=6] [--only mse ...]

Trains on a few 64x64 views of the embedded scene: a small grid field with
colours alone, with each depth loss (the scale-free ones on depths multiplied by
2.7) and with depths at a few noisy points, as structure from motion gives them;
then a smooth MLP with colours alone and with each normal loss, whose gradients
a grid cannot use (docs/losses.md). Prints a Markdown table of errors on held-out
views, whose depths and normals are exact.
"""

import argparse
import dataclasses
import time

import numpy as np
import small_runs

from multinerf import Trainer, losses, parallel
from multinerf.config import gin_setup, views
from multinerf.data import base
from multinerf.ops import color, directional

SHARED = (
  'Config.synthetic_resolution = 64',
  'Config.synthetic_num_test = 4',
  'Config.render_chunk_size = 4096',
  'NerfMLP.disable_density_normals = False',
  'Model.num_levels = 2',
)
# Preset and bindings by kind of field.
FIELDS = {
  'grid': (
    small_runs.FIELD,
    (
      *SHARED,
      'Config.batch_size = 512',
      'prop/HashEncoding.min_grid_size = 32',
      'prop/HashEncoding.max_grid_size = 32',
      'nerf/HashEncoding.min_grid_size = 32',
      'nerf/HashEncoding.max_grid_size = 64',
    ),
  ),
  'MLP': (
    'blender_256.gin',
    (
      *SHARED,
      "Config.dataset_loader = 'synthetic'",
      "Config.batching = 'all_images'",
      'Config.batch_size = 256',
      'Config.lr_init = 5e-3',
      'Config.lr_final = 5e-4',
      'Config.lr_delay_steps = 20',
      'Config.grad_max_norm = 0.',
      'Config.adam_eps = 1e-8',
      'Model.num_prop_samples = 32',
      'Model.num_nerf_samples = 16',
      'PropMLP.net_depth = 2',
      'PropMLP.net_width = 32',
      'PropMLP.max_deg_point = 4',
      'NerfMLP.net_depth = 3',
      'NerfMLP.net_width = 64',
      'NerfMLP.max_deg_point = 4',
      'NerfMLP.bottleneck_width = 32',
      'NerfMLP.net_width_viewdirs = 32',
    ),
  ),
}
WRONG_SCALE = 2.7
NUM_POINTS = 400
# name -> (options, whether the depths have a wrong scale)
DEPTH = {
  'mse': ({'depth_loss_mult': 0.1}, False),
  'l1': ({'depth_loss_mult': 0.1}, False),
  'ds_nerf': ({'depth_loss_mult': 0.01, 'depth_sigma': 0.02}, False),
  'urf': ({'depth_loss_mult': 0.1, 'depth_sigma': 0.02}, False),
  'scale_invariant': ({'depth_loss_mult': 1.0}, True),
  'scale_shift': ({'depth_loss_mult': 0.02}, True),
}
POINTS = ('mse', 'ds_nerf')
NORMAL_MULT = 0.02


@dataclasses.dataclass(frozen=True)
class Errors:
  """Means over held-out views.

  Attributes:
    depth: |t - true t| where there is something, scene units.
    disparity: Squared error of 1 / (1 + t), everywhere.
    normal: Angle between normals, weighted by opacities, degrees.
    psnr: dB.
  """

  depth: float
  disparity: float
  normal: float
  psnr: float


def cases() -> dict[str, dict]:
  """Row title -> options; `train` takes out 'scale' and 'field'."""
  found = {'grid: colours alone': {}}
  for name, (options, scaled) in DEPTH.items():
    title = f'grid: depth {name}' + (
      f', depths x {WRONG_SCALE}' if scaled else ''
    )
    found[title] = {'depth_loss_type': name, **options}
    if scaled:
      found[title]['scale'] = WRONG_SCALE
  for name in POINTS:
    found[f'grid: depth {name}, {NUM_POINTS} points'] = {
      'depth_loss_type': name,
      'depth_source': 'points',
      **DEPTH[name][0],
    }
  found['MLP: colours alone'] = {'field': 'MLP'}
  for name in losses.NORMAL_LOSSES.names():
    found[f'MLP: normal {name}'] = {
      'field': 'MLP',
      'normal_loss_type': name,
      'normal_loss_mult': NORMAL_MULT,
    }
  return found


def make_keypoints(depths: base.PixelBuffer, seed: int = 0) -> base.Keypoints:
  """Noisy depths of random pixels, as structure from motion would find them.

  The noise of a point is 0.5 % of its depth times a reprojection error that
  varies from point to point, and its weight falls with that error.
  """
  generator = np.random.default_rng(seed)
  rows = np.flatnonzero(depths.values[:, 1] > 0)
  rows = generator.choice(rows, NUM_POINTS, replace=False)
  cam_idx = np.searchsorted(depths.offsets, rows, side='right') - 1
  y, x = np.divmod(rows - depths.offsets[cam_idx], depths.widths[cam_idx])
  error = generator.gamma(2.0, 0.5, NUM_POINTS)  # pixels
  noise = 1 + 0.005 * error * generator.normal(size=NUM_POINTS)
  return base.Keypoints(
    cam_idx,
    x,
    y,
    depths=(depths.values[rows, 0] * noise).astype(np.float32),
    weights=np.exp(-((error / error.mean()) ** 2)).astype(np.float32),
  )


def make_scene(config, scale: float) -> base.Scene:
  """Training views; their depths times `scale`, or as points."""
  cfg = views.view(config, base.DataConfig)
  scene = base.load_scene(
    dataclasses.replace(cfg, depth_source='maps'), 'train'
  )
  if scene.depths is None:
    return scene
  scene.depths.values[:, 0] *= scale
  if config.depth_source == 'points':
    points = make_keypoints(scene.depths)
    return dataclasses.replace(scene, depths=None, keypoints=points)
  return scene


def measure(trainer: Trainer, test: base.Scene) -> Errors:
  """Errors of all held-out views."""
  rows = []
  for i in range(len(test)):
    view = trainer.render(test.cameras, i)
    disps = test.disps.image(i)[..., 0]
    hit = disps > 0
    t = view.distance_mean
    # A ray that meets nothing has disparity 0.
    disparity = view.acc / (1 + t)
    alphas = test.alphas.image(i)[..., 0]
    truth = np.asarray(color.decode_rgb(test.images.image(i)))
    rows.append(
      [
        np.mean(np.abs(t - (1 / np.where(hit, disps, 1) - 1))[hit]),
        np.mean((disparity - disps) ** 2),
        directional.compute_weighted_mae(
          view.acc * alphas,
          directional.l2_normalize(view.normals),
          directional.l2_normalize(test.normals.image(i)),
        ),
        -10 * np.log10(np.mean((view.rgb - truth) ** 2)),
      ]
    )
  return Errors(*(float(x) for x in np.mean(rows, axis=0)))


def train(setup, options: dict, steps: int, test: base.Scene) -> Errors:
  """Trains with the options and measures."""
  scale = options.get('scale', 1.0)
  known = {k: v for k, v in options.items() if k not in ('scale', 'field')}
  config = dataclasses.replace(setup.config, max_steps=steps, **known)
  with Trainer(
    config, make_scene(config, scale), setup.build_model()
  ) as trainer:
    for _ in range(steps):
      trainer.step()
    return measure(trainer, test)


def main():
  """Trains every case and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--steps', type=int, default=300)
  parser.add_argument('--views', type=int, default=6)
  parser.add_argument('--only', nargs='*', help='words of the rows to train')
  args = parser.parse_args()
  own = f'Config.synthetic_num_train = {args.views}'
  setups = {
    name: gin_setup.load([preset], [*bindings, own])
    for name, (preset, bindings) in FIELDS.items()
  }
  config = setups['grid'].config
  parallel.enable_compilation_cache(config.compilation_cache_dir)
  test = base.load_scene(
    dataclasses.replace(
      views.view(config, base.DataConfig),
      compute_disp_metrics=True,
      compute_normal_metrics=True,
    ),
    'test',
  )
  print('| loss | depth error | disparity MSE | normal error | PSNR | |')
  print('|---|---|---|---|---|---|')
  for title, options in cases().items():
    if args.only and not any(word in title.split() for word in args.only):
      continue
    start = time.perf_counter()
    setup = setups[options.get('field', 'grid')]
    found = train(setup, options, args.steps, test)
    print(
      f'| {title} | {found.depth:.4f} | {found.disparity:.2e} '
      f'| {found.normal:.1f} deg | {found.psnr:.2f} dB '
      f'| {time.perf_counter() - start:.0f} s |',
      flush=True,
    )


if __name__ == '__main__':
  main()
