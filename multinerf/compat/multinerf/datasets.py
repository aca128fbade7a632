"""Names of `internal/datasets.py`: data sets as classes.

A subclass sets the images and cameras in one hook:

  @datasets.register('my_set')
  class MySet(datasets.Dataset):
    def _load_renderings(self, config):
      self.images = ...       # [n, H, W, 3] in [0, 1]
      self.camtoworlds = ...  # [n, 3, 4]
      self.pixtocams = ...    # [3, 3] or [n, 3, 3]
      self.height, self.width = self.images.shape[1:3]

`Config.dataset_loader = 'my_set'` then trains on it like on any other scene:
`register` puts an adapter into `data.base.SCENES`.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from multinerf import errors, parallel, registry, types
from multinerf.cameras import camera, projection
from multinerf.compat.multinerf import camera_utils, utils
from multinerf.config import views
from multinerf.data import base, batching
from multinerf.ops import color

DATASETS: registry.Registry[type['Dataset']] = registry.Registry(
  'dataset class', 'Config.dataset_loader'
)
# What the hook must set; without images only on a render path.
_REQUIRED = ('images', 'camtoworlds', 'pixtocams', 'height', 'width')


class UnknownOptionError(errors.ConfigError, AttributeError):
  """A data set asked for an option that loaders do not get."""


class LoaderOptions:
  """`DataConfig`, as the `config` of a registered data set.

  Loaders see the options of data only; another one is an error that says so.
  """

  def __init__(self, cfg: base.DataConfig):
    self._cfg = cfg

  def __getattr__(self, name: str) -> Any:
    if name.startswith('_') or not hasattr(self._cfg, name):
      raise UnknownOptionError(
        f'Config.{name} is not among the options that data sets get: '
        f'{", ".join(f.name for f in dataclasses.fields(self._cfg))}.'
      )
    return getattr(self._cfg, name)


class Dataset:
  """Views of a scene; a subclass loads them in `_load_renderings(config)`.

  The hook must set images [n, H, W, 3 or 4] (floats in [0, 1] or uint8),
  camtoworlds [n, 3, 4], pixtocams [3, 3] or [n, 3, 3], height and width. It
  may set focal, distortion_params, pixtocam_ndc, camtype, near, far,
  disp_images [n, H, W], normal_images [n, H, W, 3], alphas [n, H, W],
  exposures [n], metadata (exposure_idx and exposure_values [n], cam2rgb and
  exposure), image_names and colmap_to_world_transform.

  Iterating gives training batches without end, sharded to [devices, patches,
  p, p, ...] with p = patch_size, or test images one after another, again and
  again. There is no thread: for speed train with `Trainer`, which prefetches.

  Args:
    split: 'train' or 'test'.
    data_dir: Folder of the scene.
    config: Options: `configs.Config`, or what a registered loader gets.

  Raises:
    DataError: The hook left something out, or it does not fit together.
  """

  images: Any
  camtoworlds: Any
  pixtocams: Any
  metadata: Any

  def __init__(self, split: str, data_dir: str | None, config: Any):
    self.split = utils.DataSplit(split)
    self.data_dir = data_dir
    self.near, self.far = config.near, config.far
    self.render_path = config.render_path
    self.camtype = camera.ProjectionType.PERSPECTIVE
    self.images = self.camtoworlds = self.pixtocams = None
    self.height = self.width = self.focal = None
    self.distortion_params = self.pixtocam_ndc = self.poses = None
    self.disp_images = self.normal_images = self.alphas = None
    self.exposures = self.metadata = self.image_names = None
    self.colmap_to_world_transform = np.eye(4)
    self._use_tiffs = config.use_tiffs
    self._load_disps = config.compute_disp_metrics
    self._load_normals = config.compute_normal_metrics
    self._config = config
    self._sampler: batching.RaySampler | None = None  # made when needed
    self._position = 0  # steps, or images, handed out so far
    self._load_renderings(config)
    self._scene = self._make_scene()
    base.validate_scene(self._scene, source=data_dir or type(self).__name__)

  def _load_renderings(self, config: Any) -> None:
    """Reads images and cameras; every subclass has its own."""
    raise NotImplementedError(
      f'{type(self).__name__} must define _load_renderings(self, config).'
    )

  def _make_scene(self) -> base.Scene:
    """What the hook has set, as data of this package."""
    return _to_scene(self)

  @property
  def scene(self) -> base.Scene:
    """The same as data of this package."""
    return self._scene

  @property
  def size(self) -> int:
    """Number of views."""
    return len(self._scene)

  @property
  def n_examples(self) -> int:
    """Number of views."""
    return len(self._scene)

  @property
  def cameras(self) -> tuple[Any, Any, Any, Any]:
    """(pixtocams, camtoworlds, distortion_params, pixtocam_ndc)."""
    return (
      np.asarray(self.pixtocams, np.float32),
      np.asarray(self.camtoworlds, np.float32)[:, :3],
      self.distortion_params,
      self.pixtocam_ndc,
    )

  def __iter__(self) -> Iterator[utils.Batch]:
    return self

  def __next__(self) -> utils.Batch:
    batch = self.peek()
    self._position += 1
    return batch

  def peek(self) -> utils.Batch:
    """The next batch, which stays the next one."""
    if self.split is utils.DataSplit.TEST:
      return self.generate_ray_batch(self._position % self.size)
    if self._sampler is None:
      self._sampler = batching.RaySampler(
        self._scene, views.view(self._config, batching.SamplerConfig)
      )
    batch = self._sampler.batch(
      self._position,
      process_index=parallel.process_index(),
      process_count=parallel.process_count(),
    )
    if batch.pixels.pix_x_int.ndim == 1:  # upstream's patches of one pixel
      batch = jax.tree.map(lambda x: x[:, None, None], batch)
    batch = self._cast(batch, cast=not self._config.cast_rays_in_train_step)
    return utils.shard(batch)

  def generate_ray_batch(self, cam_idx: int) -> utils.Batch:
    """All rays [H, W] of one view, with what its images hold."""
    scene = self._scene
    image = lambda kind: None if kind is None else kind.image(cam_idx)
    flat = lambda kind: None if kind is None else kind.image(cam_idx)[..., 0]
    batch = types.Batch(
      pixels=projection.image_pixels(scene.cameras, cam_idx),
      rgb=image(scene.images),
      disps=flat(scene.disps),
      normals=image(scene.normals),
      alphas=flat(scene.alphas),
    )
    return self._cast(batch, cast=True)

  def _cast(self, batch: types.Batch, cast: bool) -> utils.Batch:
    """A batch of pixels as upstream has it: all values given, colours float."""
    pixels, cameras = batch.pixels, self._scene.cameras
    cam_idx = pixels.cam_idx

    def own(values):
      if values is None:
        return None
      return (
        values[cam_idx] if np.ndim(values) else np.full(cam_idx.shape, values)
      )

    lossmult = pixels.lossmult
    if lossmult is None:
      lossmult = own(cameras.lossmult)
    if lossmult is None:
      lossmult = np.ones(cam_idx.shape, np.float32)
    rays = utils.Pixels(
      pixels.pix_x_int,
      pixels.pix_y_int,
      lossmult=lossmult,
      near=own(cameras.near),
      far=own(cameras.far),
      cam_idx=cam_idx,
      exposure_idx=own(cameras.exposure_idx),
      exposure_values=own(cameras.exposure_values),
    )
    if cast:
      rays = camera_utils.cast_ray_batch(self.cameras, rays, self.camtype)
      rays = jax.tree.map(_no_float64, rays)
    return utils.Batch(
      rays,
      None if batch.rgb is None else self._decode(batch.rgb),
      batch.disps,
      batch.normals,
      batch.alphas,
      depths=batch.depths,
      depth_weights=batch.depth_weights,
    )

  def _decode(self, stored: np.ndarray) -> np.ndarray:
    """Float colours; what a hook gives as opacity stays, as upstream."""
    top = np.iinfo(stored.dtype).max if stored.dtype.kind == 'u' else 1
    return stored.astype(np.float32) / top


class _SceneDataset(Dataset):
  """A scene of one of the package's loaders in this form."""

  def _load_renderings(self, config):
    cfg = views.view(config, base.DataConfig)
    scene = base.load_scene(cfg, self.split.value)
    cameras = scene.cameras
    self._loaded = scene
    self.images = _stacked(scene.images, self._decode)
    self.disp_images = _stacked(scene.disps)
    self.normal_images = _stacked(scene.normals)
    self.alphas = _stacked(scene.alphas)
    self.camtoworlds, self.pixtocams = cameras.camtoworlds, cameras.pixtocams
    self.height, self.width = int(cameras.heights[0]), int(cameras.widths[0])
    self.focal = 1.0 / float(cameras.pixtocams[0, 0, 0])
    self.distortion_params = cameras.distortion
    self.pixtocam_ndc, self.camtype = cameras.pixtocam_ndc, cameras.camtype
    self.near, self.far = cameras.near, cameras.far
    self.image_names = scene.image_names
    self.colmap_to_world_transform = scene.world_transform

  def _make_scene(self):
    return self._loaded

  def _decode(self, stored):
    return np.asarray(color.decode_rgb(stored))  # over white


