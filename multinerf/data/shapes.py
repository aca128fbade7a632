"""Solids whose intersection with a ray is known exactly, in numpy.

Rays are origins and directions [n, 3] in float64; either may be a single row
shared by all rays, which saves much of the work for a pinhole camera.
Directions need not have unit length, and t counts in units of theirs. A miss
is t = inf. Origins lie outside of the solids. Shapes are given in their own
frame, centred at 0, and placed by a rotation and a translation.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

# A ray that enters at an angle with cosine c to the normal comes nearer by the
# factor 1 - c a step; these find all that get deeper than 0.002 tube radii.
_TORUS_STEPS = 150
_TORUS_TOLERANCE = 1e-4  # world units; Newton's steps then square it
_NEWTON_STEPS = 3


@runtime_checkable
class Solid(Protocol):
  """A shape in its own frame."""

  @property
  def bound(self) -> float:
    """Radius of a ball around 0 that holds the shape."""
    ...

  def intersect(self, o: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Smallest t >= 0 at which o + t d lies on the surface, [n]."""
    ...

  def normal(self, points: np.ndarray) -> np.ndarray:
    """Outward unit normals at points of the surface, [n, 3]."""
    ...


@dataclasses.dataclass(frozen=True)
class Sphere:
  """A ball.

  Attributes:
    radius: World units.
  """

  radius: float

  @property
  def bound(self) -> float:
    """See `Solid`."""
    return self.radius

  def intersect(self, o, d):
    """See `Solid`."""
    a, b = _dot(d, d), _dot(o, d)
    disc = b * b - a * (_dot(o, o) - self.radius**2)
    t = (-b - np.sqrt(np.maximum(disc, 0))) / a
    return np.where((disc > 0) & (t >= 0), t, np.inf)

  def normal(self, points):
    """See `Solid`."""
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class Box:
  """An axis-aligned box.

  Attributes:
    half: Half the length of each side, world units.
  """

  half: tuple[float, float, float]

  @property
  def bound(self) -> float:
    """See `Solid`."""
    return float(np.linalg.norm(self.half))

  def intersect(self, o, d):
    """See `Solid`."""
    # A component of 0 never crosses its slab; the tiny number says so without
    # dividing by it.
    inverse = 1 / np.where(np.abs(d) < 1e-12, 1e-12, d)
    one = (-np.array(self.half) - o) * inverse
    two = (np.array(self.half) - o) * inverse
    enter = np.minimum(one, two).max(-1)
    leave = np.maximum(one, two).min(-1)
    return np.where((enter < leave) & (enter >= 0), enter, np.inf)

  def normal(self, points):
    """See `Solid`."""
    scaled = points / np.array(self.half)
    face = np.abs(scaled).argmax(-1)
    axis = np.eye(3)[face]
    return axis * np.sign(_dot(scaled, axis))[:, None]


@dataclasses.dataclass(frozen=True)
class Cylinder:
  """A solid cylinder around the z axis.

  Attributes:
    radius: World units.
    half: Half its height.
  """

  radius: float
  half: float

  @property
  def bound(self) -> float:
    """See `Solid`."""
    return float(np.hypot(self.radius, self.half))

  def intersect(self, o, d):
    """See `Solid`."""
    a = np.maximum(_dot(d[:, :2], d[:, :2]), 1e-24)
    b = _dot(o[:, :2], d[:, :2])
    disc = b * b - a * (_dot(o[:, :2], o[:, :2]) - self.radius**2)
    root = np.sqrt(np.maximum(disc, 0))
    dz = np.where(np.abs(d[:, 2]) < 1e-12, 1e-12, d[:, 2])
    one, two = (-self.half - o[:, 2]) / dz, (self.half - o[:, 2]) / dz
    enter = np.maximum((-b - root) / a, np.minimum(one, two))
    leave = np.minimum((-b + root) / a, np.maximum(one, two))
    return np.where((disc > 0) & (enter < leave) & (enter >= 0), enter, np.inf)

  def normal(self, points):
    """See `Solid`."""
    side = np.concatenate([points[:, :2], np.zeros_like(points[:, :1])], -1)
    length = np.linalg.norm(side, axis=-1, keepdims=True)
    cap = np.array([0.0, 0.0, 1.0]) * np.sign(points[:, 2:])
    on_cap = np.abs(points[:, 2:]) / self.half >= length / self.radius
    return np.where(on_cap, cap, side / np.maximum(length, 1e-12))


