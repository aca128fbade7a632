"""Whole images from a function that renders a fixed number of pixels.

An image is cut, row by row, into equal chunks, so that one program serves all
of them and at most a handful of pixels is rendered twice. The devices have work
waiting at any time: chunks are started some ahead of the one that is fetched,
those of the next image before the last ones of an image have arrived, and a
thread copies their values to the host while later chunks are computed.
"""

import collections
import concurrent.futures
import dataclasses
import math
import time
from collections.abc import (
  Callable,
  Collection,
  Iterable,
  Iterator,
  Sequence,
)

import jax
import numpy as np

from multinerf import parallel, types
from multinerf.data import prefetch

# Fixed, so that plots of different steps show the same rays.
_RAY_CHOICE_SEED = 0
# Chunks started beyond the one that is waited for. One would do if the host
# were never late; each keeps only its results in memory.
_AHEAD = 2
# Images that may wait to be used, the one being rendered included.
_WAITING = 2
# A program that is there is used again if it wastes no more than this part.
_TOLERATED_PADDING = 0.03

# Flat pixels [chunk] -> flat rendering [chunk, ...] of the last level. It may
# return arrays that are still being computed.
RenderFn = Callable[[types.Pixels], types.Rendering]


@dataclasses.dataclass(frozen=True)
class Job:
  """One image, as chunks that can be started one after the other.

  Attributes:
    shape: Leading shape of the image, [H, W] or any other.
    size: Pixels in a chunk; the last one is filled up.
    start: Chunk number -> its rendering, flat, or [devices, size / devices]
      if `sharded`. It may still be being computed.
    sharded: See `start`.
  """

  shape: tuple[int, ...]
  size: int
  start: Callable[[int], types.Rendering]
  sharded: bool = False

  @property
  def num_chunks(self) -> int:
    """How many chunks there are."""
    return math.ceil(math.prod(self.shape) / self.size)


@dataclasses.dataclass(frozen=True)
class View:
  """A rendered image.

  Attributes:
    rendering: numpy arrays [*shape, ...].
    seconds: Sum over its chunks: from when a chunk was started or, if that was
      later, the chunk before it had arrived, to when it had arrived.
  """

  rendering: types.Rendering
  seconds: float


class Views:
  """Renders view i when called with i, or has rendered it already.

  A thread starts with `expect` and ends with the `with` block.

  Args:
    stream: Renders the images of these numbers, in order.
    ahead: Whether to make use of what `expect` says.
  """

  def __init__(
    self,
    stream: Callable[[Sequence[int]], Iterator[View]],
    *,
    ahead: bool = True,
  ):
    self._stream = stream
    self._ahead = ahead
    self._expected: list[int] = []  # the next one last
    self._prefetcher: prefetch.Prefetcher[View] | None = None

  def __enter__(self) -> 'Views':
    return self

  def __exit__(self, *exc_info):
    self.close()

  def expect(self, indices: Sequence[int]) -> None:
    """Says which views will be asked for, in this order, from now on."""
    self.close()
    if self._ahead and indices:
      self._expected = list(indices)[::-1]
      images = self._stream(list(indices))
      self._prefetcher = prefetch.Prefetcher(
        lambda _: next(images, None), queue_size=_WAITING
      )

  def timed(self, index: int) -> View:
    """View `index`, with the time that rendering it took."""
    if self._prefetcher is not None and self._expected[-1:] == [index]:
      self._expected.pop()
      return next(self._prefetcher)
    (view,) = self._stream([index])
    return view

  def __call__(self, index: int) -> types.Rendering:
    """View `index`, numpy [H, W, ...]."""
    return self.timed(index).rendering

  def close(self) -> None:
    """Ends the thread, after the image it is at."""
    if self._prefetcher is not None:
      self._prefetcher.close()
      self._prefetcher = None


def as_views(render_view: Callable[[int], types.Rendering]) -> Views:
  """Returns `Views` as they are; any other function is called when asked."""
  if isinstance(render_view, Views):
    return render_view

  def stream(indices: Sequence[int]) -> Iterator[View]:
    for i in indices:
      start = time.perf_counter()
      rendering = render_view(i)
      yield View(rendering, time.perf_counter() - start)

  return Views(stream, ahead=False)


