"""Six points that stand for an interval of a ray (Zip-NeRF).

arXiv:2304.06706, Sec. 3.1: a grid cannot integrate over a Gaussian, but it can
be read at a few points with the same moments.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from multinerf.ops import frustum, numerics, unscented

_EPS = np.finfo(np.float32).eps


def construct_perp_basis(
  directions: Float[Array, '*batch 3'],
) -> tuple[Float[Array, '*batch 3'], Float[Array, '*batch 3']]:
  """Two unit vectors perpendicular to each direction and to each other.

  e1 = d x z (or d x (1,1,1) for d parallel to z), e2 = d x e1, normalised;
  for d = 0, arbitrary vectors perpendicular to nothing, but finite.
  """
  peak = jnp.max(jnp.abs(directions), axis=-1, keepdims=True)
  # Only the direction matters; this keeps squares in range.
  d = directions / jnp.where(peak > 0, peak, 1)
  cross_z = jnp.cross(d, jnp.array([0, 0, 1], d.dtype))
  cross_1 = jnp.cross(d, jnp.array([1, 1, 1], d.dtype))
  vanishes = jnp.max(jnp.abs(cross_z), axis=-1, keepdims=True) < _EPS
  e1 = _normalize(jnp.where(vanishes, cross_1, cross_z))
  return e1, _normalize(jnp.cross(d, e1))


def _normalize(x: Array) -> Array:
  """x/|x|, and 0 for 0."""
  square = jnp.sum(x**2, axis=-1, keepdims=True)
  return x / jnp.sqrt(jnp.where(square > 0, square, 1))


def hexify(
  origins: Float[Array, '*batch 3'],
  directions: Float[Array, '*batch 3'],
  radii: Float[Array, '*batch 1'],
  tdist: Float[Array, '*batch m'],
  *,
  jitter: Float[Array, '*batch n 2'] | None = None,
) -> tuple[Float[Array, '*batch n 6 3'], Float[Array, '*batch n 6']]:
  """Six points per interval with the moments of its conical frustum.

  A hexagonal spiral (Zip-NeRF, arXiv:2304.06706, Eq. 1-3), in the order of
  angles (pi/3) [0, 2, 4, 3, 5, 1].

  Args:
    origins, directions: Rays; directions are not normalised.
    radii: Cone radius at t = 1.
    tdist: Interval endpoints, 0 <= t, non-decreasing.
    jitter: Uniform numbers in [0, 1): the pattern of an interval is reversed
      where the first is below 1/2, and turned by the second as a fraction of
      a turn. None: every odd interval is reversed and turned by pi/6.

  Returns:
    Points, and the radius r t_j / sqrt(2) at which each lies off the axis,
    which is also the scale of its isotropic Gaussian. The last point overshoots
    t1, by at most 3.7% of t1 - t0: the moments demand it.
  """
  t0, t1 = tdist[..., :-1, None], tdist[..., 1:, None]
  mid = 0.5 * (t0 + t1)
  half = 0.5 * (t1 - t0)
  # Eq. 1 divided by mid^2, in the ratio of half to mid, which is at most 1:
  # the fourth powers of distances it is written in overflow. The floor's
  # square, in the gradient, must not vanish.
  ratio = half / jnp.maximum(mid, 1e-15)
  spread = 3 / np.sqrt(7) * (2 / 5 * jnp.arange(6, dtype=mid.dtype) - 1)
  offset = (1 + ratio) ** 2 + 2 + spread * jnp.sqrt((ratio**2 - 1) ** 2 + 4)
  t = t0 + half * offset / (ratio**2 + 3)

  angles = jnp.array([0, 2, 4, 3, 5, 1], mid.dtype) * (np.pi / 3)
  if jitter is None:
    reverse = (jnp.arange(t.shape[-2]) % 2 == 1)[:, None]
    turn = jnp.where(reverse, np.pi / 6, 0)
  else:
    reverse = jitter[..., 0:1] < 0.5
    turn = 2 * np.pi * jitter[..., 1:2]
  angles = jnp.where(reverse, angles[::-1], angles) + turn

  radius = radii[..., None] * t / np.sqrt(2)
  e1, e2 = (e[..., None, None, :] for e in construct_perp_basis(directions))
  points = origins[..., None, None, :] + (
    directions[..., None, None, :] * t[..., None]
    + e1 * (radius * jnp.cos(angles))[..., None]
    + e2 * (radius * jnp.sin(angles))[..., None]
  )
  return points, radius


def control_points(
  samples: frustum.Samples,
  basis: str,
  *,
  jitter: Float[Array, '*batch n 2'] | None = None,
) -> tuple[Float[Array, '*batch n k 3'], Float[Array, '*batch n k']]:
  """Points that stand for each sample, and the scale of each.

  Args:
    samples: Made by `frustum.sample_rays`.
    basis: 'hexify' (six points), or a set of `ops.unscented`: 'mean' (one),
      'julier', 'icosahedron_1', ...
    jitter: See `hexify`.

  Returns:
    Points, and the standard deviation at each: radius t / sqrt(2), or 0 for
    bare points.

  Raises:
    ConfigError: Unknown basis.
  """
  if basis == 'hexify' and samples.tdist is not None:
    return hexify(
      samples.origins,
      samples.directions,
      samples.radii,
      samples.tdist,
      jitter=jitter,
    )
  if samples.tdist is None:
    points = samples.means[..., None, :]
    return points, jnp.zeros_like(points[..., 0])
  square = jnp.sum(samples.directions**2, axis=-1)[..., None]
  square = jnp.where(square > 0, square, 1)
  if basis == 'mean':  # not the covariances times 0
    points = samples.means[..., None, :]
  else:
    # Square roots of the covariances, moment by moment.
    # An interval of no length has none, where the slope of sqrt is infinite.
    along = numerics.safe_sqrt(samples.t_var / square)
    across = numerics.safe_sqrt(samples.r_var)
    _, roots = frustum.lift_gaussian(
      samples.directions, jnp.zeros_like(along), along, across, False
    )
    points = unscented.spread(samples.means, roots, basis)
  offsets = points - samples.origins[..., None, None, :]
  t = jnp.sum(offsets * samples.directions[..., None, None, :], axis=-1)
  return points, samples.radii[..., None] * t / square[..., None] / np.sqrt(2)
