"""The camera paths of `camera_utils`, in camp_zipnerf's call forms."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from multinerf import errors
from multinerf.cameras import keyframes, paths, spline_path
from multinerf.cameras import poses as poses_lib

# Upstream gives up if more of the names than this are unknown.
_MAX_MISSING = 0.95


def generate_ellipse_path(
  poses: np.ndarray,
  n_frames: int = 120,
  const_speed: bool = True,
  z_variation: float = 0.0,
  z_phase: float = 0.0,
  rad_mult_min: float = 1.0,
  rad_mult_max: float = 1.0,
  render_rotate_xaxis: float = 0.0,
  render_rotate_yaxis: float = 0.0,
  use_avg_z_height: bool = False,
  z_height_percentile: float | None = None,
  lock_up: bool = False,
) -> np.ndarray:
  """Ellipse [n_frames, 3, 4] around the focus point; z must be up.

  Args:
    poses, n_frames, const_speed, z_variation, z_phase, lock_up: See
      `cameras.paths.generate_ellipse_path`.
    rad_mult_min, rad_mult_max: Its `radius_range`.
    render_rotate_xaxis, render_rotate_yaxis: Its `rotate`.
    use_avg_z_height: Vary around the mean height of the cameras, not around 0.
    z_height_percentile: Vary around this percentile of it.
  """
  heights = poses[:, 2, 3]
  base_height = 0.0
  if z_height_percentile is not None:
    base_height = float(np.percentile(heights, z_height_percentile))
  elif use_avg_z_height:
    base_height = float(heights.mean())
  return paths.generate_ellipse_path(
    poses,
    n_frames,
    const_speed,
    z_variation,
    z_phase,
    base_height=base_height,
    radius_range=(rad_mult_min, rad_mult_max),
    rotate=(render_rotate_xaxis, render_rotate_yaxis),
    lock_up=lock_up,
  )


def generate_interpolated_path(
  poses: np.ndarray,
  n_interp: int,
  spline_degree: int = 5,
  smoothness: float = 0.03,
  rot_weight: float = 0.1,
  lock_up: bool = False,
  fixed_up_vector: np.ndarray | None = None,
  lookahead_i: int | None = None,
  frames_per_colmap: float | None = None,
  const_speed: bool = False,
  n_buffer: int | None = None,
  periodic: bool = False,
  n_interp_as_total: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """B-spline through key frames.

  Args:
    poses: Key frames [n, 3, 4], n >= 2.
    n_interp: Frames per gap, or in all with `n_interp_as_total`.
    spline_degree, smoothness, rot_weight, periodic: See
      `cameras.spline_path.fit`.
    lock_up, fixed_up_vector, lookahead_i: `lock_up`, `fixed_up` and `lookahead`
      of `cameras.spline_path.Curve`.
    frames_per_colmap: Frames per world unit, instead of `n_interp`.
    const_speed: Equal distances between frames.
    n_buffer: `num_buffer` of `fit`.
    n_interp_as_total: See n_interp.

  Returns:
    Poses, their times, and the times of the key frames. As upstream samples
    both ends and drops the last, there is one frame fewer than n_interp times
    the gaps, unless const_speed or n_interp_as_total.
  """
  num_buffer = n_buffer or 0
  curve = spline_path.fit(
    poses,
    spline_degree=spline_degree,
    smoothness=smoothness,
    rot_weight=rot_weight,
    num_buffer=num_buffer,
    periodic=periodic,
    lock_up=lock_up,
    fixed_up=fixed_up_vector,
    lookahead=lookahead_i,
  )
  start, stop = curve.key_times[0], curve.key_times[-1]
  num_gaps = len(curve.key_times) - 1 + 2 * num_buffer
  count = n_interp + 1 if n_interp_as_total else n_interp * num_gaps
  times = np.linspace(0.0, 1.0, count)
  times = times[(times >= start) & (times <= stop)]
  if frames_per_colmap is not None:
    count = int(curve.length() * frames_per_colmap)
    times = np.linspace(start, stop, count)
  if const_speed:
    times = curve.times(len(times), const_speed=True)
  return curve.poses(times)[:-1], times[:-1], curve.key_times


def safe_interpolate_1d(
  x: np.ndarray,
  spline_degree: int,
  smoothness: float,
  t_input: np.ndarray,
  t_output: np.ndarray,
) -> np.ndarray:
  """Smoothing B-spline through values x at times t_input, at t_output."""
  found = paths.interpolate_at(x, t_input, t_output, spline_degree, smoothness)
  return found.astype(x.dtype)


def identify_file_names(dir_or_text_file: str | os.PathLike) -> list[str]:
  """The lines of a text file that are not blank, or a folder's files."""
  return keyframes.listed_names(dir_or_text_file)


