"""Tests of frustum."""

import functools

import golden_util
import jax
import jax.numpy as jnp
import numpy as np
import ops_util
import pytest

from multinerf import errors
from multinerf.ops import coord, frustum, geopoly

BATCHES = [(), (2,), (2, 3)]
BASIS = geopoly.generate_basis('icosahedron', 2).T


def jitted(fn):
  """fn with its keyword arguments static: one compilation instead of many."""
  return lambda *args, **kw: jax.jit(functools.partial(fn, **kw))(*args)


# --- against the reference -------------------------------------------------


@pytest.mark.parametrize('diag', [0, 1])
@pytest.mark.parametrize(
  'function, case',
  [
    ('lift_gaussian', 'diag'),
    ('conical_frustum_to_gaussian', 'diag'),
    ('cylinder_to_gaussian', 'diag'),
    ('cylinder_to_gaussian', 'widediag'),
    ('cast_rays', 'cone_diag'),
    ('cast_rays', 'cylinder_diag'),
    ('cast_rays', 'widecone_diag'),
    ('cast_rays', 'widecylinder_diag'),
  ],
)
def test_gaussians_match_the_reference(golden, function, case, diag):
  fn = jitted(getattr(frustum, function))
  golden_util.check_case(golden('render'), function, f'{case}{diag}', fn)


@pytest.mark.parametrize('diag', [0, 1])
def test_gaussians_of_wide_frusta_match_the_reference(golden, diag):
  # The gradients are sums of terms up to 1e5 that cancel: the stored ones are
  # off by 5e-5 from those in float64, and ours by 4e-5.
  fn = jitted(frustum.conical_frustum_to_gaussian)
  golden_util.check_case(
    golden('render'),
    'conical_frustum_to_gaussian',
    f'widediag{diag}',
    fn,
    grad_atol=1e-4,
  )


@pytest.mark.parametrize('diag', [0, 1])
def test_stable_moments_agree_with_the_unstable_formula(golden, diag):
  # The reference's alternative subtracts fifth powers and so is off itself, by
  # 1.6e-3 in variances of up to 1.
  golden_util.check_case(
    golden('render'),
    'conical_frustum_to_gaussian',
    f'unstable_diag{diag}',
    jitted(frustum.conical_frustum_to_gaussian),
    params={'diag': bool(diag)},
    rtol=1e-3,
    atol=2e-3,
  )


# --- moments ---------------------------------------------------------------


@pytest.mark.parametrize('t0, t1', [(0.0, 1.0), (1.0, 4.0), (3.0, 3.3)])
def test_frustum_moments_are_those_of_uniform_samples(t0, t1):
  # Distances in a frustum have density proportional to t^2, and each slice is
  # a uniform disc of radius t (variance t^2/4 per axis).
  gen = np.random.default_rng(0)
  t = gen.uniform(t0**3, t1**3, size=400_000) ** (1 / 3)
  x = (
    t
    * np.sqrt(gen.uniform(size=t.size))
    * np.cos(2 * np.pi * gen.uniform(size=t.size))
  )
  mean, t_var, r_var = frustum.frustum_moments(jnp.array(t0), jnp.array(t1))
  # Errors of the estimates: about (t1 - t0)/sqrt(n) and 2/sqrt(n), times 4.
  np.testing.assert_allclose(mean, t.mean(), atol=6e-3 * (t1 - t0))
  np.testing.assert_allclose(t_var, t.var(), rtol=1e-2)
  np.testing.assert_allclose(r_var, (x**2).mean(), rtol=1e-2)


def test_cylinder_moments_are_those_of_uniform_samples():
  gen = np.random.default_rng(1)
  t = gen.uniform(2, 5, size=400_000)
  x = np.sqrt(gen.uniform(size=t.size)) * np.cos(
    2 * np.pi * gen.uniform(size=t.size)
  )
  mean, t_var, r_var = frustum.cylinder_moments(jnp.array(2.0), jnp.array(5.0))
  np.testing.assert_allclose(mean, t.mean(), atol=2e-2)
  np.testing.assert_allclose(t_var, t.var(), rtol=1e-2)
  np.testing.assert_allclose(r_var, (x**2).mean(), rtol=1e-2)


