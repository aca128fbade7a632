"""Lens models: from the image plane to directions, with distortion.

Pure functions of coordinates in OpenCV axes (x right, y down, z forwards),
for numpy and jax.numpy alike (`xnp`).
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num

from multinerf.cameras import camera

AnyArray = Array | np.ndarray | np.generic  # numpy scalars have batch ()
ProjectionType = camera.ProjectionType

NUM_UNDISTORT_STEPS = 10  # upstream's; parity depends on it
_NEWTON_EPS = 1e-9  # smallest |determinant| for which a step is taken


def distort(
  x: Num[AnyArray, '*batch'],
  y: Num[AnyArray, '*batch'],
  params: Mapping[str, Any],
) -> tuple[Num[AnyArray, '*batch'], Num[AnyArray, '*batch']]:
  """Brown's radial and tangential lens distortion of image plane points.

  With r = x^2 + y^2 and d = 1 + k1 r + k2 r^2 + k3 r^3 + k4 r^4:
  x' = x d + 2 p1 x y + p2 (r + 2 x^2), y' = y d + 2 p2 x y + p1 (r + 2 y^2).

  Args:
    x, y: Ideal coordinates on the plane at depth 1 (fisheye: angles).
    params: Any of k1..k4, p1, p2: numbers or arrays that broadcast with x;
      absent ones are 0.

  Returns:
    Distorted x and y.
  """
  r = x * x + y * y
  k1, k2, k3, k4, p1, p2 = (params.get(k, 0.0) for k in camera.DISTORTION_KEYS)
  d = 1.0 + r * (k1 + r * (k2 + r * (k3 + r * k4)))
  return (
    x * d + 2 * p1 * x * y + p2 * (r + 2 * x * x),
    y * d + 2 * p2 * x * y + p1 * (r + 2 * y * y),
  )


def undistort(
  xd: Num[AnyArray, '*batch'],
  yd: Num[AnyArray, '*batch'],
  params: Mapping[str, Any],
  xnp: ModuleType = np,
) -> tuple[Num[AnyArray, '*batch'], Num[AnyArray, '*batch']]:
  """Inverts `distort` by exactly 10 Newton steps that start at (xd, yd).

  No step is taken where the Jacobian's determinant is within 1e-9 of zero.
  Where the distortion folds the image over (far outside of the calibrated
  field of view) the result need not be an inverse, but it is deterministic.

  Args:
    xd, yd: Distorted coordinates.
    params: See `distort`.
    xnp: numpy or jax.numpy.

  Returns:
    Ideal x and y.
  """

  def step(_, xy):
    return _newton_step(*xy, xd, yd, params, xnp)

  if xnp is np:
    xy = (xd, yd)
    for i in range(NUM_UNDISTORT_STEPS):
      xy = step(i, xy)
    return xy
  # A loop, not ten copies: XLA's CPU fusion recomputes every step of the
  # unrolled form for each of its users, and compiling it takes > 10 minutes.
  dtype = jnp.result_type(xd, yd, *params.values(), jnp.float32)
  shape = jnp.broadcast_shapes(*map(jnp.shape, (xd, yd, *params.values())))
  start = tuple(jnp.broadcast_to(v, shape).astype(dtype) for v in (xd, yd))
  return jax.lax.fori_loop(0, NUM_UNDISTORT_STEPS, step, start)


def plane_to_camera(
  x: Num[AnyArray, '*batch'],
  y: Num[AnyArray, '*batch'],
  z: Num[AnyArray, '*batch'],
  camtype: ProjectionType,
  xnp: ModuleType = np,
) -> tuple[AnyArray, AnyArray, AnyArray]:
  """Directions that ideal image plane coordinates look in.

  Perspective: (x, y, z) itself. Fisheye (equidistant): theta = min(pi,
  sqrt(x^2 + y^2)) from the optical axis. Panorama: x is the azimuth, y the
  polar angle from the camera's up, in radians. The latter two ignore z and
  give unit vectors.

  Args:
    x, y, z: Homogeneous plane coordinates.
    camtype: Projection type.
    xnp: numpy or jax.numpy.

  Returns:
    x, y and z of the direction in OpenCV axes.
  """
  match camtype:
    case ProjectionType.PERSPECTIVE:
      return x, y, z
    case ProjectionType.FISHEYE:
      # Differs from multinerf camera_utils.py (sin(theta) / theta with
      # theta = 0): the pixel on the optical axis gave NaN.
      sinc, cos = _sinc_cos_of_square(x * x + y * y, xnp)
      return x * sinc, y * sinc, cos
    case ProjectionType.PANORAMIC:
      sin = xnp.sin(y)
      return -sin * xnp.sin(x), -xnp.cos(y), -sin * xnp.cos(x)


def camera_to_plane(
  x: Num[AnyArray, '*batch'],
  y: Num[AnyArray, '*batch'],
  z: Num[AnyArray, '*batch'],
  camtype: ProjectionType,
  xnp: ModuleType = np,
) -> tuple[AnyArray, AnyArray, AnyArray]:
  """Where points of the camera's OpenCV frame fall on the ideal image plane.

  Args:
    x, y, z: Points, in world units.
    camtype: Projection type.
    xnp: numpy or jax.numpy.

  Returns:
    x, y as `plane_to_camera` takes them (angles in radians for a fisheye and
    a panorama), and t such that t times the direction is the point: depth z
    for perspective, distance otherwise.
  """
  if camtype is ProjectionType.PERSPECTIVE:
    return x / z, y / z, z
  distance = xnp.sqrt(x * x + y * y + z * z)
  if camtype is ProjectionType.FISHEYE:
    lateral = xnp.sqrt(x * x + y * y)
    # On the optical axis any finite quotient does: it is multiplied by 0.
    on_axis = lateral == 0
    ratio = xnp.where(
      on_axis,
      1.0,
      xnp.arctan2(lateral, z) / xnp.where(on_axis, 1.0, lateral),
    )
    return x * ratio, y * ratio, distance
  azimuth = xnp.mod(xnp.arctan2(-x, -z), 2 * np.pi)
  polar = xnp.arctan2(xnp.sqrt(x * x + z * z), -y)
  return azimuth, polar, distance


def _newton_step(x, y, xd, yd, params, xnp):
  """One step towards the (x, y) whose distorted place is (xd, yd)."""
  k1, k2, k3, k4, p1, p2 = (params.get(k, 0.0) for k in camera.DISTORTION_KEYS)
  fx, fy = distort(x, y, params)
  fx, fy = fx - xd, fy - yd
  r = x * x + y * y
  d = 1.0 + r * (k1 + r * (k2 + r * (k3 + r * k4)))
  # Twice the derivative of d by r; d depends on x through dr/dx = 2 x.
  dd = 2.0 * (k1 + r * (2.0 * k2 + r * (3.0 * k3 + r * 4.0 * k4)))
  fx_x = d + dd * x * x + 2.0 * p1 * y + 6.0 * p2 * x
  fy_y = d + dd * y * y + 2.0 * p2 * x + 6.0 * p1 * y
  # The Jacobian is symmetric: the displacement is a gradient field.
  fx_y = dd * x * y + 2.0 * p1 * x + 2.0 * p2 * y
  det = fx_x * fy_y - fx_y * fx_y
  usable = xnp.abs(det) > _NEWTON_EPS
  # The inner where keeps the gradient finite where the step is skipped.
  inv = xnp.where(usable, 1.0 / xnp.where(usable, det, 1.0), 0.0)
  return (
    x - (fx * fy_y - fy * fx_y) * inv,
    y - (fy * fx_x - fx * fx_y) * inv,
  )


def _sinc_cos_of_square(square, xnp):
  """sin(a) / a and cos(a) for a = min(pi, sqrt(square)), smooth at 0."""
  small = square < 1e-3  # next term of the series: square^3 / 5040 < 1e-12
  # sqrt has an infinite slope at 0: keep it away from there, also unselected.
  angle = xnp.minimum(np.pi, xnp.sqrt(xnp.where(small, 1.0, square)))
  sinc = xnp.where(
    small,
    1.0 - square / 6.0 + square * square / 120.0,
    xnp.sin(angle) / angle,
  )
  cos = xnp.where(
    small, 1.0 - square / 2.0 + square * square / 24.0, xnp.cos(angle)
  )
  return sinc, cos
