"""Cameras to render a video from: which path, which lens, which resolution."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from multinerf import errors
from multinerf.cameras import camera, keyframes, projection, spline_path
from multinerf.cameras import paths as camera_paths
from multinerf.cameras import poses as poses_lib
from multinerf.data import base
from multinerf.evaluation import export

KINDS = ('auto', 'own', 'file', 'spline', 'spiral', 'orbit', 'ellipse')
# Loaders whose world is that of an object on the ground, not centred on the
# cameras: a path at height 0 would look at it from the floor.
_OBJECT_LOADERS = ('blender', 'synthetic')
# Loaders whose cameras face the scene from one side without being scaled as
# forward-facing scenes are.
_FACING_LOADERS = ('dtu',)
# Loaders that, asked for a render path, give the cameras of both splits and
# leave the pixels alone (`data.photographs`).
CAPTURE_LOADERS = ('llff', 'transforms')
# The depths that the spiral of a forward-facing scene of unknown depth is made
# for: its nearest bound is 1 / 0.75 (behaviour of the LLFF loader), and any
# far one gives about the same focus.
_SPIRAL_BOUNDS = (1 / 0.75, 10 / 0.75)


@dataclasses.dataclass(frozen=True)
class RenderConfig:
  """Which path, lens and videos; the names and defaults are those of `Config`.

  Attributes: See `config/schema.py`, where every one is documented.
  """

  dataset_loader: str = 'llff'
  forward_facing: bool = False
  render_path_frames: int = 120
  render_path_file: str | None = None
  render_resolution: tuple[int, int] | None = None
  render_focal: float | None = None
  render_camtype: str | None = None
  z_variation: float = 0.0
  z_phase: float = 0.0
  rad_mult_min: float = 1.0
  rad_mult_max: float = 1.0
  render_rotate_xaxis: float = 0.0
  render_rotate_yaxis: float = 0.0
  lock_up: bool = False
  render_video_fps: int = 60
  render_video_crf: int = 18
  render_video_exts: tuple[str, ...] = ('mp4',)
  render_dist_percentile: float = 0.5
  render_dist_curve_fn: Callable[..., Any] = jnp.log
  render_dist_vis_params: Mapping[str, float] | None = None
  render_dist_adaptive: bool = True
  near: float = 2.0
  far: float = 6.0
  render_job_id: int = 0
  render_num_jobs: int = 1
  render_save_async: bool = True
  render_spline_keyframes: str | None = None
  render_spline_n_interp: int = 30
  render_spline_degree: int = 5
  render_spline_smoothness: float = 0.03
  render_spline_interpolate_exposure: bool = False
  render_spline_interpolate_exposure_smoothness: float = 20
  render_spline_rot_weight: float = 0.1
  render_spline_lock_up: bool = False
  render_spline_fixed_up: bool = False
  render_spline_const_speed: bool = False
  render_spline_lookahead_i: int | None = None
  render_spline_n_buffer: int | None = None
  render_spline_meters_per_sec: float | None = None
  render_spline_outlier_keyframe_quantile: float | None = None
  render_spline_outlier_keyframe_multiplier: float | None = None
  render_calibration_keyframes: str | None = None
  render_calibration_distance: float = 3.0
  render_looped_videos: bool = False


def path_kind(cfg: RenderConfig) -> str:
  """Returns which path 'auto' stands for.

  A file if one is given, else a spline if key frames are, else what suits the
  scene: a spiral before those seen from one side, an orbit at the cameras'
  mean height around objects, an ellipse at height 0 in centred scenes.
  """
  if cfg.render_path_file is not None:
    return 'file'
  if cfg.render_spline_keyframes is not None:
    return 'spline'
  if cfg.forward_facing or cfg.dataset_loader in _FACING_LOADERS:
    return 'spiral'
  return 'orbit' if cfg.dataset_loader in _OBJECT_LOADERS else 'ellipse'


def render_path_cameras(
  cfg: RenderConfig, scene: base.Scene, kind: str = 'auto'
) -> camera.Cameras:
  """Makes the cameras of a path from those of a scene.

  Distortion is dropped and the principal point centred. The resolution and
  focal length are those of the scene's first camera unless the config says
  otherwise; a new resolution alone keeps the focal length in pixels, as in
  MultiNeRF. So is the exposure that of the first camera, where cameras have
  one, or with render_spline_interpolate_exposure that of the key frames.

  Args:
    cfg: Which path, how many frames, which lens.
    scene: Either split; key frames are looked up in its image names.
    kind: One of `KINDS`; 'own': the scene's cameras are the path.

  Returns:
    One camera per frame.

  Raises:
    ConfigError: `kind` or the camera type is unknown, or the lens does not
      suit the scene.
    DataError: The path file or key frames are missing or malformed.
  """
  kind = path_kind(cfg) if kind == 'auto' else kind
  poses = _path_poses(cfg, scene, kind)
  source = scene.cameras
  if cfg.render_resolution is None:
    width, height = int(source.widths[0]), int(source.heights[0])
  else:
    width, height = cfg.render_resolution
  camtype = _camtype(cfg, source)
  if camtype is camera.ProjectionType.PANORAMIC:
    pixtocam = projection.get_pano_pixtocam(width, height)
  else:
    pixtocam = projection.get_pixtocam(_focal(cfg, source), width, height)
  return camera.make_cameras(
    pixtocam,
    poses,
    widths=width,
    heights=height,
    near=float(np.min(source.near)),
    far=float(np.max(source.far)),
    pixtocam_ndc=source.pixtocam_ndc,
    exposure_idx=None
    if source.exposure_idx is None
    else source.exposure_idx[0],
    exposure_values=_exposures(cfg, scene, kind),
    scene_bbox=source.scene_bbox,
    z_range=source.z_range,
    camtype=camtype,
  )


def render_path_scene(
  cfg: RenderConfig, scene: base.Scene, kind: str = 'auto'
) -> base.Scene:
  """Returns a scene without images whose cameras are a path through `scene`.

  See `render_path_cameras`. The images are called `frame_000` and so on.
  """
  cameras = render_path_cameras(cfg, scene, kind)
  digits = export.num_digits(len(cameras))
  return dataclasses.replace(
    scene,
    cameras=cameras,
    image_names=tuple(f'frame_{i:0{digits}d}' for i in range(len(cameras))),
    images=None,
    disps=None,
    normals=None,
    alphas=None,
    masks=None,
    depths=None,
    keypoints=None,
  )


def _path_poses(
  cfg: RenderConfig, scene: base.Scene, kind: str
) -> Float[np.ndarray, 'n 3 4']:
  """Camera-to-world poses of the path, float64."""
  poses = np.asarray(scene.cameras.camtoworlds, np.float64)
  frames = cfg.render_path_frames
  if kind == 'own':
    return poses
  if kind == 'file':
    if cfg.render_path_file is None:
      raise errors.ConfigError('Config.render_path_file is not set.')
    return camera_paths.load_poses(cfg.render_path_file)
  if kind == 'spline':
    curve, times = _spline(cfg, scene, poses)
    return curve.poses(times)[:-1]
  if kind == 'spiral':
    bounds = np.array(_spiral_bounds(scene))
    return camera_paths.generate_spiral_path(poses, bounds, frames)
  if kind not in KINDS:
    raise errors.ConfigError(
      f'Unknown camera path {kind!r}; known: {", ".join(KINDS)}.'
    )
  height = poses[:, 2, 3].mean() if kind == 'orbit' else 0.0
  return camera_paths.generate_ellipse_path(
    poses,
    frames,
    z_variation=cfg.z_variation,
    z_phase=cfg.z_phase,
    base_height=float(height),
    radius_range=(cfg.rad_mult_min, cfg.rad_mult_max),
    rotate=(cfg.render_rotate_xaxis, cfg.render_rotate_yaxis),
    lock_up=cfg.lock_up,
  )


def _spline(cfg: RenderConfig, scene: base.Scene, poses: np.ndarray):
  """Curve through the key frames, and the times of the frames."""
  up = None
  if cfg.render_spline_fixed_up:
    up = poses_lib.normalize(poses[:, :, 1].mean(0))
  keys = _key_frames(cfg, scene)
  curve = spline_path.fit(
    poses[keys],
    spline_degree=cfg.render_spline_degree,
    smoothness=cfg.render_spline_smoothness,
    rot_weight=cfg.render_spline_rot_weight,
    num_buffer=cfg.render_spline_n_buffer or 0,
    lock_up=cfg.render_spline_lock_up,
    fixed_up=up,
    lookahead=cfg.render_spline_lookahead_i,
  )
  frames = cfg.render_spline_n_interp * (len(keys) - 1)
  if cfg.render_spline_meters_per_sec is not None:
    meters = curve.length() * keyframes.meters_per_unit(
      poses,
      scene.image_names,
      cfg.render_calibration_keyframes,
      cfg.render_calibration_distance,
    )
    seconds = meters / cfg.render_spline_meters_per_sec
    frames = max(1, int(seconds * cfg.render_video_fps))
  times = curve.times(frames, const_speed=cfg.render_spline_const_speed)
  return curve, times


def _key_frames(cfg: RenderConfig, scene: base.Scene) -> np.ndarray:
  """Which of the scene's cameras are key frames, without outliers."""
  if cfg.render_spline_keyframes is None:
    raise errors.ConfigError('Config.render_spline_keyframes is not set.')
  keys = camera_paths.keyframe_indices(
    cfg.render_spline_keyframes, scene.image_names
  )
  quantile = cfg.render_spline_outlier_keyframe_quantile
  multiplier = cfg.render_spline_outlier_keyframe_multiplier
  if quantile is None or multiplier is None:
    return keys
  return keyframes.drop_outliers(
    np.asarray(scene.cameras.camtoworlds, np.float64),
    keys,
    quantile=quantile,
    multiplier=multiplier,
  )


