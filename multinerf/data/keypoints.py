"""Which rays of a batch go through points of known depth, and which points."""

import dataclasses

import numpy as np
from jaxtyping import Int

from multinerf import errors
from multinerf.data import base


@dataclasses.dataclass(frozen=True)
class KeypointRays:
  """Draws keypoints for the same places of every batch.

  Attributes:
    points: Those that may be drawn, in the order of their images.
    first: [n + 1] where each image's begin.
    places: [k] rays of the global batch that are drawn from them, evenly
      spread: each run of b of its B rays has k b / B of them, rounded up or
      down, so that devices and processes get equal shares.
  """

  points: base.Keypoints
  first: Int[np.ndarray, ' n1']
  places: Int[np.ndarray, ' k']

  def draw(
    self, generator: np.random.Generator, image: int | np.integer | None = None
  ) -> Int[np.ndarray, ' drawn']:
    """Numbers of keypoints, one per place, uniform over those of `image`.

    Args:
      generator: Random numbers.
      image: None: of all images. Of an image that has none, none are drawn.
    """
    start, end = 0, self.first[-1]
    if image is not None:
      start, end = self.first[image], self.first[image + 1]
    if start == end:
      return np.zeros(0, np.int64)
    return generator.integers(start, end, size=len(self.places))


def spread(count: int, num_rays: int) -> Int[np.ndarray, ' count']:
  """`count` places of `num_rays`, evenly spread.

  Each run of b of the rays has count b / num_rays of them, rounded up or down.
  """
  return np.arange(count) * num_rays // max(count, 1)


def find(
  scene: base.Scene, num_rays: int, fraction: float, border: int
) -> KeypointRays | None:
  """Chooses places in the batch, and keypoints that may be trained on.

  Args:
    scene: With keypoints.
    num_rays: Rays of the global batch.
    fraction: Share of them, in [0, 1], to draw from keypoints.
    border: Pixels along each edge that are never drawn.

  Returns:
    None if the fraction rounds to no ray.

  Raises:
    ConfigError: Masks and border leave no keypoint.
  """
  count = round(fraction * num_rays)
  if count == 0:
    return None
  points = scene.keypoints
  cam_idx, x, y = points.cam_idx, points.x, points.y
  widths, heights = scene.images.widths[cam_idx], scene.images.heights[cam_idx]
  keep = np.minimum(x, y) >= border
  keep &= (x < widths - border) & (y < heights - border)
  if scene.masks is not None:
    keep &= scene.masks.at(cam_idx, x, y)[..., 0] != 0
  if not keep.any():
    raise errors.ConfigError(
      f'Scene {scene.name!r} has {len(keep)} keypoints with a depth, none of '
      'them on a pixel that may be drawn (gin: Config.depth_source, '
      'Config.mask_dir, Config.mask_keeps, Config.num_border_pixels_to_mask).'
    )
  chosen = np.flatnonzero(keep)
  chosen = chosen[np.argsort(cam_idx[chosen], kind='stable')]
  counts = np.bincount(cam_idx[chosen], minlength=len(scene))
  return KeypointRays(
    base.Keypoints(
      *(getattr(points, f.name)[chosen] for f in dataclasses.fields(points))
    ),
    np.concatenate([[0], np.cumsum(counts)]),
    spread(count, num_rays),
  )
