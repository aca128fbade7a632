"""Names of `camp_zipnerf/internal/rigid_body.py`.

`eps` is accepted and changes nothing: series serve where the formulas are 0/0.
All functions take batches.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike

from multinerf.ops import rigid_body as ops
from multinerf.types import Array

skew = ops.skew
ortho6d_from_rotation_matrix = ops.ortho6d_from_rotation_matrix
rotation_matrix_from_ortho6d = ops.rotation_matrix_from_ortho6d
sim3_to_rts = ops.sim3_to_rts
_EPS = jnp.finfo(jnp.float32).eps


def unskew(W: Array) -> Array:  # noqa: N803
  """The w of the matrix of v -> w x v."""
  return ops.unskew(W)


def rp_to_se3(R: Array, p: Array) -> Array:  # noqa: N803
  """The 4x4 matrix of a rotation, followed by a translation."""
  return ops.rp_to_se3(R, p.reshape((*R.shape[:-2], 3)))


def se3_to_rp(X: Array) -> tuple[Array, Array]:  # noqa: N803
  """The rotation and the translation of a 4x4 matrix."""
  return ops.se3_to_rp(X)


def exp_so3(axis_angle: Array, eps: float = _EPS) -> Array:
  """The matrix of the rotation by |axis_angle| radians about it."""
  del eps
  return ops.exp_so3(axis_angle)


def log_so3(R: Array, eps: float = _EPS) -> Array:  # noqa: N803
  """Axis times angle in [0, pi] of a rotation matrix."""
  del eps
  return ops.log_so3(R)


def exp_se3(screw_axis: Array, eps: float = _EPS) -> Array:
  """The 4x4 matrix of the motion along a screw (w, v) for unit time."""
  del eps
  return ops.exp_se3(screw_axis)


def log_se3(a_X_b: Array, eps: float = _EPS) -> Array:  # noqa: N803
  """The screw (w, v) of a rigid motion."""
  del eps
  return ops.log_se3(a_X_b)


def rts_to_sim3(rotation: Array, translation: Array, scale: ArrayLike) -> Array:
  """The 4x4 matrix that rotates, scales, then translates."""
  return ops.rts_to_sim3(rotation, translation, jnp.asarray(scale))
