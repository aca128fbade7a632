"""Whole images are stitched exactly, whatever the chunk size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import types
from multinerf.evaluation import render_image

SHAPE = (5, 7)


def image_of_pixels(shape=SHAPE):
  y, x = np.indices(shape).astype(np.int32)
  return types.Pixels(x, y, np.full((*shape, 1), 3, np.int32))


def rendering_of(pixels):
  """A rendering from which every pixel can be recognised."""
  x = jnp.asarray(pixels.pix_x_int, jnp.float32)
  y = jnp.asarray(pixels.pix_y_int, jnp.float32)
  cam = jnp.asarray(pixels.cam_idx[..., 0], jnp.float32)
  return types.Rendering(rgb=jnp.stack([x, y, cam], -1), acc=100 * y + x)


@pytest.mark.parametrize('num_devices', [1, 4])
@pytest.mark.parametrize('chunk_size', [1, 8, 34, 35, 36, 10**6])
def test_every_pixel_arrives_where_it_belongs(chunk_size, num_devices):
  pixels = image_of_pixels()
  found = render_image.render_image(
    rendering_of, pixels, chunk_size=chunk_size, num_devices=num_devices
  )
  want = rendering_of(pixels)
  np.testing.assert_array_equal(found.rgb, want.rgb)
  np.testing.assert_array_equal(found.acc, want.acc)
  assert isinstance(found.rgb, np.ndarray)
  assert found.distance_mean is None


@pytest.mark.parametrize('shape', [(1, 1), (35,), (2, 3, 4)])
def test_any_leading_shape_is_kept(shape):
  x = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
  pixels = types.Pixels(x, x, x[..., None])
  found = render_image.render_image(rendering_of, pixels, chunk_size=4)
  np.testing.assert_array_equal(found.rgb[..., 0], x)


def test_all_chunks_have_one_size_that_the_devices_divide():
  sizes, steps = [], []

  def render(pixels):
    sizes.append(pixels.pix_x_int.shape)
    return rendering_of(pixels)

  render_image.render_image(
    render,
    image_of_pixels(),
    chunk_size=10,
    num_devices=4,
    progress=lambda done, total: steps.append((done, total)),
  )
  assert sizes == [(12,)] * 3
  assert steps == [(1, 3), (2, 3), (3, 3)]


def test_the_padding_repeats_the_last_pixel():
  seen = []

  def render(pixels):
    seen.append(pixels)
    return rendering_of(pixels)

  render_image.render_image(render, image_of_pixels(), chunk_size=20)
  np.testing.assert_array_equal(seen[1].pix_x_int[15:], 6)
  np.testing.assert_array_equal(seen[1].pix_y_int[15:], 4)
  assert seen[1].lossmult is None


class Fetchable:
  """An array that notes when it is asked for, as a device array might."""

  def __init__(self, values, events, name):
    self.values, self.events, self.name = values, events, name

  def __array__(self, dtype=None, copy=None):
    self.events.append(f'fetch {self.name}')
    return np.asarray(self.values, dtype)


def test_the_next_chunk_is_dispatched_before_the_previous_is_fetched():
  events = []

  def render(pixels):
    k = sum(e.startswith('dispatch') for e in events)
    events.append(f'dispatch {k}')
    return jax.tree.map(
      lambda x: Fetchable(x, events, k), rendering_of(pixels)
    ).replace(acc=None)

  render_image.render_image(render, image_of_pixels(), chunk_size=12)
  assert events == [
    'dispatch 0', 'dispatch 1', 'fetch 0', 'dispatch 2', 'fetch 1', 'fetch 2',
  ]  # fmt: skip


def test_a_wrong_number_of_rays_is_an_error():
  def render(pixels):
    return jax.tree.map(lambda x: x[:-1], rendering_of(pixels))

  with pytest.raises(ValueError, match='given 12 pixels'):
    render_image.render_image(render, image_of_pixels(), chunk_size=12)


@pytest.mark.parametrize('sizes', [(0, 1), (4, 0)])
def test_sizes_must_be_positive(sizes):
  with pytest.raises(ValueError, match='render_chunk_size'):
    render_image.render_image(
      rendering_of, image_of_pixels(), chunk_size=sizes[0], num_devices=sizes[1]
    )


def test_chosen_rays_are_distinct_pixels_and_always_the_same():
  pixels = image_of_pixels()
  chosen = render_image.choose_rays(pixels, 16)
  again = render_image.choose_rays(pixels, 16)
  places = set(
    zip(chosen.pix_x_int.tolist(), chosen.pix_y_int.tolist(), strict=True)
  )
  assert len(places) == 16
  np.testing.assert_array_equal(chosen.pix_x_int, again.pix_x_int)
  assert chosen.cam_idx.shape == (16, 1)
  everything = render_image.choose_rays(pixels, 100)
  assert everything.pix_x_int.shape == (35,)
