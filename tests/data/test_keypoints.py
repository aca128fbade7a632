"""Depths reach the batches, from maps or from points."""

import dataclasses

import numpy as np
import pytest
import sampler_util
from scipy import stats

from multinerf import errors
from multinerf.data import base, batching

SIZES = sampler_util.SIZES


def with_points(scene, num=40, seed=0, only=None):
  """The scene with keypoints, in the images `only` if given."""
  gen = np.random.default_rng(seed)
  cam_idx = gen.choice(only or range(len(scene)), num)
  points = base.Keypoints(
    cam_idx=cam_idx,
    x=gen.integers(0, scene.images.widths[cam_idx]),
    y=gen.integers(0, scene.images.heights[cam_idx]),
    depths=(1 + np.arange(num)).astype(np.float32),  # unique
    weights=gen.uniform(0.5, 2, num).astype(np.float32),
  )
  return dataclasses.replace(scene, keypoints=points)


def config(**options):
  defaults = dict(batch_size=64, depth_source='points', depth_ray_fraction=0.25)
  return batching.SamplerConfig(**{**defaults, **options})


@pytest.mark.parametrize('fraction', [0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize('count', [1, 2, 8])
def test_every_slice_of_the_batch_has_its_share_of_depths(fraction, count):
  scene = with_points(sampler_util.make_scene(SIZES))
  sampler = batching.RaySampler(scene, config(depth_ray_fraction=fraction))
  want = round(64 * fraction)
  whole = sampler.batch(3)
  assert np.count_nonzero(whole.depth_weights) == want
  for i in range(count):
    part = sampler.batch(3, process_index=i, process_count=count)
    share = slice(i * 64 // count, (i + 1) * 64 // count)
    for name in ('depths', 'depth_weights', 'rgb'):
      np.testing.assert_array_equal(
        getattr(part, name), getattr(whole, name)[share]
      )
    num = np.count_nonzero(part.depth_weights)
    assert want // count <= num <= -(-want // count)


def test_rays_with_a_depth_go_through_their_point_and_others_have_none():
  scene = with_points(sampler_util.make_scene(SIZES))
  batch = batching.RaySampler(scene, config()).batch(0)
  points, pixels = scene.keypoints, batch.pixels
  assert batch.depths.dtype == batch.depth_weights.dtype == np.float32
  assert batch.depths.shape == batch.depth_weights.shape == (64,)
  known = batch.depth_weights > 0
  chosen = batch.depths[known].astype(int) - 1  # depths are unique
  for name, got in (
    ('cam_idx', pixels.cam_idx[:, 0]),
    ('x', pixels.pix_x_int),
    ('y', pixels.pix_y_int),
    ('weights', batch.depth_weights),
  ):
    np.testing.assert_array_equal(got[known], getattr(points, name)[chosen])
  np.testing.assert_array_equal(batch.depths[~known], 0)
  at = pixels.cam_idx[:, 0], pixels.pix_x_int, pixels.pix_y_int
  np.testing.assert_array_equal(batch.rgb, scene.images.at(*at))


def test_the_other_rays_are_those_of_a_scene_without_points():
  scene = sampler_util.make_scene(SIZES)
  want = sampler_util.identities(batching.RaySampler(scene, config()).batch(5))
  batch = batching.RaySampler(with_points(scene), config()).batch(5)
  other = batch.depth_weights == 0
  np.testing.assert_array_equal(
    sampler_util.identities(batch)[other], want[other]
  )


def test_points_are_drawn_equally_often():
  scene = with_points(sampler_util.make_scene(SIZES))
  sampler = batching.RaySampler(scene, config(batch_size=4000))
  drawn = sampler.batch(0).depths
  counts = np.bincount(drawn[drawn > 0].astype(int) - 1, minlength=40)
  assert stats.chisquare(counts).pvalue > 1e-3


def test_points_of_a_single_image_batch_are_of_its_image():
  scene = with_points(sampler_util.make_scene(SIZES), only=[0, 2])
  sampler = batching.RaySampler(scene, config(batching='single_image'))
  seen = set()
  for step in range(20):
    batch = sampler.batch(step)
    (image,) = np.unique(batch.pixels.cam_idx)
    seen.add(int(image))
    num = np.count_nonzero(batch.depth_weights)
    assert num == (0 if image == 1 else 16)
  assert seen == {0, 1, 2}


def test_points_on_masked_pixels_and_borders_are_not_drawn():
  scene = with_points(sampler_util.make_scene(SIZES))
  values = np.random.default_rng(0).integers(
    0, 2, (len(scene.images.values), 1)
  )
  masks = dataclasses.replace(scene.images, values=values.astype(np.uint8))
  scene = dataclasses.replace(scene, masks=masks)
  cfg = config(batch_size=2000, num_border_pixels_to_mask=1)
  batch = batching.RaySampler(scene, cfg).batch(0)
  i, x, y = (
    batch.pixels.cam_idx[:, 0],
    batch.pixels.pix_x_int,
    batch.pixels.pix_y_int,
  )
  assert scene.masks.at(i, x, y).all()
  assert np.minimum(x, y).min() >= 1
  assert (x < scene.images.widths[i] - 1).all()
  assert (y < scene.images.heights[i] - 1).all()
  scene.masks.values[scene.images.offsets[1] :] = 0  # only the first image
  only_last = with_points(scene, only=[2])
  with pytest.raises(errors.ConfigError, match='none of them on a pixel'):
    batching.RaySampler(only_last, cfg)


@pytest.mark.parametrize('patch', [1, 2])
def test_maps_are_read_at_the_pixels_drawn(patch):
  scene = sampler_util.make_scene(SIZES)
  images = scene.images
  values = np.random.default_rng(0).random((len(images.values), 2))
  maps = dataclasses.replace(images, values=values.astype(np.float32))
  scene = with_points(dataclasses.replace(scene, depths=maps))
  cfg = batching.SamplerConfig(batch_size=32, patch_size=patch)
  batch = batching.RaySampler(scene, cfg).batch(0)
  rows = sampler_util.identities(batch)
  np.testing.assert_array_equal(batch.depths.ravel(), maps.values[rows, 0])
  np.testing.assert_array_equal(
    batch.depth_weights.ravel(), maps.values[rows, 1]
  )
  assert batch.depths.shape == batch.pixels.pix_x_int.shape
  points = batching.RaySampler(scene, config()).batch(0)
  assert np.count_nonzero(points.depth_weights) == 16


def test_scenes_without_depths_have_batches_without():
  scene = sampler_util.make_scene(SIZES)
  for cfg in (config(), batching.SamplerConfig(batch_size=64)):
    batch = batching.RaySampler(scene, cfg).batch(0)
    assert batch.depths is None and batch.depth_weights is None


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(depth_loss_mult=0.1), "depth_loss_mult = 0.1 needs .*'points'"),
    (dict(depth_loss_mult=0.1, depth_source='maps'), "'maps', which .*blender"),
    (dict(normal_loss_mult=0.1), 'normal_loss_mult = 0.1 needs normals'),
    (dict(patch_size=2), 'Config.patch_size = 1, not 2'),
  ],
)
def test_losses_without_their_data_are_refused(options, message):
  with pytest.raises(errors.ConfigError, match=message):
    batching.RaySampler(sampler_util.make_scene(SIZES), config(**options))


def test_a_fraction_that_rounds_to_no_ray_is_refused_with_the_loss():
  scene = with_points(sampler_util.make_scene(SIZES))
  with pytest.raises(errors.ConfigError, match='depth_ray_fraction = 0.001'):
    batching.RaySampler(
      scene, config(depth_ray_fraction=0.001, depth_loss_mult=1.0)
    )
