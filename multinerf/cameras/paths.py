"""Camera paths to render videos along: made from poses, or read from files.

All in float64 numpy; every path is an array [frames, 3, 4] of rigid
camera-to-world poses in OpenGL axes.
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Num
from scipy import interpolate

from multinerf import errors, npy
from multinerf.cameras import keyframes, spline_path
from multinerf.cameras import poses as poses_lib

_SPIRAL_NEAR, _SPIRAL_FAR = 0.9, 5.0  # stretch of the scene's bounds
_SPIRAL_NEAR_WEIGHT = 0.25  # how much the focus depth heeds the near bound


def load_poses(path: str | os.PathLike) -> Float[np.ndarray, 'n 3 4']:
  """Reads a camera path file (gin: Config.render_path_file).

  Args:
    path: `.npy` with a float or integer array [N, 3, 4], or [N, 4, 4] whose
      last rows are (0, 0, 0, 1). Pickled content is refused, not run.

  Returns:
    Poses, N >= 1.

  Raises:
    DataError: The file is missing or not such an array.
  """
  path = pathlib.Path(path).expanduser()
  want = 'need a .npy array of camera-to-world poses, [N, 3, 4]'
  hint = '(gin: Config.render_path_file)'
  try:
    poses = npy.read(path)
  except FileNotFoundError:
    raise errors.DataError(f'No camera path {path}; {want} {hint}.') from None
  except (OSError, ValueError) as e:
    raise errors.DataError(
      f'Cannot read the camera path {path}: {e}; {want} {hint}.'
    ) from e
  if (
    poses.ndim != 3
    or poses.shape[0] == 0
    or poses.shape[1:] not in ((3, 4), (4, 4))
  ):
    raise errors.DataError(f'{path} has shape {poses.shape}; {want} {hint}.')
  poses = poses.astype(np.float64)
  if not np.isfinite(poses).all():
    bad = int(np.argwhere(~np.isfinite(poses))[0, 0])
    raise errors.DataError(
      f'Pose {bad} of {path} is not finite; {want} {hint}.'
    )
  if poses.shape[1] == 4 and not np.allclose(poses[:, 3], [0, 0, 0, 1]):
    raise errors.DataError(
      f'The last rows of the 4x4 poses in {path} are not (0, 0, 0, 1); '
      f'{want} {hint}.'
    )
  return poses[:, :3]


def generate_spiral_path(
  poses: Num[np.ndarray, 'n 3 4'],
  bounds: Num[np.ndarray, '*b'],
  n_frames: int = 120,
  n_rots: int = 2,
  zrate: float = 0.5,
) -> Float[np.ndarray, 'f 3 4']:
  """Spiral for forward-facing scenes, around the average pose.

  Args:
    poses: Recentred cameras.
    bounds: Depth bounds > 0 of the scene, in any shape.
    n_frames: Frames; the end is excluded, so that the video loops.
    n_rots: Turns.
    zrate: Oscillations in depth per turn.

  Returns:
    Poses that look at a point between the bounds.
  """
  near = bounds.min() * _SPIRAL_NEAR
  far = bounds.max() * _SPIRAL_FAR
  # Depth at which inverse depth is the weighted mean of both bounds'.
  focal = 1.0 / (_SPIRAL_NEAR_WEIGHT / near + (1 - _SPIRAL_NEAR_WEIGHT) / far)
  radii = np.percentile(np.abs(poses[:, :, 3]), 90, axis=0)
  center = poses_lib.average_pose(poses)
  up = poses[:, :, 1].mean(0)
  lookat = center @ np.array([0.0, 0.0, -focal, 1.0])
  theta = np.linspace(0.0, 2 * np.pi * n_rots, n_frames, endpoint=False)
  offsets = np.stack(
    [np.cos(theta), -np.sin(theta), -np.sin(theta * zrate)], -1
  )
  positions = (offsets * radii) @ center[:, :3].T + center[:, 3]
  return np.stack([poses_lib.viewmatrix(p - lookat, up, p) for p in positions])


def generate_ellipse_path(
  poses: Num[np.ndarray, 'n 3 4'],
  n_frames: int = 120,
  const_speed: bool = True,
  z_variation: float = 0.0,
  z_phase: float = 0.0,
  *,
  base_height: float = 0.0,
  radius_range: tuple[float, float] = (1.0, 1.0),
  rotate: tuple[float, float] = (0.0, 0.0),
  lock_up: bool = False,
) -> Float[np.ndarray, 'f 3 4']:
  """Ellipse around the focus point, for scenes photographed all around.

  The z axis must be up, as after `poses.transform_poses_pca`.

  Args:
    poses: Cameras.
    n_frames: Frames of one turn; the end is excluded, so that it loops.
    const_speed: Equal distances between frames instead of equal angles.
    z_variation: Height changes between the cameras' 10th and 90th percentile
      if 1, not at all if 0, in proportion in between.
    z_phase: The path is highest this fraction of a turn before its start.
    base_height: The height without variation.
    radius_range: The distance from the focus point is multiplied by numbers
      between these two, the second one a quarter of a turn after the start.
    rotate: Degrees by which every camera looks up (about its x axis) and to
      the right (about its y axis) of the focus point.
    lock_up: Keep the up axis exactly, and tilt the view instead.

  Returns:
    Poses that look at the focus point. The semi-axes are the 90th percentile
    of the cameras' distance from it along x and y.
  """
  focus = poses_lib.focus_point(poses)
  centers = poses[:, :, 3]
  semi_x, semi_y = np.percentile(np.abs(centers[:, :2] - focus[:2]), 90, axis=0)
  z_low, z_high = np.percentile(centers[:, 2], [10, 90]) - base_height

  def position(theta):
    rise = 0.5 + 0.5 * np.cos(theta + 2 * np.pi * z_phase)
    at = np.stack(
      [
        focus[0] + semi_x * np.cos(theta),
        focus[1] + semi_y * np.sin(theta),
        base_height + z_variation * (z_low + (z_high - z_low) * rise),
      ],
      -1,
    )
    nearest, furthest = radius_range
    zoom = nearest + (furthest - nearest) * (0.5 + 0.5 * np.sin(theta))
    return focus + (at - focus) * zoom[:, None]

  theta = np.linspace(0.0, 2 * np.pi, n_frames + 1)
  if const_speed:
    theta = _equal_steps(theta, position(theta))
  up = _main_up_axis(poses)
  path = np.stack(
    [
      poses_lib.viewmatrix(p - focus, up, p, lock_up=lock_up)
      for p in position(theta[:-1])
    ]
  )
  if not any(rotate):
    return path
  about_x, about_y = rotate
  turn = poses_lib.rotation_about_axis(-about_y, 1)
  return path @ turn @ poses_lib.rotation_about_axis(about_x, 0)


def _equal_steps(times, positions):
  """Other times, between which equal distances are travelled."""
  steps = np.linalg.norm(np.diff(positions, axis=0), axis=-1)
  travelled = np.concatenate([[0.0], np.cumsum(steps)])
  equal = np.linspace(0.0, travelled[-1], len(times))
  return np.interp(equal, travelled, times)


def _main_up_axis(poses):
  """The world axis, with a sign, that is closest to the mean camera up."""
  mean_up = poses[:, :, 1].mean(0)
  axis = np.argmax(np.abs(mean_up))
  return np.eye(3)[axis] * np.sign(mean_up[axis])


def generate_interpolated_path(
  poses: Num[np.ndarray, 'n 3 4'],
  n_interp: int,
  spline_degree: int = 5,
  smoothness: float = 0.03,
  rot_weight: float = 0.1,
) -> Float[np.ndarray, 'f 3 4']:
  """B-spline through key frames; `spline_path` has more choices.

  Args:
    poses: Key frames, n >= 2.
    n_interp: Frames per gap between key frames.
    spline_degree, smoothness, rot_weight: See `spline_path.fit`.

  Returns:
    n_interp * (n - 1) poses; the last key frame is excluded.

  Raises:
    DataError: Fewer than two key frames.
  """
  curve = spline_path.fit(
    poses,
    spline_degree=spline_degree,
    smoothness=smoothness,
    rot_weight=rot_weight,
  )
  return curve.poses(curve.times(n_interp * (len(poses) - 1))[:-1])


def interpolate_1d(
  x: Num[np.ndarray, 'n'],
  n_interp: int,
  spline_degree: int,
  smoothness: float,
) -> Float[np.ndarray, 'f']:
  """Smoothing B-spline through equally spaced values.

  Args:
    x: Values, n >= 2.
    n_interp: Samples per gap between values.
    spline_degree: 1 to 5; lowered to n - 1 if there are too few values.
    smoothness: Sum of squared deviations allowed.

  Returns:
    n_interp * (n - 1) samples; the last value is excluded.
  """
  t = np.linspace(0.0, 1.0, len(x))
  u = np.linspace(0.0, 1.0, n_interp * (len(x) - 1), endpoint=False)
  return interpolate_at(x, t, u, spline_degree, smoothness)


def interpolate_at(
  x: Num[np.ndarray, 'n'],
  t: Num[np.ndarray, 'n'],
  times: Num[np.ndarray, 'f'],
  spline_degree: int,
  smoothness: float,
) -> Float[np.ndarray, 'f']:
  """Smoothing B-spline through values at given times.

  Args:
    x: Values; a single one is repeated, none at all is 0.
    t: Their times, increasing.
    times: When to sample.
    spline_degree: 1 to 5; lowered to n - 1 if there are too few values.
    smoothness: Sum of squared deviations allowed.
  """
  if len(x) < 2:
    return np.full(len(times), x[0] if len(x) else 0.0, np.float64)
  spline = interpolate.splrep(
    t, x, k=min(spline_degree, len(x) - 1), s=smoothness
  )
  return np.asarray(interpolate.splev(times, spline))


def keyframe_indices(
  path: str | os.PathLike, image_names: Sequence[str]
) -> Int[np.ndarray, 'k']:
  """Which images are key frames (gin: Config.render_spline_keyframes).

  Args:
    path: A text file with one image name per line, whose order is kept (blank
      lines do not count), or a folder that holds files of those names, whose
      order is that of the images.
    image_names: Names of all images, with extension.

  Returns:
    Indices into `image_names`.

  Raises:
    DataError: The path is missing, names an image that does not exist (a
      folder may hold other files), or leaves fewer than two key frames.
  """
  path = pathlib.Path(path).expanduser()
  index = {name: i for i, name in enumerate(image_names)}
  hint = '(gin: Config.render_spline_keyframes)'
  if path.is_dir():
    present = {p.name for p in path.iterdir()}
    found = [i for name, i in index.items() if name in present]
  elif path.is_file():
    names = keyframes.listed_names(path)
    unknown = [name for name in names if name not in index]
    if unknown:
      raise errors.DataError(
        f'{path} names {unknown[0][:80]!r}, which is none of the {len(index)} '
        f'images ({next(iter(index), "none")!r}, ...) {hint}.'
      )
    found = [index[name] for name in names]
  else:
    raise errors.DataError(f'No file or folder {path} {hint}.')
  if len(found) < 2:
    raise errors.DataError(
      f'{path} selects {len(found)} of {len(index)} images as key frames; '
      f'need at least 2 {hint}.'
    )
  return np.array(found)


def interpolate_exposures(
  exposures: Num[np.ndarray, 'k'],
  n_interp: int,
  smoothness: float = 20,
) -> Float[np.ndarray, 'f']:
  """Exposures > 0 along a spline path, smoothed strongly in log space.

  Args:
    exposures: Of the key frames.
    n_interp: Frames per gap between key frames.
    smoothness: See `interpolate_1d`; strong by default, against flicker.

  Returns:
    n_interp * (k - 1) exposures, one per frame of
    `generate_interpolated_path`.
  """
  return np.exp(interpolate_1d(np.log(exposures), n_interp, 5, smoothness))
