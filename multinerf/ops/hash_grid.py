"""Trilinear look-up in multi-resolution grids, dense or hashed.

Instant-NGP (arXiv:2201.05989, Sec. 3) with the index function, the cell
convention and the zero padding of Zip-NeRF's released code
(camp_zipnerf/internal/hash_resample.py and resample.py @8e6d57e).

Almost all of the time goes into gathers (forward) and scatter-adds
(backward). What they cost on XLA's CPU backend depends on how they are written
(benchmarks/hash_grid.py, docs/performance.md), hence:

* The corners are added one at a time, which fuses into one loop; as an axis of
  an array they would all be written to memory first.
* The three axes are separate arrays. Rows and weights are then sums and
  products of vectors, where slices of an [n, 3] array are strided loads that
  are repeated for every corner.
* Rows are in bounds by construction and say so (`promise_in_bounds`).
* A dense grid's zero padding is in the weights of each axis, not in a mask per
  corner: eight corners share six weights and one row number.
* The gradient is written out: a loop with one scatter-add per corner into the
  same table, in place. Differentiating the forward pass would make eight tables
  per level; one scatter of all corners has to stack 8 n rows of values first;
  eight scatters without a loop take twice as long to compile.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from multinerf import errors

# Multipliers of the published Zip-NeRF hash; not those of instant-ngp.
_PRIMES = (1, 19349663, 83492791)
_CORNERS = tuple(itertools.product((0, 1), repeat=3))


def is_dense(size: int, table_size: int) -> bool:
  """Whether a grid of size^3 cells fits into a table of `table_size` rows."""
  return size**3 <= table_size


def grid_sizes(
  min_size: int, max_size: int, supersample: float
) -> tuple[int, ...]:
  """Geometric sequence of resolutions, `supersample` of them per octave.

  Args:
    min_size: Coarsest resolution.
    max_size: Finest resolution.
    supersample: Levels per doubling of the resolution.

  Returns:
    1 + supersample * log2(max / min) rounded sizes.

  Raises:
    ConfigError: That count is not a whole number.
  """
  count = 1 + supersample * math.log2(max_size / min_size)
  whole = round(count)
  if abs(count - whole) > 1e-4:
    raise errors.ConfigError(
      f'scale_supersample * log2(max_grid_size / min_grid_size) = '
      f'{count - 1:.4f} must be whole (sizes {min_size} to '
      f'{max_size}, scale_supersample {supersample}; gin: HashEncoding).'
    )
  ratio = max_size / min_size
  steps = max(whole - 1, 1)
  return tuple(round(min_size * ratio ** (i / steps)) for i in range(whole))


def corner_index(
  cell: Int[Array, '*batch 3'], size: int, table_size: int
) -> UInt32[Array, '*batch']:
  """Row of the table that holds a cell's value.

  Dense grids are stored in C order of [x, y, z]; others are hashed,
  (x ^ y * 19349663 ^ z * 83492791) mod table_size in 32-bit arithmetic.

  Args:
    cell: Integer cell coordinates; dense ones must lie in [0, size).
    size: Resolution of the level.
    table_size: Rows of a hashed table.
  """
  return _row([cell[..., i] for i in range(3)], size, table_size)


def _row(cell, size, table_size):
  """`corner_index` of three separate coordinates."""
  x, y, z = (c.astype(jnp.uint32) for c in cell)
  if is_dense(size, table_size):
    return (x * size + y) * jnp.uint32(size) + z
  hashed = x ^ (y * jnp.uint32(_PRIMES[1])) ^ (z * jnp.uint32(_PRIMES[2]))
  return hashed % jnp.uint32(table_size)


def _dense_axis(x, size):
  """(cell, weights, slopes) of one axis of a dense grid; cells stay inside.

  The weights are the hat functions of `cell` and `cell + 1`, so that the
  neighbour outside the grid, which counts as zero, needs no corner of its own:
  over the first and last half cell (and one beyond) only one of them is
  positive. `size` is at least 2.
  """
  unclipped = x * size - 0.5
  position = jnp.clip(unclipped, -1.0, float(size))
  cell = jnp.clip(jnp.floor(position).astype(jnp.int32), 0, size - 2)
  offset = position - cell
  before, within = offset < 0, (offset >= 0) & (offset < 1)
  weights = (
    jnp.where(before, 1 + offset, jnp.where(within, 1 - offset, 0.0)),
    jnp.where(before, 0.0, jnp.where(within, offset, 2 - offset)),
  )
  inside = position == unclipped
  slope = jnp.where(inside, jnp.asarray(size, x.dtype), 0.0)
  slopes = (
    jnp.where(before, slope, jnp.where(within, -slope, 0.0)),
    jnp.where(before, 0.0, jnp.where(within, slope, -slope)),
  )
  return cell, weights, slopes


def _hashed_axis(x, size):
  """(cell, weights, slopes) of one axis of a hashed grid, without bounds."""
  position = x * size - 0.5
  low = jnp.floor(position)
  frac = position - low
  slope = jnp.full_like(x, size)
  return low.astype(jnp.int32), (1 - frac, frac), (-slope, slope)


def _level(x, size, table_size):
  """(row_fn, weights of the axes, slopes of the axes) of points `x` [n, 3].

  `row_fn(i, j, k)` are the rows [n] of the corner i, j, k (0 or 1) of each
  point's cell. The corner's weight is weights[0][i] weights[1][j]
  weights[2][k], its derivative by the first coordinate the same with
  slopes[0][i].
  """
  dense = is_dense(size, table_size)
  axis_fn = _dense_axis if dense else _hashed_axis
  cells, weights, slopes = zip(
    *(axis_fn(x[:, i], size) for i in range(3)), strict=True
  )
  low = _row(cells, size, table_size)

  def row_fn(*corner):
    if dense:
      step = (corner[0] * size + corner[1]) * size + corner[2]
      return low + jnp.asarray(step, jnp.uint32)
    neighbour = [c + side for c, side in zip(cells, corner, strict=True)]
    return _row(neighbour, size, table_size)

  return row_fn, weights, slopes


def _forward_level(table, x, size, table_size):
  """Interpolates one level, a corner at a time."""
  row_fn, weights, _ = _level(x, size, table_size)
  out = 0.0
  for i, j, k in _CORNERS:
    weight = weights[0][i] * weights[1][j] * weights[2][k]
    value = table.at[row_fn(i, j, k)].get(mode='promise_in_bounds')
    out = out + weight[:, None] * value
  return out


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _lookup(tables, x, sizes, table_size):
  return jnp.concatenate(
    [
      _forward_level(table, x, size, table_size)
      for table, size in zip(tables, sizes, strict=True)
    ],
    axis=-1,
  )


def _lookup_fwd(tables, x, sizes, table_size):
  return _lookup(tables, x, sizes, table_size), (tables, x)


def _position_gradient(table, x, cotangent, size, table_size):
  """Gradient of one level's look-up with respect to the positions."""
  row_fn, w, d = _level(x, size, table_size)
  grad = [0.0, 0.0, 0.0]
  for i, j, k in _CORNERS:
    value = table.at[row_fn(i, j, k)].get(mode='promise_in_bounds')
    value = jnp.sum(value * cotangent, axis=-1)
    grad[0] += value * d[0][i] * w[1][j] * w[2][k]
    grad[1] += value * w[0][i] * d[1][j] * w[2][k]
    grad[2] += value * w[0][i] * w[1][j] * d[2][k]
  return jnp.stack(grad, axis=-1)


