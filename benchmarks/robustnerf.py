"""RobustNeRF against plain squared errors where things pass before the camera.

  python benchmarks/robustnerf.py --out=/tmp/robust [gin bindings ...]

Paints a distractor into a third of the embedded scene's training views: a
striped or chequered ellipse or rectangle that covers 15 to 25 % of the image,
opaque, as if held before the camera, of another place, shape and colour in
every view. Then trains the field of small.gin on them, once with
`Config.data_loss_type = 'mse'` and once with 'robustnerf', same seeds, batches
and steps, and measures both on clean test views. With --clean also on
undisturbed training views, which is what one cannot do better than.
"""

import argparse
import dataclasses
import pathlib

import numpy as np
import small_runs

from multinerf.data import base
from multinerf.ops import color

SETTINGS = (
  *small_runs.SMALL,
  'Config.patch_size = 4',
  'Config.robustnerf_inner_patch_size = 2',
)
LOSSES = {
  'mse': ("Config.data_loss_type = 'mse'",),
  'robustnerf': (
    "Config.data_loss_type = 'robustnerf'",
    'Config.enable_robustnerf_loss = True',
    'Config.robustnerf_inlier_quantile = 0.9',
  ),
}


def distractor(generator, side):
  """One random object: ([side, side] bool where it is, [side, side, 3] RGB).

  Colours in [0, 0.6], darker than the scene; it covers 15 to 25 % of the image before its border cuts
  something off.
  """
  area = generator.uniform(0.15, 0.25)
  aspect = generator.uniform(0.5, 2)
  centre = generator.uniform(0.25, 0.75, 2)
  angle = generator.uniform(0, np.pi)
  at = (np.arange(side) + 0.5) / side
  x, y = np.meshgrid(at - centre[0], at - centre[1])
  u = np.cos(angle) * x + np.sin(angle) * y
  v = np.cos(angle) * y - np.sin(angle) * x
  if generator.random() < 0.5:  # an ellipse of semi-axes a, b: area pi a b
    b = np.sqrt(area / (np.pi * aspect))
    inside = (u / (aspect * b)) ** 2 + (v / b) ** 2 < 1
  else:  # a rectangle of half sides a, b: area 4 a b
    b = np.sqrt(area / (4 * aspect))
    inside = (np.abs(u) < aspect * b) & (np.abs(v) < b)
  period = generator.uniform(0.08, 0.2)
  wave = np.floor(u / period)
  if generator.random() < 0.5:
    wave = wave + np.floor(v / period)
  one, two = generator.uniform(0, 0.6, (2, 3))
  return inside, np.where((wave % 2 == 0)[..., None], one, two)


def distracted(scene, share=1 / 3, seed=0):
  """(the scene with a distractor in some views, the indices of these)."""
  generator = np.random.default_rng(seed)
  chosen = generator.permutation(len(scene))[: round(share * len(scene))]
  pictures = [scene.images.image(i).copy() for i in range(len(scene))]
  for i in chosen:
    inside, rgb = distractor(generator, len(pictures[i]))
    pictures[i][inside, :3] = np.round(255 * rgb[inside])
    pictures[i][inside, 3:] = 255
  buffer = base.PixelBuffer.from_images(pictures)
  return dataclasses.replace(scene, images=buffer), np.sort(chosen)


def view(scene, i):
  """Image i over white, [H, W, 3] in [0, 1]."""
  return color.decode_rgb(scene.images.image(i))


def describe(scene, clean, chosen):
  """How much of the pictures was painted over, for the report."""
  changed = [np.any(view(scene, i) != view(clean, i), -1) for i in chosen]
  covered = 100 * np.mean(changed, axis=(1, 2))
  return (
    f'{len(chosen)} of {len(scene)} views disturbed, {covered.mean():.1f} % '
    f'of the pixels of each ({covered.min():.1f} to {covered.max():.1f} %)'
  )


def main():
  """Trains both, prints the table, writes a picture."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--out', type=pathlib.Path, default=None)
  parser.add_argument('--share', type=float, default=1 / 3)
  parser.add_argument('--losses', nargs='*', default=list(LOSSES))
  parser.add_argument('--clean', action='store_true')
  parser.add_argument('bindings', nargs='*')
  args = parser.parse_args()
  log = lambda message: print(message, flush=True)
  setup, clean, test = small_runs.load((*SETTINGS, *args.bindings))
  small_runs.prepare_devices(setup.config)
  scene, chosen = distracted(clean, args.share)
  log(describe(scene, clean, chosen))
  runs = [(name, scene, name) for name in args.losses]
  if args.clean:
    runs.append(('mse', clean, 'mse, clean views'))
  shown = chosen[0]  # a disturbed view, and the first test view, for pictures
  rows = [[view(scene, shown)], [view(scene, chosen[1])]]
  for name, data, label in runs:
    setup, _, _ = small_runs.load((*SETTINGS, *LOSSES[name], *args.bindings))
    with small_runs.train(setup, data, log) as trainer:
      mean = trainer.evaluate(test).mean
      rows[0].append(trainer.render(scene.cameras, shown).rgb)
      rows[1].append(trainer.render(test.cameras, 0).rgb)
    log(f'{label:18s} PSNR {mean["psnr"]:.2f} dB, SSIM {mean["ssim"]:.4f}')
  if args.out:
    rows[0].append(view(clean, shown))
    rows[1].append(view(test, 0))
    small_runs.write_grid(args.out / 'robustnerf.png', rows)


if __name__ == '__main__':
  main()
