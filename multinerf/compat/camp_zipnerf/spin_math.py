"""Names of `camp_zipnerf/internal/spin_math.py`."""

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from multinerf.ops import curves, matrix_roots, numerics
from multinerf.types import Array

matmul = numerics.matmul
generalized_bias_and_gain = curves.generalized_bias_and_gain
_EPS = jnp.finfo(jnp.float32).eps


def safe_sqrt(
  x: ArrayLike, *, eps: float = _EPS, value_at_zero: float = 0.0
) -> Array:
  """sqrt(x); for x <= eps sqrt(value_at_zero), without gradient."""
  x = jnp.asarray(x)
  usable = x > eps
  root = jnp.sqrt(jnp.where(usable, x, 1.0))
  return jnp.where(usable, root, jnp.sqrt(jnp.asarray(value_at_zero, x.dtype)))


def safe_acos(t: ArrayLike, eps: float = _EPS) -> Array:
  """arccos of t clipped to [-1 + eps, 1 - eps]."""
  return jnp.arccos(jnp.clip(t, -1.0 + eps, 1.0 - eps))


def safe_log(
  x: ArrayLike, *, eps: float = _EPS, value_at_zero: float = _EPS
) -> Array:
  """log(x); for x <= eps log(value_at_zero), without gradient."""
  x = jnp.asarray(x)
  usable = x > eps
  log = jnp.log(jnp.where(usable, x, 1.0))
  return jnp.where(usable, log, jnp.log(jnp.asarray(value_at_zero, x.dtype)))


def normalize(
  x: Array,
  axis: int = -1,
  ord: Any = None,  # noqa: A002
  eps: float = _EPS,
) -> Array:
  """x / max(eps, |x|) along an axis.

  Args:
    x: Vectors; shorter ones than eps are divided by it, and have a gradient.
    axis: Which one.
    ord: Kind of norm, see `jnp.linalg.norm`.
    eps: Smallest norm to divide by.
  """
  length = jnp.linalg.norm(x, ord=ord, axis=axis, keepdims=True)
  short = length <= eps
  # Where x is 0 the norm has no derivative: take that of a vector of ones.
  length = jnp.linalg.norm(
    jnp.where(short, 1.0, x), ord=ord, axis=axis, keepdims=True
  )
  return x / jnp.where(short, eps, length)


def inv_sqrtm(
  matrix: Array, normalize_eigvals: bool = False
) -> tuple[Array, tuple[Array, Array]]:
  """The inverse square root of positive semi-definite matrices.

  Args:
    matrix: [..., d, d].
    normalize_eigvals: First divide by the geometric mean of the eigenvalues.

  Returns:
    The root, and (eigenvectors, eigenvalues) of what it is the root of.
  """
  root = matrix_roots.inv_sqrtm(matrix, normalize=normalize_eigvals)
  vectors, values = matrix_roots.eigh(matrix)
  if normalize_eigvals:
    log = jnp.log(values)
    values = jnp.exp(log - jnp.mean(log, axis=-1, keepdims=True))
  return root, (vectors, values)


def to_homogeneous(v: Array) -> Array:
  """Appends a 1 to vectors [..., c]."""
  return jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)


def from_homogeneous(v: Array) -> Array:
  """Divides by the last entry, and drops it."""
  return v[..., :-1] / v[..., -1:]


def apply_homogeneous_transform(transform: Array, vectors: Array) -> Array:
  """A matrix [c + 1, c + 1] applied to points [..., c]."""
  points = to_homogeneous(vectors)[..., None]
  return from_homogeneous(numerics.matmul(transform, points)[..., 0])