def test_frustum_moments_are_exact_closed_forms():
  # Integrals of t^k over [t0, t1] in float64.
  t0 = np.array([0.0, 0.5, 2.0, 100.0])
  t1 = np.array([1.0, 0.75, 9.0, 1e5])
  moment = lambda k: (t1 ** (k + 1) - t0 ** (k + 1)) / (k + 1)
  mean = moment(3) / moment(2)
  want = mean, moment(4) / moment(2) - mean**2, moment(4) / moment(2) / 4
  got = frustum.frustum_moments(
    jnp.asarray(t0, jnp.float32), jnp.asarray(t1, jnp.float32)
  )
  for g, w in zip(got, want, strict=True):
    # t_var of a thin frustum is a difference with h^2/3 of the same size.
    np.testing.assert_allclose(g, w, rtol=3e-6)


def test_moments_scale_with_distance_at_every_magnitude():
  sizes = jnp.asarray(10.0 ** np.arange(-2, 17), jnp.float32)
  got = frustum.frustum_moments(1 * sizes, 3 * sizes)
  unit = frustum.frustum_moments(jnp.array(1.0), jnp.array(3.0))
  for g, u, power in zip(got, unit, (1, 2, 2), strict=True):
    np.testing.assert_allclose(g / sizes**power, u, rtol=2e-6)


def test_moments_and_gradients_are_finite_from_zero_on():
  sizes = jnp.asarray(np.r_[0, 10.0 ** np.arange(-30, 17, 3)], jnp.float32)
  t0, t1 = (jnp.ravel(t) for t in jnp.meshgrid(sizes, sizes))
  t0, t1 = jnp.minimum(t0, t1), jnp.maximum(t0, t1)

  def total(t0, t1):
    return sum(jnp.sum(m) for m in frustum.frustum_moments(t0, t1))

  for moment in frustum.frustum_moments(t0, t1):
    assert np.all(np.isfinite(moment)) and np.all(moment >= 0)
  for grad in jax.jit(jax.grad(total, (0, 1)))(t0, t1):
    assert np.all(np.isfinite(grad))


# --- Gaussians -------------------------------------------------------------


def test_covariance_has_the_ray_as_an_eigenvector():
  d = jnp.array([1.0, -2.0, 2.0])
  t_mean, t_var, r_var = (jnp.array([x]) for x in (0.5, 0.3, 0.02))
  mean, cov = frustum.lift_gaussian(d, t_mean, t_var, r_var, diag=False)
  np.testing.assert_allclose(mean[0], 0.5 * d)
  # |d|^2 = 9: variance t_var |d|^2 along d, r_var in both other directions.
  np.testing.assert_allclose(cov[0] @ d, 0.3 * 9 * d, rtol=1e-5)
  eigenvalues = np.linalg.eigvalsh(np.asarray(cov[0], np.float64))
  np.testing.assert_allclose(eigenvalues, [0.02, 0.02, 2.7], rtol=1e-5)


@pytest.mark.parametrize('batch', BATCHES)
@pytest.mark.parametrize('shape', ['cone', 'cylinder'])
def test_diagonals_are_those_of_the_full_covariances(batch, shape):
  args = ops_util.random_rays(2, batch)
  means, covs = frustum.cast_rays(*args, shape, diag=False)
  diag_means, diags = frustum.cast_rays(*args, shape, diag=True)
  assert covs.shape == (*batch, 6, 3, 3)
  np.testing.assert_array_equal(means, diag_means)
  np.testing.assert_allclose(
    np.diagonal(covs, axis1=-2, axis2=-1), diags, rtol=1e-5, atol=1e-7
  )


def test_ray_without_direction_casts_finite_gaussians():
  tdist, origins, _, radii = ops_util.random_rays(3, ())

  def total(directions):
    gaussians = frustum.cast_rays(
      tdist, origins, directions, radii, 'cone', diag=False
    )
    return sum(jnp.sum(g) for g in gaussians)

  value, grad = jax.jit(jax.value_and_grad(total))(jnp.zeros(3))
  assert np.isfinite(value) and np.all(np.isfinite(grad))


