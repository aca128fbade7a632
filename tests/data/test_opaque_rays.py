"""A share of the rays goes where something is seen; the others as ever."""

import dataclasses

import numpy as np
import pytest
import sampler_util

from multinerf import errors
from multinerf.data import batching

# Nothing is seen in the last image.
SIZES = [(7, 5), (5, 9), (6, 6), (4, 4)]


def make_scene(seed=0, seen=0.3):
  """Images with an alpha above 0 in about a third of the pixels."""
  scene = sampler_util.make_scene(SIZES)
  generator = np.random.default_rng(seed)
  alphas = generator.integers(1, 256, len(scene.images.values))
  alphas[generator.random(len(alphas)) > seen] = 0
  alphas[scene.images.offsets[-2] :] = 0
  scene.images.values[:, 3] = alphas
  return scene


def opaque_positions(scene, border=0):
  """All (image, x, y) that have an opacity, by brute force."""
  return [
    (i, x, y)
    for i, x, y in sampler_util.valid_positions(SIZES, 1, border)
    if scene.images.image(i)[y, x, 3] > 0
  ]


def sampler_of(scene, **options):
  return batching.RaySampler(scene, batching.SamplerConfig(**options))


@pytest.mark.parametrize('border', [0, 1])
def test_with_the_whole_batch_every_opaque_pixel_is_equally_likely(border):
  scene = make_scene()
  sampler = sampler_of(
    scene,
    batch_size=1000,
    opaque_ray_fraction=1.0,
    num_border_pixels_to_mask=border,
  )
  valid = opaque_positions(scene, border)
  assert 0 < len(valid) < 60
  sampler_util.assert_uniform(sampler_util.draw(sampler, 10), valid)


def test_the_other_rays_are_those_drawn_without_the_option():
  scene = make_scene()
  plain = sampler_util.draw(sampler_of(scene, batch_size=16), 5)
  drawn = sampler_util.draw(
    sampler_of(scene, batch_size=16, opaque_ray_fraction=0.25), 5
  )
  places = np.zeros(16, bool)
  places[::4] = True  # four of every device's, whatever their number
  np.testing.assert_array_equal(drawn[:, ~places], plain[:, ~places])
  seen = set(opaque_positions(scene))
  assert {tuple(p) for p in drawn[:, places].reshape(-1, 3).tolist()} <= seen


def test_a_batch_of_one_image_stays_one_and_an_empty_image_is_possible():
  scene = make_scene()
  sampler = sampler_of(
    scene, batch_size=8, batching='single_image', opaque_ray_fraction=0.5
  )
  drawn = sampler_util.draw(sampler, 100)
  assert (drawn[..., 0] == drawn[:, :1, 0]).all()
  assert set(np.unique(drawn[..., 0])) == {0, 1, 2, 3}
  seen = set(opaque_positions(scene))
  for batch in drawn[drawn[:, 0, 0] != 3]:
    assert {tuple(p) for p in batch[::2].tolist()} <= seen


def test_masked_pixels_are_not_drawn_for_their_opacity():
  scene = make_scene()
  keep = np.random.default_rng(1).random((len(scene.images.values), 1)) < 0.5
  masks = dataclasses.replace(scene.images, values=keep.astype(np.uint8))
  scene = dataclasses.replace(scene, masks=masks)
  sampler = sampler_of(scene, batch_size=400, opaque_ray_fraction=1.0)
  pixels = sampler.batch(0).pixels
  at = pixels.cam_idx[..., 0], pixels.pix_x_int, pixels.pix_y_int
  assert masks.at(*at).all()
  assert (scene.images.at(*at)[..., 3] > 0).all()


@pytest.mark.parametrize('opaque', [False, True])
def test_without_opacities_or_without_opaque_pixels_nothing_changes(opaque):
  channels = 4 if opaque else 3
  scene = sampler_util.make_scene(SIZES, channels=channels)
  if opaque:
    scene.images.values[:, 3] = 0
  for_all = [
    sampler_of(scene, batch_size=16, opaque_ray_fraction=fraction).batch(3)
    for fraction in (0.0, 0.5)
  ]
  np.testing.assert_array_equal(for_all[0].rgb, for_all[1].rgb)


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(opaque_ray_fraction=1.5), r'1\.5 is not in \[0, 1\]'),
    (
      dict(opaque_ray_fraction=0.5, patch_size=2),
      'needs Config.patch_size = 1, not 2',
    ),
  ],
)
def test_options_that_do_not_fit_are_refused(options, message):
  with pytest.raises(errors.ConfigError, match=message):
    sampler_of(make_scene(), batch_size=16, **options)
