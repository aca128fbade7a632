"""Six points per interval: moments, order, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import ops_util
import pytest

from multinerf import errors
from multinerf.ops import frustum, multisample

BATCHES = [(), (2,), (2, 3)]


def hexagon_moments(t0, t1, radius, jitter=None):
  """Mean and covariance of the six points around the z axis, float64."""
  points, _ = multisample.hexify(
    jnp.zeros(3),
    jnp.array([0.0, 0.0, 1.0]),
    jnp.array([radius]),
    jnp.array([t0, t1]),
    jitter=jitter,
  )
  points = np.asarray(points[0], np.float64)
  return points.mean(0), np.cov(points.T, bias=True)


@pytest.mark.parametrize('t0, t1', [(0.0, 1.0), (1.0, 2.0), (5.0, 5.5)])
def test_hexagon_has_the_moments_of_the_frustum(t0, t1):
  mean, cov = hexagon_moments(t0, t1, 0.1)
  want = frustum.frustum_moments(jnp.array(t0), jnp.array(t1))
  np.testing.assert_allclose(mean[2], want[0], rtol=1e-5)
  np.testing.assert_allclose(cov[2, 2], want[1], rtol=1e-4)
  # Only the average over the two axes is exact (behaviour.md 11.1).
  np.testing.assert_allclose(
    0.5 * (cov[0, 0] + cov[1, 1]), 0.01 * want[2], rtol=1e-4
  )


def test_random_turns_make_the_hexagons_isotropic_on_average():
  gen = np.random.default_rng(8)
  covs = [
    hexagon_moments(0.0, 1.0, 1.0, jnp.asarray(u, jnp.float32)[None])[1]
    for u in gen.uniform(size=(1, 2))
    for u in [(u[0], (u[1] + i / 8) % 1) for i in range(8)]
  ]
  cov = np.mean(covs, axis=0)
  # Eight evenly spaced turns average first and second harmonics to zero.
  np.testing.assert_allclose(cov[0, 0], cov[1, 1], rtol=1e-5)
  np.testing.assert_allclose(cov - np.diag(np.diag(cov)), 0, atol=1e-6)


@pytest.mark.parametrize('batch', BATCHES)
def test_hexagon_points_lie_inside_their_interval_at_the_stated_radius(batch):
  tdist, origins, directions, radii = ops_util.random_rays(9, batch)
  points, radius = multisample.hexify(origins, directions, radii, tdist)
  assert points.shape == (*batch, 6, 6, 3) and radius.shape == (*batch, 6, 6)
  offset = points - origins[..., None, None, :]
  d = directions[..., None, None, :]
  t = jnp.sum(offset * d, -1) / jnp.sum(d * d, -1)
  assert np.all(t >= tdist[..., :-1, None] - 1e-5)
  # On an interval [t1/7, t1] Eq. 1 puts the last point 3.64 % beyond it.
  over = 0.037 * jnp.diff(tdist)[..., None] + 1e-5
  assert np.all(t <= tdist[..., 1:, None] + over)
  np.testing.assert_allclose(
    radius, radii[..., None] * t / np.sqrt(2), rtol=1e-4, atol=1e-6
  )
  across = jnp.linalg.norm(offset - t[..., None] * d, axis=-1)
  np.testing.assert_allclose(across, radius, rtol=1e-3, atol=1e-5)


def test_jitter_below_one_half_reverses_the_pattern():
  args = (jnp.zeros(3), jnp.array([0.0, 0.6, 0.8]), jnp.array([0.1]))
  tdist = jnp.array([1.0, 2.0])
  run = lambda u: multisample.hexify(*args, tdist, jitter=jnp.array([[u, 0.0]]))
  low, high = run(0.49), run(0.5)
  np.testing.assert_array_equal(low[1], high[1])  # same distances
  # The first point of one has the angle of the last point of the other.
  e1, e2 = multisample.construct_perp_basis(args[1])
  angle = lambda p: np.arctan2(p @ e2, p @ e1)
  np.testing.assert_allclose(
    angle(low[0][0, 0]), angle(high[0][0, 5]), atol=1e-4
  )


@pytest.mark.slow
def test_hexagons_are_finite_with_gradients_at_every_distance():
  sizes = np.r_[0, 10.0 ** np.arange(-30, 31, 5)][:, None]
  tdist = jnp.asarray(sizes * np.array([0, 0, 1, 2]), jnp.float32)
  origins = jnp.zeros((len(sizes), 3))
  directions = origins + jnp.array([0.0, 0.0, -1.0])
  radii = jnp.full((len(sizes), 1), 1e-3)

  def total(*args):
    return sum(jnp.sum(x) for x in multisample.hexify(*args))

  points, radius = multisample.hexify(origins, directions, radii, tdist)
  assert np.all(np.isfinite(points)) and np.all(np.isfinite(radius))
  grads = jax.jit(jax.grad(total, (0, 1, 2, 3)))(
    origins, directions, radii, tdist
  )
  assert all(np.all(np.isfinite(g)) for g in grads)


@pytest.mark.parametrize('scale', [1e-20, 1.0, 1e20])
def test_perpendicular_basis_is_orthonormal_for_all_directions(scale):
  gen = np.random.default_rng(10)
  d = np.concatenate([gen.normal(size=(20, 3)), np.eye(3), -np.eye(3)])
  d = jnp.asarray(scale * d, jnp.float32)
  e1, e2 = (np.asarray(e) for e in multisample.construct_perp_basis(d))
  frames = np.stack([e1, e2, np.asarray(d / scale)], axis=-2)
  gram = frames @ frames.swapaxes(-1, -2)
  gram[..., 2, 2] = 1
  np.testing.assert_allclose(
    gram, np.broadcast_to(np.eye(3), gram.shape), atol=2e-6
  )


@pytest.mark.parametrize(
  'basis, count', [('mean', 1), ('hexify', 6), ('julier', 7), ('menegaz', 4)]
)
def test_control_points_average_to_the_mean_with_scales_of_the_cone(
  basis, count
):
  tdist, origins, directions, radii = ops_util.random_rays(3, (2,))
  samples = frustum.sample_rays(origins, directions, radii, tdist, 'cone')
  points, scales = multisample.control_points(samples, basis)
  assert points.shape == (2, 6, count, 3) and scales.shape == (2, 6, count)
  along = (
    directions[:, None]
    / jnp.linalg.norm(directions[:, None], axis=-1)[..., None]
  )
  # A single hexagon is off the axis by a fraction of its radius.
  np.testing.assert_allclose(
    jnp.sum(jnp.mean(points, -2) * along, -1),
    jnp.sum(samples.means * along, -1),
    rtol=1e-4,
    atol=1e-4,
  )
  offsets = points - origins[:, None, None]
  t = jnp.sum(offsets * directions[:, None, None], -1)
  t = t / jnp.sum(directions**2, -1)[:, None, None]
  np.testing.assert_allclose(
    scales, radii[..., None] * t / np.sqrt(2), rtol=1e-4
  )


def test_bare_points_stand_for_themselves_without_extent():
  where = jnp.arange(12.0).reshape(2, 2, 3)
  samples = ops_util.sample_points(where)
  points, scales = multisample.control_points(samples, 'hexify')
  np.testing.assert_array_equal(points[..., 0, :], where)
  assert not np.any(scales)


def test_an_unknown_basis_names_the_option():
  tdist, origins, directions, radii = ops_util.random_rays(3, (2,))
  samples = frustum.sample_rays(origins, directions, radii, tdist, 'cone')
  with pytest.raises(errors.ConfigError, match='unscented_mip_basis'):
    multisample.control_points(samples, 'octagon')


def test_unscented_sets_have_the_covariances_of_the_samples():
  tdist, origins, directions, radii = ops_util.random_rays(4, (2,))
  samples = frustum.sample_rays(origins, directions, radii, tdist, 'cone')
  points, _ = multisample.control_points(samples, 'julier')
  offsets = points - samples.means[..., None, :]
  covs = jnp.mean(offsets[..., :, None] * offsets[..., None, :], axis=-3)
  np.testing.assert_allclose(covs, samples.covs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('basis', ['julier', 'octahedron_1', 'hexify', 'mean'])
def test_an_interval_of_no_length_has_finite_gradients(basis):
  origins, directions = jnp.zeros((1, 3)), jnp.array([[0.1, 0.2, -1.0]])

  def total(origins, directions, radii, tdist):
    samples = frustum.sample_rays(origins, directions, radii, tdist, 'cone')
    points, scales = multisample.control_points(samples, basis)
    return jnp.sum(points**2) + jnp.sum(scales**2)

  # The second ray misses the scene's box.
  for tdist in ([1.0, 1.0, 2.0], [0.0, 0.0, 0.0]):
    grads = jax.grad(total, (0, 1, 2, 3))(
      origins, directions, jnp.array([[0.01]]), jnp.array([tdist])
    )
    assert all(np.all(np.isfinite(g)) for g in grads), (tdist, grads)