@dataclasses.dataclass(frozen=True)
class Torus:
  """A ring around the z axis.

  Attributes:
    ring: Distance from the centre to the middle of the tube, world units.
    tube: Radius of the tube.
  """

  ring: float
  tube: float

  @property
  def bound(self) -> float:
    """See `Solid`."""
    return self.ring + self.tube

  def distance(self, points: np.ndarray) -> np.ndarray:
    """Exact signed distance, negative inside, [n]."""
    around = np.hypot(points[:, 0], points[:, 1]) - self.ring
    return np.hypot(around, points[:, 2]) - self.tube

  def intersect(self, o, d):
    """See `Solid`.

    Walks along the ray by the distance to the surface, which never oversteps,
    then polishes with Newton's method.
    """
    speed = np.linalg.norm(d, axis=-1)
    o, d = np.broadcast_arrays(o, d / speed[:, None])
    b = _dot(o, d)
    disc = b * b - (_dot(o, o) - self.bound**2)
    root = np.sqrt(np.maximum(disc, 0))
    # Only where the ray is in the bounding ball and in the slab |z| <= tube.
    dz = np.where(np.abs(d[:, 2]) < 1e-12, 1e-12, d[:, 2])
    one, two = (-self.tube - o[:, 2]) / dz, (self.tube - o[:, 2]) / dz
    t = np.maximum(np.maximum(-b - root, np.minimum(one, two)), 0)
    end = np.where(disc > 0, np.minimum(-b + root, np.maximum(one, two)), -1)
    walking = np.flatnonzero(t < end)
    for _ in range(_TORUS_STEPS):
      gap = self.distance(o[walking] + t[walking, None] * d[walking])
      t[walking] += gap
      go_on = (gap > _TORUS_TOLERANCE) & (t[walking] < end[walking])
      walking = walking[go_on]
      if not walking.size:
        break
    t[walking] = np.inf  # grazing: so slow that it never arrives
    hit = np.flatnonzero(t < end)
    for _ in range(_NEWTON_STEPS):
      points = o[hit] + t[hit, None] * d[hit]
      slope = _dot(self.normal(points), d[hit])
      step = self.distance(points) / np.minimum(slope, -1e-3)
      t[hit] -= step
    return np.where(t < end, t, np.inf) / speed

  def normal(self, points):
    """See `Solid`."""
    length = np.linalg.norm(points[:, :2], axis=-1, keepdims=True)
    middle = np.zeros_like(points)
    middle[:, :2] = points[:, :2] * (self.ring / np.maximum(length, 1e-12))
    out = points - middle
    return out / np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-12)


@dataclasses.dataclass(frozen=True)
class Placed:
  """A solid somewhere in the world.

  Attributes:
    solid: The shape.
    centre: [3] world position of its origin.
    rotation: [3, 3] own axes to world axes.
  """

  solid: Solid
  centre: Float[np.ndarray, '3']
  rotation: Float[np.ndarray, '3 3']

  def to_local(self, points: np.ndarray) -> np.ndarray:
    """World points [n, 3] in the shape's own frame."""
    return (points - self.centre) @ self.rotation

  def intersect(self, o: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Smallest t >= 0 of each world ray, [n]; inf where it misses."""
    # Most rays miss most shapes: only those that meet the bounding ball are
    # worth the rest.
    to_centre = self.centre - o
    a, b = _dot(d, d), _dot(to_centre, d)
    gap = _dot(to_centre, to_centre) - self.solid.bound**2
    meets = (b * b >= a * gap) & ((b > 0) | (gap < 0))
    t = np.full(len(meets), np.inf)
    near = np.flatnonzero(meets)
    if near.size:
      o, d = rows(o, near), rows(d, near)
      t[near] = self.solid.intersect(self.to_local(o), d @ self.rotation)
    return t

  def normal(self, points: np.ndarray) -> np.ndarray:
    """Outward world normals at world points of the surface, [n, 3]."""
    return self.solid.normal(self.to_local(points)) @ self.rotation.T


def rotation(degrees_z: float, degrees_x: float = 0.0) -> np.ndarray:
  """[3, 3]: first about x, then about z."""
  a, b = np.radians(degrees_z), np.radians(degrees_x)
  about_z = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
  about_x = [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
  return np.array(about_z) @ np.array(about_x)


def rows(values: np.ndarray, index: np.ndarray) -> np.ndarray:
  """values[index], or the single row that is shared by all."""
  return values if len(values) == 1 else values[index]


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Dot products of rows, [n]; a single row is shared."""
  if len(a) == 1:
    return b @ a[0]
  return a @ b[0] if len(b) == 1 else np.einsum('ni,ni->n', a, b)
