"""Encodings: from Gaussians (or points) to the features an MLP reads.

Contract: `(means [..., n, 3], covs [..., n, 3, 3]) -> [..., n, F]`. An encoder
with parameters is a linen module in the field `encoder` of an MLP; without one
the MLP uses `integrated`.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from multinerf.ops import coord, geopoly, hash_grid


@functools.lru_cache
def basis(shape: str, subdivisions: int) -> np.ndarray:
  """Directions [3, k] that Gaussians are projected on before encoding."""
  return np.asarray(geopoly.generate_basis(shape, subdivisions)).T.copy()


def integrated(
  means: Float[Array, '*batch n 3'],
  covs: Float[Array, '*batch n 3 3'],
  *,
  directions: np.ndarray,
  min_deg: int,
  max_deg: int,
) -> Float[Array, '*batch n f']:
  """Integrated positional encoding on off-axis directions.

  mip-NeRF (arXiv:2103.13415, Eq. 14) with the projections of mip-NeRF 360
  (arXiv:2111.12077, Sec. 2 and supplement A).

  Args:
    means: Means of the Gaussians.
    covs: Their covariances.
    directions: [3, k] projection directions.
    min_deg: First octave.
    max_deg: One past the last octave.

  Returns:
    2 k (max_deg - min_deg) features in [-1, 1].
  """
  lifted_means, lifted_vars = coord.lift_and_diagonalize(
    means, covs, directions
  )
  return coord.integrated_pos_enc(lifted_means, lifted_vars, min_deg, max_deg)


def _uniform(scale):
  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -scale, scale)

  return init


class HashEncoding(nn.Module):
  """Multi-resolution grid features, dense where they fit, hashed elsewhere.

  Instant-NGP (arXiv:2201.05989) in the parametrisation of Zip-NeRF
  (arXiv:2304.06706). Positions are the Gaussians' means, mapped from the cube
  [-bbox_scaling, bbox_scaling]^3; the Gaussians' extent is not used yet.

  Attributes:
    hash_map_size: Rows of a hashed level; n^3 <= this makes level n dense.
    num_features: Features per level.
    scale_supersample: Levels per doubling of the resolution.
    min_grid_size: Coarsest resolution, cells per side.
    max_grid_size: Finest resolution.
    hash_init_range: Initial features are uniform in +- this.
    precondition_scaling: Parameters are stored divided by this, so that Adam
      moves features faster.
    bbox_scaling: Half the side of the cube that the grid covers.
  """

  hash_map_size: int = 2**19
  num_features: int = 2
  scale_supersample: float = 2.0
  min_grid_size: int = 16
  max_grid_size: int = 2048
  hash_init_range: float = 1e-4
  precondition_scaling: float = 10.0
  bbox_scaling: float = 2.0

  @nn.compact
  def __call__(
    self,
    means: Float[Array, '*batch n 3'],
    covs: Float[Array, '*batch n 3 3'] | None = None,
  ) -> Float[Array, '*batch n f']:
    """Returns num_features per level for each mean, coarsest level first."""
    del covs
    sizes = hash_grid.grid_sizes(
      self.min_grid_size, self.max_grid_size, self.scale_supersample
    )
    digits = len(str(sizes[-1]))
    init = _uniform(self.hash_init_range / self.precondition_scaling)
    tables = []
    for size in sizes:
      if hash_grid.is_dense(size, self.hash_map_size):
        name, shape = f'grid_{size:0{digits}d}', (size,) * 3
      else:
        name, shape = f'hash_{size:0{digits}d}', (self.hash_map_size,)
      table = self.param(name, init, (*shape, self.num_features))
      tables.append(table.reshape(-1, self.num_features))
    x = (means / self.bbox_scaling + 1) / 2
    features = hash_grid.lookup(
      tables, x, sizes=sizes, table_size=self.hash_map_size
    )
    return features * self.precondition_scaling
