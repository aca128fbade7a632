"""Masked pixels are never drawn, all others equally often."""

import dataclasses
import zlib

import numpy as np
import pytest
import sampler_util

from multinerf import errors
from multinerf.data import base, batching, positions

# The last image is masked out altogether.
SIZES = [(7, 5), (5, 9), (6, 6), (4, 4)]


def with_masks(scene, seed=0, keep=0.8):
  """The scene with random masks that leave nothing of the last image."""
  generator = np.random.default_rng(seed)
  images = scene.images
  values = generator.random((images.offsets[-1], 1)) < keep
  # Any value but 0 keeps a pixel.
  values = values * generator.integers(1, 256, values.shape)
  values[images.offsets[-2] :] = 0
  masks = base.PixelBuffer(
    values.astype(np.uint8), images.widths, images.heights, images.offsets
  )
  return dataclasses.replace(scene, masks=masks)


def valid_positions(scene, patch, border):
  """All (image, left, top) without a masked pixel, by brute force."""
  sizes = zip(scene.images.widths, scene.images.heights, strict=True)
  return [
    (i, left, top)
    for i, left, top in sampler_util.valid_positions(list(sizes), patch, border)
    if scene.masks.image(i)[top : top + patch, left : left + patch].all()
  ]


def found_positions(scene, patch, border):
  """The same, from the index."""
  found = positions.find(scene, patch, border)
  image = np.searchsorted(found.first, found.index, side='right') - 1
  local = found.index.astype(np.int64) - found.first[image]
  left, top = found.corner(image, local)
  return [tuple(p) for p in np.stack([image, left, top], -1).tolist()]


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('patch, border', [(1, 0), (1, 1), (2, 0), (2, 1)])
def test_the_index_lists_exactly_the_valid_positions(seed, patch, border):
  scene = with_masks(sampler_util.make_scene(SIZES), seed)
  want = valid_positions(scene, patch, border)
  assert found_positions(scene, patch, border) == want
  assert 0 < len(want) < len(sampler_util.valid_positions(SIZES, patch, border))


@pytest.mark.parametrize(
  'mode, patch, border',
  [
    ('all_images', 1, 0),
    ('all_images', 2, 0),
    ('all_images', 1, 1),
    ('single_image', 2, 0),
  ],
)
def test_every_valid_position_is_drawn_equally_often(mode, patch, border):
  scene = with_masks(sampler_util.make_scene(SIZES), seed=1)
  valid = valid_positions(scene, patch, border)
  all_images = mode == 'all_images'
  cfg = batching.SamplerConfig(
    batch_size=(1000 if all_images else 16) * patch**2,
    batching=mode,
    patch_size=patch,
    num_border_pixels_to_mask=border,
  )
  sampler = batching.RaySampler(scene, cfg)
  if all_images:
    sampler_util.assert_uniform(sampler_util.draw(sampler, 10), valid)
  else:
    drawn = sampler_util.draw(sampler, 300)
    sampler_util.assert_uniform_per_image(drawn, valid)


def test_a_batch_holds_no_masked_pixel():
  scene = with_masks(sampler_util.make_scene(SIZES))
  cfg = batching.SamplerConfig(batch_size=400, patch_size=2)
  pixels = batching.RaySampler(scene, cfg).batch(0).pixels
  at = pixels.cam_idx[..., 0], pixels.pix_x_int, pixels.pix_y_int
  assert scene.masks.at(*at).all()


# Checksums of (image, x, y) of the batches of steps 0, 1 and 77, recorded on
# 2026-11-22 before there were masks.
RECORDED = {
  ('all_images', 1, 0): 3977689255,
  ('all_images', 1, 1): 1527436991,
  ('all_images', 2, 0): 3434325075,
  ('all_images', 3, 1): 2595664034,
  ('single_image', 1, 0): 1572337020,
  ('single_image', 1, 1): 1163450020,
  ('single_image', 2, 0): 1792398915,
  ('single_image', 3, 1): 3679971699,
}


@pytest.mark.parametrize('mode, patch, border', RECORDED)
@pytest.mark.parametrize('masks', [None, 'all kept'])
def test_batches_without_masks_are_the_bits_they_always_were(
  mode, patch, border, masks
):
  scene = sampler_util.make_scene(sampler_util.SIZES)
  if masks:
    scene = with_masks(scene)
    scene.masks.values[...] = 1
  cfg = batching.SamplerConfig(
    batch_size=12 * patch**2,
    batching=mode,
    patch_size=patch,
    num_border_pixels_to_mask=border,
  )
  sampler, crc = batching.RaySampler(scene, cfg), 0
  for step in (0, 1, 77):
    p = sampler.batch(step).pixels
    at = np.stack([p.cam_idx[..., 0], p.pix_x_int, p.pix_y_int])
    crc = zlib.crc32(at.astype(np.int32).tobytes(), crc)
  assert crc == RECORDED[mode, patch, border]


def test_a_masked_scene_costs_four_bytes_per_valid_pixel():
  scene = with_masks(sampler_util.make_scene(SIZES))
  index = positions.find(scene, 1, 0).index
  assert index.dtype == np.uint32
  assert len(index) == np.count_nonzero(scene.masks.values)
  assert positions.find(sampler_util.make_scene(SIZES), 1, 0).index is None


@pytest.mark.parametrize('patch', [1, 3])
def test_masks_that_leave_nothing_are_refused(patch):
  scene = with_masks(sampler_util.make_scene(SIZES))
  scene.masks.values[...] = 0
  if patch > 1:  # single pixels are left, but no patch
    scene.masks.values[::2] = 1
  cfg = batching.SamplerConfig(batch_size=9, patch_size=patch)
  with pytest.raises(errors.ConfigError, match='masks of .*Config.mask_dir'):
    batching.RaySampler(scene, cfg)
