"""A smooth flight through key frames.

Position, a point ahead and a point above of each key camera are the knots of
one B-spline in nine dimensions. Time runs from 0 at the first to 1 at the last
key frame; key frames are met at times in proportion to the distance between
their knots. All in float64 numpy.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Num
from scipy import interpolate

from multinerf import errors
from multinerf.cameras import poses as poses_lib

_CLOSED = 1e-9  # key frames closer than this, in world units, are the same


@dataclasses.dataclass(frozen=True)
class Curve:
  """Made by `fit`.

  Attributes:
    spline: What `scipy.interpolate.splev` takes.
    key_times: [n] when the key frames are met, without those that were added.
    lock_up: Keep the up direction exactly, and tilt the view instead.
    fixed_up: [3] the up direction of all frames; None interpolates it.
    lookahead: Look at the position that many frames ahead; None interpolates
      the direction.
  """

  spline: Any
  key_times: Float[np.ndarray, 'n']
  lock_up: bool = False
  fixed_up: Float[np.ndarray, '3'] | None = None
  lookahead: int | None = None

  def points(self, times: Num[np.ndarray, 'f']) -> Float[np.ndarray, 'f 3 3']:
    """Position, point ahead and point above at each time."""
    found = np.stack(interpolate.splev(times, self.spline), axis=-1)
    return found.reshape(-1, 3, 3)

  def poses(self, times: Num[np.ndarray, 'f']) -> Float[np.ndarray, 'f 3 4']:
    """Cameras at each time.

    With `lookahead` the last frames, which have no position that far ahead,
    keep the direction of the one before them.
    """
    points = self.points(times)
    back = points[:, 0] - points[:, 1]
    if self.lookahead is not None and self.lookahead < len(points):
      ahead = self.lookahead
      num = len(points) - ahead
      back[:num] = points[:num, 0] - points[ahead:, 0]
      back[num:] = back[num - 1]
    up = points[:, 2] - points[:, 0]
    if self.fixed_up is not None:
      up = np.broadcast_to(self.fixed_up, up.shape)
    return np.stack(
      [
        poses_lib.viewmatrix(b, u, p[0], lock_up=self.lock_up)
        for b, u, p in zip(back, up, points, strict=True)
      ]
    )

  def times(
    self, num_frames: int, *, const_speed: bool = False
  ) -> Float[np.ndarray, 'f_plus_1']:
    """When the frames are taken, the end included: num_frames + 1 times.

    Args:
      num_frames: Frames >= 1 without the last one.
      const_speed: Equal distances between frames, instead of equal times.
    """
    start, stop = self.key_times[0], self.key_times[-1]
    times = np.linspace(start, stop, num_frames + 1)
    if not const_speed:
      return times
    fine = np.linspace(start, stop, 8 * num_frames + 1)
    travelled = self._travelled(fine)
    even = np.linspace(0, travelled[-1], num_frames + 1)
    return np.interp(even, travelled, fine)

  def length(self) -> float:
    """Distance from the first to the last key frame, in world units."""
    start, stop = self.key_times[0], self.key_times[-1]
    fine = np.linspace(start, stop, 100 * len(self.key_times))
    return float(self._travelled(fine)[-1])

  def _travelled(self, times):
    steps = np.diff(self.points(times)[:, 0], axis=0)
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(steps, axis=-1))])


def fit(
  poses: Num[np.ndarray, 'n 3 4'],
  *,
  spline_degree: int = 5,
  smoothness: float = 0.03,
  rot_weight: float = 0.1,
  num_buffer: int = 0,
  periodic: bool = False,
  **orientation: Any,
) -> Curve:
  """Fits a curve to key frames.

  Args:
    poses: Key frames, n >= 2.
    spline_degree: 1 to 5; lowered to n - 1 if there are too few key frames.
    smoothness: Sum of squared distances the curve may stay away from the key
      points; 0 passes through them.
    rot_weight: Distance > 0 of the two helper points from the camera: the
      larger, the more orientation counts against position.
    num_buffer: Key frames to add before the first and after the last one, each
      a mean step further along the line of sight, so that the ends are
      straight. They are not part of the flight.
    periodic: Return to the first key frame after the last one, smoothly.
    **orientation: `lock_up`, `fixed_up` and `lookahead` of `Curve`.

  Raises:
    DataError: Fewer than two key frames.
    ConfigError: Both num_buffer and periodic.
  """
  if len(poses) < 2:
    raise errors.DataError(
      f'A spline path needs at least 2 key frames; found {len(poses)} '
      '(gin: Config.render_spline_keyframes).'
    )
  if num_buffer and periodic:
    raise errors.ConfigError(
      'A periodic path has no ends to buffer (gin: '
      'Config.render_spline_n_buffer).'
    )
  poses = np.asarray(poses, np.float64)
  if num_buffer:
    poses = _with_buffers(poses, num_buffer)
  centers = poses[:, :, 3]
  ahead = centers - rot_weight * poses[:, :, 2]
  above = centers + rot_weight * poses[:, :, 1]
  points = np.concatenate([centers, ahead, above], -1)
  if periodic and np.abs(points[0] - points[-1]).max() > _CLOSED:
    points = np.concatenate([points, points[:1]])
  elif periodic:
    points[-1] = points[0]
  spline, times = interpolate.splprep(
    points.T,
    k=min(spline_degree, len(points) - 1),
    s=smoothness,
    per=int(periodic),
  )
  if num_buffer:
    times = times[num_buffer:-num_buffer]
  return Curve(spline, np.asarray(times), **orientation)


def _with_buffers(poses, num_buffer):
  """Key frames with others before and after them, along their views."""
  steps = np.linalg.norm(np.diff(poses[:, :, 3], axis=0), axis=-1)
  step = steps.mean()

  def moved(pose, offsets):
    out = np.repeat(pose[None], len(offsets), axis=0)
    back = pose[:, 2] / np.linalg.norm(pose[:, 2])
    out[:, :, 3] += step * offsets[:, None] * back
    return out

  count = np.arange(1, num_buffer + 1, dtype=np.float64)
  return np.concatenate(
    [moved(poses[0], count[::-1]), poses, moved(poses[-1], -count)]
  )
