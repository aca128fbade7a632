"""Intervals along camera rays as 3D Gaussians.

A pixel's ray is a cone (or a cylinder); the part of it between two distances
is approximated by a Gaussian with the same first two moments (mip-NeRF,
arXiv:2103.13415).
"""

from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from multinerf import errors
from multinerf.ops import coord

_EPS = np.finfo(np.float32).eps
# Floor of |d|^2: a zero direction (padding rays) must not divide by 0.
_MIN_SQUARED_LENGTH = 1e-10


def lift_gaussian(
  d: Float[Array, '*batch 3'],
  t_mean: Float[Array, '*batch n'],
  t_var: Float[Array, '*batch n'],
  r_var: Float[Array, '*batch n'],
  diag: bool,
) -> tuple[Array, Array]:
  """Places Gaussians given along and across an axis through the origin.

  mean = t_mean d, cov = t_var d d^T + r_var (I - d d^T / |d|^2) (mip-NeRF,
  Eq. 8).

  Args:
    d: Axis, not normalised.
    t_mean, t_var: Mean and variance along the axis, in units of |d|.
    r_var: Variance across the axis, per perpendicular direction, world units.
    diag: Whether to return only the diagonals of the covariances.

  Returns:
    means [..., n, 3] and covariances [..., n, 3, 3], or [..., n, 3] if diag.
  """
  mean = d[..., None, :] * t_mean[..., None]
  square = jnp.sum(d**2, axis=-1, keepdims=True)
  square = jnp.maximum(_MIN_SQUARED_LENGTH, square)
  if diag:
    outer = d**2
    across = 1 - outer / square
    cov = (
      t_var[..., None] * outer[..., None, :]
      + r_var[..., None] * across[..., None, :]
    )
  else:
    outer = d[..., :, None] * d[..., None, :]
    across = jnp.eye(3, dtype=d.dtype) - outer / square[..., None]
    cov = (
      t_var[..., None, None] * outer[..., None, :, :]
      + r_var[..., None, None] * across[..., None, :, :]
    )
  return mean, cov


def frustum_moments(
  t0: Float[Array, '*batch'], t1: Float[Array, '*batch']
) -> tuple[
  Float[Array, '*batch'], Float[Array, '*batch'], Float[Array, '*batch']
]:
  """Moments of a conical frustum whose radius is t at distance t.

  With m = (t0+t1)/2, h = (t1-t0)/2 (mip-NeRF, Eq. 7, the stable form):
  t_mean = m + 2 m h^2/(3m^2+h^2), t_var = h^2/3 - 4/15 h^4 (12m^2-h^2) /
  (3m^2+h^2)^2, r_var = m^2/4 + 5/12 h^2 - 4/15 h^4/(3m^2+h^2).

  Args:
    t0, t1: Ends, 0 <= t0 <= t1, up to 1e18 (squares must not overflow).

  Returns:
    (t_mean, t_var, r_var); multiply r_var by the squared radius at t = 1. Near
    the apex (3m^2+h^2 < 1.2e-7) the denominator is held at that value.
  """
  m = 0.5 * (t0 + t1)
  h = 0.5 * (t1 - t0)
  h_sq = h**2
  # In terms of this ratio, at most 1, no fourth power of a distance appears:
  # those overflow from t = 4e9 on.
  ratio = h_sq / jnp.maximum(_EPS, 3 * m**2 + h_sq)
  t_mean = m + 2 * m * ratio
  t_var = h_sq / 3 - (4 / 15) * ratio**2 * (12 * m**2 - h_sq)
  r_var = m**2 / 4 + (5 / 12) * h_sq - (4 / 15) * ratio * h_sq
  return t_mean, t_var, r_var


def cylinder_moments(
  t0: Float[Array, '*batch'], t1: Float[Array, '*batch']
) -> tuple[
  Float[Array, '*batch'], Float[Array, '*batch'], Float[Array, '*batch']
]:
  """Moments (t_mean, t_var, r_var) of a cylinder of radius 1."""
  t_var = (t1 - t0) ** 2 / 12
  return 0.5 * (t0 + t1), t_var, jnp.full_like(t_var, 0.25)


