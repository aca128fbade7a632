"""Look-ups in one volume or one hash table, written for clarity.

For research code, and as the slow twin of `hash_grid`, which looks up all
levels of a grid at once and is what models use.
"""

import itertools
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, Shaped

from multinerf import errors

_CORNERS = tuple(itertools.product((0, 1), repeat=3))
_PRIMES = (1, 19349663, 83492791)  # of the published Zip-NeRF hash
METHODS = ('TRILINEAR', 'NEAREST')
EDGES = ('CONSTANT_OUTSIDE', 'CLAMP')
ORDERS = ('xyz', 'zyx')


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
  if value not in known:
    raise errors.ConfigError(f'{name} = {value!r}; known: {", ".join(known)}.')


def _array_order(locations: Array, coordinate_order: str) -> Array:
  """Coordinates in the order of the axes of [depth, height, width, c]."""
  _check('coordinate_order', coordinate_order, ORDERS)
  return locations[..., ::-1] if coordinate_order == 'xyz' else locations


def gather_volume(
  data: Shaped[Array, 'd h w c'],
  locations: Int[Array, '*batch 3'],
  coordinate_order: str = 'xyz',
) -> Shaped[Array, '*batch c']:
  """data[z, y, x] at whole coordinates inside of the volume.

  Args:
    data: A volume.
    locations: Cells.
    coordinate_order: 'xyz' for (x, y, z), 'zyx' for (z, y, x).

  Raises:
    ConfigError: Unknown coordinate_order.
  """
  z, y, x = jnp.moveaxis(_array_order(locations, coordinate_order), -1, 0)
  return data[z, y, x]


def _interpolate(
  at: Callable[[Array], Array],
  locations: Float[Array, '*batch 3'],
  method: str,
  half_pixel_center: bool,
) -> Array:
  """Values at locations, from those at whole coordinates."""
  _check('method', method, METHODS)
  if method == 'NEAREST':
    rounded = jnp.floor if half_pixel_center else jnp.round
    return at(rounded(locations).astype(jnp.int32))
  position = locations - 0.5 if half_pixel_center else locations
  low = jnp.floor(position)
  frac = position - low
  low = low.astype(jnp.int32)
  out = 0.0
  for corner in _CORNERS:
    upper = jnp.array(corner)
    weight = jnp.prod(jnp.where(upper == 1, frac, 1 - frac), axis=-1)
    out = out + weight[..., None] * at(low + upper)
  return out


def resample_3d(
  data: Num[Array, 'd h w c'],
  locations: Float[Array, '*batch 3'],
  edge_behavior: str = 'CONSTANT_OUTSIDE',
  constant_values: float = 0.0,
  coordinate_order: str = 'xyz',
  method: str = 'TRILINEAR',
  half_pixel_center: bool = False,
) -> Num[Array, '*batch c']:
  """Interpolates a volume.

  Args:
    data: Values at the cells.
    locations: Coordinates in cells.
    edge_behavior: Cells outside of the volume are 'CONSTANT_OUTSIDE' or equal
      to the nearest one inside ('CLAMP').
    constant_values: That constant.
    coordinate_order: See `gather_volume`.
    method: 'TRILINEAR' or 'NEAREST'.
    half_pixel_center: Whether cell i has its centre at i + 1/2, not at i.

  Raises:
    ConfigError: One of the strings is not one of these.
  """
  _check('edge_behavior', edge_behavior, EDGES)
  locations = _array_order(locations, coordinate_order)
  shape = jnp.array(data.shape[:3])

  def at(cell):
    value = gather_volume(data, jnp.clip(cell, 0, shape - 1), 'zyx')
    if edge_behavior == 'CLAMP':
      return value
    inside: Bool[Array, ...] = jnp.all((cell >= 0) & (cell < shape), axis=-1)
    return jnp.where(inside[..., None], value, constant_values)

  return _interpolate(at, locations, method, half_pixel_center)


def hash_rows(
  cell: Int[Array, '*batch 3'], num_rows: int
) -> Num[Array, '*batch']:
  """(x ^ y * 19349663 ^ z * 83492791) mod num_rows, in 32 bits."""
  x, y, z = (
    cell[..., i].astype(jnp.uint32) * jnp.uint32(_PRIMES[i]) for i in range(3)
  )
  return (x ^ y ^ z) % jnp.uint32(num_rows)


def hash_resample_3d(
  data: Num[Array, 'rows c'],
  locations: Float[Array, '*batch 3'],
  method: str = 'TRILINEAR',
  half_pixel_center: bool = True,
) -> Num[Array, '*batch c']:
  """Interpolates an endless grid whose cells share the rows of a table.

  Args:
    data: The table; `hash_rows` says which row serves a cell.
    locations: Coordinates (x, y, z) in cells, negative ones too.
    method, half_pixel_center: See `resample_3d`.

  Raises:
    ConfigError: Unknown method.
  """
  at = lambda cell: data[hash_rows(cell, data.shape[0])]
  return _interpolate(at, locations, method, half_pixel_center)
