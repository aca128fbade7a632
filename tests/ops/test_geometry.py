"""Lines and spheres against minimisation, scipy and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial

from multinerf.ops import geometry


def lines(seed, n=6):
  parts = np.random.default_rng(seed).normal(size=(4, n, 3))
  return [jnp.asarray(x, jnp.float32) for x in parts]


def test_closest_points_of_two_lines_minimise_the_distance():
  p1, d1, p2, d2 = lines(0)
  first, second = jax.jit(geometry.skew_line_closest_points)(p1, d1, p2, d2)
  distance = jax.jit(geometry.line_distance)(p1, d1, p2, d2)
  for i in range(len(p1)):
    a = np.stack([d1[i], -d2[i]], -1).astype(np.float64)
    t, (squared, *_), *_ = np.linalg.lstsq(a, np.asarray(p2[i] - p1[i]))
    np.testing.assert_allclose(first[i], p1[i] + t[0] * d1[i], atol=1e-4)
    np.testing.assert_allclose(second[i], p2[i] + t[1] * d2[i], atol=1e-4)
    np.testing.assert_allclose(distance[i], np.sqrt(squared), atol=1e-5)


@pytest.mark.parametrize('sign', [1.0, -3.0])
def test_parallel_lines_have_a_distance_without_nan(sign):
  p1, d1, p2, _ = lines(1)
  parallel = jax.jit(geometry.are_lines_parallel)
  assert parallel(d1, sign * d1).all()
  assert not parallel(d1, d1 + jnp.float32([1e-2, 0, 0])).any()
  distance = jax.jit(geometry.line_distance)(p1, d1, p2, sign * d1)
  unit = np.asarray(d1) / np.linalg.norm(d1, axis=-1, keepdims=True)
  want = np.linalg.norm(np.cross(p2 - p1, unit), axis=-1)
  np.testing.assert_allclose(distance, want, rtol=1e-5)
  point = jax.jit(geometry.line_to_point_distance)(p1, d1, p2)
  np.testing.assert_allclose(point, want, rtol=1e-5)


@pytest.mark.slow
def test_a_ray_leaves_the_sphere_on_the_sphere_and_ahead():
  origin = jnp.float32([[0.1, 0.2, -0.3], [0, 0, 3], [0, 3, 3]])
  direction = jnp.float32([[3, -1, 2], [0, 0, -0.5], [1, 0, 0]])
  exits = jax.jit(geometry.ray_sphere_exit)(origin, direction, 2.0)
  np.testing.assert_allclose(np.linalg.norm(exits[:2], axis=-1), 2, rtol=1e-6)
  offset = np.asarray(exits[0] - origin[0])
  np.testing.assert_allclose(np.cross(offset, direction[0]), 0, atol=1e-5)
  assert offset @ direction[0] > 0
  np.testing.assert_allclose(exits[1], [0, 0, -2], atol=1e-6)
  assert np.isnan(exits[2]).all()


@pytest.mark.slow
def test_spherical_coordinates_go_there_and_back():
  points = jnp.asarray(
    np.random.default_rng(2).normal(size=(2, 5, 3)), jnp.float32
  )
  r, theta, phi = jax.jit(geometry.cartesian_to_spherical)(points)
  back = jax.jit(geometry.spherical_to_cartesian)(r, theta, phi)
  np.testing.assert_allclose(back, points, atol=1e-6)
  np.testing.assert_allclose(r, np.linalg.norm(points, axis=-1), rtol=1e-6)
  np.testing.assert_allclose(
    np.cos(theta), np.asarray(points)[..., 2] / r, atol=1e-6
  )
  total = lambda p: sum(geometry.cartesian_to_spherical(p))
  assert np.isfinite(jax.jit(jax.grad(total))(jnp.zeros(3))).all()


@pytest.mark.slow
def test_grid_of_a_panorama_holds_rows_of_elevation():
  elevation, azimuth = geometry.spherical_equirectangular_grid(3, 4)
  np.testing.assert_allclose(elevation[:, 1], [0, np.pi / 2, np.pi], rtol=1e-6)
  np.testing.assert_allclose(azimuth[2], np.arange(4) * np.pi / 2, atol=1e-6)


@pytest.mark.slow
def test_even_points_are_on_the_sphere_and_far_apart():
  points = np.asarray(geometry.sample_points_evenly_on_sphere(500))
  np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 1, rtol=1e-6)
  np.testing.assert_allclose(points.mean(0), 0, atol=2e-3)
  nearest = scipy.spatial.KDTree(points).query(points, k=2)[0][:, 1]
  # A hexagonal packing of 500 points would have 0.170.
  assert nearest.min() > 0.11


@pytest.mark.slow
def test_points_in_a_hull_are_those_of_delaunay():
  gen = np.random.default_rng(3)
  corners = gen.normal(size=(20, 3))
  hull = scipy.spatial.ConvexHull(corners)
  queries = 1.5 * gen.normal(size=(4, 50, 3))
  want = scipy.spatial.Delaunay(corners).find_simplex(queries) >= 0
  inside = jax.jit(geometry.is_point_in_convex_hull)
  planes = (
    jnp.asarray(x, jnp.float32)
    for x in (hull.equations[:, :3], hull.equations[:, 3])
  )
  normals, offsets = planes
  got = inside(jnp.asarray(queries, jnp.float32), normals, offsets)
  np.testing.assert_array_equal(got, want)
  assert 0 < want.sum() < want.size
  padded = inside(jnp.asarray(queries, jnp.float32), normals, offsets, 10.0)
  assert padded.all()
