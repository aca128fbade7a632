"""A few points in place of a Gaussian: the unscented transforms.

Every set consists of equally likely points whose mean and covariance are those
of the Gaussian (only in expectation for random points; but for 'mean'). Named
by strings, as gin does: MLP.unscented_mip_basis.

| name | points in d dimensions | source |
|---|---|---|
| mean | 1, without any spread | |
| julier | 2 d + 1 | Julier and Uhlmann 1997 |
| menegaz | d + 1, the fewest there can be | Menegaz et al., CDC 2011 |
| tetrahedron_K, octahedron_K, icosahedron_K | corners of the tessellated polyhedron and its centre, d = 3 | `geopoly` |
| random_N | N | |
"""  # noqa: E501

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from multinerf import errors
from multinerf.ops import geopoly, matrix_roots, numerics

_POLYHEDRA = ('tetrahedron', 'octahedron', 'icosahedron')
KNOWN = (
  'mean, julier, menegaz, random_<n>, tetrahedron_<k>, octahedron_<k>, '
  'icosahedron_<k>'
)


def _unknown(basis: str) -> errors.ConfigError:
  return errors.ConfigError(
    f'Unknown set of points {basis!r}; known: {KNOWN} '
    '(gin: MLP.unscented_mip_basis).'
  )


def _split(basis: str) -> tuple[str, int]:
  """('random', 7) of 'random_7'; the number is 0 where there is none.

  Raises:
    ConfigError: The name is none of the table above.
  """
  kind, _, number = basis.partition('_')
  if kind in ('mean', 'julier', 'menegaz') and not number:
    return kind, 0
  if kind in (*_POLYHEDRA, 'random') and number.isdecimal() and int(number):
    return kind, int(number)
  raise _unknown(basis)


@functools.cache
def unit_points(basis: str, d: int = 3) -> Float[np.ndarray, 'd k']:
  """The set for a Gaussian of mean 0 and covariance 1, one point per column.

  Args:
    basis: A name of the table above. 'random_N' gives the same N numbers
      every time.
    d: Dimensions.

  Returns:
    float64 columns with mean 0 and second moment I (nearly so for 'random_N',
    not for 'mean').

  Raises:
    ConfigError: The name is unknown, or a polyhedron is asked for in other
      than 3 dimensions.
  """
  kind, number = _split(basis)
  if kind == 'mean':
    points = np.zeros((d, 1))
  elif kind == 'julier':
    axes = np.sqrt(d + 0.5) * np.eye(d)
    points = np.concatenate([np.zeros((d, 1)), axes, -axes], axis=1)
  elif kind == 'menegaz':
    # The square root of I - 1 1^T / (d + 1), which is I + c 1 1^T, and the
    # point that balances its columns.
    root = np.eye(d) + (1 / np.sqrt(d + 1) - 1) / d
    simplex = np.sqrt(d + 1) * root
    points = np.concatenate([-np.ones((d, 1)), simplex], axis=1)
  elif kind == 'random':
    points = np.random.default_rng(0).normal(size=(d, number))
  else:
    if d != 3:
      raise errors.ConfigError(
        f'{basis!r} is a set of points in 3 dimensions; asked for in {d}.'
      )
    corners = geopoly.generate_basis(kind, number, remove_symmetries=False)
    points = np.concatenate([np.zeros((3, 1)), corners.T], axis=1)
    points /= np.sqrt(np.mean(points**2, axis=1, keepdims=True))
  points.setflags(write=False)
  return points


def num_points(basis: str, d: int = 3) -> int:
  """How many points the set has.

  Raises:
    ConfigError: See `unit_points`.
  """
  return unit_points(basis, d).shape[1]


def spread(
  means: Float[Array, '*batch d'],
  roots: Float[Array, '*batch d d'],
  basis: str,
  *,
  normals: Float[Array, '*batch k d'] | None = None,
) -> Float[Array, '*batch k d']:
  """The points of Gaussians whose covariances are roots roots^T.

  Args:
    means: Means.
    roots: Square roots of the covariances. For the Gaussians of ray intervals
      there is a closed form: `frustum.lift_gaussian(d, 0, sqrt(t_var) / |d|,
      sqrt(r_var), False)[1]` for covariances made of t_var and r_var.
    basis: A name of the table above.
    normals: Standard normal numbers for 'random_N', k = N; None: fixed ones,
      the same for all Gaussians.

  Raises:
    ConfigError: See `unit_points`.
    ValueError: `normals` for a set that is not random.
  """
  unit = unit_points(basis, means.shape[-1])
  if normals is None:
    table = jnp.asarray(unit.T, means.dtype)
    offsets = numerics.matmul(table, jnp.swapaxes(roots, -1, -2))
  elif basis.startswith('random_'):
    offsets = numerics.matmul(normals, jnp.swapaxes(roots, -1, -2))
  else:
    raise ValueError(f'The points {basis!r} are not random.')
  return means[..., None, :] + offsets


def control_points(
  means: Float[Array, '*batch d'],
  covs: Float[Array, '*batch d d'],
  basis: str,
  *,
  normals: Float[Array, '*batch k d'] | None = None,
) -> Float[Array, '*batch k d']:
  """The points of Gaussians given by their covariances; see `spread`.

  Args:
    means, covs: Gaussians; covariances positive semi-definite.
    basis: A name of the table above.
    normals: See `spread`.

  Returns:
    Points; for julier and the polyhedra the mean itself comes first.

  Raises:
    ConfigError: See `unit_points`.
    ValueError: See `spread`.
  """
  if basis == 'mean':
    return means[..., None, :]
  return spread(means, matrix_roots.sqrtm(covs), basis, normals=normals)
