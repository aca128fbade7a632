"""Quaternions (x, y, z, w): three imaginary parts, then the real one.

Arrays [..., 4] of any leading shape. Those that stand for rotations have
length 1; q and -q are the same rotation.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from multinerf.ops import numerics

Quaternion = Float[Array, '*batch 4']
# Squared angles below this take series: the next term is below 1e-8.
_SMALL = 1e-2


def im(q: Quaternion) -> Float[Array, '*batch 3']:
  """The imaginary part."""
  return q[..., :3]


def re(q: Quaternion) -> Float[Array, '*batch 1']:
  """The real part, with a trailing axis."""
  return q[..., 3:]


def identity() -> Float[Array, '4']:
  """The rotation by nothing, (0, 0, 0, 1)."""
  return jnp.array([0.0, 0.0, 0.0, 1.0])


def norm(q: Quaternion) -> Float[Array, '*batch 1']:
  """Length, with a trailing axis; no gradient at 0."""
  return _length(q)


def _length(x: Array) -> Array:
  return numerics.safe_sqrt(jnp.sum(x**2, axis=-1, keepdims=True))


def normalize(q: Quaternion) -> Quaternion:
  """Scaled to length 1; 0 stays 0."""
  return q / jnp.maximum(norm(q), numerics.TINY)


def conjugate(q: Quaternion) -> Quaternion:
  """With the imaginary part negated: the inverse of a rotation."""
  return jnp.concatenate([-im(q), re(q)], axis=-1)


def inverse(q: Quaternion) -> Quaternion:
  """1 / q for any q but 0."""
  return conjugate(q) / jnp.sum(q**2, axis=-1, keepdims=True)


def multiply(
  q1: Float[Array, '*#batch 4'], q2: Float[Array, '*#batch 4']
) -> Float[Array, '... 4']:
  """Hamilton's product: the rotation q2, followed by q1."""
  v1, s1, v2, s2 = im(q1), re(q1), im(q2), re(q2)
  imaginary = s1 * v2 + s2 * v1 + jnp.cross(v1, v2)
  real = s1 * s2 - jnp.sum(v1 * v2, axis=-1, keepdims=True)
  return jnp.concatenate([imaginary, real], axis=-1)


def rotate(
  q: Float[Array, '*#batch 4'], v: Float[Array, '*#batch 3']
) -> Float[Array, '... 3']:
  """Vectors v turned by unit quaternions, q v q*."""
  # v + 2 s (u x v) + 2 u x (u x v), u and s the parts of q.
  twice = 2 * jnp.cross(im(q), v)
  return v + re(q) * twice + jnp.cross(im(q), twice)


def log(q: Quaternion) -> Quaternion:
  """(axis * half angle, log |q|), so that `exp` gives q back."""
  v, s = im(q), re(q)
  length = _length(v)
  angle = numerics.safe_arctan2(length, s)
  # On the real axis: angle / |v| tends to 1 / s.
  ratio = jnp.where(
    length > numerics.TINY,
    angle / jnp.maximum(length, numerics.TINY),
    numerics.safe_div(jnp.ones_like(s), s),
  )
  real = 0.5 * numerics.safe_log(jnp.sum(q**2, axis=-1, keepdims=True))
  return jnp.concatenate([v * ratio, real], axis=-1)


def exp(q: Float[Array, '*batch parts']) -> Quaternion:
  """The exponential of a quaternion, or of a purely imaginary one [..., 3]."""
  v = q[..., :3]
  s = q[..., 3:] if q.shape[-1] == 4 else jnp.zeros_like(q[..., :1])
  square = jnp.sum(v**2, axis=-1, keepdims=True)
  parts = [v * sinc_of_square(square), jnp.cos(_root(square))]
  return jnp.exp(s) * jnp.concatenate(parts, axis=-1)


def _root(square: Array) -> Array:
  """sqrt whose gradient at 0 is finite; callers use it in even functions."""
  return jnp.sqrt(jnp.maximum(square, numerics.TINY))


def sinc_of_square(square: Array) -> Array:
  """sin(a) / a of a^2, smooth at 0."""
  small = square < _SMALL
  angle = jnp.sqrt(jnp.where(small, 1.0, square))
  series = 1 - square / 6 * (1 - square / 20)
  return jnp.where(small, series, jnp.sin(angle) / angle)


def from_axis_angle(axis_angle: Float[Array, '*batch 3']) -> Quaternion:
  """Unit quaternions of rotations by |axis_angle| radians about it."""
  return exp(axis_angle / 2)


def to_axis_angle(q: Quaternion) -> Float[Array, '*batch 3']:
  """Axes times angles in [0, pi], of unit quaternions."""
  q = jnp.where(re(q) < 0, -q, q)
  v, s = im(q), re(q)
  square = jnp.sum(v**2, axis=-1, keepdims=True)
  small = square < _SMALL**2
  length = jnp.sqrt(jnp.where(small, 1.0, square))
  # asin(l) / l = 1 + l^2 / 6 + ..., for unit quaternions.
  series = 1 + square / 6
  ratio = jnp.where(small, series, jnp.arctan2(length, s) / length)
  return 2 * ratio * v


def to_rotation_matrix(q: Quaternion) -> Float[Array, '*batch 3 3']:
  """Rotation matrices of quaternions != 0, of any length."""
  scale = 2 / jnp.sum(q**2, axis=-1)
  x, y, z, w = jnp.moveaxis(q, -1, 0)
  rows = [
    [1 - scale * (y * y + z * z), scale * (x * y - z * w)],
    [scale * (x * y + z * w), 1 - scale * (x * x + z * z)],
    [scale * (x * z - y * w), scale * (y * z + x * w)],
  ]
  last = [
    scale * (x * z + y * w),
    scale * (y * z - x * w),
    1 - scale * (x * x + y * y),
  ]
  return jnp.stack(
    [jnp.stack([*row, end], -1) for row, end in zip(rows, last, strict=True)],
    axis=-2,
  )


def from_rotation_matrix(m: Float[Array, '*batch 3 3']) -> Quaternion:
  """Unit quaternions of rotation matrices; the largest part is positive."""
  m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
  wx, wy, wz = (
    m[..., 2, 1] - m[..., 1, 2],
    m[..., 0, 2] - m[..., 2, 0],
    m[..., 1, 0] - m[..., 0, 1],
  )
  xy, xz, yz = (
    m[..., 0, 1] + m[..., 1, 0],
    m[..., 0, 2] + m[..., 2, 0],
    m[..., 1, 2] + m[..., 2, 1],
  )
  # The rows of 4 q q^T. Each is a multiple of q; the one with the largest
  # diagonal entry, at least 1, is the one that does not cancel.
  diagonal = [
    1 + m00 - m11 - m22,
    1 - m00 + m11 - m22,
    1 - m00 - m11 + m22,
    1 + m00 + m11 + m22,
  ]
  rows = [
    jnp.stack(row, -1)
    for row in (
      [diagonal[0], xy, xz, wx],
      [xy, diagonal[1], yz, wy],
      [xz, yz, diagonal[2], wz],
      [wx, wy, wz, diagonal[3]],
    )
  ]
  best = jnp.argmax(jnp.stack(diagonal, -1), axis=-1)[..., None]
  out = rows[3]
  for i in range(3):
    out = jnp.where(best == i, rows[i], out)
  return out / jnp.linalg.norm(out, axis=-1, keepdims=True)
