"""Scenes in the format of the NeRF synthetic data set (Blender exports).

`transforms_{train,test}.json` gives one horizontal field of view and a pose
per image; images are RGBA and are seen over white. The folder may come from a
stranger: nothing in it is executed, sizes are checked before pixels are
decoded, and each fault is one line that names the file.
"""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Num

from multinerf import errors
from multinerf.cameras import camera, projection
from multinerf.data import base, disparity, images, json_fields, pixel_cache
from multinerf.data import normals as normal_images
from multinerf.ops import color

_IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg')


@dataclasses.dataclass(frozen=True)
class _Transforms:
  """What a transforms file says, checked.

  Attributes:
    path: The file.
    stems: n image paths without extension.
    files: n image paths.
    camtoworlds: [n, 4, 4].
    camera_angle_x: Horizontal field of view, radians, in (0, pi).
  """

  path: pathlib.Path
  stems: tuple[pathlib.Path, ...]
  files: tuple[pathlib.Path, ...]
  camtoworlds: np.ndarray
  camera_angle_x: float


@base.SCENES.register('blender')
def load_blender(cfg: base.DataConfig, split: str) -> base.Scene:
  """Loads one split of a Blender scene; poses are taken as they are.

  Colours stay RGBA as stored. With `factor` > 1 they become uint16 RGB over
  white, with `use_tiffs` float32 RGB over white.

  Raises:
    ConfigError: A camera path was asked for, which this format has not.
    DataError: A file is missing, malformed, unreadable or of another size.
  """
  if cfg.render_path:
    raise errors.ConfigError(
      'The blender loader has no camera path; set Config.render_path = False '
      'to render the test views.'
    )
  folder = base.scene_folder(cfg)
  transforms = _read_transforms(folder, split)
  # Supervision is for training; held-out views may lack it.
  train = split == 'train'
  with_normals = cfg.compute_normal_metrics or (
    train and cfg.normal_loss_mult > 0
  )
  with_depths = train and cfg.depth_loss_mult > 0 and cfg.depth_source == 'maps'
  if cfg.use_tiffs:
    colours, alphas = _load_tiffs(cfg, transforms)
  else:
    colours, alphas = _load_pngs(cfg, transforms, with_normals or with_depths)
  width, height = int(colours.widths[0]), int(colours.heights[0])
  focal = 0.5 * width / math.tan(0.5 * transforms.camera_angle_x)
  disps = depths = normals = None
  if cfg.compute_disp_metrics:
    disps = _load_disps(cfg, transforms, colours)
  if with_depths:  # before the normals, which may zero alphas
    depths = _load_disps(cfg, transforms, colours, alphas)
  if with_normals:
    normals, alphas = _load_normals(cfg, transforms, colours, alphas)
  return base.Scene(
    name=folder.resolve().name,
    split=split,
    cameras=camera.make_cameras(
      projection.get_pixtocam(focal, float(width), float(height)),
      transforms.camtoworlds,
      widths=width,
      heights=height,
      near=cfg.near,
      far=cfg.far,
    ),
    image_names=tuple(f.name for f in transforms.files),
    images=colours,
    disps=disps,
    normals=normals,
    alphas=alphas if with_normals else None,
    depths=depths,
  )


def _read_transforms(folder: pathlib.Path, split: str) -> _Transforms:
  """Reads and checks transforms_{split}.json."""
  path = folder / f'transforms_{split}.json'
  meta = json_fields.read(
    path,
    hint='the blender loader needs it '
    '(gin: Config.data_dir, Config.dataset_loader)',
  )
  json_fields.need(meta, 'camera_angle_x', (int, float), path)
  angle = json_fields.angle(meta, 'camera_angle_x', path)
  frames = json_fields.need(meta, 'frames', list, path)
  if not frames:
    raise errors.DataError(f'{path} lists no frames; one is needed at least.')
  stems, files, poses = [], [], []
  for i, frame in enumerate(frames):
    where = f'{path}, frame {i}'
    file_path = json_fields.need(frame, 'file_path', str, where)
    stem, file = _resolve(folder, file_path, where)
    stems.append(stem)
    files.append(file)
    matrix = json_fields.need(frame, 'transform_matrix', list, where)
    where = f'{where} ({file_path})'
    poses.append(json_fields.array(matrix, (4, 4), 'transform_matrix', where))
  return _Transforms(path, tuple(stems), tuple(files), np.stack(poses), angle)


