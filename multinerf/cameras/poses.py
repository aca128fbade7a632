"""Camera poses as sets: averages, focus and normalised world frames.

Host-side numpy in float64. A pose is camera-to-world in OpenGL axes: its
columns are right, up, back and position. Functions that move the world return
the moved poses and the 4x4 similarity that moves points into the new frame;
rotations of the poses stay orthonormal under it.
"""

from types import ModuleType

import numpy as np
from jaxtyping import Array, Float, Num

from multinerf import errors

AnyArray = Array | np.ndarray

# Below this length a direction is rounding noise of unit vectors in float64.
_TINY = 1e-12
# Largest error of a product of two orthogonal unit vectors that is rounding.
_ORTHOGONAL = 1e-9

# Smallest eigenvalue, relative to the largest, of axes that are not parallel.
_SINGULAR, _SINGULAR_FLOAT32 = 1e-10, 1e-6

# Where the world frame's axes come from in `transform_poses_focus`: columns
# of [right, up, back] that become x = right, y = forward, z = up.
_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def pad_poses(p: Num[np.ndarray, '*n 3 4']) -> Num[np.ndarray, '*n 4 4']:
  """Appends the row (0, 0, 0, 1)."""
  bottom = np.broadcast_to(
    np.array([0.0, 0.0, 0.0, 1.0]), (*p.shape[:-2], 1, 4)
  )
  return np.concatenate([p, bottom], -2)


def unpad_poses(p: Num[np.ndarray, '*n 4 4']) -> Num[np.ndarray, '*n 3 4']:
  """Drops the last row."""
  return p[..., :3, :]


def normalize(x: Num[np.ndarray, '*n c']) -> Float[np.ndarray, '*n c']:
  """Unit vectors along the last axis; a zero vector stays zero."""
  length = np.linalg.norm(x, axis=-1, keepdims=True)
  return x / np.where(length == 0, 1.0, length)


def viewmatrix(
  lookdir: Num[np.ndarray, '3'],
  up: Num[np.ndarray, '3'],
  position: Num[np.ndarray, '3'],
  *,
  lock_up: bool = False,
) -> Float[np.ndarray, '3 4']:
  """The pose at `position` whose back axis is `lookdir`.

  Args:
    lookdir: Against the viewing direction, of any length > 0.
    up: Roughly up, of any length.
    position: Camera centre.
    lock_up: Keep the direction of `up` exactly and bend `lookdir` instead.

  Returns:
    A rigid pose. Where both directions are parallel, which leaves one angle
    open, the world axis furthest from them stands in for the one that may be
    bent.

  Raises:
    DataError: The direction to keep (lookdir, or up with lock_up) is zero.
  """
  back, up = normalize(lookdir), normalize(up)
  kept = up if lock_up else back
  if not kept.any():
    raise errors.DataError(
      'Cannot orient a camera: its '
      + ('up' if lock_up else 'viewing')
      + ' direction is zero. Do the cameras of the scene cancel out, or all '
      'stand in one point?'
    )
  if np.linalg.norm(np.cross(up, back)) < _TINY:
    helper = np.eye(3)[np.argmin(np.abs(kept))]
    back, up = (helper, up) if lock_up else (back, helper)
  right = normalize(np.cross(up, back))
  if lock_up:
    back = normalize(np.cross(right, up))
  else:
    up = normalize(np.cross(back, right))
  return np.stack([right, up, back, position], axis=1)


def rotation_about_axis(
  degrees: float, axis: int = 0
) -> Float[np.ndarray, '4 4']:
  """The 4x4 rotation about x, y or z (axis 0, 1, 2), counter-clockwise."""
  i, j = (axis + 1) % 3, (axis + 2) % 3
  cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
  out = np.eye(4)
  out[i, i] = out[j, j] = cos
  out[j, i], out[i, j] = sin, -sin
  return out


def average_pose(
  poses: Num[np.ndarray, 'n 3 4'], *, lock_up: bool = False
) -> Float[np.ndarray, '3 4']:
  """Mean position, looking along the mean axis with the mean up."""
  position = poses[:, :, 3].mean(0)
  back = poses[:, :, 2].mean(0)
  up = poses[:, :, 1].mean(0)
  return viewmatrix(back, up, position, lock_up=lock_up)


