"""Time to draw one training batch, for 10, 100 and 1000 images, and with masks.

  python benchmarks/sampler.py [--batch_size 16384] [--size 100]

The sampler reads only the pixels it returns, so the time should not grow with
the number of images beyond what the processor's caches explain. Scenes with and
without masks (half of the pixels, as a disc in each image) take turns, batch by
batch, so that the ratio holds on a busy machine.
"""

import argparse
import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from multinerf.cameras import camera, projection
from multinerf.data import base, batching


def make_scene(num_images: int, size: int) -> base.Scene:
  """Random 8-bit RGBA images of size x size pixels."""
  images = base.PixelBuffer.allocate(
    [size] * num_images, [size] * num_images, 4, np.uint8
  )
  generator = np.random.default_rng(0)
  images.values[...] = generator.integers(
    0, 256, images.values.shape, dtype=np.uint8
  )
  cameras = camera.make_cameras(
    projection.get_pixtocam(float(size), float(size), float(size)),
    np.tile(np.eye(4), (num_images, 1, 1)),
    widths=size,
    heights=size,
    near=2.0,
    far=6.0,
  )
  names = tuple(f'{i}.png' for i in range(num_images))
  return base.Scene('benchmark', 'train', cameras, names, images)


def with_masks(scene: base.Scene) -> base.Scene:
  """The scene without the pixels outside a disc of half the image's area."""
  images = scene.images
  masks = base.PixelBuffer.allocate(images.widths, images.heights, 1, np.uint8)
  for i in range(len(masks)):
    height, width = masks.heights[i], masks.widths[i]
    x = (np.arange(width) + 0.5) / width - 0.5
    y = (np.arange(height) + 0.5) / height - 0.5
    inside = x**2 + y[:, None] ** 2 < 0.5 / np.pi
    masks.image(i)[..., 0] = 255 * inside
  return dataclasses.replace(scene, masks=masks)


def seconds_per_batch(
  scenes: Sequence[base.Scene], cfg: batching.SamplerConfig, repeats: int
) -> np.ndarray:
  """Times [repeats, scenes] of `RaySampler.batch` calls, scenes in turn."""
  samplers = [batching.RaySampler(scene, cfg) for scene in scenes]
  times = np.zeros((repeats, len(scenes)))
  for step in range(repeats):
    for i, sampler in enumerate(samplers):
      start = time.perf_counter()
      sampler.batch(step)
      times[step, i] = time.perf_counter() - start
  return times


def main():
  """Prints one line per data set size and way of batching."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--batch_size', type=int, default=16384)
  parser.add_argument('--size', type=int, default=100)
  parser.add_argument('--repeats', type=int, default=100)
  args = parser.parse_args()
  for num_images in (10, 100, 1000):
    scene = make_scene(num_images, args.size)
    for mode in ('all_images', 'single_image'):
      cfg = batching.SamplerConfig(batch_size=args.batch_size, batching=mode)
      times = seconds_per_batch((scene, with_masks(scene)), cfg, args.repeats)
      plain, masked = 1e3 * np.median(times, axis=0)
      ratio = np.median(times[:, 1] / times[:, 0])
      print(
        f'{num_images:5d} images of {args.size}x{args.size}, '
        f'{scene.images.values.nbytes / 2**20:6.1f} MiB, {mode:12s}: '
        f'{plain:6.3f} ms for {args.batch_size} rays, {masked:6.3f} ms with '
        f'masks (median ratio of pairs {ratio:.2f})'
      )


if __name__ == '__main__':
  main()