def conical_frustum_to_gaussian(
  d: Float[Array, '*batch 3'],
  t0: Float[Array, '*batch n'],
  t1: Float[Array, '*batch n'],
  base_radius: Float[Array, '*#batch 1'],
  diag: bool,
) -> tuple[Array, Array]:
  """Gaussians with the moments of conical frusta, apex at the origin.

  Args:
    d: Cone axis.
    t0, t1: Ends of the frusta, in units of |d|.
    base_radius: Radius of the cone at t = 1, world units.
    diag: See `lift_gaussian`.

  Returns:
    Means and covariances, see `lift_gaussian`.
  """
  t_mean, t_var, r_var = frustum_moments(t0, t1)
  return lift_gaussian(d, t_mean, t_var, r_var * base_radius**2, diag)


def cylinder_to_gaussian(
  d: Float[Array, '*batch 3'],
  t0: Float[Array, '*batch n'],
  t1: Float[Array, '*batch n'],
  radius: Float[Array, '*#batch 1'],
  diag: bool,
) -> tuple[Array, Array]:
  """Gaussians with the moments of cylinders; see the conical twin."""
  t_mean, t_var, r_var = cylinder_moments(t0, t1)
  return lift_gaussian(d, t_mean, t_var, r_var * radius**2, diag)


_MOMENTS = {'cone': frustum_moments, 'cylinder': cylinder_moments}


def ray_moments(
  tdist: Float[Array, '*batch m'],
  radii: Float[Array, '*#batch 1'],
  ray_shape: str,
) -> tuple[
  Float[Array, '*batch n'], Float[Array, '*batch n'], Float[Array, '*batch n']
]:
  """Moments of the intervals of rays, along and across them.

  Args:
    tdist: Interval endpoints.
    radii: Cone radius at t = 1, or the cylinder's radius, world units.
    ray_shape: 'cone' or 'cylinder'.

  Returns:
    (t_mean, t_var, r_var) as `lift_gaussian` takes them.

  Raises:
    ConfigError: Unknown ray_shape.
  """
  if ray_shape not in _MOMENTS:
    raise errors.ConfigError(
      f'Unknown ray_shape {ray_shape!r}; known: cone, cylinder '
      '(gin: Model.ray_shape).'
    )
  t_mean, t_var, r_var = _MOMENTS[ray_shape](tdist[..., :-1], tdist[..., 1:])
  return t_mean, t_var, r_var * radii**2


def cast_rays(
  tdist: Float[Array, '*batch m'],
  origins: Float[Array, '*batch 3'],
  directions: Float[Array, '*batch 3'],
  radii: Float[Array, '*#batch 1'],
  ray_shape: str,
  diag: bool = True,
) -> tuple[Array, Array]:
  """Gaussians for all intervals of rays.

  Args:
    tdist: Interval endpoints, non-decreasing.
    origins, directions: Rays; directions are not normalised.
    radii: Cone radius at t = 1, or the cylinder's radius.
    ray_shape: 'cone' or 'cylinder'.
    diag: See `lift_gaussian`.

  Returns:
    means [..., n, 3] and covariances [..., n, 3, 3], or [..., n, 3] if diag.

  Raises:
    ConfigError: Unknown ray_shape.
  """
  moments = ray_moments(tdist, radii, ray_shape)
  means, covs = lift_gaussian(directions, *moments, diag)
  return means + origins[..., None, :], covs


@flax.struct.dataclass
class Samples:
  """What a field may know about the intervals of rays.

  Each has a Gaussian, held as its moments along and across the ray; `covs`
  makes matrices of them.

  Attributes:
    means: [..., n, 3] means, world space.
    directions: [..., 3] of the rays, not normalised.
    t_var: [..., n] variances along them, in units of |directions|.
    r_var: [..., n] variances across them, world units.
    origins, radii, tdist: [..., 3], [..., 1], [..., n + 1] the rays and the
      endpoints that the Gaussians were made from; None for bare points.
  """

  means: Any
  directions: Any
  t_var: Any
  r_var: Any
  origins: Any = None
  radii: Any = None
  tdist: Any = None

  @property
  def covs(self) -> Float[Array, '*batch n 3 3']:
    """Covariances of the Gaussians."""
    no_mean = jnp.zeros_like(self.t_var)
    return lift_gaussian(
      self.directions, no_mean, self.t_var, self.r_var, False
    )[1]


