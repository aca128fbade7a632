"""Posed photographs become scenes: frames, splits, sizes, masks, depths."""

import dataclasses

import numpy as np

from multinerf.cameras import poses, projection
from multinerf.data import base, images, photographs

SIZE = (12, 10)  # width, height


def random_pictures(num, size=SIZE, channels=3, seed=0):
  generator = np.random.default_rng(seed)
  shape = (num, size[1], size[0], channels)
  return list(generator.integers(0, 256, shape, dtype=np.uint8))


def ring_poses(num, seed=1):
  """Cameras on a wobbly ring that look at a point, in no special frame."""
  generator = np.random.default_rng(seed)
  angle = 2 * np.pi * np.arange(num) / num
  back = np.stack([np.cos(angle), np.sin(angle), 0.2 * np.ones(num)], -1)
  back += generator.normal(0, 0.05, back.shape)
  up = np.array([0.1, 0.0, 1.0])
  target = np.array([5.0, -3.0, 2.0])
  return np.stack([poses.viewmatrix(b, up, target + 3 * b) for b in back])


def write_photos(folder, num=9, pictures=None, **changes):
  """Photographs of random pictures below <folder>/images."""
  pictures = random_pictures(num) if pictures is None else pictures
  num = len(pictures)
  names = tuple(f'p{i:02d}.png' for i in range(num))
  for name, picture in zip(names, pictures, strict=True):
    images.write_png(folder / 'images' / name, picture)
  widths = np.array([p.shape[1] for p in pictures])
  heights = np.array([p.shape[0] for p in pictures])
  pixtocams = np.stack(
    [
      projection.get_pixtocam(14.0 + i, w, h)
      for i, (w, h) in enumerate(zip(widths, heights, strict=True))
    ]
  )
  photos = photographs.Photographs(
    folder,
    names,
    tuple(folder / 'images' / n for n in names),
    ring_poses(num),
    pixtocams,
    widths,
    heights,
  )
  return dataclasses.replace(photos, **changes)


def config(**options):
  return base.DataConfig(near=0.1, far=10.0, **options)


def make(photos, split='train', **options):
  scene = photographs.make_scene(config(**options), split, photos)
  base.validate_scene(scene, source='here')
  return scene


def test_every_eighth_image_is_a_test_image_and_pixels_are_as_stored(tmp_path):
  pictures = random_pictures(9)
  photos = write_photos(tmp_path, pictures=pictures)
  train, test = make(photos, 'train'), make(photos, 'test')
  assert test.image_names == ('p00.png', 'p08.png')
  assert train.image_names == tuple(f'p{i:02d}.png' for i in range(1, 8))
  assert train.images.values.dtype == np.uint8
  for i in range(7):
    np.testing.assert_array_equal(train.images.image(i), pictures[i + 1])
  np.testing.assert_array_equal(test.images.image(1), pictures[8])
