"""Whole images from a function that renders a fixed number of pixels.

An image is cut, row by row, into chunks of one fixed size, so that the
function is compiled once; only the last chunk is padded. While the devices
work on one chunk, the host prepares the next and stores the previous one.
"""

import math
from collections.abc import Callable, Iterator

import jax
import numpy as np

from multinerf import types

# Fixed, so that plots of different steps show the same rays.
_RAY_CHOICE_SEED = 0

# Flat pixels [chunk] -> flat rendering [chunk, ...] of the last level. It may
# return arrays that are still being computed.
RenderFn = Callable[[types.Pixels], types.Rendering]


def render_image(
  render_fn: RenderFn,
  pixels: types.Pixels,
  *,
  chunk_size: int,
  num_devices: int = 1,
  progress: Callable[[int, int], None] | None = None,
) -> types.Rendering:
  """Renders an image of any size in chunks of a fixed one.

  Args:
    render_fn: Renders a flat chunk. When it returns before its result is
      ready (JAX's normal way), the next chunk is handed over before the
      result is fetched.
    pixels: The image's pixels, leading shape [H, W] (or any other).
    chunk_size: Pixels per call, > 0; rounded up to a multiple of
      `num_devices`, and not larger than one image needs.
    num_devices: How many devices share a chunk.
    progress: Called as progress(chunks done, chunks in all) after each chunk.

  Returns:
    The rendering as numpy arrays with the leading shape of `pixels`; fields
    that `render_fn` leaves None stay None.

  Raises:
    ValueError: A size is not positive, there are no pixels, or `render_fn`
      returned another number of rays than it was given.
  """
  shape = tuple(np.shape(pixels.pix_x_int))
  total = math.prod(shape)
  if chunk_size < 1 or num_devices < 1 or total < 1:
    raise ValueError(
      f'chunk_size ({chunk_size}), num_devices ({num_devices}) and the number '
      f'of pixels ({total}) must be positive (gin: Config.render_chunk_size).'
    )
  size = math.ceil(min(chunk_size, total) / num_devices) * num_devices
  num_chunks = math.ceil(total / size)
  results = []
  for rendering in _one_ahead(map(render_fn, _chunks(pixels, shape, size))):
    results.append(jax.tree.map(lambda x: _fetch(x, size), rendering))
    if progress is not None:
      progress(len(results), num_chunks)

  def stitch(*parts):
    flat = np.concatenate(parts)[:total]
    return flat.reshape(shape + flat.shape[1:])

  return jax.tree.map(stitch, *results)


def choose_rays(pixels: types.Pixels, num_rays: int) -> types.Pixels:
  """Picks random pixels of an image, always the same ones, for ray plots.

  Rendering them with the sampling levels is a call of its own
  (`visualize.visualize_rays` draws the result), so that no chunk of an image
  has to carry samples which nobody looks at.

  Args:
    pixels: The image's pixels, leading shape [H, W].
    num_rays: How many (gin: Config.vis_num_rays); at most H * W are returned.

  Returns:
    Flat pixels [num_rays].
  """
  shape = tuple(np.shape(pixels.pix_x_int))
  order = np.random.default_rng(_RAY_CHOICE_SEED).permutation(math.prod(shape))
  keep = order[:num_rays]
  return jax.tree.map(lambda x: _flatten(x, shape)[keep], pixels)


def _chunks(
  pixels: types.Pixels, shape: tuple[int, ...], size: int
) -> Iterator[types.Pixels]:
  """Flat chunks of exactly `size` pixels; the last repeats its last pixel."""
  flat = jax.tree.map(lambda x: _flatten(x, shape), pixels)
  total = math.prod(shape)
  for start in range(0, total, size):
    index = np.minimum(np.arange(start, start + size), total - 1)
    yield jax.tree.map(lambda x, index=index: x[index], flat)


def _one_ahead(items: Iterator[types.Rendering]) -> Iterator[types.Rendering]:
  """Asks for item k + 1 before item k is handed out."""
  previous = next(items)
  for item in items:
    yield previous
    previous = item
  yield previous


def _flatten(x, shape: tuple[int, ...]) -> np.ndarray:
  """[*shape, ...] to [prod(shape), ...]."""
  x = np.asarray(x)
  return x.reshape((-1,) + x.shape[len(shape) :])


def _fetch(x, size: int) -> np.ndarray:
  """Waits for one array of a chunk and checks its length."""
  x = np.asarray(x)
  if x.shape[:1] != (size,):
    raise ValueError(
      f'render_fn was given {size} pixels and returned an array of shape '
      f'{x.shape}; the leading axis must be {size}.'
    )
  return x
