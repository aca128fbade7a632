"""The sampler is uniform, deterministic, shardable and cheap."""

import dataclasses
import time

import numpy as np
import pytest
import sampler_util
from scipy import stats

from multinerf import errors
from multinerf.data import base, batching


def make_sampler(patches, mode, patch, border):
  cfg = batching.SamplerConfig(
    batch_size=patches * patch**2,
    batching=mode,
    patch_size=patch,
    num_border_pixels_to_mask=border,
  )
  return batching.RaySampler(sampler_util.make_scene(sampler_util.SIZES), cfg)


PATCHES_AND_BORDERS = [(1, 0), (1, 1), (2, 0), (3, 1)]


@pytest.mark.parametrize('patch, border', PATCHES_AND_BORDERS)
def test_all_images_draws_every_valid_position_equally_often(patch, border):
  sampler = make_sampler(1000, 'all_images', patch, border)
  sampler_util.assert_uniform(
    sampler_util.draw(sampler, 10),
    sampler_util.valid_positions(sampler_util.SIZES, patch, border),
  )


@pytest.mark.parametrize('patch, border', PATCHES_AND_BORDERS)
def test_single_image_draws_every_valid_position_equally_often(patch, border):
  drawn = sampler_util.draw(
    make_sampler(16, 'single_image', patch, border), 400
  )
  valid = sampler_util.valid_positions(sampler_util.SIZES, patch, border)
  sampler_util.assert_uniform_per_image(drawn, valid)


