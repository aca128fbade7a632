"""Colours, masks and depth images of posed photographs."""

import pathlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Num

from multinerf import errors
from multinerf.cameras import camera, projection
from multinerf.data import (
  base,
  images,
  photo_files,
  photo_frames,
  photo_set,
  pixel_cache,
  resize,
)
from multinerf.data import files as files_lib

# Pixels by which the files of images_<factor> may miss the exact quotient.
_SIZE_SLACK = 2


def open_images(
  cfg: base.DataConfig, photos: photo_set.Photographs
) -> photo_set.PixelSource:
  """Finds the files of the resolution that is used and reads their headers.

  With factor > 1 these are the files of `<folder>_<factor>` with the same
  path but for the extension (`photo_files.smaller_files`), if that folder
  exists; else full-size images, averaged down when read (colours as stored,
  as other tools do).

  Raises:
    DataError: Files are missing, ambiguous, no images, or of another size
      than their cameras.
  """
  factor = max(cfg.factor, 1)
  small = photo_files.smaller_files(photos, factor) if factor > 1 else None
  ready = small is not None
  files, notes = small if ready else (photos.files, ())
  if factor > 1 and not ready:
    notes = (
      f'Images of {photos.folder} are averaged down by {factor} in memory '
      f'(there is no images_{factor}).',
    )
  photo_files.require_files(files, photos.folder)
  heads = [images.read_header(f) for f in files]
  full = np.stack([photos.widths, photos.heights], -1)
  found = np.array([(h.width, h.height) for h in heads])
  if ready:
    _check_small(files, found, full, factor)
    sizes = found
  else:
    _check_full(files, found, full)
    sizes = np.maximum((2 * full + factor) // (2 * factor), 1)
  channels = max(h.channels for h in heads)
  dtype = np.uint16 if max(h.bits for h in heads) == 16 else np.uint8

  def read(i: int) -> np.ndarray:
    picture = images.read_image(files[i])
    picture = converted(picture, channels, dtype)
    return resize.area_average(picture, *map(int, sizes[i]))

  return photo_set.PixelSource(
    sizes[:, 0], sizes[:, 1], channels, dtype, read, notes, tuple(files)
  )


def load_colours(
  cfg: base.DataConfig, source: photo_set.PixelSource, index: np.ndarray
) -> base.PixelBuffer:
  """Reads the images at `index`, several at a time."""

  def load(k: int, targets: Mapping[str, np.ndarray]):
    targets['images'][...] = source.read(int(index[k]))

  return pixel_cache.build(
    (source.widths[index], source.heights[index]),
    {'images': pixel_cache.Kind(source.channels, source.dtype)},
    load,
    folder=cfg.pixel_cache_dir,
    origin=None if source.origin is None else ('colours', source.origin, index),
  )['images']


def load_masks(
  cfg: base.DataConfig,
  photos: photo_set.Photographs,
  cameras: camera.Cameras,
  index: np.ndarray,
) -> tuple[base.PixelBuffer | None, tuple[str, ...]]:
  """Masks of a split and what to say about them; None without any.

  Images without a mask keep all their pixels. A pixel of a smaller image is
  kept if all of the mask's pixels in it are.

  Raises:
    DataError: A mask is no image, of another size than its image, or keeps
      nothing; or none of the files in Config.mask_dir fits any image; or
      that folder, if it is not the default, does not exist.
  """
  files, keeps = photos.masks, photos.mask_keeps
  if files is None:
    files, keeps = photo_files.find_masks(cfg, photos), cfg.mask_keeps
  if not any(files):
    return None, ()
  full = np.stack([photos.widths, photos.heights], -1)

  def load(k: int, targets: Mapping[str, np.ndarray]):
    i, target = int(index[k]), targets['masks'][..., 0]
    target[...] = 1
    if files[i] is not None:
      size = (int(full[i, 0]), int(full[i, 1]))
      target[...] = _read_mask(files[i], keeps, size, target.shape)

  buffer = pixel_cache.build(
    (cameras.widths, cameras.heights),
    {'masks': pixel_cache.Kind(1, np.uint8)},
    load,
    folder=cfg.pixel_cache_dir,
    origin=('masks', tuple(files), keeps, full, index),
  )['masks']
  kept = sum(np.count_nonzero(buffer.image(k)) for k in range(len(buffer)))
  share = kept / len(buffer.values)
  number = sum(files[i] is not None for i in index)
  note = (
    f'Masks of {number} of {len(index)} images keep {share:.1%} of the pixels.'
  )
  return buffer, (note,)


def load_depths(
  cfg: base.DataConfig,
  photos: photo_set.Photographs,
  frame: photo_frames.SceneFrame,
  cameras: camera.Cameras,
  index: np.ndarray,
) -> base.PixelBuffer:
  """Measured ray parameters and weights (1, or 0 for unknown) of a split.

  Depths are taken from the pixel under the centre of the image's, never
  mixed: the mean of two sides of an edge is on neither.

  Raises:
    DataError: There are none, or a file is not a depth image.
  """
  files = photos.depths
  if files is None or not any(files):
    raise errors.DataError(
      f'{photos.folder} has no depth images; set Config.depth_loss_mult = 0, '
      "or Config.depth_source = 'points' if it has COLMAP points."
    )

  def load(k: int, targets: Mapping[str, np.ndarray]):
    target = targets['depths']
    target[...] = 0
    file = files[int(index[k])]
    if file is None:
      return
    depth = read_depth(file, cfg.depth_scale) * frame.scale
    depth = resize.nearest(depth, target.shape[1], target.shape[0])
    t = _along_rays(depth, frame, cameras, k, int(index[k]))
    valid = np.isfinite(t) & (t > 0) & (depth > 0)
    target[..., 0] = np.where(valid, t, 0)
    target[..., 1] = valid

  lenses = (cameras.pixtocams, cameras.camtype, cameras.distortion)
  scales = (cfg.depth_scale, frame.scale, frame.ndc)
  return pixel_cache.build(
    (cameras.widths, cameras.heights),
    {'depths': pixel_cache.Kind(2, np.float32)},
    load,
    folder=cfg.pixel_cache_dir,
    origin=('depths', files, scales, frame.camtoworlds, lenses, index),
  )['depths']


def read_depth(path: pathlib.Path, scale: float) -> np.ndarray:
  """[H, W] float64 depth in input units, 0 or not finite where unknown.

  Args:
    path: 16-bit PNG (times `scale`), 32-bit float TIFF or .npy.
    scale: Units of the input per step of a PNG.

  Raises:
    DataError: The file is missing or none of these.
  """
  suffix = path.suffix.lower()
  if suffix in ('.tif', '.tiff'):
    return images.read_tiff(path).astype(np.float64)
  if suffix == '.npy':
    return files_lib.read_npy(path, (None, None), finite=False)
  if images.read_header(path).bits != 16:
    raise errors.DataError(
      f'Depth image {path} has 8 bits; a 16-bit PNG, a 32-bit float TIFF or '
      '.npy is needed.'
    )
  return images.read_image(path)[..., 0] * float(scale)


def converted(
  picture: Num[np.ndarray, 'h w _'], channels: int, dtype: np.typing.DTypeLike
) -> Num[np.ndarray, 'h w c']:
  """Adds opacity or bits, so that all images are of one kind."""
  top = np.iinfo(dtype).max
  if picture.dtype != dtype:
    picture = picture.astype(dtype) * (top // np.iinfo(picture.dtype).max)
  if picture.shape[2] < channels:
    opaque = np.full((*picture.shape[:2], 1), top, dtype)
    picture = np.concatenate([picture, opaque], -1)
  return picture


def _check_full(files, found, full):
  """Raises unless full-size files have their cameras' sizes."""
  for i in np.flatnonzero((found != full).any(-1))[:1]:
    turned = tuple(found[i]) == tuple(full[i][::-1])
    why = (
      ' It seems to be turned by its EXIF orientation, which COLMAP and '
      'multinerf ignore.'
      if turned
      else ' Was it resized after the poses were found?'
    )
    raise errors.DataError(
      f'{files[i]} is {found[i][0]}x{found[i][1]}, but its camera '
      f'{full[i][0]}x{full[i][1]}.{why}'
    )


def _check_small(files, found, full, factor):
  """Raises unless smaller files have about full size / factor."""
  wrong = np.abs(found - full / factor) > _SIZE_SLACK
  for i in np.flatnonzero(wrong.any(-1))[:1]:
    raise errors.DataError(
      f'{files[i]} is {found[i][0]}x{found[i][1]}; its camera of '
      f'{full[i][0]}x{full[i][1]} at 1/{factor} size needs '
      f'{round(full[i][0] / factor)}x{round(full[i][1] / factor)}. Remove the '
      'folder to average images down in memory (gin: Config.factor).'
    )


def _read_mask(path, keeps, full, shape) -> np.ndarray:
  """Bool mask at the size that is used; `shape` is (height, width)."""
  picture = images.read_image(path)
  value = picture[..., :3].max(-1)
  size = value.shape[::-1]
  if size not in (full, shape[::-1]):
    raise errors.DataError(
      f'Mask {path} is {size[0]}x{size[1]}, its image {full[0]}x{full[1]} '
      '(gin: Config.mask_dir).'
    )
  keep = value > 0 if keeps == 'white' else value == 0
  if not keep.any():
    raise errors.DataError(
      f'Mask {path} keeps no pixel; is its meaning inverted '
      '(gin: Config.mask_keeps)?'
    )
  return resize.all_covered(keep, shape[1], shape[0])


def _along_rays(depth, frame, cameras, k, i) -> np.ndarray:
  """Depth along the optical axis [H, W] to the rays' t, both scene units."""
  perspective = cameras.camtype is camera.ProjectionType.PERSPECTIVE
  if perspective and not frame.ndc:
    return depth
  one = cameras.take(k)
  x, y = projection.pixel_coordinates(*depth.shape[::-1])
  rays = projection.pixels_to_rays(
    x,
    y,
    one.pixtocams[0].astype(np.float64),
    frame.camtoworlds[i],
    distortion=one.distortion,
    camtype=cameras.camtype,
  )
  # How much depth one unit of t adds; not positive beyond 90 degrees.
  gain = -rays.directions @ frame.camtoworlds[i][:, 2]
  with np.errstate(divide='ignore', invalid='ignore'):
    t = np.where(gain > 0, depth / gain, 0)
    if frame.ndc:
      points = rays.origins + t[..., None] * rays.directions
      t = np.where(points[..., 2] < 0, photo_frames.ndc_t(points), 0)
  return t