def register(name: str, dataset_class: type[Dataset] | None = None) -> Any:
  """Makes a data set known as `Config.dataset_loader = name`.

  Either `register('my_set', MySet)`, or `@register('my_set')` above the class.

  Args:
    name: What the gin file says.
    dataset_class: A subclass of `Dataset`.

  Raises:
    ConfigError: Another loader has that name.
  """
  if dataset_class is None:
    return lambda cls: register(name, cls)
  if name in DATASETS.names() and DATASETS.get(name) is dataset_class:
    return dataset_class
  base.SCENES.register(name)(as_loader(dataset_class))
  return DATASETS.register(name)(dataset_class)


def as_loader(dataset_class: type[Dataset]) -> base.SceneLoader:
  """A data set class as a loader function of this package."""

  def load(cfg: base.DataConfig, split: str) -> base.Scene:
    return dataset_class(split, cfg.data_dir, LoaderOptions(cfg)).scene

  return load


def load_dataset(split: str, train_dir: str | None, config: Any) -> Dataset:
  """The data set that the config names.

  Args:
    split: 'train' or 'test'.
    train_dir: Folder of the scene.
    config: `configs.Config`; its `data_dir` is not looked at.

  Raises:
    ConfigError: There is no such loader.
    DataError: The data are missing or wrong.
  """
  name = config.dataset_loader
  if name in DATASETS.names():
    return DATASETS.get(name)(split, train_dir, config)
  return _SceneDataset(
    split, train_dir, dataclasses.replace(config, data_dir=train_dir)
  )