def _resolve(
  folder: pathlib.Path, file_path: str, where: str
) -> tuple[pathlib.Path, pathlib.Path]:
  """Path without and with extension, for a file_path with or without one."""
  path = json_fields.path_below(folder, file_path, where)
  if path.suffix.lower() in _IMAGE_SUFFIXES:
    return path.with_suffix(''), path
  candidates = [path.with_name(path.name + s) for s in _IMAGE_SUFFIXES]
  found = [c for c in candidates if c.exists()]
  return path, (found or candidates)[0]


def _check_exist(files: Sequence[pathlib.Path], what: str, fix: str):
  """Raises if files are missing: how many, and the first one's name."""
  missing = [f for f in files if not f.exists()]
  if missing:
    raise errors.DataError(
      f'{len(missing)} of {len(files)} {what} are missing, the first is '
      f'{missing[0]}; {fix}.'
    )


def _check_size(path, width, height, reference, want_width, want_height):
  if (width, height) != (want_width, want_height):
    raise errors.DataError(
      f'{path} is {width}x{height}, but {reference} is '
      f'{want_width}x{want_height}; all images of a split need one size.'
    )


def _reduced(cfg: base.DataConfig, width: int, height: int, path) -> list[int]:
  """Size after division by `factor`, which must leave no rest."""
  factor = max(cfg.factor, 1)
  if width % factor or height % factor:
    raise errors.DataError(
      f'{path} is {width}x{height}, not divisible by the down-sampling factor '
      f'{factor} (gin: Config.factor).'
    )
  return [width // factor, height // factor]


def _build(
  cfg, num, size, kinds: dict[str, tuple[int, Any]], load, origin
) -> dict[str, base.PixelBuffer]:
  """`pixel_cache.build` for images of one size."""
  return pixel_cache.build(
    ([size[0]] * num, [size[1]] * num),
    {name: pixel_cache.Kind(*kind) for name, kind in kinds.items()},
    load,
    folder=cfg.pixel_cache_dir,
    origin=('blender', cfg.factor, *origin),
  )


def _load_pngs(
  cfg: base.DataConfig, transforms: _Transforms, with_alphas: bool
) -> tuple[base.PixelBuffer, base.PixelBuffer | None]:
  """Colours, and opacity if asked for; decoded in place."""
  files, num = transforms.files, len(transforms.files)
  _check_exist(
    files,
    f'images of {transforms.path}',
    'complete the folder (gin: Config.data_dir)',
  )
  headers = [images.read_header(f) for f in files]
  first = headers[0]
  for file, head in zip(files, headers, strict=True):
    _check_size(
      file, head.width, head.height, files[0], first.width, first.height
    )
  size = _reduced(cfg, first.width, first.height, files[0])
  channels = max(h.channels for h in headers)
  dtype = np.uint16 if max(h.bits for h in headers) == 16 else np.uint8
  kinds = {'images': (3, np.uint16) if cfg.factor > 1 else (channels, dtype)}
  if with_alphas:
    kinds['alphas'] = (1, np.float32)

  def load(i: int, targets: Mapping[str, np.ndarray]):
    picture = images.read_image(files[i])
    target = targets['images']
    if cfg.factor > 1:
      full = color.downsample(_as_float(picture), cfg.factor)
      target[...] = np.floor(_over_white(full) * 65535 + 0.5)
    else:
      full = _as_float(picture) if with_alphas else picture
      scale = 257 if target.dtype.itemsize > picture.dtype.itemsize else 1
      target[..., : picture.shape[2]] = picture.astype(target.dtype) * scale
      target[..., picture.shape[2] :] = np.iinfo(target.dtype).max
    if with_alphas:
      targets['alphas'][...] = full[..., 3:] if full.shape[2] == 4 else 1

  found = _build(cfg, num, size, kinds, load, files)
  return found['images'], found.get('alphas')


def _load_tiffs(
  cfg: base.DataConfig, transforms: _Transforms
) -> tuple[base.PixelBuffer, base.PixelBuffer]:
  """Linear float channels, sRGB-encoded (opacity too) and put over white."""
  files = [
    [stem.with_name(f'{stem.name}_{c}.tiff') for c in 'RGBA']
    for stem in transforms.stems
  ]
  _check_exist(
    [f for four in files for f in four],
    f'TIFF images of {transforms.path}',
    'set Config.use_tiffs = False to read PNG files',
  )
  first = images.read_tiff(files[0][0])
  height, width = first.shape
  size = _reduced(cfg, width, height, files[0][0])
  kinds = {'images': (3, np.float32), 'alphas': (1, np.float32)}

  def load(i: int, targets: Mapping[str, np.ndarray]):
    planes = [
      _read_plane(f, files[0][0], (height, width), cfg.factor) for f in files[i]
    ]
    encoded = color.linear_to_srgb(np.concatenate(planes, -1), xnp=np)
    targets['images'][...] = _over_white(encoded)
    targets['alphas'][...] = encoded[..., 3:]

  found = _build(cfg, len(files), size, kinds, load, files)
  return found['images'], found['alphas']


def _read_plane(path, reference, shape, factor) -> np.ndarray:
  """One float channel [H, W, 1] of the given size before down-sampling."""
  plane = images.read_tiff(path)
  height, width = plane.shape
  _check_size(path, width, height, reference, *shape[::-1])
  if not np.isfinite(plane).all():
    raise errors.DataError(f'{path} holds values that are not finite.')
  plane = plane[..., None]
  return color.downsample(plane, factor) if factor > 1 else plane


def _load_disps(cfg, transforms, colours, alphas=None) -> base.PixelBuffer:
  """Disparity images `<file>_disp.tiff`; as depths if given `alphas`."""
  files = [s.with_name(f'{s.name}_disp.tiff') for s in transforms.stems]
  _check_exist(
    files,
    f'disparity images of {transforms.path}',
    'set Config.compute_disp_metrics = False, Config.depth_loss_mult = 0',
  )
  factor = max(cfg.factor, 1)
  shape = (int(colours.heights[0]) * factor, int(colours.widths[0]) * factor)
  size = (int(colours.widths[0]), int(colours.heights[0]))
  channels = 1 if alphas is None else 2

  def load(i: int, targets: Mapping[str, np.ndarray]):
    file, reference = files[i], transforms.files[i]
    if alphas is None:
      targets['disps'][...] = _read_plane(file, reference, shape, factor)
    else:
      plane = _read_plane(file, reference, shape, 1)
      targets['disps'][...] = disparity.to_depth(plane, alphas.image(i), factor)

  kinds = {'disps': (channels, np.float32)}
  origin = (files, transforms.files if alphas is not None else None)
  return _build(cfg, len(files), size, kinds, load, origin)['disps']


def _load_normals(
  cfg, transforms, colours, alphas
) -> tuple[base.PixelBuffer, base.PixelBuffer]:
  """World-space normals; and alphas, 0 where a file has lost the normals."""
  files = [normal_images.find(stem) for stem in transforms.stems]
  _check_exist(
    files,
    f'normal images of {transforms.path}',
    'set Config.compute_normal_metrics = False, Config.normal_loss_mult = 0',
  )
  factor = max(cfg.factor, 1)
  size = (int(colours.widths[0]), int(colours.heights[0]))
  full = (size[0] * factor, size[1] * factor)

  def load(i: int, targets: Mapping[str, np.ndarray]):
    picture = _as_float(images.read_image(files[i]))[..., :3]
    height, width = picture.shape[:2]
    _check_size(files[i], width, height, transforms.files[i], *full)
    decoded = normal_images.decode(picture, files[i])
    if factor > 1:
      decoded = color.downsample(decoded, factor)
    targets['normals'][...] = decoded[..., :3]
    targets['alphas'][...] = alphas.image(i) * decoded[..., 3:]

  kinds = {'normals': (3, np.float32), 'alphas': (1, np.float32)}
  origin = (files, transforms.files)
  found = _build(cfg, len(files), size, kinds, load, origin)
  return found['normals'], found['alphas']


def _as_float(
  picture: Num[np.ndarray, 'h w c'],
) -> Float32[np.ndarray, 'h w c']:
  """Integers of 8 or 16 bits to [0, 1]."""
  return picture.astype(np.float32) / np.iinfo(picture.dtype).max


def _over_white(picture: np.ndarray) -> np.ndarray:
  """RGB of straight RGBA over white; RGB unchanged."""
  if picture.shape[-1] == 3:
    return picture
  alpha = picture[..., 3:]
  return picture[..., :3] * alpha + (1 - alpha)
