"""Directions: normalisation, reflection and directional encodings.

The integrated directional encoding (IDE) of Ref-NeRF, arXiv:2112.03907.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from multinerf import errors
from multinerf.ops import gradients

_EPS = float(np.finfo(np.float32).eps)


def reflect(
  viewdirs: Float[Array, '*#batch 3'], normals: Float[Array, '*#batch 3']
) -> Float[Array, '*batch 3']:
  """Reflects directions about normals: 2 (n.v) n - v (Ref-NeRF, Eq. 4).

  Args:
    viewdirs: Vectors from the surface towards the viewer.
    normals: Unit normals.

  Returns:
    Vectors from the surface, as long as viewdirs.
  """
  cosine = jnp.sum(normals * viewdirs, axis=-1, keepdims=True)
  return 2 * cosine * normals - viewdirs


def l2_normalize(
  x: Float[Array, '*batch d'], eps: float = _EPS
) -> Float[Array, '*batch d']:
  """Scales vectors to length 1.

  Args:
    x: Vectors of any finite magnitude.
    eps: Floor of |x|^2: shorter vectors shrink linearly to 0, so that value and
      gradient stay finite at 0.
  """
  # |x|^2 overflows from 2e19 on, which density gradients can reach. The result
  # does not depend on the scale of such vectors, hence stop_gradient.
  peak = jnp.max(jnp.abs(x), axis=-1, keepdims=True)
  x = x / jax.lax.stop_gradient(jnp.where(peak > 1e9, peak, 1))
  square = jnp.sum(x**2, axis=-1, keepdims=True)
  return x / jnp.sqrt(jnp.maximum(square, eps))


def l2_normalize_exact(
  x: Float[Array, '*batch d'], grad_eps: float = _EPS
) -> Float[Array, '*batch d']:
  """Unit vectors, exact for |x| > 1e-19; only the gradient is floored.

  The convention of the Zip-NeRF code.

  Args:
    x: Vectors, |x| < 1e19; 0 stays 0.
    grad_eps: The gradient is that of x / sqrt(max(|x|^2, grad_eps)).
  """
  square = jnp.sum(x**2, axis=-1, keepdims=True)
  tiny = jnp.finfo(x.dtype).tiny
  value = x / jnp.sqrt(jnp.maximum(square, tiny))
  for_gradient = x / jnp.sqrt(jnp.maximum(square, max(grad_eps, tiny)))
  return gradients.override_gradient(value, for_gradient)


def compute_weighted_mae(
  weights: Float[Array, '*batch'],
  normals: Float[Array, '*batch 3'],
  normals_gt: Float[Array, '*batch 3'],
) -> Float[Array, '']:
  """Weighted mean angle between unit vectors, in degrees.

  Args:
    weights: Weights >= 0, at least one positive (else NaN).
    normals, normals_gt: Unit vectors. Cosines are kept 1.2e-7 away from +-1,
      where arccos has no gradient; equal vectors measure 0.028 degrees.
  """
  cosine = jnp.sum(normals * normals_gt, axis=-1)
  angle = jnp.arccos(jnp.clip(cosine, -1 + _EPS, 1 - _EPS))
  return jnp.sum(weights * angle) / jnp.sum(weights) * (180 / np.pi)


def generalized_binomial_coeff(a: float, k: int) -> float:
  """a (a-1) ... (a-k+1) / k! for real a."""
  return math.prod(a - i for i in range(k)) / math.factorial(k)


def assoc_legendre_coeff(l: int, m: int, k: int) -> float:  # noqa: E741
  """Coefficient of cos^k sin^m in the associated Legendre polynomial P_l^m.

  With the Condon-Shortley phase: (-1)^m 2^l l!/(k! (l-k-m)!) binom(
  (l+k+m-1)/2, l); 0 for k > l - m.
  """
  if k > l - m:
    return 0.0
  scale = math.factorial(l) / math.factorial(k) / math.factorial(l - k - m)
  binomial = generalized_binomial_coeff(0.5 * (l + k + m - 1), l)
  return (-1) ** m * 2**l * scale * binomial


def sph_harm_coeff(l: int, m: int, k: int) -> float:  # noqa: E741
  """The same for the orthonormal spherical harmonic Y_l^m, m >= 0."""
  norm = (2 * l + 1) * math.factorial(l - m) / math.factorial(l + m)
  return math.sqrt(norm / (4 * math.pi)) * assoc_legendre_coeff(l, m, k)


def get_ml_array(deg_view: int) -> Int[np.ndarray, '2 n']:
  """Orders m (row 0) and degrees l (row 1) of the harmonics in the IDE.

  l = 1, 2, 4, ..., 2^(deg_view - 1), and m = 0..l for each.
  """
  degrees = [2**i for i in range(deg_view)]
  return np.array([(m, deg) for deg in degrees for m in range(deg + 1)]).T


def _check_degree(deg_view: int) -> None:
  """Raises ConfigError unless 1 <= deg_view <= 5."""
  if not 1 <= deg_view <= 5:
    raise errors.ConfigError(
      f'The integrated directional encoding has degrees 1 to 5, got {deg_view} '
      '(gin: NerfMLP.deg_view, NerfMLP.use_directional_enc).'
    )


def _legendre_rows(z: Array, l_max: int) -> list[Array]:
  """Rows l = 0..l_max of N_l^m P_l^m(z) / sin^m, each [..., l_max + 1] in m.

  By recurrence in l, stable in float32. The explicit polynomial, which the
  reference evaluates, cancels terms of 1e5 at l = 16 (errors of 1e-3).
  """
  m = np.arange(l_max + 1)
  # p_mm = (-1)^m sqrt((2m+1)!! / (2m)!! / 4 pi), (-1)^m the Condon-Shortley
  # phase.
  odd_over_even = np.cumprod(np.r_[1, (2 * m[1:] + 1) / (2 * m[1:])])
  first = (-1.0) ** m * np.sqrt(odd_over_even / (4 * np.pi))
  previous = jnp.zeros(z.shape[:-1] + (l_max + 1,), z.dtype)
  current = previous + jnp.asarray(first * (m == 0), z.dtype)
  rows = [current]
  for deg in range(1, l_max + 1):
    below = m < deg  # p_lm = a z p_{l-1,m} - b p_{l-2,m} for m < l
    gap = np.where(below, deg**2 - m**2, 1)
    a = below * np.sqrt((4 * deg**2 - 1) / gap)
    b = a * np.sqrt(
      np.maximum(0, (deg - 1) ** 2 - m**2) / (4 * (deg - 1) ** 2 - 1)
    )
    start = first * (m == deg)
    previous, current = (
      current,
      (
        jnp.asarray(a, z.dtype) * z * current
        - jnp.asarray(b, z.dtype) * previous
        + jnp.asarray(start, z.dtype)
      ),
    )
    rows.append(current)
  return rows


def _xy_powers(x: Array, y: Array, l_max: int) -> tuple[Array, Array]:
  """Real and imaginary parts of (x + i y)^m, m = 0..l_max, stacked last."""
  # A real recurrence: a complex power has no gradient at x = y = 0.
  real, imag = [jnp.ones_like(x)], [jnp.zeros_like(x)]
  for _ in range(l_max):
    re, im = real[-1], imag[-1]
    real.append(x * re - y * im)
    imag.append(x * im + y * re)
  return jnp.concatenate(real, axis=-1), jnp.concatenate(imag, axis=-1)


def _encode(xyz: Array, kappa_inv: Array | None, deg_view: int) -> Array:
  """The IDE; kappa_inv None means no attenuation."""
  l_max = 2 ** (deg_view - 1)
  x, y, z = jnp.split(xyz, 3, axis=-1)
  rows = _legendre_rows(z, l_max)
  real, imag = _xy_powers(x, y, l_max)
  reals, imags = [], []
  for deg in (2**i for i in range(deg_view)):
    part = rows[deg][..., : deg + 1]
    if kappa_inv is not None:
      part = part * jnp.exp(-0.5 * deg * (deg + 1) * kappa_inv)
    reals.append(part * real[..., : deg + 1])
    imags.append(part * imag[..., : deg + 1])
  return jnp.concatenate(reals + imags, axis=-1)


def generate_ide_fn(
  deg_view: int,
) -> Callable[[Float[Array, '*batch 3'], Float[Array, '*#batch 1']], Array]:
  """Makes the integrated directional encoding of a degree.

  For l in 1, 2, 4, ..., 2^(deg_view-1) and m in 0..l,
  Y_l^m(omega) exp(-l(l+1)/2 kappa_inv) (Ref-NeRF, Eq. 6-8).

  Args:
    deg_view: Number of degrees l, 1 to 5.

  Returns:
    A function (unit vectors, kappa_inv >= 0) -> [..., 2 n]: real parts of the n
    harmonics in the order of `get_ml_array`, then the imaginary parts (those
    of m = 0 are 0). 72 features at degree 5.

  Raises:
    ConfigError: deg_view is not in 1..5.
  """
  _check_degree(deg_view)
  return lambda xyz, kappa_inv: _encode(xyz, kappa_inv, deg_view)


def generate_dir_enc_fn(
  deg_view: int,
) -> Callable[[Float[Array, '*batch 3']], Array]:
  """Makes the same encoding without attenuation (kappa_inv = 0).

  Raises:
    ConfigError: deg_view is not in 1..5.
  """
  _check_degree(deg_view)
  return lambda xyz: _encode(xyz, None, deg_view)
