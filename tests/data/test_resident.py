"""Values read on the devices are those read on the host."""

import dataclasses

import jax
import numpy as np
import pytest
import sampler_util

from multinerf import errors
from multinerf.data import base, batching, raw, resident


def full_scene(dtype=np.uint8):
  """With every kind of image that batches read."""
  scene = sampler_util.make_scene(sampler_util.SIZES, extras=True)
  images = dataclasses.replace(
    scene.images, values=scene.images.values.astype(dtype)
  )
  depths = np.random.default_rng(0).random((len(images.values), 2))
  depths = dataclasses.replace(images, values=depths.astype(np.float32))
  return dataclasses.replace(scene, images=images, depths=depths)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize('patch', [1, 2])
def test_a_batch_filled_in_a_step_is_the_sampler_s_bit_for_bit(patch, dtype):
  cfg = batching.SamplerConfig(batch_size=64, patch_size=patch)
  sampler = batching.RaySampler(full_scene(dtype), cfg)
  tables = resident.choose(sampler.tables, True, None)
  places, want = sampler.places(3), sampler.batch(3)
  assert places.rgb is None and places.depths is None  # these do not travel
  got = jax.jit(resident.fill)(places, tables)
  assert jax.tree.structure(got) == jax.tree.structure(want)
  for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    assert x.dtype == y.dtype
    np.testing.assert_array_equal(x, y)


def test_depths_of_keypoints_travel_and_those_of_maps_are_not_read():
  scene = full_scene()
  points = base.Keypoints(
    np.array([0, 1]),
    np.array([2, 3]),
    np.array([1, 4]),
    np.float32([5, 6]),
    np.float32([1, 0.5]),
  )
  scene = dataclasses.replace(scene, keypoints=points)
  cfg = batching.SamplerConfig(batch_size=32, depth_source='points')
  sampler = batching.RaySampler(scene, cfg)
  tables = resident.choose(sampler.tables, True, None)
  assert tables.depths is None
  got = resident.fill(sampler.places(0), tables)
  np.testing.assert_array_equal(got.depths, sampler.batch(0).depths)
  assert set(np.unique(got.depths)) == {0, 5, 6}


def size_of(tables):
  return sum(x.values.nbytes for x in jax.tree.leaves(tables))


@pytest.mark.parametrize(
  'wanted, memory, on_device',
  [
    ('auto', None, False),  # CPU devices: their memory is the host's
    ('auto', 3.4, True),
    ('auto', 3.2, False),
    (True, None, True),
    (True, 0.1, True),
    (False, 1000.0, False),
  ],
)
def test_auto_keeps_pixels_where_they_take_30_percent_of_free_memory(
  wanted, memory, on_device
):
  tables = resident.of_scene(full_scene(), 'maps')
  free = None if memory is None else int(memory * size_of(tables))
  assert (resident.choose(tables, wanted, free) is not None) == on_device


def test_mosaics_stay_on_the_host_or_are_refused_by_name():
  scene = sampler_util.make_scene([(4, 4)])
  flat = vars(scene.images) | {'values': np.zeros((16, 1), np.uint16)}
  square = np.ones((1, 2, 2), np.float32)
  mosaic = raw.MosaicBuffer(**flat, black=square, gain=square)
  tables = resident.Tables(images=mosaic)
  assert resident.choose(tables, 'auto', 10**9) is None
  with pytest.raises(errors.ConfigError, match='pixels_on_device.*mosaics'):
    resident.choose(tables, True, 10**9)
