"""Multi-scale Blender scenes: every view at four resolutions.

mip-NeRF (arXiv:2103.13415), section 5.2: images at 1, 1/2, 1/4 and 1/8 of
their size are trained and measured together. Rays are drawn uniformly from
the pixels of all scales, and the loss of a pixel is weighted with the area it
covers in units of full-size pixels (1, 4, 16, 64), so that a scale counts as
much as another.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from multinerf import errors
from multinerf.cameras import camera
from multinerf.data import (
  base,
  blender,
  images,
  json_fields,
  multiscale,
  photo_files,
  photo_pixels,
  pixel_cache,
  resize,
)

FILE = 'metadata.json'
NUM_SCALES = 4
_LISTS = ('file_path', 'cam2world', 'pix2cam', 'width', 'height')
# mip-NeRF's pix2cam looks along -z with y up; ours along z with y down.
_OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0])


@base.SCENES.register('multicam')
def load_multicam(cfg: base.DataConfig, split: str) -> base.Scene:
  """Loads one split of a multi-scale scene.

  From the images that metadata.json lists (as the conversion script of
  google/mipnerf writes them, with bounds per image), or, where there is none,
  from a Blender scene whose images are averaged down in memory. The latter
  differ from the former at edges: opacity is taken into account here. Images
  are in the order of the views, each from large to small.

  Raises:
    ConfigError: A camera path was asked for, or a factor, or ground truth,
      which metadata.json has not.
    DataError: A file is missing, malformed, unreadable or of another size.
  """
  folder = base.scene_folder(cfg)
  if (folder / FILE).exists():
    return _load_metadata(cfg, folder, split)
  if not (folder / f'transforms_{split}.json').exists():
    raise errors.DataError(
      f'{folder} has neither {FILE} nor transforms_{split}.json, one of which '
      'the multicam loader needs (gin: Config.data_dir).'
    )
  scene = blender.load_blender(cfg, split)
  return pyramid(scene, cache=cfg.pixel_cache_dir)


def pyramid(
  scene: base.Scene, num_scales: int = NUM_SCALES, *, cache: str | None = None
) -> base.Scene:
  """Every image of a scene at 1, 1/2, 1/4, ... of its size.

  Areas are averaged; the number of cameras becomes num_scales times as large,
  with `lossmult` 1, 4, 16, ... (times what it was). `cache` is the folder of
  `pixel_cache.build`.

  Raises:
    DataError: A size is not divisible.
  """
  largest = 2 ** (num_scales - 1)
  widths = np.asarray(scene.cameras.widths)
  heights = np.asarray(scene.cameras.heights)
  for i in np.flatnonzero((widths % largest != 0) | (heights % largest != 0)):
    raise errors.DataError(
      f'{scene.image_names[i]} is {widths[i]}x{heights[i]}; to be seen at '
      f'{num_scales} scales its sides must be divisible by {largest} '
      '(gin: Config.factor, Config.dataset_loader).'
    )
  cameras = scene.cameras.take(np.repeat(np.arange(len(scene)), num_scales))
  scale = np.tile(2 ** np.arange(num_scales), len(scene))
  before = 1.0 if cameras.lossmult is None else cameras.lossmult
  cameras = cameras.replace(
    pixtocams=multiscale.with_pixel_size(cameras.pixtocams, scale),
    widths=(cameras.widths // scale).astype(np.int32),
    heights=(cameras.heights // scale).astype(np.int32),
    lossmult=(before * scale**2).astype(np.float32),
  )
  buffers = {
    kind: _shrunk(getattr(scene, kind), cameras, num_scales, cache)
    for kind in ('images', 'disps', 'normals', 'alphas')
    if getattr(scene, kind) is not None
  }
  names = [
    f'{pathlib.PurePath(name).with_suffix("")}_d{k}{pathlib.PurePath(name).suffix}'
    for name in scene.image_names
    for k in range(num_scales)
  ]
  return dataclasses.replace(
    scene,
    cameras=cameras,
    image_names=tuple(names),
    scales=tuple(scale.tolist()),
    **buffers,
  )


def _shrunk(
  buffer: base.PixelBuffer,
  cameras: camera.Cameras,
  num_scales: int,
  cache: str | None,
) -> base.PixelBuffer:
  """The images of a buffer at the sizes of the cameras."""

  def shrink(i: int, targets: Mapping[str, np.ndarray]):
    target = targets['scales']
    height, width = target.shape[:2]
    full = buffer.image(i // num_scales)
    target[...] = resize.area_average(full, width, height)

  return pixel_cache.build(
    (cameras.widths, cameras.heights),
    {'scales': pixel_cache.Kind(buffer.values.shape[1], buffer.values.dtype)},
    shrink,
    folder=cache,
    origin=pixel_cache.derived(buffer, 'pyramid'),
  )['scales']


def _load_metadata(
  cfg: base.DataConfig, folder: pathlib.Path, split: str
) -> base.Scene:
  """The images that metadata.json lists."""
  _refuse_options(cfg)
  path = folder / FILE
  meta = json_fields.read(path, hint='the multicam loader needs it')
  where = f'{path}: {split}'
  listed = json_fields.need(meta, split, dict, path)
  lists = {k: json_fields.need(listed, k, list, where) for k in _LISTS}
  num = len(lists['file_path'])
  if not num:
    raise errors.DataError(f'{where} lists no images; one is needed at least.')
  files = [
    json_fields.path_below(folder, _text(name, where), where)
    for name in lists['file_path']
  ]
  sizes = np.stack(
    [
      json_fields.array(lists[key], (num,), key, where)
      for key in ('width', 'height')
    ],
    -1,
  )
  pix2cam = json_fields.array(lists['pix2cam'], (num, 3, 3), 'pix2cam', where)
  poses = json_fields.array(lists['cam2world'], (num, 4, 4), 'cam2world', where)
  near = _numbers(listed, 'near', num, where, cfg.near)
  far = _numbers(listed, 'far', num, where, cfg.far)
  for i in np.flatnonzero((near < 0) | (near >= far))[:1]:
    raise errors.DataError(
      f'{where}: near = {near[i]:g} and far = {far[i]:g} of {files[i].name} '
      'are not 0 <= near < far.'
    )
  lossmult = _numbers(listed, 'lossmult', num, where, 1.0)
  if (lossmult < 0).any():
    raise errors.DataError(f'{where}: lossmult must not be negative.')
  colours = _read_images(files, sizes, path, cfg.pixel_cache_dir)
  return base.Scene(
    name=folder.resolve().name,
    split=split,
    cameras=camera.make_cameras(
      _OPENGL_TO_OPENCV @ pix2cam,
      poses,
      widths=sizes[:, 0],
      heights=sizes[:, 1],
      near=near,
      far=far,
      lossmult=lossmult,
    ),
    image_names=tuple(f.name for f in files),
    images=colours,
    scales=_scales(sizes),
  )


def _scales(sizes: np.ndarray) -> tuple[int, ...]:
  """How many times smaller each image is than the largest; sizes are [n, 2]."""
  scales = np.rint(sizes.max(axis=0) / sizes).min(axis=1)
  return tuple(scales.astype(int).tolist())


def _refuse_options(cfg: base.DataConfig):
  """Raises for options that the listed images cannot serve."""
  if cfg.render_path:
    raise errors.ConfigError(
      'The multicam loader has no camera path; set Config.render_path = False '
      'to render the test views.'
    )
  if cfg.factor > 1:
    raise errors.ConfigError(
      f'{FILE} lists images at all scales already, so Config.factor = '
      f'{cfg.factor} does not apply; set Config.factor = 0.'
    )
  for name in ('compute_disp_metrics', 'compute_normal_metrics', 'use_tiffs'):
    if getattr(cfg, name):
      raise errors.ConfigError(
        f'{FILE} lists colour images only; set Config.{name} = False.'
      )


def _text(name: Any, where: str) -> str:
  if not isinstance(name, str):
    raise errors.DataError(
      f'{where}: file_path holds {str(name)[:40]!r}, not a file name.'
    )
  return name


def _numbers(
  listed: dict[str, Any], key: str, num: int, where: str, default: float
) -> np.ndarray:
  """A list of `num` numbers, or the default for all."""
  if listed.get(key) is None:
    return np.full(num, default)
  return json_fields.array(listed[key], (num,), key, where)


def _read_images(
  files: Sequence[pathlib.Path],
  sizes: np.ndarray,
  path: pathlib.Path,
  cache: str | None,
) -> base.PixelBuffer:
  """Colours as stored, of the sizes that metadata.json gives."""
  photo_files.require_files(files, path.parent)
  heads = [images.read_header(file) for file in files]
  for file, head, size in zip(files, heads, sizes, strict=True):
    if (head.width, head.height) != tuple(size):
      raise errors.DataError(
        f'{file} is {head.width}x{head.height}, but {path} says '
        f'{size[0]:g}x{size[1]:g}.'
      )
  channels = max(head.channels for head in heads)
  dtype = np.uint16 if max(head.bits for head in heads) == 16 else np.uint8

  def load(i: int, targets: Mapping[str, np.ndarray]):
    picture = images.read_image(files[i])
    targets['images'][...] = photo_pixels.converted(picture, channels, dtype)

  return pixel_cache.build(
    tuple(sizes.astype(np.int64).T),
    {'images': pixel_cache.Kind(channels, dtype)},
    load,
    folder=cache,
    origin=('multicam', tuple(files)),
  )['images']
