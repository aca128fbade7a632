"""Intersections against marching along the rays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import types
from multinerf.cameras import bounds

MODULES = [np, pytest.param(jnp, marks=pytest.mark.slow)]
T = np.linspace(-8, 8, 16_001)


def lines(n=60):
  gen = np.random.default_rng(0)
  o, d = gen.normal(size=(2, n, 3))
  d[:6, 0] = 0  # parallel to two faces
  d[:2, 1] = 0
  o[4, 0] = 5.0
  return 1.5 * o, d


def marched(inside):
  """(first, last) of the T at which a line is inside; enter > leave if never."""
  hit = inside.any(-1)
  first = np.where(hit, T[inside.argmax(-1)], np.inf)
  last = np.where(hit, T[len(T) - 1 - inside[:, ::-1].argmax(-1)], -np.inf)
  return hit, first, last


def points(o, d):
  return o[:, None] + T[:, None] * d[:, None]


@pytest.mark.parametrize('xnp', MODULES)
def test_a_box_is_entered_and_left_where_marching_says(xnp):
  o, d = lines()
  corners = np.array([[1.0, -0.5, -1.0], [-0.7, 0.9, 1.2]])  # in any order
  low, high = corners.min(0), corners.max(0)
  p = points(o, d)
  hit, first, last = marched(((p >= low) & (p <= high)).all(-1))
  enter, leave = bounds.ray_box_intersection(
    xnp.asarray(o), xnp.asarray(d), corners, xnp
  )
  # A line may cut a corner between two steps.
  np.testing.assert_array_equal((leave - enter > 1e-3) & ~hit, False)
  np.testing.assert_array_equal(hit & (enter > leave), False)
  clear = hit & (first > -8) & (last < 8)
  np.testing.assert_allclose(enter[clear], first[clear], atol=2e-3)
  np.testing.assert_allclose(leave[clear], last[clear], atol=2e-3)
  assert clear.sum() > 10 and (~hit).sum() > 10


@pytest.mark.parametrize('xnp', MODULES)
def test_heights_bound_rays_where_marching_says(xnp):
  o, d = lines()
  d[6, 2] = d[7, 2] = 0
  o[6, 2], o[7, 2] = 0.1, 3.0
  z = points(o, d)[..., 2]
  inside = (z >= -0.4) & (z <= 0.6) & (T >= 0)
  hit, first, last = marched(inside)
  start, end = bounds.rays_planes_intersection(
    -0.4, 0.6, xnp.asarray(o), xnp.asarray(d), xnp
  )
  np.testing.assert_array_equal((start <= end)[hit], True)
  assert start[6] == 0 and np.isinf(end[6]) and start[7] > end[7]
  clear = hit & (last < 8)
  np.testing.assert_allclose(start[clear], first[clear], atol=2e-3)
  np.testing.assert_allclose(end[clear], last[clear], atol=2e-3)
  new_o, new_d = bounds.crop_to_heights(
    xnp.asarray(o), xnp.asarray(d), (-0.4, 0.6), xnp
  )
  # t = 0 and 1 are the ends of what is between the planes.
  want = o[clear] + np.asarray(end)[clear, None] * d[clear]
  np.testing.assert_allclose((new_o + new_d)[clear], want, atol=1e-4)
  np.testing.assert_allclose(new_o[7], o[7], rtol=1e-6)
  assert np.isfinite(np.asarray(new_o + new_d)).all()


@pytest.mark.parametrize('xnp', MODULES)
def test_a_sphere_is_entered_and_left_where_marching_says(xnp):
  o, d = lines()
  center, radius = np.array([0.3, -0.2, 0.1]), 1.1
  inside = np.linalg.norm(points(o, d) - center, axis=-1) <= radius
  hit, first, last = marched(inside)
  enter, leave, found = bounds.ray_sphere_intersection(
    xnp.asarray(o), xnp.asarray(d), xnp.asarray(center), radius, xnp
  )
  clear = hit & (first > -8) & (last < 8)
  assert found[hit].all() and not (np.asarray(leave - enter) > 0.1)[~hit].any()
  np.testing.assert_allclose(enter[clear], first[clear], atol=2e-3)
  np.testing.assert_allclose(leave[clear], last[clear], atol=2e-3)
  assert (np.asarray(enter)[~np.asarray(found)] == 0).all()


@pytest.mark.parametrize('xnp', MODULES)
@pytest.mark.parametrize('lossmult', [None, 2.0])
def test_rays_are_cropped_to_the_box_and_those_outside_count_for_nothing(
  xnp, lossmult
):
  o = xnp.asarray([[0.0, 0, 5], [0.0, 0, 5], [0, 0, 0], [0.0, 0, 5]])
  d = xnp.asarray([[0.0, 0, -1], [0, 0, 1], [2.0, 0, 0], [0, 0, -1]])
  near = xnp.asarray([[0.5], [0.5], [0.1], [7.0]])
  rays = types.Rays(
    origins=o, directions=d, viewdirs=d, radii=near, imageplane=o[:, :2],
    near=near, far=10.0 + 0 * near, cam_idx=None,
    lossmult=None if lossmult is None else lossmult + 0 * near,
  )  # fmt: skip
  got = bounds.crop_to_box(rays, np.array([[-1.0] * 3, [1.0] * 3]), xnp)
  np.testing.assert_allclose(got.near[:, 0], [4, 0, 0.1, 0], rtol=1e-6)
  np.testing.assert_allclose(got.far[:, 0], [6, 0, 0.5, 0], rtol=1e-6)
  weight = 1.0 if lossmult is None else lossmult
  np.testing.assert_array_equal(
    got.lossmult[:, 0], weight * np.array([1, 0, 1, 0])
  )


@pytest.mark.slow
def test_distances_to_a_sphere_have_gradients_where_it_is_missed():
  o, d = (jnp.asarray(x, jnp.float32) for x in lines())

  def total(o):
    enter, leave, _ = bounds.ray_sphere_intersection(
      o, d, jnp.zeros(3), 1.0, jnp
    )
    return jnp.sum(enter + leave)

  assert np.isfinite(jax.jit(jax.grad(total))(o)).all()
