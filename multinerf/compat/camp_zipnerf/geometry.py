"""Names of `camp_zipnerf/internal/geometry.py`.

Functions of upstream that take single vectors take batches of them here.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from multinerf.ops import directional, rigid_body
from multinerf.ops import geometry as ops
from multinerf.types import Array

line_distance = ops.line_distance
skew_line_closest_points = ops.skew_line_closest_points
skew_line_distance = ops.line_distance
line_closest_point = ops.line_closest_point
line_to_point_distance = ops.line_to_point_distance
ray_sphere_intersection = ops.ray_sphere_exit
are_lines_parallel = ops.are_lines_parallel
spherical_equirectangular_grid = ops.spherical_equirectangular_grid
spherical_to_cartesian = ops.spherical_to_cartesian
sample_points_evenly_on_sphere = ops.sample_points_evenly_on_sphere
is_point_in_convex_hull = ops.is_point_in_convex_hull
rotation_distance = rigid_body.rotation_distance
_TINY = np.finfo(np.float32).tiny


def cartesian_to_spherical(
  cartesian_vector: Array,
  eps: ArrayLike = _TINY,
) -> tuple[Array, Array, Array]:
  """(radius, angle from +z, azimuth from +x to +y) of points [..., 3].

  Args:
    cartesian_vector: The points.
    eps: Smallest radius that is returned.
  """
  return ops.cartesian_to_spherical(cartesian_vector, eps)


def sample_random_points_on_sphere(
  key: Array, num_points: int, min_radius: ArrayLike, max_radius: ArrayLike
) -> Array:
  """Points [n, 3] in random directions, at radii uniform between two bounds."""
  for_radii, for_directions, _ = jax.random.split(key, 3)
  radii = jax.random.uniform(
    for_radii, (num_points, 1), minval=min_radius, maxval=max_radius
  )
  directions = jax.random.normal(for_directions, (num_points, 3))
  return radii * directional.l2_normalize(directions)


def cosine_to_deg(array: ArrayLike) -> Array:
  """Angles in degrees of cosines, which are first clipped to [-1, 1]."""
  return jnp.degrees(jnp.arccos(jnp.clip(array, -1, 1)))


def onp_cosine_to_deg(array: np.ndarray) -> np.ndarray:
  """`cosine_to_deg` in numpy."""
  return np.degrees(np.arccos(np.clip(array, -1, 1)))


def compute_bbox_from_xyza(
  xyza: np.ndarray, padding: Any, alpha_threshold: float = 0.99
) -> np.ndarray:
  """Corners [2, 3] of the box around the opaque points.

  Args:
    xyza: [..., 4] positions and opacities.
    padding: By how much the box is larger on each side: a number, or three.
    alpha_threshold: Points with more opacity than this count.

  Raises:
    ValueError: No point is as opaque as that.
  """
  points = xyza[xyza[..., 3] > alpha_threshold][:, :3]
  padding = np.asarray(padding)
  return np.stack([points.min(0) - padding, points.max(0) + padding])