def recenter_poses(
  poses: Num[np.ndarray, 'n 3 4'],
) -> tuple[Float[np.ndarray, 'n 3 4'], Float[np.ndarray, '4 4']]:
  """Moves the average pose to the identity.

  Returns:
    The moved poses and the rigid 4x4 that moved them.
  """
  transform = np.linalg.inv(pad_poses(average_pose(poses)))
  return unpad_poses(transform @ pad_poses(poses)), transform


def focus_point(
  poses: Num[AnyArray, 'n 3 4'], *, xnp: ModuleType = np
) -> Float[AnyArray, '3']:
  """The point nearest to all optical axes, in the least squares sense.

  Minimises sum_i |(I - z_i z_i^T) (p - o_i)|^2. Where all axes are parallel
  there is a line of such points: the one nearest to the mean camera centre.

  Args:
    poses: Cameras.
    xnp: numpy or jax.numpy.
  """
  axes, centers = poses[:, :, 2], poses[:, :, 3]
  middle = centers.mean(0)
  across = xnp.eye(3) - axes[:, :, None] * axes[:, None, :]
  across = xnp.swapaxes(across, 1, 2) @ across
  rhs = xnp.einsum('nij,nj->i', across, centers - middle)
  rcond = _SINGULAR if xnp is np else _SINGULAR_FLOAT32
  offset, *_ = xnp.linalg.lstsq(across.sum(0), rhs, rcond=rcond)
  return middle + offset


def transform_poses_pca(
  poses: Num[np.ndarray, 'n 3 4'],
) -> tuple[Float[np.ndarray, 'n 3 4'], Float[np.ndarray, '4 4']]:
  """World frame along the principal axes of the camera centres.

  The mean centre goes to the origin, the axes x, y, z to the directions of
  descending variance; z points to the side of the cameras' mean up; the
  largest coordinate of a centre becomes 1 in magnitude.

  Args:
    poses: Cameras.

  Returns:
    Moved poses with centres in [-1, 1]^3 and the 4x4 similarity. The signs of
    x and y are those that `np.linalg.eig` (not eigh) gives, as upstream, so
    that its world frames and saved render paths are reproduced.
  """
  centers = poses[:, :, 3]
  mean = centers.mean(0)
  centered = centers - mean
  scatter = centered.T @ centered
  # From NumPy 2.5 on they are complex, whatever their values. Real parts of a
  # pair that is not real are not orthogonal.
  variance, vectors = (x.real for x in np.linalg.eig(scatter))
  if np.abs(vectors.T @ vectors - np.eye(3)).max() > _ORTHOGONAL:
    # eig does not promise orthogonal vectors where variances are equal, as
    # they are for cameras on a circle; eigh does.
    variance, vectors = np.linalg.eigh(scatter)
  rotation = vectors[:, np.argsort(variance)[::-1]].T
  if np.linalg.det(rotation) < 0:
    rotation = np.diag([1.0, 1.0, -1.0]) @ rotation
  if rotation[2] @ poses[:, :, 1].mean(0) < 0:
    rotation = np.diag([1.0, -1.0, -1.0]) @ rotation
  return _move(poses, rotation, mean)


def transform_poses_focus(
  poses: Num[np.ndarray, 'n 3 4'],
) -> tuple[Float[np.ndarray, 'n 3 4'], Float[np.ndarray, '4 4']]:
  """World frame around the focus point, with z along the mean camera up.

  x is to the right and y forwards as seen by the average camera; the largest
  coordinate of a camera centre becomes 1 in magnitude.

  Args:
    poses: Cameras.

  Returns:
    Moved poses with centres in [-1, 1]^3 and the 4x4 similarity.
  """
  rotation = _Z_UP.T @ average_pose(poses, lock_up=True)[:, :3].T
  return _move(poses, rotation, focus_point(poses))


def _move(poses, rotation, origin):
  """Similarity that takes `origin` to 0, rotates, and scales to [-1, 1]."""
  transform = np.eye(4)
  transform[:3, :3] = rotation
  transform[:3, 3] = -rotation @ origin
  moved = unpad_poses(transform @ pad_poses(poses))
  extent = np.abs(moved[:, :, 3]).max()
  # Cameras that all stand in the origin say nothing about the scale.
  scale = 1.0 / extent if extent > 0 else 1.0
  moved[:, :, 3] *= scale
  return moved, np.diag([scale, scale, scale, 1.0]) @ transform