def test_unknown_ray_shape_names_the_known_ones():
  with pytest.raises(errors.ConfigError, match='cone, cylinder.*Model.ray_sha'):
    frustum.cast_rays(*ops_util.random_rays(4, ()), 'square')


# --- projections without covariances ---------------------------------------


@pytest.mark.parametrize('batch', BATCHES)
def test_projected_gaussians_equal_lifting_and_diagonalising(batch):
  tdist, origins, directions, radii = ops_util.random_rays(5, batch)
  means, covs = frustum.cast_rays(
    tdist, origins, directions, radii, 'cone', diag=False
  )
  want = coord.lift_and_diagonalize(means, covs, BASIS)
  _, t_var, r_var = frustum.ray_moments(tdist, radii, 'cone')
  got = frustum.project_gaussians(means, directions, t_var, r_var, BASIS)
  np.testing.assert_array_equal(got[0], want[0])
  # Variances are up to 100; their small ones come out of cancellation.
  np.testing.assert_allclose(got[1], want[1], rtol=1e-4, atol=1e-5)
  assert np.all(got[1] >= 0)


@pytest.mark.parametrize('far', [0.5, 8.0, 1e3, 1e6])
@pytest.mark.slow
def test_projected_contracted_gaussians_equal_the_general_way(far):
  tdist, origins, directions, radii = ops_util.random_rays(6, (8,), far=far)
  means, covs = frustum.cast_rays(
    tdist, origins, directions, radii, 'cone', diag=False
  )
  _, t_var, r_var = frustum.ray_moments(tdist, radii, 'cone')
  fast = jax.jit(
    lambda *args: frustum.project_contracted_gaussians(*args, BASIS)
  )
  got = fast(means, directions, t_var, r_var)
  np.testing.assert_allclose(
    got[0], coord.contract(means) @ BASIS, rtol=1e-5, atol=1e-6
  )
  # float64 twin: numpy throughout.
  x, d = np.asarray(means, np.float64), np.asarray(directions, np.float64)
  n = np.maximum(1, np.linalg.norm(x, axis=-1))[..., None, None]
  u = (x / n[..., 0])[..., :, None]
  a = np.where(n > 1, (2 - 1 / n) / n, 1)
  jac = a * np.eye(3) + np.where(n > 1, 1 / n**2 - a, 0) * u * u.swapaxes(
    -1, -2
  )
  d = d[:, None, :, None]
  outer = d * d.swapaxes(-1, -2)
  square = np.sum(d**2, axis=-2, keepdims=True)
  cov = np.asarray(t_var, np.float64)[..., None, None] * outer
  cov = cov + np.asarray(r_var)[..., None, None] * (np.eye(3) - outer / square)
  want = np.einsum('ik,...ij,jk->...k', BASIS, jac @ cov @ jac, BASIS)
  # Variances relative to the square of the scene's size, 2.
  np.testing.assert_allclose(got[1], want, rtol=1e-3, atol=1e-5)
  assert np.all(got[1] >= 0)


def test_projections_and_gradients_are_finite_far_away_and_at_the_origin():
  gen = np.random.default_rng(7)
  sizes = np.r_[0, 10.0 ** np.arange(-12, 13, 3)][:, None, None]
  means = jnp.asarray(sizes * gen.normal(size=(1, 4, 3)), jnp.float32)
  directions = jnp.asarray(gen.normal(size=(len(sizes), 3)), jnp.float32)
  t_var = r_var = jnp.asarray(sizes[..., 0] * np.ones(4), jnp.float32)

  def total(*args):
    mean, var = frustum.project_contracted_gaussians(*args, BASIS)
    return mean.sum() + var.sum()

  value, grads = jax.jit(jax.value_and_grad(total, (0, 1, 2, 3)))(
    means, directions, t_var, r_var
  )
  assert np.isfinite(value)
  assert all(np.all(np.isfinite(g)) for g in grads)


def test_jit_changes_nothing():
  args = ops_util.random_rays(11, (2,))
  fn = functools.partial(frustum.cast_rays, ray_shape='cone', diag=False)
  for a, b in zip(fn(*args), jax.jit(fn)(*args), strict=True):
    assert a.dtype == jnp.float32
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
