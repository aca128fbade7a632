"""Whole images are stitched exactly, whatever the chunk size."""

import threading

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

  render_image.render_image(
    render, image_of_pixels(), chunk_size=20, num_devices=5
  )
  assert [len(pixels.pix_x_int) for pixels in seen] == [20, 20]
  np.testing.assert_array_equal(seen[1].pix_x_int[15:], 6)
  np.testing.assert_array_equal(seen[1].pix_y_int[15:], 4)
  assert seen[1].lossmult is None


class Awaited:
  """An array that is there once a later chunk is started."""

  def __init__(self, values, later: threading.Event):
    self.values, self.later = values, later

  def __array__(self, dtype=None, copy=None):
    # Were the later chunk not started ahead, it never would be.
    assert self.later.wait(timeout=60)
    return np.asarray(self.values, dtype)


def test_chunks_are_started_ahead_of_the_one_that_is_fetched():
  started = [threading.Event() for _ in range(3)]
  numbers = iter(range(3))

  def render(pixels):
    k = next(numbers)
    started[k].set()
    later = started[min(k + 2, 2)]
    rgb = rendering_of(pixels).rgb
    return types.Rendering(rgb=Awaited(rgb, later))

  found = render_image.render_image(render, image_of_pixels(), chunk_size=12)
  np.testing.assert_array_equal(found.rgb, rendering_of(image_of_pixels()).rgb)


def test_the_next_image_is_started_before_an_image_is_fetched():
  started = [threading.Event() for _ in range(3)]

  def job(i):
    def start(k):
      started[i].set()
      values = np.full((4, 3), i)
      return types.Rendering(rgb=Awaited(values, started[min(i + 2, 2)]))

    return render_image.Job((2, 2), 4, start)

  views = render_image.render_jobs(map(job, range(3)))
  for i, view in enumerate(views):
    np.testing.assert_array_equal(view.rendering.rgb, np.full((2, 2, 3), i))
  assert i == 2


def test_seconds_of_a_stream_do_not_count_twice(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(render_image.time, 'perf_counter', lambda: now[0])

  class Slow:
    def __array__(self, dtype=None, copy=None):
      now[0] += 2.0
      return np.zeros((4, 3))

  job = render_image.Job((8,), 4, lambda k: types.Rendering(rgb=Slow()))
  views = list(render_image.render_jobs([job] * 4))
  # Two chunks of 2 s each, although up to three are waited for at a time.
  assert sum(view.seconds for view in views) == 16.0


def test_views_are_rendered_ahead_in_the_order_they_are_expected_in():
  streams, ready = [], threading.Event()

  def stream(indices):
    streams.append(list(indices))
    for i in indices:
      if len(indices) > 1 and i == indices[1]:
        ready.set()
      yield render_image.View(types.Rendering(rgb=np.full((1, 1, 3), i)), 0.5)

  with render_image.Views(stream) as views:
    views.expect([4, 2, 7])
    assert views(4).rgb[0, 0, 0] == 4
    assert ready.wait(timeout=60)  # 2 was rendered, although not asked for
    assert views(9).rgb[0, 0, 0] == 9  # out of turn
    assert [views(i).rgb[0, 0, 0] for i in (2, 7, 4)] == [2, 7, 4]
  assert streams == [[4, 2, 7], [9], [4]]


def test_an_error_while_rendering_ahead_is_raised_where_it_is_asked_for():
  def stream(indices):
    for i in indices:
      if i == 1:
        raise FloatingPointError('bad view')
      yield render_image.View(types.Rendering(rgb=np.zeros((1, 1, 3))), 0.0)

  with render_image.Views(stream) as views:
    views.expect([0, 1])
    views(0)
    with pytest.raises(FloatingPointError, match='bad view'):
      views(1)


def test_a_plain_function_is_called_only_when_asked():
  asked = []

  def render(i):
    asked.append(i)
    return types.Rendering(rgb=np.zeros((1, 1, 3)))

  views = render_image.as_views(render)
  views.expect(range(3))
  assert not asked
  assert views.timed(2).seconds >= 0
  assert asked == [2]
  assert render_image.as_views(views) is views


def test_sharded_chunks_are_merged_on_the_host():
  job = render_image.Job(
    (7,),
    8,
    lambda k: types.Rendering(rgb=np.arange(24).reshape(2, 4, 3)),
    sharded=True,
  )
  (view,) = render_image.render_jobs([job])
  np.testing.assert_array_equal(view.rendering.rgb, np.arange(21).reshape(7, 3))


@pytest.mark.parametrize('num_devices', [1, 2, 8])
@pytest.mark.parametrize('limit', [100, 8192, 16384, 10**6])
@pytest.mark.parametrize('num_pixels', [1, 5000, 40000, 640000])
def test_chunks_are_full(num_pixels, limit, num_devices):
  size = render_image.choose_chunk(num_pixels, limit, num_devices)
  num_chunks = -(-num_pixels // size)
  assert size % num_devices == 0
  assert size < limit + num_devices
  # Less than one pixel for each device and chunk.
  assert num_chunks * size - num_pixels < num_chunks * num_devices


def test_a_known_size_is_used_again_where_it_wastes_little():
  first = render_image.choose_chunk(1000 * 1000, 16384)
  again = render_image.choose_chunk(1000 * 998, 16384, known={first, 99999})
  assert again == first
  assert render_image.choose_chunk(5000, 16384, known={first}) == 5000


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
