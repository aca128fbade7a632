"""Which pixels to train on at each step: a pure function of (seed, step).

The sampler has no state between calls, so a resumed run goes on with exactly
the batches it would have seen, in any process, and skipping steps is free.
A batch costs O(batch): nothing is shuffled, stacked or converted.
"""

import dataclasses

import numpy as np
from jaxtyping import Int

from multinerf import errors, types
from multinerf.data import base, keypoints, positions, resident


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
    opaque_ray_fraction: At least this share of a batch, in [0, 1], is drawn
      from pixels of an opacity above 0, if the images have opacities.
    depth_source: 'maps' reads depths at the drawn pixels; 'points' draws
      `depth_ray_fraction` of the batch from the scene's keypoints.
    depth_ray_fraction: See `depth_source`.
    depth_loss_mult, normal_loss_mult: If positive, the scene must have what
      these losses compare with.
    compute_disp_metrics, compute_normal_metrics: If set, it must have what
      these statistics of training compare with.
    apply_bayer_mask: Weigh only the channel that a camera with an RGGB mosaic
      measured at each pixel.
  """

  batch_size: int = 16384
  batching: str = 'all_images'
  patch_size: int = 1
  num_border_pixels_to_mask: int = 0
  np_rng_seed: int = 20201473
  opaque_ray_fraction: float = 0.0
  depth_source: str = 'maps'
  depth_ray_fraction: float = 0.25
  depth_loss_mult: float = 0.0
  normal_loss_mult: float = 0.0
  compute_disp_metrics: bool = False
  compute_normal_metrics: bool = False
  apply_bayer_mask: bool = False


@dataclasses.dataclass(frozen=True)
class _Draw:
  """The patches of a batch: image, left column, top row, each [n].

  keypoint: [n] number of the keypoint a ray goes through, -1 for none; or None
    where depths do not come from keypoints.
  """

  image: Int[np.ndarray, ' n']
  left: Int[np.ndarray, ' n']
  top: Int[np.ndarray, ' n']
  keypoint: Int[np.ndarray, ' n'] | None = None

  def part(self, rows: slice) -> '_Draw':
    fields = (self.image, self.left, self.top, self.keypoint)
    return _Draw(*(None if x is None else x[rows] for x in fields))


class RaySampler:
  """Draws training batches: step -> `types.Batch` of numpy arrays.

  Patches are uniform over all positions, of all images, at which they lie
  inside the image less its border and hold no masked pixel; images of different
  sizes get their share, an image without any valid position gets none. With
  patch_size 1 every valid pixel is equally likely.

  With an opaque_ray_fraction this share of the rays, evenly spread over the
  batch, is uniform over the pixels (of all images, or of the batch's) in which
  something was seen; the others are drawn as ever.

  With depth_source 'points' and a scene that has keypoints, a share of the rays
  goes through these instead, uniform over all of them (or over those of the
  batch's image), and only these rays have depths.

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
    _check_supervision(scene, cfg)
    self.tables = resident.of_scene(scene, cfg.depth_source)
    self._cfg = cfg
    self._num_patches = cfg.batch_size // cfg.patch_size**2
    self._positions = positions.find(
      scene, cfg.patch_size, cfg.num_border_pixels_to_mask
    )
    self._opaque = None
    if cfg.opaque_ray_fraction > 0:
      self._opaque = positions.find_opaque(scene, cfg.num_border_pixels_to_mask)
    self._keypoints = None
    if cfg.depth_source == 'points' and scene.keypoints is not None:
      self._keypoints = keypoints.find(
        scene,
        cfg.batch_size,
        cfg.depth_ray_fraction,
        cfg.num_border_pixels_to_mask,
      )

  def batch(
    self, step: int, *, process_index: int = 0, process_count: int = 1
  ) -> types.Batch:
    """The batch of one step, or one process's share of it; see `places`.

    Returns:
      numpy arrays of the shapes of `places`; colours as stored.
    """
    where = self.places(
      step, process_index=process_index, process_count=process_count
    )
    return resident.fill(where, self.tables)

  def two_pixels(self) -> types.Pixels:
    """Two pixels [2, ...] of the first batch, with all fields that it has."""
    pixels = self.places(0).pixels
    batch_ndim = pixels.pix_x_int.ndim
    first_two = lambda x: x.reshape((-1,) + x.shape[batch_ndim:])[:2]
    return types.Pixels(
      **{
        k: None if x is None else first_two(x) for k, x in vars(pixels).items()
      }
    )

  def places(
    self, step: int, *, process_index: int = 0, process_count: int = 1
  ) -> types.Batch:
    """The batch of one step without what the images hold there.

    `resident.fill` adds that, here or on a device.

    Every process draws the same global batch and keeps its slice, so the
    slices in process order are the global batch of a single process.

    Args:
      step: The step, >= 0.
      process_index: Which slice, in [0, process_count).
      process_count: Into how many slices the batch is cut.

    Returns:
      numpy arrays with leading shape [b] for single pixels or [n, p, p] for
      n = b / p^2 patches of p x p, where b = batch_size / process_count.

    Raises:
      ConfigError: The patches cannot be shared out evenly.
    """
    if self._num_patches % process_count:
      raise errors.ConfigError(
        f'{self._num_patches} patches (batch_size / patch_size^2) cannot be '
        f'divided over {process_count} processes; change '
        'Config.batch_size or Config.patch_size.'
      )
    share = self._num_patches // process_count
    mine = slice(process_index * share, (process_index + 1) * share)
    return self._places(self._draw(step).part(mine))

  def _draw(self, step: int) -> _Draw:
    """The global batch."""
    key = np.array([self._cfg.np_rng_seed % 2**64, step], np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key))
    one = None
    if self._cfg.batching == 'all_images':
      image, at = self._positions.draw(generator, self._num_patches)
    else:
      one, _ = self._positions.draw(generator, None)
      at = self._positions.draw_in(generator, one, self._num_patches)
      image = np.full(self._num_patches, one)
    if self._opaque is not None:
      self._draw_opaque(generator, one, image, at)
    left, top = self._positions.corner(image, at)
    if self._keypoints is None:
      return _Draw(image, left, top)
    chosen = self._keypoints.draw(generator, one)
    points, places = self._keypoints.points, self._keypoints.places
    places = places[: len(chosen)]  # none of an image without keypoints
    image[places] = points.cam_idx[chosen]
    left[places], top[places] = points.x[chosen], points.y[chosen]
    keypoint = np.full(self._num_patches, -1)
    keypoint[places] = chosen
    return _Draw(image, left, top, keypoint)

  def _draw_opaque(self, generator, one, image, at):
    """Replaces a share of the places; none if image `one` has no such pixel."""
    count = round(self._cfg.opaque_ray_fraction * self._num_patches)
    places = keypoints.spread(count, self._num_patches)
    if one is None:
      image[places], at[places] = self._opaque.draw(generator, count)
    elif self._opaque.has(one):
      at[places] = self._opaque.draw_in(generator, one, count)

  def _places(self, draw: _Draw) -> types.Batch:
    """All pixels of the patches, and what is known without the images."""
    image, left, top = draw.image, draw.left, draw.top
    if self._cfg.patch_size > 1:
      offsets = np.arange(self._cfg.patch_size)
      image = image[:, None, None]
      left = left[:, None, None] + offsets[None, None, :]
      top = top[:, None, None] + offsets[None, :, None]
      image, left, top = np.broadcast_arrays(image, left, top)

    depths = depth_weights = None
    if draw.keypoint is not None:
      known, points = draw.keypoint >= 0, self._keypoints.points
      depths = np.where(known, points.depths[draw.keypoint], 0)
      depth_weights = np.where(known, points.weights[draw.keypoint], 0)
    lossmult = bayer_mask(left, top) if self._cfg.apply_bayer_mask else None
    return types.Batch(
      pixels=types.Pixels(
        pix_x_int=left.astype(np.int32),
        pix_y_int=top.astype(np.int32),
        cam_idx=image[..., None].astype(np.int32),
        lossmult=lossmult,
      ),
      depths=depths,
      depth_weights=depth_weights,
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
  if not 0 <= cfg.opaque_ray_fraction <= 1:
    raise errors.ConfigError(
      f'Config.opaque_ray_fraction = {cfg.opaque_ray_fraction} is not in '
      '[0, 1].'
    )
  if cfg.opaque_ray_fraction > 0 and cfg.patch_size > 1:
    raise errors.ConfigError(
      f'Config.opaque_ray_fraction = {cfg.opaque_ray_fraction} draws single '
      f'pixels; it needs Config.patch_size = 1, not {cfg.patch_size}.'
    )
  if cfg.depth_source == 'points' and cfg.patch_size > 1:
    raise errors.ConfigError(
      "Config.depth_source = 'points' draws single pixels; it needs "
      f'Config.patch_size = 1, not {cfg.patch_size}.'
    )


def _check_supervision(scene: base.Scene, cfg: SamplerConfig):
  """Raises ConfigError if a loss is on whose targets the scene lacks."""
  if cfg.depth_loss_mult > 0:
    points = cfg.depth_source == 'points'
    if (scene.keypoints if points else scene.depths) is None:
      raise errors.ConfigError(
        f'Config.depth_loss_mult = {cfg.depth_loss_mult} needs depths with '
        f'Config.depth_source = {cfg.depth_source!r}, which scene '
        f"{scene.name!r} does not have. 'maps' come from the loaders blender "
        'and synthetic (<image>_disp.tiff) and transforms (depth images), '
        "'points' from captures with structure from motion (llff)."
      )
    if points and round(cfg.depth_ray_fraction * cfg.batch_size) == 0:
      raise errors.ConfigError(
        f'Config.depth_ray_fraction = {cfg.depth_ray_fraction} leaves no ray '
        f'of {cfg.batch_size} with a depth, yet Config.depth_loss_mult is '
        f'{cfg.depth_loss_mult}.'
      )
  if cfg.normal_loss_mult > 0 and scene.normals is None:
    raise errors.ConfigError(
      f'Config.normal_loss_mult = {cfg.normal_loss_mult} needs normals, which '
      f'scene {scene.name!r} does not have; the loaders blender and synthetic '
      'read <image>_normal.png.'
    )
  _check_metrics(scene, cfg)


def _check_metrics(scene: base.Scene, cfg: SamplerConfig):
  """Raises ConfigError if a metric is on whose truth the scene lacks."""
  for option, kinds in (
    ('compute_disp_metrics', ('disps',)),
    # Opacity says how much the normal of a pixel counts.
    ('compute_normal_metrics', ('normals', 'alphas')),
  ):
    lacking = [kind for kind in kinds if getattr(scene, kind) is None]
    if getattr(cfg, option) and lacking:
      raise errors.ConfigError(
        f'Config.{option} = True needs {" and ".join(lacking)} of the training '
        f'images, which scene {scene.name!r} does not have; set it to False. '
        'The loaders blender and synthetic read <image>_disp.tiff and '
        '<image>_normal.png.'
      )