def choose_chunk(
  num_pixels: int,
  limit: int,
  num_devices: int = 1,
  known: Collection[int] = (),
) -> int:
  """Pixels per chunk, such that the chunks of an image are full.

  Args:
    num_pixels: Of the image.
    limit: Most pixels of a chunk (gin: Config.render_chunk_size), but for
      rounding up to a multiple of `num_devices`.
    num_devices: How many devices share a chunk.
    known: Sizes that programs exist for; one of them is preferred if hardly
      any pixel is rendered twice, so that images of many sizes do not need as
      many programs.

  Raises:
    ValueError: A number is not positive.
  """
  if limit < 1 or num_devices < 1 or num_pixels < 1:
    raise ValueError(
      f'chunk_size ({limit}), num_devices ({num_devices}) and the number '
      f'of pixels ({num_pixels}) must be positive '
      '(gin: Config.render_chunk_size).'
    )
  limit = math.ceil(limit / num_devices) * num_devices

  def padding(size):
    return math.ceil(num_pixels / size) * size / num_pixels - 1

  good = [
    size
    for size in known
    if size <= limit
    and size % num_devices == 0
    and padding(size) <= _TOLERATED_PADDING
  ]
  if good:
    return max(good)
  num_chunks = math.ceil(num_pixels / limit)
  return math.ceil(num_pixels / num_chunks / num_devices) * num_devices


def render_image(
  render_fn: RenderFn,
  pixels: types.Pixels,
  *,
  chunk_size: int,
  num_devices: int = 1,
  progress: Callable[[int, int], None] | None = None,
) -> types.Rendering:
  """Renders an image of any size in equal chunks.

  Args:
    render_fn: Renders a flat chunk. When it returns before its result is
      ready (JAX's normal way), the next chunks are handed over before the
      result is fetched.
    pixels: The image's pixels, leading shape [H, W] (or any other).
    chunk_size: Most pixels per call, > 0, rounded up to a multiple of
      `num_devices`.
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
  size = choose_chunk(total, chunk_size, num_devices)
  flat = jax.tree.map(lambda x: _flatten(x, shape), pixels)

  def start(k: int) -> types.Rendering:
    # The last chunk repeats the last pixel.
    index = np.minimum(np.arange(k * size, (k + 1) * size), total - 1)
    return render_fn(jax.tree.map(lambda x: x[index], flat))

  (view,) = render_jobs([Job(shape, size, start)], progress=progress)
  return view.rendering


def render_jobs(
  jobs: Iterable[Job],
  *,
  progress: Callable[[int, int], None] | None = None,
) -> Iterator[View]:
  """Renders images one after the other without a pause between them.

  Args:
    jobs: The images. The next one is asked for, and its first chunks are
      started, before the last chunks of an image are fetched.
    progress: Called as progress(chunks done, chunks in all) after each chunk
      of an image.

  Yields:
    The images, in order. Nothing is started while the caller does something
    else, but what was started goes on.

  Raises:
    ValueError: A chunk has not as many rays as it should.
  """
  flying: collections.deque[tuple[Job, concurrent.futures.Future]]
  flying = collections.deque()
  landed: list[tuple[types.Rendering, float]] = []
  fetch = _Fetcher()

  def land() -> View | None:
    job, future = flying.popleft()
    landed.append(future.result())
    if progress is not None:
      progress(len(landed), job.num_chunks)
    if len(landed) < job.num_chunks:
      return None
    parts, seconds = zip(*landed, strict=True)
    landed.clear()
    return View(_stitch(parts, job.shape), sum(seconds))

  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    for job in jobs:
      for k in range(job.num_chunks):
        started = time.perf_counter()
        chunk = job.start(k)
        flying.append((job, pool.submit(fetch, job, started, chunk)))
        if len(flying) > _AHEAD:
          view = land()
          if view is not None:
            yield view
    while flying:
      view = land()
      if view is not None:
        yield view


class _Fetcher:
  """Fetches chunks, and notes how long each took; for use by one thread."""

  def __init__(self):
    self._complete = -math.inf  # when the chunk before was

  def __call__(
    self, job: Job, started: float, chunk: types.Rendering
  ) -> tuple[types.Rendering, float]:
    """The chunk on the host, and the seconds since it was its turn."""
    chunk = jax.tree.map(lambda x: _fetch(x, job), chunk)
    now = time.perf_counter()
    seconds = now - max(started, self._complete)
    self._complete = now
    return chunk, seconds


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


def _stitch(
  parts: Sequence[types.Rendering], shape: tuple[int, ...]
) -> types.Rendering:
  """Chunks to an image; the filling of the last one is dropped."""

  def join(*arrays):
    flat = np.concatenate(arrays)[: math.prod(shape)]
    return flat.reshape(shape + flat.shape[1:])

  return jax.tree.map(join, *parts)


def _flatten(x, shape: tuple[int, ...]) -> np.ndarray:
  """[*shape, ...] to [prod(shape), ...]."""
  x = np.asarray(x)
  return x.reshape((-1,) + x.shape[len(shape) :])


def _fetch(x, job: Job) -> np.ndarray:
  """Waits for one array of a chunk and checks its length."""
  x = parallel.fetch(x) if job.sharded else np.asarray(x)
  if x.shape[:1] != (job.size,):
    raise ValueError(
      f'render_fn was given {job.size} pixels and returned an array of shape '
      f'{x.shape}; the leading axis must be {job.size}.'
    )
  return x
