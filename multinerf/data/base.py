"""What a scene is in memory, and how one is chosen, loaded and checked.

A loader is a function (DataConfig, split) -> Scene, registered by name:

  @base.SCENES.register('my_format')
  def load_mine(cfg: base.DataConfig, split: str) -> base.Scene: ...

It returns plain data. No thread, no queue, no device: batches are made from a
scene by `data.batching`, whole images by `cameras.projection.image_pixels`.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from multinerf import errors, registry
from multinerf.cameras import camera
from multinerf.data import loader_options, multiscale, pixel_buffer, resize

DataConfig = loader_options.DataConfig
PixelBuffer = pixel_buffer.PixelBuffer
SPLITS = ('train', 'test')
# The fields of a `Scene` that hold one image per camera.
PIXEL_KINDS = ('images', 'disps', 'normals', 'alphas', 'masks', 'depths')

# What smaller copies of the images would lack or falsify, and how to avoid it.
_NOT_COPIED = {
  'raw': 'Config.rawnerf_mode = False',
  'disps': 'Config.compute_disp_metrics = False',
  'normals': (
    'Config.compute_normal_metrics = False and Config.normal_loss_mult = 0'
  ),
  'depths': "Config.depth_loss_mult = 0 or Config.depth_source = 'points'",
  'scales': 'Config.dataset_loader to another one',
}


@dataclasses.dataclass(frozen=True)
class Points:
  """Scene points found with the cameras (structure from motion).

  Attributes:
    xyz: [m, 3] float64 positions in the scene's frame.
    errors: [m] mean reprojection error, pixels > 0.
    rgb: [m, 3] colours, or None.
  """

  xyz: Float[np.ndarray, 'm 3']
  errors: Float[np.ndarray, ' m']
  rgb: UInt8[np.ndarray, 'm 3'] | None = None


@dataclasses.dataclass(frozen=True)
class Keypoints:
  """Pixels at which a point of known depth is seen, of all images together.

  Attributes:
    cam_idx: [m] which image.
    x, y: [m] column and row, inside of the image.
    depths: [m] ray parameter t of the point > 0.
    weights: [m] trust in it, > 0.
  """

  cam_idx: Int[np.ndarray, ' m']
  x: Int[np.ndarray, ' m']
  y: Int[np.ndarray, ' m']
  depths: Float32[np.ndarray, ' m']
  weights: Float32[np.ndarray, ' m']


@dataclasses.dataclass(frozen=True)
class RawDisplay:
  """How linear camera colours are shown (`ops.raw.postprocess_raw`).

  Attributes:
    cam2rgb: [3, 3] from camera colours to linear sRGB.
    exposure: Camera-linear level that is shown as white.
    exposure_levels: The same by percentile of the first image, for pictures
      at several brightnesses.
    shutter_times: Seconds, longest first: what `exposure_idx` of the cameras
      counts.
  """

  cam2rgb: Float[np.ndarray, '3 3']
  exposure: float
  exposure_levels: Mapping[int, float] = dataclasses.field(default_factory=dict)
  shutter_times: tuple[float, ...] = ()


def _identity() -> np.ndarray:
  return np.eye(4)


@dataclasses.dataclass(frozen=True)
class Scene:
  """One split of a scene: cameras and what they saw. Pure data.

  Attributes:
    name: For messages and video names, usually the folder's name.
    split: 'train' or 'test'.
    cameras: n cameras.
    image_names: n file names, in the order of the cameras.
    images: n colour images, RGB or RGBA as stored (`ops.color.decode_rgb`
      makes them float RGB over white); None on a render path.
    disps: True disparity 1 / (1 + t), 0 where there is nothing; or None.
    normals: True world-space normals in [-1, 1]^3; or None.
    alphas: How much the normals of a pixel count, in [0, 1]: its opacity, or 0
      where the normals are unknown; or None.
    masks: uint8, 1 channel, 0 where a pixel must not be used: it is neither
      trained on nor measured; or None.
    depths: float32, 2 channels: measured ray parameter t, and how far to
      trust it (0: unknown); or None.
    keypoints: The same for a few pixels only; or None.
    points: Scene points, or None.
    depth_bounds: Nearest and farthest depth of what the cameras see, in scene
      units also under NDC, where known; or None.
    raw: How to show the images of a raw scene, which are linear; or None.
    scales: n, how many times smaller each image is than the view's largest,
      where views are there at several sizes; or None.
    notes: What the user should hear about this data once, a line each, such
      as frames that were left out.
    world_transform: [4, 4] similarity from the input's frame to this one.
  """

  name: str
  split: str
  cameras: camera.Cameras
  image_names: tuple[str, ...]
  images: PixelBuffer | None
  disps: PixelBuffer | None = None
  normals: PixelBuffer | None = None
  alphas: PixelBuffer | None = None
  masks: PixelBuffer | None = None
  depths: PixelBuffer | None = None
  keypoints: Keypoints | None = None
  points: Points | None = None
  depth_bounds: tuple[float, float] | None = None
  raw: RawDisplay | None = None
  scales: tuple[int, ...] | None = None
  notes: tuple[str, ...] = ()
  world_transform: Float[np.ndarray, '4 4'] = dataclasses.field(
    default_factory=_identity
  )

  def __len__(self) -> int:
    return len(self.image_names)


SceneLoader = Callable[[DataConfig, str], Scene]
SCENES: registry.Registry[SceneLoader] = registry.Registry(
  'dataset loader', 'Config.dataset_loader'
)
# Loaders whose data sets bring a camera path to render: the cameras as a scene
# without images, or None if this scene has none.
CAMERA_PATHS: registry.Registry[Callable[[DataConfig], Scene | None]] = (
  registry.Registry('camera path', 'Config.dataset_loader')
)


def load_scene(cfg: DataConfig, split: str) -> Scene:
  """Loads and checks one split with the loader that the config names.

  With Config.multiscale_train_factors the images are there at several sizes:
  first all as they are, then all at each of the factors.

  Raises:
    ConfigError: There is no such loader or split, or what it loads does not
      go together with other options.
    DataError: A file is missing or wrong; the message names it.
  """
  if split not in SPLITS:
    raise errors.ConfigError(f'Unknown split {split!r}; known: {SPLITS}.')
  scene = SCENES.get(cfg.dataset_loader)(cfg, split)
  if cfg.rawnerf_mode and scene.raw is None:
    raise errors.ConfigError(
      f'The loader {cfg.dataset_loader} did not find poses of raw photographs; '
      "Config.rawnerf_mode needs Config.dataset_loader = 'llff' and COLMAP's "
      'poses (docs/raw.md).'
    )
  validate_scene(scene, source=cfg.data_dir or cfg.dataset_loader)
  scene = _within_bounds(scene, cfg)
  if cfg.multiscale_train_factors and scene.images is not None:
    return _with_copies(scene, cfg)
  return scene


def _within_bounds(scene: Scene, cfg: DataConfig) -> Scene:
  """Gives the cameras the box and the heights that the config names.

  Raises:
    ConfigError: One height without the other, or in the wrong order.
  """
  box, heights = cfg.scene_bbox, (cfg.z_min, cfg.z_max)
  if box is not None:
    corners = [[-box] * 3, [box] * 3] if isinstance(box, int | float) else box
    box = np.asarray(corners, np.float32)
  if heights == (None, None):
    heights = None
  elif None in heights or heights[0] >= heights[1]:
    raise errors.ConfigError(
      'Config.z_min and Config.z_max must both be set, z_min < z_max, or '
      f'neither; got {cfg.z_min} and {cfg.z_max}.'
    )
  else:
    heights = np.asarray(heights, np.float32)
  cameras = scene.cameras.replace(scene_bbox=box, z_range=heights)
  return dataclasses.replace(scene, cameras=cameras)


def _with_copies(scene: Scene, cfg: DataConfig) -> Scene:
  """Adds smaller copies of all images; keypoints stay on the originals.

  Raises:
    ConfigError: The scene has what cannot be copied.
    DataError: An image is too small.
  """
  for field, remedy in _NOT_COPIED.items():
    if getattr(scene, field) is not None:
      raise errors.ConfigError(
        'Config.multiscale_train_factors copies colours, opacity and masks of '
        f'images of one size; scene {scene.name!r} has {field}. Set '
        f'{remedy}, or Config.multiscale_train_factors = None.'
      )
  cameras, names, scales = multiscale.with_copies(
    scene.cameras, scene.image_names, cfg.multiscale_train_factors
  )
  cache = cfg.pixel_cache_dir
  shrinks = {
    'images': resize.area_average,
    'alphas': resize.area_average,
    'masks': multiscale.least,
  }
  buffers = {
    kind: multiscale.append(
      getattr(scene, kind), cameras, scales, shrink, cache=cache
    )
    for kind, shrink in shrinks.items()
    if getattr(scene, kind) is not None
  }
  return dataclasses.replace(
    scene, cameras=cameras, image_names=names, scales=scales, **buffers
  )


def scene_folder(cfg: DataConfig) -> pathlib.Path:
  """The scene's folder, `~` expanded.

  Raises:
    DataError: Config.data_dir is not set or is not a folder.
  """
  if not cfg.data_dir:
    raise errors.DataError(
      'Config.data_dir is not set; give the folder of the scene '
      "(gin: Config.data_dir = '/path/to/scene')."
    )
  folder = pathlib.Path(cfg.data_dir).expanduser()
  if not folder.is_dir():
    what = 'is not a folder' if folder.exists() else 'does not exist'
    raise errors.DataError(
      f'Scene folder {folder} {what} (gin: Config.data_dir).'
    )
  return folder


def validate_scene(scene: Scene, *, source: str):
  """Checks what every later stage takes for granted, once.

  Args:
    scene: What a loader returned.
    source: The folder it came from, for the messages.

  Raises:
    DataError: No frames; counts or sizes disagree; a pose or intrinsic matrix
      is not finite, singular or mirrored; near and far are no interval.
  """
  num = len(scene.cameras)
  where = f'{source} ({scene.split} split)'
  if num == 0:
    raise errors.DataError(
      f'{where} has no frames; check the files and gin: Config.data_dir.'
    )
  if len(scene.image_names) != num:
    raise errors.DataError(
      f'{where}: {len(scene.image_names)} image names for {num} cameras.'
    )
  for kind in PIXEL_KINDS:
    buffer = getattr(scene, kind)
    if buffer is not None:
      _validate_sizes(scene, buffer, f'{where}: {kind}')
  _validate_matrices(scene, where)
  near, far = np.broadcast_arrays(scene.cameras.near, scene.cameras.far)
  bad = ~(np.isfinite(near) & np.isfinite(far) & (near >= 0) & (near < far))
  if bad.any():
    i = np.flatnonzero(bad)[0]
    raise errors.DataError(
      f'{where}: bounds near = {near.flat[i]}, far = {far.flat[i]} are not '
      '0 <= near < far (gin: Config.near, Config.far).'
    )


def _validate_sizes(scene: Scene, buffer: PixelBuffer, what: str):
  """Raises unless the buffer has one image of the right size per camera."""
  if len(buffer) != len(scene.cameras):
    raise errors.DataError(
      f'{what} hold {len(buffer)} images for {len(scene.cameras)} cameras.'
    )
  have = np.stack([buffer.widths, buffer.heights], axis=-1)
  want = np.stack(
    [np.asarray(scene.cameras.widths), np.asarray(scene.cameras.heights)],
    axis=-1,
  )
  for i in np.flatnonzero((have != want).any(-1) | (have < 1).any(-1))[:1]:
    raise errors.DataError(
      f'{what}: {scene.image_names[i]} is {have[i, 0]}x{have[i, 1]}, its '
      f'camera {want[i, 0]}x{want[i, 1]}.'
    )


def _validate_matrices(scene: Scene, where: str):
  """Raises unless poses and intrinsics are finite and invertible."""
  for kind, matrices in (
    ('pose', np.asarray(scene.cameras.camtoworlds)),
    ('intrinsic matrix', np.asarray(scene.cameras.pixtocams)),
  ):
    finite = np.asarray(np.isfinite(matrices).all(axis=(-2, -1)))
    square = np.where(finite[:, None, None], matrices, 0)[:, :, :3]
    # Unit-free: a singular matrix squeezes some direction to nothing.
    spread = np.linalg.svd(square.astype(np.float64), compute_uv=False)
    regular = spread[:, -1] > 1e-9 * spread[:, 0]
    for i in np.flatnonzero(~(finite & regular))[:1]:
      why = 'singular' if finite[i] else 'not finite'
      raise errors.DataError(
        f'{where}: the {kind} of {scene.image_names[i]} is {why}: '
        f'{matrices[i].tolist()}.'
      )
  turned = np.asarray(scene.cameras.camtoworlds, np.float64)[:, :, :3]
  for i in np.flatnonzero(np.linalg.det(turned) < 0)[:1]:
    raise errors.DataError(
      f'{where}: the pose of {scene.image_names[i]} is mirrored (determinant '
      '-1): no camera can be there; check the axes of the poses.'
    )