def sample_rays(
  origins: Float[Array, '*batch 3'],
  directions: Float[Array, '*batch 3'],
  radii: Float[Array, '*batch 1'],
  tdist: Float[Array, '*batch m'],
  ray_shape: str,
) -> Samples:
  """The samples of rays between the distances `tdist`.

  Args:
    origins, directions, radii, tdist, ray_shape: See `cast_rays`.

  Raises:
    ConfigError: Unknown ray_shape.
  """
  t_mean, t_var, r_var = ray_moments(tdist, radii, ray_shape)
  offsets = directions[..., None, :] * t_mean[..., None]
  return Samples(
    means=origins[..., None, :] + offsets,
    directions=directions,
    t_var=t_var,
    r_var=r_var,
    origins=origins,
    radii=radii,
    tdist=tdist,
  )


def project_gaussians(
  means: Float[Array, '*batch n 3'],
  directions: Float[Array, '*batch 3'],
  t_var: Float[Array, '*batch n'],
  r_var: Float[Array, '*batch n'],
  basis: Float[Array, '3 k'] | Float[np.ndarray, '3 k'],
) -> tuple[Float[Array, '*batch n k'], Float[Array, '*batch n k']]:
  """`lift_and_diagonalize` of rays' Gaussians without their covariances.

  p^T cov p = t_var (p.d)^2 + r_var (|p|^2 - (p.d)^2/|d|^2), so that p.d is
  needed once per ray, and the work per sample is two multiply-adds.

  Args:
    means: Means of the Gaussians.
    directions, t_var, r_var: As for `lift_gaussian`.
    basis: Directions p as columns.

  Returns:
    Means p.mean and variances p^T cov p, the latter >= 0.
  """
  basis = jnp.asarray(basis, means.dtype)
  along, across = _along_and_across(directions, basis)
  var = (
    t_var[..., None] * along[..., None, :]
    + r_var[..., None] * across[..., None, :]
  )
  return coord.project(means, basis), var


def _along_and_across(directions: Array, basis: Array) -> tuple[Array, Array]:
  """(p.d)^2 and |p|^2 - (p.d)^2/|d|^2 for each ray and column p."""
  square = jnp.sum(directions**2, axis=-1, keepdims=True)
  square = jnp.maximum(_MIN_SQUARED_LENGTH, square)
  along = coord.project(directions, basis) ** 2
  # Rounding can make the difference negative for p parallel to d.
  across = jnp.maximum(0, jnp.sum(basis**2, axis=0) - along / square)
  return along, across


def project_contracted_gaussians(
  means: Float[Array, '*batch n 3'],
  directions: Float[Array, '*batch 3'],
  t_var: Float[Array, '*batch n'],
  r_var: Float[Array, '*batch n'],
  basis: Float[Array, '3 k'] | Float[np.ndarray, '3 k'],
) -> tuple[Float[Array, '*batch n k'], Float[Array, '*batch n k']]:
  """The same as `project_gaussians`, after the scene contraction.

  Equals `track_linearize(coord.contract, ...)`, then `lift_and_diagonalize`.
  The Jacobian of the contraction is a I + b u u^T with u = x/|x|, hence
  p^T J cov J p is the formula of `project_gaussians` for p' = a p + b (u.p) u.

  Args:
    means: Means before the contraction.
    directions, t_var, r_var, basis: See `project_gaussians`.

  Returns:
    Means and variances along the columns of basis, in contracted space.
  """
  basis = jnp.asarray(basis, means.dtype)
  norm, unit, a, b = coord.contract_jacobian(means)
  square = jnp.sum(directions**2, axis=-1, keepdims=True)
  square = jnp.maximum(_MIN_SQUARED_LENGTH, square)[..., None]
  p_u = coord.project(unit, basis)
  p_d = coord.project(directions, basis)[..., None, :]
  u_d = jnp.sum(unit * directions[..., None, :], axis=-1, keepdims=True)
  along = (a * p_d + b * u_d * p_u) ** 2
  length = a**2 * jnp.sum(basis**2, axis=0) + b * (2 * a + b) * p_u**2
  across = jnp.maximum(0, length - along / square)
  var = t_var[..., None] * along + r_var[..., None] * across
  # Inside the unit ball `unit` is the point itself and norm is 1.
  return (2 - 1 / norm) * p_u, var
