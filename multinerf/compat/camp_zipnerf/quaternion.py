"""Names of `camp_zipnerf/internal/quaternion.py`: (x, y, z, w).

`eps` is accepted and changes nothing: series serve where the formulas are 0/0.
All functions take batches.
"""

import jax.numpy as jnp

from multinerf.ops import quaternion as ops
from multinerf.types import Array

im = ops.im
re = ops.re
identity = ops.identity
conjugate = ops.conjugate
inverse = ops.inverse
normalize = ops.normalize
norm = ops.norm
multiply = ops.multiply
rotate = ops.rotate
to_rotation_matrix = ops.to_rotation_matrix


def log(q: Array, eps: float = 1e-8) -> Array:
  """The quaternion whose exponential is q."""
  del eps
  return ops.log(q)


def exp(q: Array, eps: float = 1e-8) -> Array:
  """The exponential of a quaternion, or of a purely imaginary one [..., 3]."""
  del eps
  return ops.exp(q)


def from_rotation_matrix(m: Array, eps: float = 1e-9) -> Array:
  """Unit quaternions of rotation matrices [..., 3, 3]."""
  del eps
  return ops.from_rotation_matrix(m)


def from_axis_angle(
  axis_angle: Array, eps: float = jnp.finfo(jnp.float32).eps
) -> Array:
  """Unit quaternions of rotations by |axis_angle| radians about it."""
  del eps
  return ops.from_axis_angle(axis_angle)


def to_axis_angle(q: Array, eps: float = jnp.finfo(jnp.float32).eps) -> Array:
  """Axes times angles in [0, pi], of unit quaternions."""
  del eps
  return ops.to_axis_angle(q)