def test_an_epoch_of_large_batches_covers_all_pixels_uniformly():
  scene = sampler_util.make_scene([(40, 30)] * 5)
  cfg = batching.SamplerConfig(batch_size=1000)
  sampler = batching.RaySampler(scene, cfg)
  epochs, num_pixels = 20, len(scene.images.values)
  counts = np.zeros(num_pixels, int)
  for step in range(epochs * num_pixels // 1000):
    np.add.at(counts, sampler_util.identities(sampler.batch(step)), 1)
  assert counts.sum() == epochs * num_pixels
  assert stats.chisquare(counts).pvalue > 1e-3


def test_images_of_one_size_take_a_short_cut_to_the_same_pixels():
  cfg = batching.SamplerConfig(batch_size=5000)
  sampler = batching.RaySampler(sampler_util.make_scene([(6, 4)] * 7), cfg)
  fast = sampler_util.identities(sampler.batch(0))
  sampler._positions = dataclasses.replace(sampler._positions, even=False)
  np.testing.assert_array_equal(sampler_util.identities(sampler.batch(0)), fast)


def test_single_image_batches_hold_one_image_and_all_images_mix():
  scene = sampler_util.make_scene(sampler_util.SIZES)
  for mode, many in (('single_image', False), ('all_images', True)):
    cfg = batching.SamplerConfig(batch_size=64, batching=mode)
    sampler = batching.RaySampler(scene, cfg)
    for step in range(5):
      images = np.unique(sampler.batch(step).pixels.cam_idx)
      assert (len(images) > 1) == many


@pytest.mark.parametrize('patch', [1, 2])
def test_values_are_those_of_the_pixels_named(patch):
  scene = sampler_util.make_scene(sampler_util.SIZES, extras=True)
  cfg = batching.SamplerConfig(batch_size=32, patch_size=patch)
  batch = batching.RaySampler(scene, cfg).batch(3)
  shape = (32,) if patch == 1 else (8, 2, 2)
  pixels = batch.pixels
  assert pixels.pix_x_int.shape == pixels.pix_y_int.shape == shape
  assert pixels.cam_idx.shape == (*shape, 1)
  assert batch.rgb.shape == (*shape, 4) and batch.rgb.dtype == np.uint8
  assert batch.disps.shape == batch.alphas.shape == shape
  assert batch.normals.shape == (*shape, 3)
  assert pixels.lossmult is None and pixels.near is None
  for part in (pixels.pix_x_int, pixels.pix_y_int, pixels.cam_idx):
    assert part.dtype == np.int32
  for where in np.ndindex(shape):
    i = int(pixels.cam_idx[where][0])
    y, x = pixels.pix_y_int[where], pixels.pix_x_int[where]
    np.testing.assert_array_equal(batch.rgb[where], scene.images.image(i)[y, x])
    assert batch.disps[where] == scene.disps.image(i)[y, x, 0]
    assert batch.alphas[where] == scene.alphas.image(i)[y, x, 0]
    np.testing.assert_array_equal(
      batch.normals[where], scene.normals.image(i)[y, x]
    )


def test_patches_are_contiguous_squares_of_one_image():
  cfg = batching.SamplerConfig(batch_size=90, patch_size=3)
  pixels = (
    batching.RaySampler(sampler_util.make_scene(sampler_util.SIZES), cfg)
    .batch(0)
    .pixels
  )
  assert (pixels.cam_idx == pixels.cam_idx[:, :1, :1]).all()
  ramp = np.arange(3)
  x = pixels.pix_x_int - pixels.pix_x_int[:, :1, :1]
  y = pixels.pix_y_int - pixels.pix_y_int[:, :1, :1]
  np.testing.assert_array_equal(x, np.broadcast_to(ramp[None], x.shape))
  np.testing.assert_array_equal(y, np.broadcast_to(ramp[:, None], y.shape))


def test_batch_is_a_function_of_seed_and_step_alone():
  scene = sampler_util.make_scene(sampler_util.SIZES)
  cfg = batching.SamplerConfig(batch_size=64)
  one, two = batching.RaySampler(scene, cfg), batching.RaySampler(scene, cfg)
  for step in (0, 1, 7):
    one.batch(step)
  want = sampler_util.identities(one.batch(5))  # after a history
  np.testing.assert_array_equal(sampler_util.identities(two.batch(5)), want)
  assert not np.array_equal(sampler_util.identities(two.batch(6)), want)
  other = batching.SamplerConfig(batch_size=64, np_rng_seed=1)
  got = sampler_util.identities(batching.RaySampler(scene, other).batch(5))
  assert not np.array_equal(got, want)


@pytest.mark.parametrize('mode', ['all_images', 'single_image'])
@pytest.mark.parametrize('patch', [1, 2])
def test_process_slices_concatenate_to_the_global_batch(mode, patch):
  scene = sampler_util.make_scene(sampler_util.SIZES, extras=True)
  cfg = batching.SamplerConfig(batch_size=48, batching=mode, patch_size=patch)
  sampler = batching.RaySampler(scene, cfg)
  whole = sampler.batch(9)
  parts = [sampler.batch(9, process_index=i, process_count=4) for i in range(4)]
  for name in ('rgb', 'disps', 'normals', 'alphas'):
    joined = np.concatenate([getattr(p, name) for p in parts])
    np.testing.assert_array_equal(joined, getattr(whole, name))
  for name in ('pix_x_int', 'pix_y_int', 'cam_idx'):
    joined = np.concatenate([getattr(p.pixels, name) for p in parts])
    np.testing.assert_array_equal(joined, getattr(whole.pixels, name))


def test_bayer_mask_marks_one_channel_per_pixel():
  cfg = batching.SamplerConfig(batch_size=64, apply_bayer_mask=True)
  pixels = (
    batching.RaySampler(sampler_util.make_scene(sampler_util.SIZES), cfg)
    .batch(0)
    .pixels
  )
  for x, y, mask in zip(
    pixels.pix_x_int, pixels.pix_y_int, pixels.lossmult, strict=True
  ):
    channel = {(0, 0): 0, (1, 1): 2}.get((x % 2, y % 2), 1)
    np.testing.assert_array_equal(mask, np.eye(3)[channel])


def test_work_per_batch_does_not_depend_on_the_number_of_images():
  def best_time(num_images):
    scene = sampler_util.make_scene([(8, 8)] * num_images)
    sampler = batching.RaySampler(
      scene, batching.SamplerConfig(batch_size=4096)
    )
    times = []
    for step in range(30):
      start = time.perf_counter()
      sampler.batch(step)
      times.append(time.perf_counter() - start)
    return min(times)

  # 300 times the pixels; an O(dataset) step would cost about as much more.
  # Caches and the search's logarithm may cost something, not a factor of 8.
  assert best_time(3000) < 8 * best_time(10)


def test_images_take_only_the_bytes_they_have_on_disk():
  scene = sampler_util.make_scene([(64, 48)] * 10)
  images = scene.images
  total = images.values.nbytes + images.offsets.nbytes
  total += images.widths.nbytes + images.heights.nbytes
  assert total / (64 * 48 * 10) < 4.02


@pytest.mark.parametrize(
  'options, message',
  [
    ({'batching': 'both'}, 'Config.batching'),
    ({'batch_size': 0}, 'Config.batch_size'),
    ({'patch_size': 0}, 'Config.patch_size'),
    ({'batch_size': 10, 'patch_size': 2}, 'Config.patch_size'),
    ({'num_border_pixels_to_mask': -1}, 'num_border_pixels_to_mask'),
    ({'num_border_pixels_to_mask': 3}, 'im_0.png .7x5. has no room'),
    ({'batch_size': 36, 'patch_size': 6}, 'im_0.png .7x5. has no room'),
  ],
)
def test_options_that_do_not_fit_are_refused(options, message):
  cfg = batching.SamplerConfig(**{'batch_size': 16, **options})
  with pytest.raises(errors.ConfigError, match=message):
    batching.RaySampler(sampler_util.make_scene(sampler_util.SIZES), cfg)


@pytest.mark.parametrize(
  'option, kind',
  [
    ('compute_disp_metrics', 'disps'),
    ('compute_normal_metrics', 'normals'),
    ('compute_normal_metrics', 'alphas'),
  ],
)
def test_metrics_without_their_truth_are_refused_by_name(option, kind):
  # It was a TypeError on None inside the traced step.
  scene = sampler_util.make_scene(sampler_util.SIZES, extras=True)
  cfg = batching.SamplerConfig(batch_size=16, **{option: True})
  batching.RaySampler(scene, cfg)
  scene = dataclasses.replace(scene, **{kind: None})
  with pytest.raises(errors.ConfigError, match=f'{option} = True.*{kind}'):
    batching.RaySampler(scene, cfg)


def test_uneven_share_of_processes_is_refused():
  cfg = batching.SamplerConfig(batch_size=16, patch_size=2)
  sampler = batching.RaySampler(
    sampler_util.make_scene(sampler_util.SIZES), cfg
  )
  with pytest.raises(errors.ConfigError, match='3 processes'):
    sampler.batch(0, process_count=3)


def test_scene_without_images_cannot_be_sampled():
  full = sampler_util.make_scene(sampler_util.SIZES)
  path = base.Scene('path', 'test', full.cameras, full.image_names, None)
  with pytest.raises(errors.ConfigError, match='no images'):
    batching.RaySampler(path, batching.SamplerConfig(batch_size=4))


@pytest.mark.parametrize('patch_size', [1, 2])
def test_two_pixels_of_a_batch_have_all_its_fields(patch_size):
  sampler = batching.RaySampler(
    sampler_util.make_scene(sampler_util.SIZES),
    batching.SamplerConfig(
      batch_size=16, patch_size=patch_size, apply_bayer_mask=True
    ),
  )
  whole, two = sampler.places(0).pixels, sampler.two_pixels()
  ndim = whole.pix_x_int.ndim
  for name, x in vars(whole).items():
    if x is None:
      assert getattr(two, name) is None
      continue
    flat = x.reshape((-1, *x.shape[ndim:]))
    np.testing.assert_array_equal(getattr(two, name), flat[:2])
