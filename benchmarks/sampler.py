"""Time to draw one training batch, for 10, 100 and 1000 images.

  python benchmarks/sampler.py [--batch_size 16384] [--size 100]

The sampler reads only the pixels it returns, so the time should not grow with
the number of images beyond what the processor's caches explain.
"""

import argparse
import time

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


def milliseconds_per_batch(
  scene: base.Scene, cfg: batching.SamplerConfig, repeats: int
) -> float:
  """Median time of one `RaySampler.batch` call."""
  sampler = batching.RaySampler(scene, cfg)
  times = []
  for step in range(repeats):
    start = time.perf_counter()
    sampler.batch(step)
    times.append(time.perf_counter() - start)
  return 1e3 * float(np.median(times))


def main():
  """Prints one line per data set size and way of batching."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--batch_size', type=int, default=16384)
  parser.add_argument('--size', type=int, default=100)
  parser.add_argument('--repeats', type=int, default=100)
  args = parser.parse_args()
  for num_images in (10, 100, 1000):
    scene = make_scene(num_images, args.size)
    for mode, patch in (('all_images', 1), ('single_image', 1)):
      cfg = batching.SamplerConfig(
        batch_size=args.batch_size, batching=mode, patch_size=patch
      )
      spent = milliseconds_per_batch(scene, cfg, args.repeats)
      print(
        f'{num_images:5d} images of {args.size}x{args.size}, '
        f'{scene.images.values.nbytes / 2**20:6.1f} MiB, {mode:12s}: '
        f'{spent:6.3f} ms for {args.batch_size} rays'
      )


if __name__ == '__main__':
  main()
