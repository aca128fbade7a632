"""Square roots of symmetric matrices, with the gradients that they have.

Differentiating an eigendecomposition divides by differences of eigenvalues,
which are 0 for every Gaussian of a round cone. A function of the matrix needs
divided differences of that function instead, and those are finite.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from multinerf.ops import numerics

Square = Float[Array, '*batch d d']


def eigh(mat: Square) -> tuple[Square, Float[Array, '*batch d']]:
  """(eigenvectors as columns, eigenvalues) of symmetric matrices.

  Only the lower triangles are looked at.
  """
  values, vectors = jnp.linalg.eigh(mat, symmetrize_input=False)
  return vectors, values


def _apply(vectors: Array, middle: Array) -> Array:
  """V M V^T."""
  return numerics.matmul(numerics.matmul(vectors, middle), _t(vectors))


def _t(x: Array) -> Array:
  return jnp.swapaxes(x, -1, -2)


def _spectral(
  value: Callable[[Array], Array], slope: Callable[[Array, Array], Array]
) -> Callable[[Array], Array]:
  """A function of eigenvalues as one of matrices, forward and reverse mode.

  Args:
    value: f, elementwise.
    slope: (f(a) - f(b)) / (a - b) of two arrays of eigenvalues that broadcast.
  """

  @jax.custom_jvp
  def fn(mat):
    vectors, values = eigh(mat)
    return numerics.matmul(vectors * value(values)[..., None, :], _t(vectors))

  @fn.defjvp
  def fn_jvp(primals, tangents):
    # Daleckii and Krein: V (f[a_i, a_j] * (V^T dA V)_ij) V^T.
    (mat,), (change,) = primals, tangents
    vectors, values = eigh(mat)
    change = (change + _t(change)) / 2
    inner = _apply(_t(vectors), change)
    inner = inner * slope(values[..., :, None], values[..., None, :])
    return fn(mat), _apply(vectors, inner)

  return fn


def _root(x):
  return jnp.sqrt(jnp.maximum(x, 0))


def _floored_root(x):
  return jnp.sqrt(jnp.maximum(x, numerics.TINY))


_sqrtm = _spectral(
  _root, lambda a, b: 1 / (_floored_root(a) + _floored_root(b))
)
_inv_sqrtm = _spectral(
  lambda x: jnp.where(x < numerics.TINY, 0.0, 1 / _floored_root(x)),
  lambda a, b: jnp.where(
    jnp.minimum(a, b) < numerics.TINY,
    0.0,
    # Dividing three times: the product of the roots may vanish.
    -1
    / (_floored_root(a) + _floored_root(b))
    / _floored_root(a)
    / _floored_root(b),
  ),
)


def sqrtm(mat: Square) -> Square:
  """The symmetric S >= 0 with S S = mat, for positive semi-definite matrices.

  Eigenvalues that rounding made negative count as 0. The gradient is finite as
  long as at most one eigenvalue is below 1e-38, also where some are equal.
  """
  return _sqrtm(mat)


def inv_sqrtm(mat: Square, *, normalize: bool = False) -> Square:
  """The symmetric S with S S = mat^-1; directions that mat maps to 0 stay 0.

  CamP's preconditioner is one (arXiv:2308.10902, Sec. 4; behaviour.md
  section 12).

  Args:
    mat: Positive semi-definite matrices.
    normalize: First divide mat by the geometric mean of its eigenvalues (all
      must be positive), so that the result has determinant 1.
  """
  if not normalize:
    return _inv_sqrtm(mat)
  log_mean = jnp.linalg.slogdet(mat)[1] / mat.shape[-1]
  return jnp.exp(log_mean / 2)[..., None, None] * _inv_sqrtm(mat)


def isotropize(cov: Square) -> Square:
  """Multiples of the identity with the same determinants.

  Where a determinant is 0 or not finite the result is 0.
  """
  d = cov.shape[-1]
  log_det = jnp.linalg.slogdet(cov)[1]
  usable = jnp.isfinite(log_det)
  value = jnp.where(usable, jnp.exp(jnp.where(usable, log_det, 0) / d), 0.0)
  return value[..., None, None] * jnp.eye(d, dtype=cov.dtype)
