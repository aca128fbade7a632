"""Intersections and normals against dense sampling of implicit functions."""

import numpy as np
import pytest

from multinerf.data import shapes

# Solid -> function that is negative inside, zero on the surface.
SOLIDS = {
  'sphere': (shapes.Sphere(0.7), lambda p: np.linalg.norm(p, axis=-1) - 0.7),
  'box': (
    shapes.Box((0.3, 0.5, 0.7)),
    lambda p: (np.abs(p) - np.array([0.3, 0.5, 0.7])).max(-1),
  ),
  'cylinder': (
    shapes.Cylinder(0.6, 0.4),
    lambda p: np.maximum(
      np.linalg.norm(p[..., :2], axis=-1) - 0.6, np.abs(p[..., 2]) - 0.4
    ),
  ),
  'torus': (
    shapes.Torus(0.6, 0.2),
    lambda p: (
      np.hypot(np.linalg.norm(p[..., :2], axis=-1) - 0.6, p[..., 2]) - 0.2
    ),
  ),
}


def random_rays(num=300, seed=0):
  """Rays of any length from a sphere of radius 3 towards the shapes."""
  generator = np.random.default_rng(seed)
  o = generator.normal(size=(num, 3))
  o *= 3 / np.linalg.norm(o, axis=-1, keepdims=True)
  d = generator.uniform(-0.9, 0.9, (num, 3)) - o
  return o, d * generator.uniform(0.2, 2, (num, 1))


@pytest.mark.parametrize('name', SOLIDS)
def test_first_crossing_is_that_of_a_dense_march(name):
  solid, implicit = SOLIDS[name]
  o, d = random_rays()
  t = solid.intersect(o, d)
  d_unit = d / np.linalg.norm(d, axis=-1, keepdims=True)
  march = np.linspace(0, 6, 6001)
  values = implicit(o[:, None] + march[:, None] * d_unit[:, None])
  inside = values < 0
  # A chord shorter than one step of the march may slip through it, so only
  # rays whose closest approach is clear of the surface decide.
  clear = np.abs(values.min(-1)) > 2e-3
  np.testing.assert_array_equal(np.isfinite(t)[clear], inside.any(-1)[clear])
  hit = inside.any(-1) & clear
  assert 50 < hit.sum() < 300
  first = march[inside.argmax(-1)][hit]
  length = (t * np.linalg.norm(d, axis=-1))[hit]
  assert ((length <= first + 1e-9) & (length > first - 1e-3 - 1e-9)).all()


@pytest.mark.parametrize('name', SOLIDS)
def test_hits_lie_on_the_surface_and_normals_are_its_gradient(name):
  solid, implicit = SOLIDS[name]
  o, d = random_rays(seed=1)
  t = solid.intersect(o, d)
  hit = np.isfinite(t)
  points = o[hit] + t[hit, None] * d[hit]
  np.testing.assert_allclose(implicit(points), 0, atol=1e-9)
  step = 1e-5
  gradient = np.stack(
    [
      implicit(points + step * axis) - implicit(points - step * axis)
      for axis in np.eye(3)
    ],
    -1,
  ) / (2 * step)
  smooth = np.abs(np.linalg.norm(gradient, axis=-1) - 1) < 1e-6  # no edges
  assert smooth.mean() > 0.95
  np.testing.assert_allclose(
    solid.normal(points)[smooth], gradient[smooth], atol=1e-5
  )
  facing = np.sum(solid.normal(points) * d[hit], -1)
  assert (facing < 1e-6).all()


@pytest.mark.parametrize('name', SOLIDS)
def test_bound_holds_the_solid_tightly(name):
  solid, _ = SOLIDS[name]
  o, d = random_rays(2000, seed=2)
  t = solid.intersect(o, d)
  hit = np.isfinite(t)
  reach = np.linalg.norm(o[hit] + t[hit, None] * d[hit], axis=-1).max()
  assert 0.9 * solid.bound < reach <= solid.bound + 1e-9


@pytest.mark.parametrize('name', SOLIDS)
def test_moving_shape_and_rays_together_changes_nothing(name):
  solid, _ = SOLIDS[name]
  o, d = random_rays(seed=3)
  turn, shift = shapes.rotation(40.0, 70.0), np.array([0.5, -0.2, 0.9])
  placed = shapes.Placed(solid, shift, turn)
  want = solid.intersect(o, d)
  got = placed.intersect(o @ turn.T + shift, d @ turn.T)
  hit = np.isfinite(want)
  np.testing.assert_array_equal(np.isfinite(got), hit)
  np.testing.assert_allclose(got[hit], want[hit], rtol=1e-9)
  points = o[hit] + want[hit, None] * d[hit]
  np.testing.assert_allclose(
    placed.normal(points @ turn.T + shift),
    solid.normal(points) @ turn.T,
    atol=1e-9,
  )


@pytest.mark.parametrize('name', SOLIDS)
def test_a_shared_origin_or_direction_is_the_same_as_repeating_it(name):
  placed = shapes.Placed(
    SOLIDS[name][0], np.array([0.1, 0.2, 0.3]), shapes.rotation(10.0, 20.0)
  )
  o, d = random_rays(seed=4)
  one = o[:1]
  aimed = np.random.default_rng(0).uniform(-0.5, 0.5, (300, 3)) - one
  np.testing.assert_allclose(
    placed.intersect(one, aimed),
    placed.intersect(np.repeat(one, 300, 0), aimed),
    rtol=1e-12,
  )
  o = o * np.array([1, 1, 0]) + np.array([0, 0, 3])
  down = np.array([[0.1, 0.0, -1.0]])
  np.testing.assert_allclose(
    placed.intersect(o, down),
    placed.intersect(o, np.repeat(down, 300, 0)),
    rtol=1e-12,
  )


@pytest.mark.parametrize('name', SOLIDS)
def test_what_lies_behind_the_origin_is_not_hit(name):
  placed = shapes.Placed(SOLIDS[name][0], np.zeros(3), np.eye(3))
  o, d = random_rays(seed=5)
  assert np.isinf(placed.intersect(o, -d)).all()


def test_rays_along_the_axes_have_no_division_by_zero():
  o = np.array([[0.1, 0.05, 3.0], [3.0, 0.1, 0.05], [0.1, 3.0, 0.05]])
  d = np.array([[0, 0, -1.0], [-1.0, 0, 0], [0, -1.0, 0]])
  box, _ = SOLIDS['box']
  np.testing.assert_allclose(box.intersect(o, d), [2.3, 2.7, 2.5])
  cylinder, _ = SOLIDS['cylinder']
  side = 3 - np.sqrt(0.36 - 0.01)
  np.testing.assert_allclose(cylinder.intersect(o, d), [2.6, side, side])
