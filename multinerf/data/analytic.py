"""The embedded scene: what it is made of, and the truth along any ray.

A small still life of textured and glossy solids, floating over nothing, inside
the unit-and-a-bit ball around the origin, z up. `trace` gives exact distances
and normals, `radiance` the colour seen; both are pure functions of the ray.
The same solids come in more than one `Look`.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from multinerf.data import shapes
from multinerf.data.shapes import Box, Cylinder, Placed, Sphere, Torus

# Bump when the look changes: it is part of the name of the cached renderings.
VERSION = 1

_SUN = np.array([0.48, -0.36, 0.8])  # unit vector towards the light
_SUN_COLOUR = np.array([0.95, 0.88, 0.76])
_SKY, _GROUND = np.array([0.42, 0.48, 0.58]), np.array([0.26, 0.22, 0.2])
_SHADOW_OFFSET = 1e-4  # world units; keeps a surface out of its own shadow
_NOISE_SIDE = 16

Albedo = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Look:
  """How the whole scene is finished and lit.

  Attributes:
    polish: Share of the way from each glossy material's reflectance to 1;
      matt ones stay matt.
    sky: Brightness of the mirrored sky.
    windows: Bright discs in the surroundings that polished surfaces mirror:
      unit vector towards each, cosine of its outline, colour.
  """

  polish: float
  sky: float
  windows: tuple[tuple[tuple, float, tuple], ...]


_ONE_WINDOW = (((-0.5, -0.5, 0.7071), 0.8, (1.2, 1.2, 1.2)),)
LOOKS = {
  'still_life': Look(0.0, 1.6, _ONE_WINDOW),
  # For Ref-NeRF: what is seen on most surfaces is their surroundings.
  'glossy': Look(
    0.5,
    0.5,
    (
      *_ONE_WINDOW,
      ((0.8, 0.0, 0.6), 0.85, (1.6, 0.5, 0.2)),
      ((-0.6, 0.75, 0.28), 0.85, (0.2, 0.6, 1.6)),
      ((0.1, 0.97, 0.22), 0.9, (0.3, 1.3, 0.4)),
      ((0.35, -0.93, 0.1), 0.9, (1.3, 1.1, 0.2)),
      ((-0.97, 0.0, 0.24), 0.9, (1.2, 0.3, 1.0)),
    ),
  ),
}


@dataclasses.dataclass(frozen=True)
class Material:
  """How a surface looks.

  Attributes:
    albedo: Points in the solid's own frame [n, 3] -> linear RGB in [0, 1].
    gloss: Reflectance at normal incidence; 0 = perfectly matt.
    shininess: Exponent of the highlight of the sun.
  """

  albedo: Albedo
  gloss: float = 0.0
  shininess: float = 60.0


@dataclasses.dataclass(frozen=True)
class Hits:
  """Where n rays meet the scene first.

  Attributes:
    t: [n] in units of the directions' length; inf where there is nothing.
    normals: [n, 3] outward unit normals; 0 where there is nothing.
    thing: [n] index into `SCENE`; -1 where there is nothing.
  """

  t: Float[np.ndarray, ' n']
  normals: Float[np.ndarray, 'n 3']
  thing: Int[np.ndarray, ' n']


def trace(
  origins: Float[np.ndarray, '_ 3'], directions: Float[np.ndarray, 'n 3']
) -> Hits:
  """First intersections, exact to about 1e-9.

  Args:
    origins: Outside of all solids; one for all rays, or one for each.
    directions: Any length; t is counted in it, as in `types.Rays`.
  """
  t = np.full(len(directions), np.inf)
  thing = np.full(len(directions), -1)
  for i, (placed, _) in enumerate(SCENE):
    here = placed.intersect(origins, directions)
    closer = here < t
    t[closer], thing[closer] = here[closer], i
  normals = np.zeros_like(directions)
  for i, (placed, _) in enumerate(SCENE):
    at = np.flatnonzero(thing == i)
    if at.size:
      start = shapes.rows(origins, at)
      points = start + t[at, None] * directions[at]
      normals[at] = placed.normal(points)
  return Hits(t, normals, thing)


def radiance(
  origins: Float[np.ndarray, '_ 3'],
  directions: Float[np.ndarray, 'n 3'],
  hits: Hits,
  look: Look = LOOKS['still_life'],
) -> Float[np.ndarray, 'n 3']:
  """Linear RGB in [0, 1] seen along traced rays; 0 where there is nothing.

  Lambert's law under one sun with hard shadows and a two-colour sky, plus
  Schlick's approximation of Fresnel reflection of that sky and a Blinn-Phong
  highlight, which depend on the direction of view.
  """
  rgb = np.zeros_like(directions)
  seen = np.flatnonzero(hits.thing >= 0)
  if not seen.size:
    return rgb
  d = directions[seen]
  points = shapes.rows(origins, seen) + hits.t[seen, None] * d
  view = -d / np.linalg.norm(d, axis=-1, keepdims=True)
  n = hits.normals[seen]
  albedo, gloss, shininess = _surface(hits.thing[seen], points)
  gloss = gloss + look.polish * (1 - gloss) * (gloss > 0)
  cos_sun = np.maximum(n @ _SUN, 0) * _lit(points, n)
  diffuse = albedo * (cos_sun[:, None] * _SUN_COLOUR + _sky(n[:, 2]))
  cos_view = np.maximum(np.sum(n * view, -1), 0)
  fresnel = gloss + (1 - gloss) * (1 - cos_view) ** 5 * (gloss > 0)
  mirrored = 2 * cos_view[:, None] * n - view
  half = view + _SUN
  half /= np.linalg.norm(half, axis=-1, keepdims=True)
  glint = np.maximum(np.sum(n * half, -1), 0) ** shininess
  glint = glint * (cos_sun > 0) * (gloss > 0) * 0.9
  rgb[seen] = (
    (1 - fresnel[:, None]) * diffuse
    + fresnel[:, None] * _environment(mirrored, look)
    + glint[:, None] * _SUN_COLOUR
  )
  return np.clip(rgb, 0, 1)


def _surface(
  thing: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Albedo [n, 3], gloss [n] and shininess [n] at world points."""
  albedo = np.zeros_like(points)
  for i, (placed, material) in enumerate(SCENE):
    at = np.flatnonzero(thing == i)
    if at.size:
      albedo[at] = material.albedo(placed.to_local(points[at]))
  gloss = np.array([m.gloss for _, m in SCENE])[thing]
  return albedo, gloss, np.array([m.shininess for _, m in SCENE])[thing]