def _table_gradient(table, x, cotangent, size, table_size):
  """Gradient of one level's look-up with respect to its table."""

  def add_corner(number, grad):
    # All of it in here, of the points: XLA computes what stays the same once,
    # but from what the loop is given; that were, with weights made outside,
    # the points of each of them anew, all the way from the rays.
    row_fn, weights, _ = _level(x, size, table_size)
    corner = [number >> shift & 1 for shift in (2, 1, 0)]
    weight = math.prod(
      jnp.where(side, high, low)
      for side, (low, high) in zip(corner, weights, strict=True)
    )
    value = weight[:, None] * cotangent
    return grad.at[row_fn(*corner)].add(value, mode='promise_in_bounds')

  return jax.lax.fori_loop(0, 8, add_corner, jnp.zeros_like(table))


def _lookup_bwd(sizes, table_size, residuals, cotangent):
  tables, x = residuals
  num_features = tables[0].shape[-1]
  table_grads, position_grad = [], 0.0
  for i, (table, size) in enumerate(zip(tables, sizes, strict=True)):
    ct = cotangent[..., i * num_features : (i + 1) * num_features]
    table_grads.append(_table_gradient(table, x, ct, size, table_size))
    position_grad += _position_gradient(table, x, ct, size, table_size)
  return tuple(table_grads), position_grad


_lookup.defvjp(_lookup_fwd, _lookup_bwd)


def lookup(
  tables: Sequence[Float[Array, '_ f']],
  x: Float[Array, '*batch 3'],
  *,
  sizes: Sequence[int],
  table_size: int,
) -> Float[Array, '*batch lf']:
  """Interpolates every level of a multi-resolution grid at `x`.

  Cell centres lie at half-integers of x * size. Dense levels are zero outside
  [0, 1]^3 and fade to zero over the last half cell; hashed levels have no
  outside.

  Args:
    tables: One table per level: [size^3, f] where that is at most
      `table_size`, else [table_size, f].
    x: Positions in [0, 1]^3.
    sizes: Resolution of each level.
    table_size: Rows of the hashed tables.

  Returns:
    The levels' features side by side, coarsest first.

  Raises:
    ConfigError: A level has less than 2 cells per side.
    ValueError: A table has another number of rows.
  """
  if min(sizes) < 2:
    raise errors.ConfigError(
      f'A grid needs at least 2 cells per side, got sizes {tuple(sizes)} '
      '(gin: HashEncoding.min_grid_size).'
    )
  rows = [min(size**3, table_size) for size in sizes]
  if [len(table) for table in tables] != rows:  # no row is checked later
    raise ValueError(
      f'Tables of {[len(table) for table in tables]} rows, sizes '
      f'{tuple(sizes)} and table_size {table_size} need {rows}.'
    )
  flat = _lookup(tuple(tables), x.reshape(-1, 3), tuple(sizes), table_size)
  return flat.reshape(*x.shape[:-1], flat.shape[-1])
