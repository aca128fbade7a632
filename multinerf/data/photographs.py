"""Posed photographs -> `Scene`: the stage all capture formats share.

A format's loader fills in `Photographs`; `make_scene` sorts, checks,
normalises, splits, and loads pixels at the resolution that is asked for.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from multinerf import errors
from multinerf.cameras import camera
from multinerf.data import base, photo_frames, photo_pixels, photo_set

Observations = photo_set.Observations
Photographs = photo_set.Photographs
PixelSource = photo_set.PixelSource
open_images = photo_pixels.open_images

OpenPixels = Callable[[base.DataConfig, Photographs], PixelSource]


def make_scene(
  cfg: base.DataConfig,
  split: str,
  photos: Photographs,
  open_pixels: OpenPixels = open_images,
) -> base.Scene:
  """Makes one split of a scene from what a format says about all of it.

  With Config.render_path the scene has all cameras of both splits and no
  pixels: enough to draw a camera path through.

  Args:
    cfg: Resolution, frame, split and supervision.
    split: 'train' or 'test'.
    photos: All posed photographs, in the input's frame at full size.
    open_pixels: Where colours come from; called with the photographs in their
      final order (raw images have their own).

  Returns:
    The split. `world_transform` takes points of the input to it; depths,
    points and keypoints are in its units.

  Raises:
    ConfigError: Options contradict each other.
    DataError: The photographs, or a file, are unusable; names it.
  """
  notes = photos.notes + photo_set.check(photos)
  if cfg.load_alphabetical:
    photos = photos.reordered(np.argsort(np.array(photos.names)))
  frame = photo_frames.normalize(cfg, photos)
  pixels = open_pixels(cfg, photos)
  every = _cameras(cfg, photos, frame, pixels)
  index = (
    np.arange(len(photos)) if cfg.render_path else split_of(cfg, photos, split)
  )
  cameras = every.take(index)
  loaded = {}
  if not cfg.render_path:
    loaded, more = _load_pixels(cfg, photos, frame, pixels, cameras, index)
    notes += pixels.notes + more
  points = photos.points
  if points is not None:
    points = photo_frames.move_points(frame, points)
  return base.Scene(
    name=photos.folder.resolve().name,
    split=split,
    cameras=cameras,
    image_names=tuple(photos.names[i] for i in index),
    points=points,
    depth_bounds=frame.bounds,
    notes=notes,
    world_transform=frame.world_transform,
    **({'images': None} | loaded),
  )


def split_of(
  cfg: base.DataConfig, photos: Photographs, split: str
) -> Int[np.ndarray, ' k']:
  """Which photographs belong to a split, ascending.

  The format's own test images, else every llffhold-th from the first;
  training has the rest, or all with llff_use_all_images_for_training.

  Raises:
    DataError: None do.
  """
  if photos.test_names is None:
    is_test = np.arange(len(photos)) % cfg.llffhold == 0
  else:
    is_test = np.array([name in photos.test_names for name in photos.names])
  if split == 'test':
    mine = is_test
  elif cfg.llff_use_all_images_for_training:
    mine = np.ones_like(is_test)
  else:
    mine = ~is_test
  if not mine.any():
    raise errors.DataError(
      f'{photos.folder}: none of the {len(photos)} posed images is in the '
      f'{split} split (gin: Config.llffhold, '
      'Config.llff_use_all_images_for_training).'
    )
  return np.flatnonzero(mine)


def _cameras(cfg, photos, frame, pixels) -> camera.Cameras:
  """Cameras of all photographs at the resolution that is used."""
  sizes = np.stack([pixels.widths, pixels.heights], -1)
  full = np.stack([photos.widths, photos.heights], -1)
  # By the true ratio of each axis: sizes need not be divisible by factor.
  stretch = np.concatenate([full / sizes, np.ones((len(photos), 1))], -1)
  pixtocams = photos.pixtocams * stretch[:, None, :]
  # A lens without distortion needs no undistortion.
  distortion = {
    k: v for k, v in (photos.distortion or {}).items() if np.any(v != 0)
  }
  return camera.make_cameras(
    pixtocams,
    frame.camtoworlds,
    widths=sizes[:, 0],
    heights=sizes[:, 1],
    near=cfg.near,
    far=cfg.far,
    distortion=distortion,
    pixtocam_ndc=pixtocams[0] if frame.ndc else None,
    exposure_values=photos.exposures,
    camtype=photos.camtype,
  )


def _load_pixels(cfg, photos, frame, pixels, cameras, index):
  """Fields of `Scene` that hold pixels, and notes."""
  masks, notes = photo_pixels.load_masks(cfg, photos, cameras, index)
  loaded = {
    'images': photo_pixels.load_colours(cfg, pixels, index),
    'masks': masks,
  }
  if cfg.depth_loss_mult > 0 and cfg.depth_source == 'maps':
    loaded['depths'] = photo_pixels.load_depths(
      cfg, photos, frame, cameras, index
    )
  elif cfg.depth_loss_mult > 0:
    loaded['keypoints'] = photo_frames.keypoints(
      photos, frame, cameras, index, masks
    )
  return loaded, notes
