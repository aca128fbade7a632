"""Appearance codes where every photograph has a colour cast of its own.

  python benchmarks/glo.py --out=/tmp/glo [gin bindings ...]

Gives the object in every training view of the embedded scene other colours
(per channel a gain of 0.4 to 1.1 and an offset of -0.05 to 0.15), then trains
the field of small.gin with and without `Model.num_glo_features = 4`, same
seeds, batches and steps. Test views keep their true colours and are rendered
with the zero code. What a cast does to all colours alike is not knowable, so
the figure is the PSNR after colour correction, as `metric_cc_psnr`, but of the
object's pixels: the white around it is outside of what the correction is
fitted to, is tinted by it, and is two thirds of the image.
"""

import argparse
import dataclasses
import pathlib

import numpy as np
import small_runs

from multinerf.data import base
from multinerf.ops import color

SETTINGS = small_runs.SMALL
CODES = {
  'without codes': (),
  'with codes': ('Model.num_glo_features = 4',),
}


def cast(scene, seed=0):
  """The scene with another gain and offset per view and channel."""
  generator = np.random.default_rng(seed)
  pictures = []
  for i in range(len(scene)):
    gain = generator.uniform(0.4, 1.1, 3)
    offset = generator.uniform(-0.05, 0.15, 3)
    picture = scene.images.image(i).copy()
    # The object only: what is behind it is empty, hence white.
    changed = gain * picture[..., :3] + 255 * offset
    picture[..., :3] = np.clip(np.round(changed), 0, 255)
    pictures.append(picture)
  buffer = base.PixelBuffer.from_images(pictures)
  return dataclasses.replace(scene, images=buffer)


def view(scene, i):
  """Image i over white, [H, W, 3] in [0, 1]."""
  return color.decode_rgb(scene.images.image(i))


def object_psnr(trainer, test):
  """Mean over test views of the corrected PSNR of opaque pixels, in dB."""
  found = []
  for i in range(len(test)):
    opaque = test.images.image(i)[..., 3] == 255
    truth = view(test, i)[opaque][:, None]
    rendered = trainer.render(test.cameras, i).rgb[opaque][:, None]
    corrected = color.color_correct(rendered, truth)
    found.append(-10 * np.log10(np.mean((corrected - truth) ** 2)))
  return float(np.mean(found))


def main():
  """Trains both, prints the table, writes a picture."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--out', type=pathlib.Path, default=None)
  parser.add_argument('bindings', nargs='*')
  args = parser.parse_args()
  log = lambda message: print(message, flush=True)
  setup, clean, test = small_runs.load((*SETTINGS, *args.bindings))
  small_runs.prepare_devices(setup.config)
  scene = cast(clean)
  row = [view(scene, 0), view(scene, 1)]
  for name, more in CODES.items():
    setup, _, _ = small_runs.load((*SETTINGS, *more, *args.bindings))
    with small_runs.train(setup, scene, log) as trainer:
      found = trainer.evaluate(test)
      psnr = object_psnr(trainer, test)
      row.append(trainer.render(test.cameras, 0).rgb)
    log(
      f'{name:14s} object, corrected: PSNR {psnr:.2f} dB; whole images: '
      f'{found.mean["psnr"]:.2f} dB, corrected {found.mean_cc["psnr"]:.2f} dB, '
      f'SSIM {found.mean_cc["ssim"]:.4f}'
    )
  if args.out:
    row.append(view(test, 0))
    small_runs.write_grid(args.out / 'glo.png', [row])


if __name__ == '__main__':
  main()
