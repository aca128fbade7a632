"""Encodings: from samples to the features an MLP reads.

Without anything else an MLP reads `integrated`. An encoder with parameters is a
linen module in the MLP's field `encoder`:
`(points [..., n, k, 3], scales [..., n, k] or None) -> [..., n, F]`, where k
points stand for each sample, in warped space.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from multinerf import errors, parallel
from multinerf.models import keys
from multinerf.ops import (
  coord,
  curves,
  directional,
  frustum,
  geopoly,
  hash_grid,
  multisample,
)


@functools.lru_cache
def basis(shape: str, subdivisions: int) -> np.ndarray:
  """Directions [3, k] that Gaussians are projected on before encoding."""
  return np.asarray(geopoly.generate_basis(shape, subdivisions)).T.copy()


def integrated(
  samples: frustum.Samples,
  *,
  directions: np.ndarray,
  min_deg: int,
  max_deg: int,
  warp_fn: Callable[..., Any] | None = None,
  shift: Float[Array, '*batch n 3'] | None = None,
) -> Float[Array, '*batch n f']:
  """Integrated positional encoding on off-axis directions.

  mip-NeRF (arXiv:2103.13415, Eq. 14) with the projections of mip-NeRF 360
  (arXiv:2111.12077, Sec. 2 and supplement A).

  Args:
    samples: Gaussians.
    directions: [3, k] projection directions.
    min_deg: First octave.
    max_deg: One past the last octave.
    warp_fn: Maps space before; Gaussians follow linearised.
    shift: Moves the Gaussians in warped space.

  Returns:
    2 k (max_deg - min_deg) features in [-1, 1].
  """
  moments = (samples.means, samples.directions, samples.t_var, samples.r_var)
  # Covariance matrices only for a warp whose Jacobian is not known.
  if warp_fn is None:
    lifted = frustum.project_gaussians(*moments, directions)
  elif coord.is_contract(warp_fn):
    lifted = frustum.project_contracted_gaussians(*moments, directions)
  else:
    warped = coord.track_linearize(warp_fn, samples.means, samples.covs)
    lifted = coord.lift_and_diagonalize(*warped, directions)
  if shift is not None:
    basis_vectors = jnp.asarray(directions, shift.dtype)
    lifted = (lifted[0] + coord.project(shift, basis_vectors), lifted[1])
  return coord.integrated_pos_enc(
    *map(parallel.stored, lifted), min_deg, max_deg
  )


def integrated_directional(
  directions: Float[Array, '*#batch 3'],
  roughness: Float[Array, '*#batch 1'] | None,
  *,
  deg_view: int,
) -> Float[Array, '... f']:
  """Directions blurred by a roughness (Ref-NeRF, arXiv:2112.03907, Eq. 8).

  Args:
    directions: Unit vectors.
    roughness: Reciprocal of the concentration; None: 0.
    deg_view: Degree, at most 5.
  """
  if roughness is None:
    roughness = jnp.zeros_like(directions[..., :1])
  batch = jnp.broadcast_shapes(directions.shape[:-1], roughness.shape[:-1])
  directions = jnp.broadcast_to(directions, (*batch, 3))
  encode = directional.generate_ide_fn(deg_view)
  # Its twenty steps are computed faster than they are stored and read back.
  return jax.checkpoint(encode)(directions, roughness)


def control_points(
  ray_keys: Key[Array, '*batch'] | None, samples: frustum.Samples, basis: str
) -> tuple[Array, Array]:
  """`multisample.control_points`, turned at random if there are keys."""
  jitter = None
  if ray_keys is not None and basis != 'mean':
    jitter = keys.uniform(ray_keys, (samples.means.shape[-2], 2))
  return multisample.control_points(samples, basis, jitter=jitter)


def read(
  encoder: Any,
  points: Float[Array, '*batch n k 3'],
  scales: Float[Array, '*batch n k'] | None,
  ray_keys: Key[Array, '*batch'] | None,
) -> Float[Array, '*batch n f']:
  """encoder(points, scales), with a key per ray if it asks for jitter."""
  if ray_keys is None or not getattr(encoder, 'jitter_coordinates', False):
    return encoder(points, scales)
  return encoder(points, scales, ray_keys=ray_keys)


def _uniform(scale):
  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -scale, scale)

  return init


_Corner = tuple[float, float, float]


def _checked_box(corners: Any) -> tuple[_Corner, _Corner]:
  """(lowest, highest) corner of a box given by any two opposite ones.

  Raises:
    ConfigError: It is none, or has no volume.
  """
  box: Any
  try:
    box = np.sort(np.asarray(corners, np.float64), axis=0)
  except (TypeError, ValueError):
    box = np.zeros(0)
  if box.shape != (2, 3) or not (
    np.isfinite(box).all() and (box[0] < box[1]).all()
  ):
    raise errors.ConfigError(
      f'HashEncoding.bbox_scaling = {corners!r} is neither a number nor two '
      'corners of a box, ((x0, y0, z0), (x1, y1, z1)).'
    )
  low, high = ((float(x), float(y), float(z)) for x, y, z in box)
  return low, high


class HashEncoding(nn.Module):
  """Multi-resolution grid features, dense where they fit, hashed elsewhere.

  Instant-NGP (arXiv:2201.05989) with Zip-NeRF's parametrisation, weights for
  the extent of samples, and averages over their points (arXiv:2304.06706,
  Sec. 3 and supplement).

  Attributes:
    hash_map_size: Rows of a hashed level; n^3 <= this makes level n dense.
    num_features: Features per level.
    scale_supersample: Levels per doubling of the resolution.
    min_grid_size: Coarsest resolution, cells per side.
    max_grid_size: Finest resolution.
    hash_init_range: Initial features are uniform in +- this.
    precondition_scaling: Parameters are stored divided by this, so that Adam
      moves features faster.
    bbox_scaling: What the grid covers: half the side of a cube around the
      origin, or two opposite corners of a box, whose cells are as long as it
      is. A sample's extent is then measured by the geometric mean of the sides.
    append_scale: With scales, also give each level's weight as a feature, in
      units of its typical value.
    jitter_coordinates: Training moves every point by up to half a cell along
      each axis, at each level by itself, which blurs the grid's corners.
    use_float16_hash: Hashed levels are stored with 16 bits, which halves them
      in memory and in checkpoints. Arithmetic, gradients and Adam's moments are
      float32, the moments as large as ever; the sum of value and step is
      rounded, so that a step below 1/4000 of the value is lost, which small
      rates make more and more of.
  """

  hash_map_size: int = 2**19
  num_features: int = 2
  scale_supersample: float = 2.0
  min_grid_size: int = 16
  max_grid_size: int = 2048
  hash_init_range: float = 1e-4
  precondition_scaling: float = 10.0
  bbox_scaling: float | tuple[_Corner, _Corner] | np.ndarray = 2.0
  append_scale: bool = True
  jitter_coordinates: bool = False
  use_float16_hash: bool = False

  def __post_init__(self):
    if isinstance(self.bbox_scaling, tuple | list | np.ndarray):
      # An array has no hash and no equality, which modules need.
      self.bbox_scaling = _checked_box(self.bbox_scaling)
    elif not self.bbox_scaling > 0:
      raise errors.ConfigError(
        f'HashEncoding.bbox_scaling = {self.bbox_scaling}; half the side of a '
        'cube must be > 0.'
      )
    super().__post_init__()

  def covers(self, x: Float[Array, '*batch 3']) -> Bool[Array, '*batch']:
    """Whether points of warped space lie inside what the grid covers."""
    if not isinstance(self.bbox_scaling, tuple):
      return jnp.all(jnp.abs(x) <= self.bbox_scaling, axis=-1)
    low, high = np.array(self.bbox_scaling, np.float32)
    return jnp.all((low <= x) & (x <= high), axis=-1)

  def _place(self, points):
    """(points in units of the box, in [0, 1]^3; its mean side)."""
    if not isinstance(self.bbox_scaling, tuple):
      return (points / self.bbox_scaling + 1) / 2, 2 * self.bbox_scaling
    low, high = np.array(self.bbox_scaling)
    side = high - low
    x = (points - np.float32(low)) / np.float32(side)
    # An isotropic Gaussian stays one of the same volume, as in a warp.
    return x, float(np.prod(side) ** (1 / 3))

  @nn.compact
  def __call__(
    self,
    points: Float[Array, '*batch n k 3'],
    scales: Float[Array, '*batch n k'] | None = None,
    *,
    ray_keys: Key[Array, '*batch'] | None = None,
  ) -> Float[Array, '*batch n f']:
    """Features of each sample, coarsest level first.

    Args:
      points: Points that stand for a sample; features are their mean.
      scales: Standard deviation of the isotropic Gaussian at each, in the
        units of points; None: features of all levels count fully.
      ray_keys: One key per ray for `jitter_coordinates`; None: no jitter.

    Returns:
      num_features for each level, with scales and `append_scale` twice that:
      [f, scale feature] level by level.
    """
    sizes, tables = self._tables()
    x, side = self._place(points)
    x = parallel.stored(x)  # all corners of all levels read it
    features = self._lookup(tables, sizes, x, ray_keys)
    if scales is not None:
      spread = scales.reshape(-1, 1) / side
      features = self._weigh(features, tables, spread * np.array(sizes))
    features = features.reshape(*x.shape[:-1], -1)
    return jnp.mean(features, axis=-2) * self.precondition_scaling

  def _lookup(self, tables, sizes, x, ray_keys):
    """Features [points, levels, f] at `x` in [0, 1]^3, or around it."""
    levels = []
    for i, (table, size) in enumerate(zip(tables, sizes, strict=True)):
      at = x
      if ray_keys is not None and self.jitter_coordinates:
        u = keys.uniform(keys.fold(ray_keys, i), x.shape[ray_keys.ndim :])
        at = x + (u - 0.5) / size
      found = hash_grid.lookup(
        [table.reshape(-1, self.num_features)],
        at.reshape(-1, 3),
        sizes=[size],
        table_size=self.hash_map_size,
      )
      # Together with what becomes of it, and be it another shape, a look-up is
      # not vectorised, or is made anew for every feature.
      levels.append(parallel.stored(found))
    return jnp.stack(levels, axis=-2)

  def _tables(self):
    """(sizes, tables) of the levels, float32."""
    sizes = hash_grid.grid_sizes(
      self.min_grid_size, self.max_grid_size, self.scale_supersample
    )
    digits = len(str(sizes[-1]))
    init = _uniform(self.hash_init_range / self.precondition_scaling)
    tables = []
    for size in sizes:
      if hash_grid.is_dense(size, self.hash_map_size):
        name, shape = f'grid_{size:0{digits}d}', (size,) * 3
        stored = jnp.float32
      else:
        name, shape = f'hash_{size:0{digits}d}', (self.hash_map_size,)
        stored = jnp.float16 if self.use_float16_hash else jnp.float32
      shape = (*shape, self.num_features)
      table = self.param(
        name, lambda *args, to=stored: init(*args).astype(to), shape
      )
      tables.append(table.astype(jnp.float32))
    return sizes, tables

  def _weigh(self, features, tables, cells):
    """Fades levels whose cells are smaller than a sample (Zip-NeRF, Sec. 3.1).

    Args:
      features: [points, levels, f]. With fewer axes XLA vectorises more.
      tables: Of each level.
      cells: [points, levels] standard deviations in cells.
    """
    # The cells' own extent would add to a vanishing deviation; 1e-6 cells
    # gives a weight of 1 to float precision, and a finite gradient.
    weight = curves.approx_erf(1 / (np.sqrt(8) * jnp.maximum(cells, 1e-6)))
    weight = weight[..., None]
    faded = weight * features
    if not self.append_scale:
      return faded
    # What a feature is worth: the level's root mean square, but not less than
    # what it was initialised with.
    floor = self.hash_init_range / self.precondition_scaling
    typical = jnp.stack(
      [
        jnp.sqrt(floor**2 + jnp.mean(jax.lax.stop_gradient(table) ** 2))
        for table in tables
      ]
    )
    scale_feature = (2 * weight - 1) * typical[:, None]
    shape = features.shape
    return jnp.concatenate(
      [faded, jnp.broadcast_to(scale_feature, (*shape[:-1], 1))], axis=-1
    )