def _exposures(cfg: RenderConfig, scene: base.Scene, kind: str):
  """Exposure of all frames, one number or [n]; None if cameras have none."""
  values = scene.cameras.exposure_values
  if not cfg.render_spline_interpolate_exposure or kind != 'spline':
    return None if values is None else values[0]
  if values is None:
    raise errors.ConfigError(
      'Config.render_spline_interpolate_exposure needs exposures, and the '
      f'images of {scene.name!r} have none.'
    )
  poses = np.asarray(scene.cameras.camtoworlds, np.float64)
  curve, times = _spline(cfg, scene, poses)
  keys = _key_frames(cfg, scene)
  # Strong smoothing, against flicker.
  logs = camera_paths.interpolate_at(
    np.log(np.asarray(values, np.float64)[keys]),
    curve.key_times,
    times[:-1],
    5,
    cfg.render_spline_interpolate_exposure_smoothness,
  )
  return np.exp(logs)


def _spiral_bounds(scene: base.Scene) -> tuple[float, float]:
  """Depth bounds of a scene in world units."""
  if scene.depth_bounds is not None:
    return scene.depth_bounds
  near, far = (
    float(np.min(scene.cameras.near)),
    float(np.max(scene.cameras.far)),
  )
  # Under NDC near and far are 0 and 1 and say nothing about depth.
  if scene.cameras.pixtocam_ndc is not None or near <= 0:
    return _SPIRAL_BOUNDS
  return near, far


def _camtype(
  cfg: RenderConfig, source: camera.Cameras
) -> camera.ProjectionType:
  if cfg.render_camtype is None:
    return source.camtype
  known = [t.value for t in camera.ProjectionType]
  if cfg.render_camtype not in known:
    raise errors.ConfigError(
      f'Config.render_camtype = {cfg.render_camtype!r}; known: {known}.'
    )
  camtype = camera.ProjectionType(cfg.render_camtype)
  perspective = camera.ProjectionType.PERSPECTIVE
  if source.pixtocam_ndc is not None and camtype is not perspective:
    raise errors.ConfigError(
      f'Config.render_camtype = {camtype.value!r} needs rays in all '
      'directions; a scene in NDC (Config.forward_facing) has only those in '
      'front of its cameras.'
    )
  return camtype


def _focal(cfg: RenderConfig, source: camera.Cameras) -> float:
  """Focal length in pixels."""
  if cfg.render_focal is not None:
    return cfg.render_focal
  if source.camtype is camera.ProjectionType.PANORAMIC:
    raise errors.ConfigError(
      'The scene was photographed with panoramic cameras, which have no focal '
      'length; set Config.render_focal.'
    )
  return 1.0 / float(source.pixtocams[0, 0, 0])
