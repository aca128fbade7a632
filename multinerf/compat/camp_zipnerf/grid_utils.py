"""Names of `camp_zipnerf/internal/grid_utils.py`.

The encoding itself, `HashEncoding`, is a network of `multinerf.models`.
"""

from multinerf import errors
from multinerf.ops import grid_sampling
from multinerf.types import Array


def trilerp(values: Array, coordinates: Array, datastructure: str) -> Array:
  """Interpolates a grid or a hash table between the centres of its cells.

  Args:
    values: [nx, ny, nz, c] of a 'grid', [rows, c] of a 'hash'.
    coordinates: [..., 3] as (x, y, z); cell i is from i to i + 1.
    datastructure: 'grid', which is 0 outside, or 'hash'.

  Raises:
    ConfigError: Another datastructure.
  """
  if datastructure == 'hash':
    return grid_sampling.hash_resample_3d(values, coordinates)
  if datastructure == 'grid':
    return grid_sampling.resample_3d(
      values, coordinates, coordinate_order='zyx', half_pixel_center=True
    )
  raise errors.ConfigError(
    f"datastructure = {datastructure!r}; known: 'grid', 'hash'."
  )
