"""Names of `camp_zipnerf/internal/coord.py`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from multinerf import errors
from multinerf.ops import coord as ops
from multinerf.ops import matrix_roots, multisample, unscented
from multinerf.types import Array

contract = ops.contract
inv_contract = ops.inv_contract
track_linearize = ops.track_linearize
track_isotropic = ops.track_isotropic
contract3_isoscale = ops.contract3_isoscale
expected_sin = ops.expected_sin
integrated_pos_enc = ops.integrated_pos_enc
lift_and_diagonalize = ops.lift_and_diagonalize
pos_enc = ops.pos_enc
construct_perp_basis = multisample.construct_perp_basis


def construct_ray_warps(
  fn: Callable[[Array], Array] | None,
  t_near: Array,
  t_far: Array,
  *,
  fn_inv: Callable[[Array], Array] | None = None,
) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
  """Maps (t_to_s, s_to_t), both of which clip t to [t_near, t_far].

  Args:
    fn: Curve of the distances, or None. The inverses of jnp.reciprocal, log,
      exp, sqrt and square are known.
    t_near, t_far: Bounds of the rays, broadcastable against t.
    fn_inv: The inverse of any other `fn`.

  Raises:
    ConfigError: The inverse of `fn` is neither given nor known.
  """
  t_to_s, s_to_t = ops.construct_ray_warps(fn, t_near, t_far, fn_inv)
  clip = lambda t: jnp.clip(t, t_near, t_far)
  return lambda t: t_to_s(clip(t)), lambda s: clip(s_to_t(s))


def sqrtm(mat: Array, return_eigs: bool = False) -> Any:
  """The symmetric square root of positive semi-definite matrices.

  Args:
    mat: [..., d, d].
    return_eigs: Whether to return (root, (eigenvectors, eigenvalues)).
  """
  root = matrix_roots.sqrtm(mat)
  return (root, matrix_roots.eigh(mat)) if return_eigs else root


def isotropize(cov: Array, mode: str = 'accurate') -> Array:
  """Isotropic covariances with the determinants of `cov`; 0 for singular ones.

  Args:
    cov: [..., d, d].
    mode: 'accurate' or 'fast'; both are the former.

  Raises:
    ConfigError: Another mode.
  """
  if mode not in ('accurate', 'fast'):
    raise errors.ConfigError(
      f"isotropize has the modes 'accurate' and 'fast', got {mode!r}."
    )
  return matrix_roots.isotropize(cov)


def hexify(
  rng: Array | None,
  *,
  origins: Array,
  directions: Array,
  radii: Array,
  tdist: Array,
) -> tuple[Array, Array]:
  """Six points per ray interval, and how far each is off the axis.

  Args:
    rng: A key for all rays together, from which the numbers of upstream
      follow; None is deterministic.
    origins, directions, radii, tdist: See `ops.multisample.hexify`.
  """
  return multisample.hexify(
    origins, directions, radii, tdist, jitter=_hexify_jitter(rng, tdist)
  )


def _hexify_jitter(rng: Array | None, tdist: Array) -> Array | None:
  """Upstream's draws for the reversals and the turns."""
  if rng is None:
    return None
  shape = (*tdist.shape[:-1], tdist.shape[-1] - 1)
  key, rng = jax.random.split(rng)
  reverse = jax.random.uniform(key, shape)
  turn = jax.random.uniform(jax.random.split(rng)[0], shape)
  return jnp.stack([reverse, turn], axis=-1)


def unscented_transform(
  mean: Array, cov: Array, basis: str, axis: int = 0
) -> Array:
  """Points with the mean and covariance of each Gaussian.

  Args:
    mean, cov: [..., d] and [..., d, d].
    basis: See `ops.unscented`; 'random_<n>' draws the same numbers every time,
      other ones for every Gaussian.
    axis: Where the axis of the points goes.

  Raises:
    ConfigError: Unknown basis.
  """
  normals = None
  if basis.startswith('random_'):
    shape = (*mean.shape[:-1], unscented.num_points(basis), mean.shape[-1])
    normals = jax.random.normal(jax.random.PRNGKey(0), shape, mean.dtype)
  points = unscented.control_points(mean, cov, basis, normals=normals)
  return jnp.moveaxis(points, -2, axis)


def compute_control_points(
  means: Array,
  covs: Array,
  rays: Any,
  tdist: Array,
  rng: Array | None,
  unscented_mip_basis: str,
  unscented_scale_mult: float,
) -> tuple[Array, Array | None]:
  """The points [..., n, k, 3] that a grid is read at, and their radii.

  Args:
    means, covs: Gaussians of the intervals of rays.
    rays: The rays.
    tdist: Endpoints of the intervals.
    rng: See `hexify`.
    unscented_mip_basis: 'hexify' or a basis of `unscented_transform`.
    unscented_scale_mult: If 0, the radii may be left out.

  Returns:
    Points, and r t / sqrt(2) at each, t its distance along the ray; None where
    it is not asked for and not known. (Upstream leaves out the division by
    |directions|^2 that t needs.)

  Raises:
    ConfigError: Unknown basis, or radii without rays.
  """
  if unscented_mip_basis == 'hexify':
    return hexify(
      rng,
      origins=rays.origins,
      directions=rays.directions,
      radii=rays.radii,
      tdist=tdist,
    )
  control = unscented_transform(means, covs, unscented_mip_basis, axis=-2)
  if unscented_scale_mult <= 0:
    return control, None
  if rays is None:
    raise errors.ConfigError(
      'compute_control_points needs rays if unscented_scale_mult > 0.'
    )
  d = rays.directions[..., None, None, :]
  along = jnp.sum((control - rays.origins[..., None, None, :]) * d, axis=-1)
  t = along / jnp.sum(d**2, axis=-1)
  return control, jnp.sqrt(0.5) * rays.radii[..., None, :] * t