def _lit(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
  """1 where the sun reaches the point, else 0, [n]."""
  lit = (normals @ _SUN > 0).astype(np.float64)
  at = np.flatnonzero(lit)
  start = points[at] + _SHADOW_OFFSET * normals[at]
  for placed, _ in SCENE:
    blocked = np.isfinite(placed.intersect(start, _SUN[None]))
    lit[at[blocked]] = 0
    at, start = at[~blocked], start[~blocked]
  return lit


def _sky(up: np.ndarray) -> np.ndarray:
  """Light from all around on a surface whose normal has z = up, [n, 3]."""
  share = (0.5 + 0.5 * up)[:, None]
  return share * _SKY + (1 - share) * _GROUND


def _environment(directions: np.ndarray, look: Look) -> np.ndarray:
  """What a mirror would see: a smooth sky with soft windows, [n, 3]."""
  seen = look.sky * _sky(np.clip(2 * directions[:, 2], -1, 1))
  for towards, outline, colour in look.windows:
    inside = _smoothstep((directions @ np.array(towards) - outline) / 0.1)
    seen = seen + inside[:, None] * np.array(colour)
  return seen


def _smoothstep(x: np.ndarray) -> np.ndarray:
  x = np.clip(x, 0, 1)
  return x * x * (3 - 2 * x)


def _mix(share: np.ndarray, one: tuple, two: tuple) -> np.ndarray:
  return np.array(one) + share[:, None] * (np.array(two) - np.array(one))


def _plain(colour: tuple) -> Albedo:
  return lambda p: np.broadcast_to(np.array(colour), p.shape)


def _checker(period: float, one: tuple, two: tuple) -> Albedo:
  """Squares of side `period` in x and y."""

  def albedo(p):
    # The offset keeps faces at round coordinates inside one cell.
    cell = np.floor(p[:, :2] / period + 0.5).sum(-1)
    return _mix(cell % 2, one, two)

  return albedo


def _stripes(period: float, one: tuple, two: tuple) -> Albedo:
  """Soft-edged layers along z."""

  def albedo(p):
    wave = np.sin(p[:, 2] * (2 * np.pi / period))
    return _mix(_smoothstep(0.5 + 2 * wave), one, two)

  return albedo


def _spiral(count: int, one: tuple, two: tuple, ring: float) -> Albedo:
  """Bands that wind around the tube of a torus."""

  def albedo(p):
    around = np.arctan2(p[:, 1], p[:, 0])
    tube = np.arctan2(p[:, 2], np.hypot(p[:, 0], p[:, 1]) - ring)
    return _mix(_smoothstep(0.5 + 2 * np.sin(count * around + tube)), one, two)

  return albedo


def _marble(scale: float, one: tuple, two: tuple) -> Albedo:
  """Veins: a sine bent by smooth noise of two octaves."""

  def albedo(p):
    bend = _noise(p * scale) + 0.5 * _noise(p * (2 * scale) + 5)
    vein = 0.5 + 0.5 * np.sin(2 * scale * p.sum(-1) + 9 * bend)
    return _mix(vein**2, one, two)

  return albedo


def _wood(scale: float, one: tuple, two: tuple) -> Albedo:
  """Rings around the x axis, bent by smooth noise."""

  def albedo(p):
    radius = np.hypot(p[:, 1] + 0.3, p[:, 2] + 0.4)
    rings = radius * scale + 1.5 * _noise(p * np.array([2.0, 6.0, 6.0]))
    return _mix(0.5 + 0.5 * np.sin(2 * np.pi * rings), one, two)

  return albedo


def _lattice() -> np.ndarray:
  """Random numbers in [0, 1] for `_noise`; the same on every machine."""
  generator = np.random.Generator(np.random.Philox(key=2020))
  return generator.random(_NOISE_SIDE**3)


def _noise(p: np.ndarray) -> np.ndarray:
  """Smooth noise in [0, 1] with features of size 1, [n]."""
  cell = np.floor(p).astype(np.int64)
  share = _smoothstep(p - cell)
  low, high = cell % _NOISE_SIDE, (cell + 1) % _NOISE_SIDE
  total = np.zeros(len(p))
  for corner in np.ndindex(2, 2, 2):
    upper = np.array(corner, bool)
    index = np.where(upper, high, low) @ (_NOISE_SIDE ** np.arange(3))
    total += np.where(upper, share, 1 - share).prod(-1) * _LATTICE[index]
  return total


_LATTICE = _lattice()


def _place(solid, centre, degrees_z=0.0, degrees_x=0.0) -> Placed:
  turned = shapes.rotation(degrees_z, degrees_x)
  return Placed(solid, np.array(centre), turned)


_CREAM, _TEAL = (0.86, 0.8, 0.66), (0.06, 0.28, 0.32)
_PLINTH_TOP = -0.42
# Each solid with its material. The plinth carries everything but the ring.
SCENE: tuple[tuple[Placed, Material], ...] = (
  (
    _place(Cylinder(0.95, 0.11), (0, 0, _PLINTH_TOP - 0.11), 20.0),
    Material(_checker(0.24, _CREAM, _TEAL), gloss=0.03),
  ),
  (
    _place(Sphere(0.46), (-0.16, 0.1, _PLINTH_TOP + 0.46), 30.0, 40.0),
    Material(_marble(2.2, (0.7, 0.1, 0.05), (0.9, 0.62, 0.38)), gloss=0.06),
  ),
  (
    _place(Torus(0.66, 0.055), (-0.16, 0.1, 0.1), 60.0, 24.0),
    Material(_spiral(9, (0.9, 0.75, 0.2), (0.12, 0.1, 0.35), 0.66), gloss=0.05),
  ),
  (
    _place(Box((0.17, 0.17, 0.17)), (0.5, -0.36, _PLINTH_TOP + 0.17), 35.0),
    Material(_wood(9.0, (0.55, 0.28, 0.1), (0.8, 0.52, 0.25))),
  ),
  (
    _place(Sphere(0.15), (0.5, -0.36, _PLINTH_TOP + 0.34 + 0.15)),
    Material(_plain((0.08, 0.4, 0.12)), gloss=0.12, shininess=120.0),
  ),
  (
    _place(Torus(0.19, 0.075), (-0.34, -0.58, _PLINTH_TOP + 0.075)),
    Material(_spiral(5, (0.8, 0.2, 0.35), (0.9, 0.85, 0.8), 0.19), gloss=0.05),
  ),
  (
    _place(Sphere(0.16), (-0.34, -0.58, _PLINTH_TOP + 0.2), 0.0, 60.0),
    Material(
      _stripes(0.13, (0.1, 0.2, 0.6), (0.75, 0.82, 0.9)),
      gloss=0.08,
      shininess=100.0,
    ),
  ),
  (
    _place(Cylinder(0.1, 0.3), (0.46, 0.54, _PLINTH_TOP + 0.3)),
    Material(_stripes(0.2, (0.9, 0.85, 0.75), (0.5, 0.12, 0.3))),
  ),
  (
    _place(Sphere(0.17), (0.46, 0.54, _PLINTH_TOP + 0.6 + 0.17), 10.0, 30.0),
    Material(_checker(0.11, (0.9, 0.6, 0.08), (0.95, 0.9, 0.8)), gloss=0.05),
  ),
)
