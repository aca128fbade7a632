"""Rotations, rigid motions and similarities, as matrices and as vectors.

The maps between the groups SO(3), SE(3) and their Lie algebras (Lynch and
Park, Modern Robotics, Sec. 3), smooth at 0 where their usual forms are 0 / 0.
Arrays lead with any batch shape.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from multinerf.ops import directional, numerics, quaternion

Vector = Float[Array, '*batch 3']
Rotation = Float[Array, '*batch 3 3']
Transform = Float[Array, '*batch 4 4']
# Squared angles below this take series of four terms: the next one is 1e-8.
_SMALL = 0.25


def skew(w: Vector) -> Rotation:
  """The matrix W with W v = w x v (Modern Robotics, Eq. 3.30)."""
  x, y, z = jnp.moveaxis(w, -1, 0)
  zero = jnp.zeros_like(x)
  rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
  return jnp.stack([jnp.stack(row, -1) for row in rows], axis=-2)


def unskew(matrix: Rotation) -> Vector:
  """The w whose `skew` is the antisymmetric part of `matrix`."""
  m = (matrix - jnp.swapaxes(matrix, -1, -2)) / 2
  return jnp.stack([m[..., 2, 1], m[..., 0, 2], m[..., 1, 0]], axis=-1)


def rp_to_se3(rotation: Rotation, translation: Vector) -> Transform:
  """The 4x4 matrix that rotates, then translates."""
  top = jnp.concatenate([rotation, translation[..., None]], axis=-1)
  bottom = jnp.broadcast_to(
    jnp.array([0.0, 0.0, 0.0, 1.0], top.dtype), (*top.shape[:-2], 1, 4)
  )
  return jnp.concatenate([top, bottom], axis=-2)


def se3_to_rp(transform: Transform) -> tuple[Rotation, Vector]:
  """The rotation and the translation of a 4x4 matrix."""
  return transform[..., :3, :3], transform[..., :3, 3]


def _coefficients(square: Array) -> tuple[Array, Array, Array, Array]:
  """Of the angle a, whose square is given: functions that are smooth at 0.

  Returns:
    sin(a) / a, (1 - cos a) / a^2, (a - sin a) / a^3 and
    (1 - a/2 cot(a/2)) / a^2.
  """
  small = square < _SMALL
  x = jnp.where(small, square, 0.0)
  a = jnp.sqrt(jnp.where(small, 1.0, square))
  sin, half = jnp.sin(a), jnp.sin(a / 2)
  series = lambda *terms: (
    terms[0] + x * (terms[1] + x * (terms[2] + x * terms[3]))
  )
  pick = lambda near, far: jnp.where(small, near, far)
  return (
    pick(series(1, -1 / 6, 1 / 120, -1 / 5040), sin / a),
    pick(series(1 / 2, -1 / 24, 1 / 720, -1 / 40320), 2 * half**2 / a**2),
    pick(series(1 / 6, -1 / 120, 1 / 5040, -1 / 362880), (a - sin) / a**3),
    pick(
      series(1 / 12, 1 / 720, 1 / 30240, 1 / 1209600),
      (1 - a / 2 * jnp.cos(a / 2) / half) / a**2,
    ),
  )


def _polynomial(w: Vector, linear: Array, quadratic: Array) -> Rotation:
  """I + linear W + quadratic W^2, W = skew(w)."""
  matrix = skew(w)
  square = numerics.matmul(matrix, matrix)
  linear, quadratic = linear[..., None, None], quadratic[..., None, None]
  eye = jnp.eye(3, dtype=w.dtype)
  return eye + linear * matrix + quadratic * square


def exp_so3(axis_angle: Vector) -> Rotation:
  """The rotation by |axis_angle| radians about it (Rodrigues; Eq. 3.51)."""
  square = jnp.sum(axis_angle**2, axis=-1)
  sin, cos, _, _ = _coefficients(square)
  return _polynomial(axis_angle, sin, cos)


def log_so3(rotation: Rotation) -> Vector:
  """Axis times angle in [0, pi] of a rotation matrix (Eq. 3.53)."""
  q = quaternion.from_rotation_matrix(rotation)
  return quaternion.to_axis_angle(q)


def exp_se3(screw_axis: Float[Array, '*batch 6']) -> Transform:
  """The rigid motion along a screw (w, v) for unit time (Eq. 3.88).

  Args:
    screw_axis: w, axis times angle of the rotation; v, the velocity of the
      point that is at the origin.
  """
  w, v = screw_axis[..., :3], screw_axis[..., 3:]
  sin, cos, cube, _ = _coefficients(jnp.sum(w**2, axis=-1))
  left = _polynomial(w, cos, cube)
  moved = numerics.matmul(left, v[..., None])[..., 0]
  return rp_to_se3(_polynomial(w, sin, cos), moved)


def log_se3(transform: Transform) -> Float[Array, '*batch 6']:
  """The screw (w, v) of a rigid motion; inverse of `exp_se3` (Eq. 3.91)."""
  rotation, translation = se3_to_rp(transform)
  w = log_so3(rotation)
  inverse = _coefficients(jnp.sum(w**2, axis=-1))[3]
  left = _polynomial(w, jnp.full_like(inverse, -0.5), inverse)
  v = numerics.matmul(left, translation[..., None])[..., 0]
  return jnp.concatenate([w, v], axis=-1)


def rts_to_sim3(
  rotation: Rotation, translation: Vector, scale: Float[Array, '*batch']
) -> Transform:
  """The 4x4 matrix that rotates, scales, then translates."""
  return rp_to_se3(rotation * scale[..., None, None], translation)


def sim3_to_rts(
  transform: Transform,
) -> tuple[Rotation, Vector, Float[Array, '*batch']]:
  """Rotation, translation and scale > 0 of a similarity; see `rts_to_sim3`."""
  scaled, translation = se3_to_rp(transform)
  scale = jnp.sqrt(jnp.sum(scaled**2, axis=(-2, -1)) / 3)
  return scaled / scale[..., None, None], translation, scale


def ortho6d_from_rotation_matrix(
  rotation_matrix: Rotation,
) -> Float[Array, '*batch 6']:
  """The first two rows (Zhou et al., arXiv:1812.07035, with rows)."""
  return rotation_matrix[..., :2, :].reshape(*rotation_matrix.shape[:-2], 6)


def rotation_matrix_from_ortho6d(
  ortho6d: Float[Array, '*batch 6'],
) -> Rotation:
  """The rotation whose first two rows are the vectors, made orthonormal.

  Any two vectors of different directions will do: the first keeps its
  direction, the second is bent, the third follows (Gram and Schmidt).
  """
  first = directional.l2_normalize(ortho6d[..., :3])
  second = ortho6d[..., 3:]
  along = jnp.sum(first * second, axis=-1, keepdims=True)
  second = directional.l2_normalize(second - along * first)
  return jnp.stack([first, second, jnp.cross(first, second)], axis=-2)


def rotation_distance(
  rotation_mat1: Float[Array, '*#batch 3 3'],
  rotation_mat2: Float[Array, '*#batch 3 3'],
) -> Float[Array, '...']:
  """Angle of the rotation between two rotations, in degrees, 0 to 180.

  Differs from camp_zipnerf camera_utils.py: rotation_distance, which subtracts
  axis-angle vectors: that is no distance of rotations.
  """
  # |R1 - R2|_F = 2 sqrt(2) sin(angle / 2); trace(R1^T R2) = 4 cos^2(...) - 1.
  difference = jnp.sum((rotation_mat1 - rotation_mat2) ** 2, axis=(-2, -1))
  trace = jnp.sum(rotation_mat1 * rotation_mat2, axis=(-2, -1))
  sin = numerics.safe_sqrt(difference / 8)
  cos = numerics.safe_sqrt((1 + trace) / 4)
  return jnp.degrees(2 * numerics.safe_arctan2(sin, cos))
