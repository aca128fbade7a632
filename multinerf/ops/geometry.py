"""Lines, spheres and angles in space. Arrays lead with any batch shape."""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from multinerf.ops import numerics

Vector = Float[Array, '*#batch 3']
_EPS = float(np.finfo(np.float32).eps)
_GOLDEN = (1 + 5**0.5) / 2


def _dot(a: Array, b: Array) -> Array:
  return jnp.sum(a * b, axis=-1)


def _length(x: Array) -> Array:
  return numerics.safe_sqrt(_dot(x, x))


def are_lines_parallel(dir1: Vector, dir2: Vector) -> Bool[Array, '...']:
  """Whether two directions, or their opposites, agree to 5e-4 radians."""
  across = jnp.cross(dir1, dir2)
  bound = 2 * _EPS * _dot(dir1, dir1) * _dot(dir2, dir2)
  return _dot(across, across) <= bound


def line_closest_point(
  line_point: Vector, line_dir: Vector, query_point: Vector
) -> Float[Array, '... 3']:
  """The point of a line (a point and a direction) nearest to another point."""
  t = numerics.safe_div(
    _dot(query_point - line_point, line_dir), _dot(line_dir, line_dir)
  )
  return line_point + t[..., None] * line_dir


def line_to_point_distance(
  line_point: Vector, line_dir: Vector, query_point: Vector
) -> Float[Array, '...']:
  """Distance of a point from a line."""
  nearest = line_closest_point(line_point, line_dir, query_point)
  return _length(query_point - nearest)


def skew_line_closest_points(
  point1: Vector, dir1: Vector, point2: Vector, dir2: Vector
) -> tuple[Float[Array, '... 3'], Float[Array, '... 3']]:
  """The points of two lines that are nearest to each other.

  Args:
    point1, dir1: First line; directions are of any length.
    point2, dir2: Second line.

  Returns:
    A point of each. Parallel lines have many such pairs; theirs is point1 and
    the one across from it.
  """
  between = point2 - point1
  normal = jnp.cross(dir1, dir2)
  square = _dot(normal, normal)
  # between = t1 dir1 - t2 dir2 + c normal, by Cramer's rule.
  t1 = numerics.safe_div(_dot(jnp.cross(between, dir2), normal), square)
  t2 = numerics.safe_div(_dot(jnp.cross(between, dir1), normal), square)
  parallel = are_lines_parallel(dir1, dir2)[..., None]
  first = point1 + t1[..., None] * dir1
  second = point2 + t2[..., None] * dir2
  across = line_closest_point(point2, dir2, point1)
  return (
    jnp.where(parallel, point1, first),
    jnp.where(parallel, across, second),
  )


def line_distance(
  point1: Vector, dir1: Vector, point2: Vector, dir2: Vector
) -> Float[Array, '...']:
  """Distance of two lines, endless on both sides, parallel or not."""
  first, second = skew_line_closest_points(point1, dir1, point2, dir2)
  return _length(first - second)


def ray_sphere_exit(
  origin: Vector, direction: Vector, radius: ArrayLike = 1.0
) -> Float[Array, '... 3']:
  """Where a ray leaves the sphere around 0; NaN if it never meets it.

  Args:
    origin, direction: The ray; directions of any length > 0. From inside there
      is one such point, from outside it is the second one.
    radius: Of the sphere.
  """
  a = _dot(direction, direction)
  b = _dot(origin, direction)
  c = _dot(origin, origin) - radius**2
  t = (-b + jnp.sqrt(b * b - a * c)) / a
  t = jnp.where(t < 0, jnp.nan, t)
  return origin + t[..., None] * direction


def spherical_equirectangular_grid(
  height: int,
  width: int,
  min_elevation: float = 0.0,
  max_elevation: float = np.pi,
  min_azimuth: float = 0.0,
  max_azimuth: float = 2 * np.pi,
) -> tuple[Float[Array, 'h w'], Float[Array, 'h w']]:
  """Elevations (by row) and azimuths (by column) of a panorama, in radians.

  Both ends of the elevations are included; the last azimuth is left out, as it
  is the first one of a full turn.
  """
  elevations = jnp.linspace(min_elevation, max_elevation, height)
  azimuths = jnp.linspace(min_azimuth, max_azimuth, width, endpoint=False)
  grid = jnp.meshgrid(elevations, azimuths, indexing='ij')
  return grid[0], grid[1]


def spherical_to_cartesian(
  r: Float[Array, '*#batch'] | float,
  theta: Float[Array, '*#batch'],
  phi: Float[Array, '*#batch'],
) -> Float[Array, '... 3']:
  """Points at radius r, angle theta from +z, azimuth phi from +x to +y."""
  across = r * jnp.sin(theta)
  parts = (across * jnp.cos(phi), across * jnp.sin(phi), r * jnp.cos(theta))
  return jnp.stack(jnp.broadcast_arrays(*parts), axis=-1)


def cartesian_to_spherical(
  points: Float[Array, '*batch 3'], eps: ArrayLike = numerics.TINY
) -> tuple[
  Float[Array, '*batch'], Float[Array, '*batch'], Float[Array, '*batch']
]:
  """Inverse of `spherical_to_cartesian`.

  Args:
    points: Any points.
    eps: Smallest radius that is returned.

  Returns:
    (r, theta in [0, pi], phi in [-pi, pi]); theta and phi are 0 at the origin.
  """
  x, y, z = jnp.moveaxis(points, -1, 0)
  across = _length(points[..., :2])
  return (
    jnp.maximum(_length(points), eps),
    numerics.safe_arctan2(across, z),
    numerics.safe_arctan2(y, x),
  )


def sample_points_evenly_on_sphere(num_points: int) -> Float[Array, 'n 3']:
  """Points of the unit sphere on a golden spiral, each with the same area."""
  i = jnp.arange(num_points, dtype=jnp.float32) + 0.5
  # Only the fraction of a turn counts; float32 would lose it at large i.
  turns = np.mod((np.arange(num_points) + 0.5) * _GOLDEN, 1.0)
  azimuth = 2 * jnp.pi * jnp.asarray(turns, jnp.float32)
  return spherical_to_cartesian(
    1.0, jnp.arccos(1 - 2 * i / num_points), azimuth
  )


def is_point_in_convex_hull(
  point: Float[Array, '*batch d'],
  hull_normals: Float[Array, 'f d'] | Float[np.ndarray, 'f d'],
  hull_offsets: Float[Array, 'f'] | Float[np.ndarray, 'f'],
  padding: ArrayLike = 0.0,
) -> Bool[Array, '*batch']:
  """Whether normal . point + offset <= padding for all facets.

  Args:
    point: Points.
    hull_normals, hull_offsets: Outward unit normals and offsets, the columns
      of `scipy.spatial.ConvexHull.equations`.
    padding: By how much the hull is made larger.
  """
  heights = numerics.matmul(point[..., None, :], jnp.transpose(hull_normals))
  return jnp.all(heights[..., 0, :] + hull_offsets <= padding, axis=-1)