def _to_scene(dataset: Dataset) -> base.Scene:
  """What a hook has set, checked.

  Raises:
    DataError: Something is missing or does not fit.
  """
  who = type(dataset).__name__
  missing = [name for name in _REQUIRED if getattr(dataset, name) is None]
  if dataset.render_path and 'images' in missing:
    missing.remove('images')
  if missing:
    raise errors.DataError(
      f'{who}._load_renderings did not set self.{", self.".join(missing)}.'
    )
  metadata = dataset.metadata or {}
  num = len(dataset.camtoworlds)
  cameras = camera.make_cameras(
    dataset.pixtocams,
    dataset.camtoworlds,
    widths=dataset.width,
    heights=dataset.height,
    near=dataset.near,
    far=dataset.far,
    distortion=dataset.distortion_params,
    pixtocam_ndc=dataset.pixtocam_ndc,
    exposure_idx=metadata.get('exposure_idx'),
    exposure_values=metadata.get('exposure_values', dataset.exposures),
    camtype=dataset.camtype,
  )
  names = dataset.image_names or [f'{i:03d}' for i in range(num)]
  # On a render path the cameras are others than those of the images.
  seen = not dataset.render_path
  kind = lambda name: _buffer(dataset, name) if seen else None
  return base.Scene(
    name=os.path.basename(os.path.normpath(dataset.data_dir or who)),
    split=dataset.split.value,
    cameras=cameras,
    image_names=tuple(map(str, names)),
    images=kind('images'),
    disps=kind('disp_images'),
    normals=kind('normal_images'),
    alphas=kind('alphas'),
    raw=_raw_display(metadata),
    world_transform=np.asarray(dataset.colmap_to_world_transform, np.float64),
  )


def _buffer(dataset: Dataset, name: str) -> base.PixelBuffer | None:
  """The images of one attribute; a missing last axis is one channel."""
  values = getattr(dataset, name)
  if values is None:
    return None
  pictures = [_no_float64(np.asarray(x)) for x in values]
  bad = {p.dtype.name for p in pictures} - {'uint8', 'uint16', 'float32'}
  if bad or {p.ndim for p in pictures} - {2, 3}:
    found = sorted({(p.dtype.name, p.shape) for p in pictures})
    raise errors.DataError(
      f'{type(dataset).__name__}: self.{name} must be images [n, H, W, c] of '
      f'floats, uint8 or uint16; found {found}.'
    )
  return base.PixelBuffer.from_images(
    [p[..., None] if p.ndim == 2 else p for p in pictures]
  )


def _raw_display(metadata: Mapping[str, Any]) -> base.RawDisplay | None:
  """How to show raw images, if the hook said so."""
  if 'cam2rgb' not in metadata or 'exposure' not in metadata:
    return None
  matrix = np.asarray(metadata['cam2rgb'], np.float64)
  return base.RawDisplay(
    cam2rgb=matrix[0] if matrix.ndim == 3 else matrix,
    exposure=float(metadata['exposure']),
    exposure_levels=dict(metadata.get('exposure_levels', {})),
  )


def _stacked(buffer: base.PixelBuffer | None, decode: Any = np.asarray) -> Any:
  """[n, H, W, c], a list where sizes differ; single channels lose the axis."""
  if buffer is None:
    return None
  pictures = [decode(buffer.image(i)) for i in range(len(buffer))]
  if pictures[0].shape[-1] == 1:
    pictures = [p[..., 0] for p in pictures]
  same = len({p.shape for p in pictures}) == 1
  return np.stack(pictures) if same else pictures


def _no_float64(x: np.ndarray) -> np.ndarray:
  """float32 in place of other floats."""
  x = np.asarray(x)
  return x.astype(np.float32) if x.dtype.kind == 'f' else x
