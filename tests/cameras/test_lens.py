import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf.cameras import camera, lens

PARAMS = {
  'k': {'k1': 0.05, 'k2': -0.01},
  'full': {'k1': 0.1, 'k2': -0.02, 'k3': 0.003, 'p1': 1e-3, 'p2': -2e-3},
  'k4': {'k1': 0.02, 'k2': 0.01, 'k3': -0.005, 'k4': 0.001},
}
FISHEYE = camera.ProjectionType.FISHEYE


@pytest.mark.parametrize('xnp', [np, jnp])
@pytest.mark.parametrize('name', PARAMS)
def test_undistort_matches_the_reference(golden, name, xnp):
  data = golden('camera_utils').case('radial_and_tangential_undistort', name)
  x, y = lens.undistort(
    xnp.asarray(data['in_xd']), xnp.asarray(data['in_yd']), PARAMS[name], xnp
  )
  # Newton has converged: only float32 rounding of the last step is left.
  np.testing.assert_allclose(x, data['out_0'], rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(y, data['out_1'], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', PARAMS)
@pytest.mark.parametrize('batch', [(), (5,), (2, 3)])
def test_undistort_inverts_distort(name, batch):
  gen = np.random.default_rng(0)
  x, y = gen.uniform(-0.8, 0.8, (2, *batch))
  got = lens.undistort(*lens.distort(x, y, PARAMS[name]), PARAMS[name])
  # Ten quadratically converging steps in float64.
  np.testing.assert_allclose(got, (x, y), atol=1e-12)
  again = lens.distort(*got, PARAMS[name])
  np.testing.assert_allclose(
    again, lens.distort(x, y, PARAMS[name]), atol=1e-12
  )


def test_distortion_arrays_act_per_element():
  gen = np.random.default_rng(1)
  x, y = gen.uniform(-0.5, 0.5, (2, 4))
  params = {'k1': gen.normal(size=4) * 0.1, 'p2': 0.01}
  got = lens.distort(x, y, params)
  for i in range(4):
    one = lens.distort(x[i], y[i], {'k1': params['k1'][i], 'p2': 0.01})
    np.testing.assert_allclose([got[0][i], got[1][i]], one)


def test_pure_radial_distortion_keeps_the_angle_and_scales_the_radius():
  x, y = np.array(0.3), np.array(0.4)  # radius 0.5, r = 0.25
  xd, yd = lens.distort(x, y, {'k1': 0.4, 'k2': 0.8})
  np.testing.assert_allclose([xd, yd], [0.3 * 1.15, 0.4 * 1.15])


def test_undistort_takes_exactly_ten_steps():
  # Far outside of the fold, Newton still moves after ten steps: a loop by
  # hand shows how many were taken.
  params = {'k1': -0.3}
  x = np.array(3.0)
  want = x
  for _ in range(10):
    value = want * (1 - 0.3 * want**2) - x
    want = want - value / (1 - 0.9 * want**2)
  got, _ = lens.undistort(x, np.array(0.0), params)
  np.testing.assert_allclose(got, want, rtol=1e-9)


@pytest.mark.parametrize('xnp', [np, jnp])
def test_undistort_skips_the_step_where_the_jacobian_is_singular(xnp):
  # d/dx x (1 - x^2 / 3) = 0 at x = 1.
  x, y = lens.undistort(
    xnp.asarray(1.0), xnp.asarray(0.0), {'k1': -1.0 / 3.0}, xnp
  )
  assert np.isfinite([x, y]).all()


def test_undistort_has_a_finite_gradient_also_at_a_singular_point():
  def value(x, k1):
    a, b = lens.undistort(x, jnp.zeros_like(x), {'k1': k1}, jnp)
    return jnp.sum(a + b)

  grads = jax.jit(jax.grad(value, (0, 1)))(
    jnp.array([0.0, 0.5, 1.0]), -1.0 / 3.0
  )
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize('xnp', [np, jnp])
def test_fisheye_is_finite_on_the_optical_axis(xnp):
  zero, one = xnp.zeros(()), xnp.ones(())
  direction = lens.plane_to_camera(zero, zero, one, FISHEYE, xnp)
  np.testing.assert_array_equal(direction, [0, 0, 1])


def test_fisheye_has_a_finite_gradient_on_and_near_the_optical_axis():
  x = jnp.array([0.0, 1e-30, 1e-10, 1e-3, 0.03, 0.04, 1.0])

  def sideways(x):
    return jnp.sum(lens.plane_to_camera(x, 0 * x, 0 * x, FISHEYE, jnp)[0])

  # The direction's x is sin(x); 3 ulp of a float32 near 1.
  np.testing.assert_allclose(
    jax.jit(jax.grad(sideways))(x), np.cos(x), atol=4e-7
  )


def test_fisheye_series_joins_the_closed_form():
  angle = np.linspace(0, 0.1, 1001)
  x, _, z = lens.plane_to_camera(angle, 0 * angle, 0 * angle, FISHEYE)
  # First term left out of the series: square^3 / 720 at square = 1e-3.
  np.testing.assert_allclose(x, np.sin(angle), atol=2e-12)
  np.testing.assert_allclose(z, np.cos(angle), atol=2e-12)


def test_fisheye_stops_at_the_backward_direction():
  x = np.array([3.0, np.pi, 4.0, 100.0])
  direction = lens.plane_to_camera(x, 0 * x, 0 * x, FISHEYE)
  np.testing.assert_allclose(direction[2], [np.cos(3.0), -1, -1, -1])


@pytest.mark.parametrize('camtype', list(camera.ProjectionType))
def test_camera_to_plane_inverts_plane_to_camera(camtype):
  gen = np.random.default_rng(2)
  x, y = gen.uniform(0.1, 1.0, (2, 50))
  t = gen.uniform(0.5, 3.0, 50)
  ray = lens.plane_to_camera(x, y, np.ones(50), camtype)
  got = lens.camera_to_plane(*(t * c for c in ray), camtype)
  np.testing.assert_allclose(got, (x, y, t), rtol=1e-9)
