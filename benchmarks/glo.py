"""Appearance codes where every photograph has a colour cast of its own.

  python benchmarks/glo.py --out=/tmp/glo [gin bindings ...]

Gives every training view of the embedded scene other colours (per channel a
gain of 0.5 to 1.1 and an offset of -0.05 to 0.1), then trains the quickstart's
field with and without `Model.num_glo_features = 4`, same seeds, batches and
steps. Test views keep their true colours and are rendered with the zero code:
what a cast does to all colours alike is not knowable, so the figure is the
PSNR after colour correction (`metric_cc_psnr`). All is before black, because
the correction, which is fitted to the object, would tint a white background.
"""

import argparse
import dataclasses
import pathlib

import numpy as np
import small_runs

from multinerf.data import base
from multinerf.ops import color

SETTINGS = (*small_runs.SMALL, 'Model.bg_intensity_range = (0., 0.)')
CODES = {
  'without codes': (),
  'with codes': ('Model.num_glo_features = 4',),
}


def over_black(scene, gains=None, offsets=None):
  """The scene before black, its colours changed per view and channel."""
  pictures = []
  for i in range(len(scene)):
    picture = scene.images.image(i) / 255.0
    rgb, alpha = picture[..., :3], picture[..., 3:]
    if gains is not None:
      rgb = np.clip(gains[i] * rgb + offsets[i], 0, 1)
    pictures.append(np.round(255 * rgb * alpha).astype(np.uint8))
  buffer = base.PixelBuffer.from_images(pictures)
  return dataclasses.replace(scene, images=buffer)


def cast(scene, seed=0):
  """The scene before black with another gain and offset in every view."""
  generator = np.random.default_rng(seed)
  gains = generator.uniform(0.5, 1.1, (len(scene), 3))
  offsets = generator.uniform(-0.05, 0.1, (len(scene), 3))
  return over_black(scene, gains, offsets)


def view(scene, i):
  """Image i, [H, W, 3] in [0, 1]."""
  return color.decode_rgb(scene.images.image(i))


def main():
  """Trains both, prints the table, writes a picture."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--out', type=pathlib.Path, default=None)
  parser.add_argument('bindings', nargs='*')
  args = parser.parse_args()
  log = lambda message: print(message, flush=True)
  setup, clean, test = small_runs.load((*SETTINGS, *args.bindings))
  small_runs.prepare_devices(setup.config)
  scene, test = cast(clean), over_black(test)
  row = [view(scene, 0), view(scene, 1)]
  for name, more in CODES.items():
    setup, _, _ = small_runs.load((*SETTINGS, *more, *args.bindings))
    with small_runs.train(setup, scene, log) as trainer:
      found = trainer.evaluate(test)
      row.append(trainer.render(test.cameras, 0).rgb)
    log(
      f'{name:18s} PSNR {found.mean["psnr"]:.2f} dB, after colour correction '
      f'{found.mean_cc["psnr"]:.2f} dB, SSIM {found.mean_cc["ssim"]:.4f}'
    )
  if args.out:
    row.append(view(test, 0))
    small_runs.write_grid(args.out / 'glo.png', [row])


if __name__ == '__main__':
  main()
