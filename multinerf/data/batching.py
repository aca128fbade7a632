"""Which pixels to train on at each step: a pure function of (seed, step).

The sampler has no state between calls, so a resumed run goes on with exactly
the batches it would have seen, in any process, and skipping steps is free.
A batch costs O(batch): nothing is shuffled, stacked or converted.
"""

import dataclasses

import numpy as np
from jaxtyping import Int

from multinerf import errors, types
from multinerf.data import base


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
  """How training pixels are drawn; names and defaults are those of `Config`.

  Attributes:
    batch_size: Rays per step over all devices and processes.
    batching: 'all_images' draws the image of every patch independently,
      'single_image' takes one random image per batch.
    patch_size: Side p of the square patches, pixels; 1 = single pixels.
    num_border_pixels_to_mask: This many pixels along each edge of an image
      are never drawn.
    np_rng_seed: Seed of the draws.
    depth_source: 'maps' reads depths at the drawn pixels; 'points' draws
      `depth_ray_fraction` of the batch from the scene's keypoints.
    depth_ray_fraction: See `depth_source`.
    apply_bayer_mask: Weigh only the channel that a camera with an RGGB mosaic
      measured at each pixel.
  """

  batch_size: int = 16384
  batching: str = 'all_images'
  patch_size: int = 1
  num_border_pixels_to_mask: int = 0
  np_rng_seed: int = 20201473
  depth_source: str = 'maps'
  depth_ray_fraction: float = 0.25
  apply_bayer_mask: bool = False


class RaySampler:
  """Draws training batches: step -> `types.Batch` of numpy arrays.

  Patches are uniform over all positions, of all images, at which they lie
  inside the image less its border; images of different sizes get their share.
  With patch_size 1 every valid pixel is equally likely.

  Args:
    scene: A split that has images.
    cfg: How to draw.

  Raises:
    ConfigError: An option does not fit the others or the images.
  """

  def __init__(self, scene: base.Scene, cfg: SamplerConfig):
    if scene.images is None:
      raise errors.ConfigError(
        f'Scene {scene.name!r} has no images to train on '
        '(gin: Config.render_path, Config.data_dir).'
      )
    _check_options(cfg)
    self._scene = scene
    self._images = scene.images
    self._cfg = cfg
    self._num_patches = cfg.batch_size // cfg.patch_size**2
    lost = 2 * cfg.num_border_pixels_to_mask + cfg.patch_size - 1
    self._columns = self._images.widths.astype(np.int64) - lost
    rows = self._images.heights.astype(np.int64) - lost
    for i in np.flatnonzero(np.minimum(self._columns, rows) < 1)[:1]:
      raise errors.ConfigError(
        f'Image {scene.image_names[i]} ({self._images.widths[i]}x'
        f'{self._images.heights[i]}) has no room for a patch of '
        f'{cfg.patch_size} pixels inside a border of '
        f'{cfg.num_border_pixels_to_mask} (gin: Config.patch_size, '
        'Config.num_border_pixels_to_mask).'
      )
    # Position k of all images together belongs to the image i with
    # first[i] <= k < first[i + 1].
    room = self._columns * rows
    self._first = np.concatenate([[0], np.cumsum(room)])
    self._even = bool((room == room[0]).all())

  def batch(
    self, step: int, *, process_index: int = 0, process_count: int = 1
  ) -> types.Batch:
    """The batch of one step, or one process's share of it.

    Every process draws the same global batch and keeps its slice, so the
    slices in process order are the global batch of a single process.

    Args:
      step: The step, >= 0.
      process_index: Which slice, in [0, process_count).
      process_count: Into how many slices the batch is cut.

    Returns:
      numpy arrays with leading shape [b] for single pixels or [n, p, p] for
      n = b / p^2 patches of p x p, where b = batch_size / process_count;
      colours as stored.

    Raises:
      ConfigError: The patches cannot be shared out evenly.
    """
    if self._num_patches % process_count:
      raise errors.ConfigError(
        f'{self._num_patches} patches (batch_size / patch_size^2) cannot be '
        f'divided over {process_count} processes; change '
        'Config.batch_size or Config.patch_size.'
      )
    image, left, top = self._draw(step)
    share = self._num_patches // process_count
    mine = slice(process_index * share, (process_index + 1) * share)
    return self._gather(image[mine], left[mine], top[mine])

  def _draw(
    self, step: int
  ) -> tuple[
    Int[np.ndarray, ' n'], Int[np.ndarray, ' n'], Int[np.ndarray, ' n']
  ]:
    """Image, left column and top row of every patch of the global batch."""
    key = np.array([self._cfg.np_rng_seed % 2**64, step], np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key))
    if self._cfg.batching == 'all_images':
      at = generator.integers(self._first[-1], size=self._num_patches)
      image = self._image_of(at)
      at -= self._first[image]
    else:
      anywhere = generator.integers(self._first[-1])
      one = self._image_of(anywhere)
      room = self._first[one + 1] - self._first[one]
      at = generator.integers(room, size=self._num_patches)
      image = np.full(self._num_patches, one)
    border = self._cfg.num_border_pixels_to_mask
    top, left = np.divmod(at, self._columns[image])
    return image, left + border, top + border

  def _image_of(self, at):
    """The image that position `at` of all images together belongs to."""
    if self._even:  # of images of one size: a division is cheaper
      return at // self._first[1]
    return np.searchsorted(self._first, at, side='right') - 1

  def _gather(self, image, left, top) -> types.Batch:
    """Reads what the scene holds at the patches' pixels."""
    if self._cfg.patch_size > 1:
      offsets = np.arange(self._cfg.patch_size)
      image = image[:, None, None]
      left = left[:, None, None] + offsets[None, None, :]
      top = top[:, None, None] + offsets[None, :, None]
      image, left, top = np.broadcast_arrays(image, left, top)

    def at(buffer):
      return None if buffer is None else buffer.at(image, left, top)

    def scalar(values):
      return None if values is None else values[..., 0]

    scene = self._scene
    lossmult = bayer_mask(left, top) if self._cfg.apply_bayer_mask else None
    return types.Batch(
      pixels=types.Pixels(
        pix_x_int=left.astype(np.int32),
        pix_y_int=top.astype(np.int32),
        cam_idx=image[..., None].astype(np.int32),
        lossmult=lossmult,
      ),
      rgb=at(self._images),
      disps=scalar(at(scene.disps)),
      normals=at(scene.normals),
      alphas=scalar(at(scene.alphas)),
    )