def identify_file_indices(
  dir_or_text_file: str | os.PathLike, file_names: Sequence[str]
) -> np.ndarray:
  """Indices of the named files in a list, in the order in which they are named.

  Names that are not in the list are logged and left out.

  Raises:
    DataError: More than 95 % of the names are not in the list.
  """
  names = identify_file_names(dir_or_text_file)
  index = {name: i for i, name in enumerate(file_names)}
  unknown = [name for name in names if name not in index]
  if len(unknown) > _MAX_MISSING * len(names):
    raise errors.DataError(
      f'{dir_or_text_file} names {len(unknown)} files of {len(names)} that are '
      f'none of the {len(index)} images, {unknown[0]!r} for example.'
    )
  if unknown:
    logging.getLogger(__name__).warning(
      'Not among the images: %s', ' '.join(unknown)
    )
  found = [index[name] for name in names if name in index]
  return np.array(found, dtype=int)


def get_meters_per_colmap_from_calibration_images(
  config: Any, poses: np.ndarray, image_names: Sequence[str]
) -> float:
  """How many metres a world unit is; 8 if nothing says.

  Args:
    config: `render_calibration_keyframes` and `render_calibration_distance`.
    poses, image_names: All cameras.
  """
  return keyframes.meters_per_unit(
    poses,
    image_names,
    config.render_calibration_keyframes,
    config.render_calibration_distance,
  )


def calibrate_spline_speed(
  config: Any, poses: np.ndarray, image_names: Sequence[str]
) -> float | None:
  """Frames per world unit for `render_spline_meters_per_sec`; None without it.

  Args:
    config: That, `render_video_fps` and the calibration.
    poses, image_names: All cameras.
  """
  if config.render_spline_meters_per_sec is None:
    return None
  scale = get_meters_per_colmap_from_calibration_images(
    config, poses, image_names
  )
  return scale / config.render_spline_meters_per_sec * config.render_video_fps


def create_render_spline_path(
  config: Any,
  image_names: Sequence[str],
  poses: np.ndarray,
  exposures: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
  """B-spline through the key frames that the config names.

  Args:
    config: The options `render_spline_*`, `render_calibration_*` and
      `render_video_fps`.
    image_names, poses: All cameras.
    exposures: Theirs [n], or None.

  Returns:
    Indices of the key frames, poses along the path, and exposures along it
    (None unless `render_spline_interpolate_exposure`).

  Raises:
    DataError: Key frames are missing, or exposures are asked for and unknown.
  """
  keys = identify_file_indices(config.render_spline_keyframes, image_names)
  quantile = config.render_spline_outlier_keyframe_quantile
  multiplier = config.render_spline_outlier_keyframe_multiplier
  if quantile is not None and multiplier is not None:
    keys = keyframes.drop_outliers(
      poses, keys, quantile=quantile, multiplier=multiplier
    )
  up = None
  if config.render_spline_fixed_up:
    up = poses_lib.normalize(poses[:, :3, 1].mean(0))
  path, times, key_times = generate_interpolated_path(
    poses[keys],
    config.render_spline_n_interp,
    spline_degree=config.render_spline_degree,
    smoothness=config.render_spline_smoothness,
    rot_weight=config.render_spline_rot_weight,
    lock_up=config.render_spline_lock_up,
    fixed_up_vector=up,
    lookahead_i=config.render_spline_lookahead_i,
    frames_per_colmap=calibrate_spline_speed(config, poses, image_names),
    const_speed=config.render_spline_const_speed,
    n_buffer=config.render_spline_n_buffer,
  )
  if not config.render_spline_interpolate_exposure:
    return keys, path, None
  if exposures is None:
    raise errors.DataError(
      'Config.render_spline_interpolate_exposure needs exposures, and the '
      'images have none.'
    )
  logs = safe_interpolate_1d(
    np.log(np.asarray(exposures)[keys]),
    5,
    config.render_spline_interpolate_exposure_smoothness,
    key_times,
    times,
  )
  return keys, path, np.exp(logs)
