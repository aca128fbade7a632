"""Trilinear look-up in multi-resolution grids, dense or hashed.

Instant-NGP (arXiv:2201.05989, Sec. 3) with the index function, the cell
convention and the zero padding of Zip-NeRF's released code
(camp_zipnerf/internal/hash_resample.py and resample.py @8e6d57e).

Almost all of the time goes into gathers (forward) and scatter-adds
(backward). Two choices matter on XLA's CPU backend and are why the gradient is
written out here (benchmarks/hash_grid.py): the forward pass adds one corner at
a time, which fuses into one loop (6 to 13 ns a look-up against 46 to 61 with
the eight corners as an axis); the backward pass makes one scatter per level, where
differentiating that forward pass would make eight tables per level.
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
  x, y, z = (cell[..., i].astype(jnp.uint32) for i in range(3))
  if is_dense(size, table_size):
    return (x * size + y) * jnp.uint32(size) + z
  hashed = x ^ (y * jnp.uint32(_PRIMES[1])) ^ (z * jnp.uint32(_PRIMES[2]))
  return hashed % jnp.uint32(table_size)


def _corners(x, size, table_size):
  """Yields (row, corner, sides, mask) of the 8 corners around `x`.

  A corner's weight is mask * sides[0] * sides[1] * sides[2]; the mask is 0 for
  corners outside a dense grid, whose cells count as zero.
  """
  position = x * size - 0.5
  low = jnp.floor(position)
  frac = position - low
  low = low.astype(jnp.int32)
  dense = is_dense(size, table_size)
  for corner in _CORNERS:
    cell = low + jnp.array(corner, jnp.int32)
    mask = 1.0
    if dense:
      mask = jnp.all((cell >= 0) & (cell < size), axis=-1).astype(x.dtype)
      cell = jnp.clip(cell, 0, size - 1)
    sides = [
      frac[..., i] if upper else 1 - frac[..., i]
      for i, upper in enumerate(corner)
    ]
    yield corner_index(cell, size, table_size), corner, sides, mask


def _forward_level(table, x, size, table_size):
  """Interpolates one level, a corner at a time."""
  out = 0.0
  for row, _, sides, mask in _corners(x, size, table_size):
    weight = mask * sides[0] * sides[1] * sides[2]
    out = out + weight[..., None] * table[row]
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
  grad = 0.0
  for row, corner, sides, mask in _corners(x, size, table_size):
    value = mask * jnp.sum(table[row] * cotangent, axis=-1)
    slopes = (
      sides[1] * sides[2] * (size if corner[0] else -size),
      sides[0] * sides[2] * (size if corner[1] else -size),
      sides[0] * sides[1] * (size if corner[2] else -size),
    )
    grad = grad + value[..., None] * jnp.stack(slopes, axis=-1)
  return grad


def _table_gradient(table, x, cotangent, size, table_size):
  """Gradient of one level's look-up with respect to its table."""
  rows, values = [], []
  for row, _, sides, mask in _corners(x, size, table_size):
    weight = mask * sides[0] * sides[1] * sides[2]
    rows.append(row)
    values.append(weight[..., None] * cotangent)
  return jnp.zeros_like(table).at[jnp.stack(rows)].add(jnp.stack(values))


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
  """
  return _lookup(tuple(tables), x, tuple(sizes), table_size)