def bayer_mask(
  x: Int[np.ndarray, '*batch'], y: Int[np.ndarray, '*batch']
) -> np.ndarray:
  """[..., 3] float32: 1 for the channel an RGGB mosaic measures, else 0.

  Red where x and y are even, blue where both are odd, green elsewhere
  (RawNeRF, arXiv:2111.13679).
  """
  x, y = x % 2, y % 2
  return np.stack([(1 - x) * (1 - y), x ^ y, x * y], -1).astype(np.float32)


def _check_options(cfg: SamplerConfig):
  """Raises ConfigError for values that no scene could be sampled with."""
  if cfg.batching not in ('all_images', 'single_image'):
    raise errors.ConfigError(
      f'Unknown batching {cfg.batching!r}; known: all_images, single_image '
      '(gin: Config.batching).'
    )
  for name in ('batch_size', 'patch_size'):
    if getattr(cfg, name) < 1:
      raise errors.ConfigError(
        f'Config.{name} is {getattr(cfg, name)}; it must be at least 1.'
      )
  if cfg.num_border_pixels_to_mask < 0:
    raise errors.ConfigError(
      'Config.num_border_pixels_to_mask is '
      f'{cfg.num_border_pixels_to_mask}; it must not be negative.'
    )
  if cfg.batch_size % cfg.patch_size**2:
    raise errors.ConfigError(
      f'Config.batch_size = {cfg.batch_size} is not a multiple of '
      f'patch_size^2 = {cfg.patch_size**2} (gin: Config.patch_size).'
    )
