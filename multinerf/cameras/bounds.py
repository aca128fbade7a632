"""Where rays meet boxes, planes and spheres, in units of t.

Like `projection`, for numpy and jax.numpy alike (`xnp`); rays lead with any
batch shape.
"""

from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, Num

from multinerf.cameras import camera, lens

AnyArray = lens.AnyArray


def _slabs(low, high, origins, directions, xnp):
  """(enter, leave) of each coordinate's interval [low, high].

  A ray parallel to an interval's ends is inside of it always or never.
  """
  parallel = directions == 0
  divisor = xnp.where(parallel, 1.0, directions)
  t1, t2 = (low - origins) / divisor, (high - origins) / divisor
  inside = (low <= origins) & (origins <= high)
  always = xnp.where(inside, -np.inf, np.inf)
  enter = xnp.where(parallel, always, xnp.minimum(t1, t2))
  leave = xnp.where(parallel, -always, xnp.maximum(t1, t2))
  return enter, leave


def ray_box_intersection(
  origins: Num[AnyArray, '*batch 3'],
  directions: Num[AnyArray, '*batch 3'],
  corners: Num[AnyArray, '2 3'],
  xnp: ModuleType = np,
) -> tuple[Num[AnyArray, '*batch'], Num[AnyArray, '*batch']]:
  """Where lines enter and leave a box.

  Args:
    origins, directions: The lines; directions of any length, entries may be 0.
    corners: Two opposite corners.
    xnp: numpy or jax.numpy.

  Returns:
    (enter, leave), with enter > leave where a line misses the box. Either may
    be negative: behind the origin.
  """
  corners = xnp.asarray(corners)
  low, high = xnp.min(corners, axis=0), xnp.max(corners, axis=0)
  enter, leave = _slabs(low, high, origins, directions, xnp)
  return xnp.max(enter, axis=-1), xnp.min(leave, axis=-1)


def rays_planes_intersection(
  z_min: Any,
  z_max: Any,
  origins: Num[AnyArray, '*batch 3'],
  directions: Num[AnyArray, '*batch 3'],
  xnp: ModuleType = np,
) -> tuple[Num[AnyArray, '*batch'], Num[AnyArray, '*batch']]:
  """Where rays are between two heights.

  Args:
    z_min, z_max: The heights, z_min < z_max.
    origins, directions: The rays.
    xnp: numpy or jax.numpy.

  Returns:
    (start >= 0, end), with start > end where a ray is never between them; end
    is infinite for a level ray that always is.
  """
  enter, leave = _slabs(z_min, z_max, origins[..., 2], directions[..., 2], xnp)
  return xnp.maximum(0.0, enter), leave


def ray_sphere_intersection(
  origins: Num[AnyArray, '*batch 3'],
  directions: Num[AnyArray, '*batch 3'],
  center: Num[AnyArray, '*center 3'],
  radius: Any,
  xnp: ModuleType = np,
) -> tuple[
  Num[AnyArray, '*batch'], Num[AnyArray, '*batch'], Bool[AnyArray, '*batch']
]:
  """Where lines enter and leave a sphere.

  Args:
    origins, directions: The lines; directions of any length.
    center, radius: The sphere, or spheres that broadcast with the rays.
    xnp: numpy or jax.numpy.

  Returns:
    (enter, leave, hit); 0, 0 and False where a line misses the sphere.
  """
  offset = origins - center
  a = xnp.sum(directions * directions, axis=-1)
  b = xnp.sum(offset * directions, axis=-1)
  c = xnp.sum(offset * offset, axis=-1) - radius**2
  square = b * b - a * c
  hit = (square >= 0) & (a > 0)
  # What is not used must have a gradient, too.
  root = xnp.sqrt(xnp.where(hit & (square > 0), square, 1.0))
  root = xnp.where(square > 0, root, 0.0)
  a = xnp.where(hit, a, 1.0)
  zero = xnp.zeros_like(a)
  enter = xnp.where(hit, (-b - root) / a, zero)
  return enter, xnp.where(hit, (-b + root) / a, zero), hit


def crop(rays: Any, cameras: camera.Cameras, xnp: ModuleType = np) -> Any:
  """Rays within the heights and the box of their cameras, if these have any.

  See `crop_to_heights` and `crop_to_box`.
  """
  if cameras.z_range is not None:
    origins, directions = crop_to_heights(
      rays.origins, rays.directions, xnp.asarray(cameras.z_range), xnp
    )
    rays = rays.replace(origins=origins, directions=directions)
  if cameras.scene_bbox is not None:
    rays = crop_to_box(rays, xnp.asarray(cameras.scene_bbox), xnp)
  return rays


def crop_to_box(
  rays: Any, corners: Num[AnyArray, '2 3'], xnp: ModuleType = np
) -> Any:
  """Rays whose near and far lie in a box (gin: Config.scene_bbox).

  Args:
    rays: `types.Rays` with near and far.
    corners: Two opposite corners of the box.
    xnp: numpy or jax.numpy.

  Returns:
    The rays. Those that are never inside the box between near and far have
    near = far = 0 and lossmult 0; a missing lossmult becomes 1 for the others.
  """
  enter, leave = ray_box_intersection(
    rays.origins, rays.directions, corners, xnp
  )
  near = xnp.maximum(rays.near, enter[..., None])
  far = xnp.minimum(rays.far, leave[..., None])
  hit = near <= far
  lossmult = rays.lossmult
  if lossmult is None:
    lossmult = hit.astype(near.dtype)
  else:
    lossmult = xnp.where(hit, lossmult, 0.0)
  return rays.replace(
    near=xnp.where(hit, near, 0.0),
    far=xnp.where(hit, far, 0.0),
    lossmult=lossmult,
  )


def crop_to_heights(
  origins: Num[AnyArray, '*batch 3'],
  directions: Num[AnyArray, '*batch 3'],
  z_range: Num[AnyArray, '2'] | tuple[Any, Any],
  xnp: ModuleType = np,
) -> tuple[Num[AnyArray, '*batch 3'], Num[AnyArray, '*batch 3']]:
  """Rays for which t in [0, 1] is what lies between two heights.

  For scenes far below the cameras (gin: Config.z_min, Config.z_max).

  Args:
    origins, directions: The rays.
    z_range: The heights (z_min, z_max).
    xnp: numpy or jax.numpy.

  Returns:
    Origins on the first plane and directions up to the second one; rays that
    are never between them, or for ever, are as they were.
  """
  start, end = rays_planes_intersection(*z_range, origins, directions, xnp)
  usable = ((end >= start) & xnp.isfinite(end))[..., None]
  start = xnp.where(usable, start[..., None], 0.0)
  length = xnp.where(usable, end[..., None] - start, 1.0)
  return origins + directions * start, directions * length
