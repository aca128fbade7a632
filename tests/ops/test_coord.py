"""Tests of coord, and of octaves, which does its encodings."""

import functools

import golden_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import errors
from multinerf.ops import coord, curves, geopoly, numerics

# Powers of ten over the range of float32, and 0.
MAGNITUDES = np.array([0, *10.0 ** np.arange(-30, 31, 3)], np.float32)
BATCHES = [(), (2,), (2, 3)]


def random_gaussians(seed, batch, spread=1.0):
  gen = np.random.default_rng(seed)
  mean = spread * gen.normal(size=(*batch, 3))
  half = 0.3 * gen.normal(size=(*batch, 3, 3))
  cov = half @ np.swapaxes(half, -1, -2)
  return jnp.asarray(mean, jnp.float32), jnp.asarray(cov, jnp.float32)


def jitted(fn):
  """fn with its keyword arguments static: one compilation instead of many."""
  return lambda *args, **kw: jax.jit(functools.partial(fn, **kw))(*args)


# --- against the reference -------------------------------------------------


@pytest.mark.parametrize(
  'function, case',
  [
    ('contract', 'c0'),
    ('inv_contract', 'c0'),
    ('inv_contract', 'ball'),
    ('expected_sin', 'c0'),
    ('integrated_pos_enc', 'd0_4'),
    ('integrated_pos_enc', 'd-2_3'),
    ('integrated_pos_enc', 'd1_2'),
    ('integrated_pos_enc', 'd0_12'),
    ('integrated_pos_enc', 'd0_16'),
    ('lift_and_diagonalize', 'icosahedron1'),
    ('lift_and_diagonalize', 'icosahedron2'),
    ('lift_and_diagonalize', 'octahedron1'),
    ('pos_enc', 'c0'),
    ('pos_enc', 'c1'),
    ('pos_enc', 'c2'),
    ('pos_enc', 'c3'),
  ],
)
def test_values_and_gradients_match_the_reference(golden, function, case):
  fn = jitted(getattr(coord, function))
  golden_util.check_case(golden('coord'), function, case, fn)


@pytest.mark.parametrize('case', ['contract0', 'contract1', 'contract2'])
@pytest.mark.parametrize('closed_form', [True, False])
def test_linearised_contraction_matches_the_reference(
  golden, case, closed_form
):
  warp = coord.contract if closed_form else lambda x: coord.contract(x)
  track = jax.jit(functools.partial(coord.track_linearize, warp))
  golden_util.check_case(golden('coord'), 'track_linearize', case, track)


def test_linearised_affine_map_matches_the_reference(golden):
  def track(matrix, mean, cov):
    affine = lambda x: numerics.matmul(x, matrix) + 1
    return coord.track_linearize(affine, mean, cov)

  golden_util.check_case(golden('coord'), 'track_linearize', 'affine', track)


@pytest.mark.parametrize(
  'name, fn',
  [
    ('none', None),
    ('reciprocal', jnp.reciprocal),
    ('log', jnp.log),
    ('exp', jnp.exp),
    ('sqrt', jnp.sqrt),
    ('square', jnp.square),
    ('piecewise', 'piecewise'),
  ],
)
def test_ray_warps_match_the_reference(golden, name, fn):
  data = golden('coord').case('construct_ray_warps', name)
  data = {key: jnp.asarray(value) for key, value in data.items()}
  t_to_s, s_to_t = coord.construct_ray_warps(
    fn, data['in_t_near'], data['in_t_far']
  )
  t = s_to_t(data['in_s'])
  np.testing.assert_allclose(t, data['out_t'], rtol=1e-4, atol=1e-5)
  # 1e-4: t_to_s amplifies the rounding of t by the slope of the warp.
  np.testing.assert_allclose(t_to_s(t), data['out_s_of_t'], atol=1e-4)


# --- contraction -----------------------------------------------------------


def test_contraction_is_right_and_has_gradients_at_every_magnitude():
  unit = np.array([[1, 0, 0], [0.6, -0.8, 0], [1e-3, 0.5, -0.7]], np.float32)
  x = (MAGNITUDES[:, None, None] * unit).reshape(-1, 3)
  got = coord.contract(jnp.asarray(x))
  x64 = x.astype(np.float64)
  norm = np.maximum(1, np.linalg.norm(x64, axis=-1, keepdims=True))
  # A few roundings of float32; denormals are flushed to 0.
  np.testing.assert_allclose(
    got, (2 - 1 / norm) * x64 / norm, rtol=5e-7, atol=1e-37
  )
  jac = jax.jit(jax.vmap(jax.jacfwd(coord.contract)))
  assert np.all(np.isfinite(jac(jnp.asarray(x))))
  hess = jax.jit(jax.vmap(jax.jacfwd(jax.jacrev(coord.contract))))
  assert np.all(np.isfinite(hess(jnp.asarray(x))))


@pytest.mark.parametrize('magnitude', [0.1, 0.9, 1.1, 3.0, 1e3])
def test_inverse_contraction_undoes_the_contraction(magnitude):
  x = np.random.default_rng(0).normal(size=(50, 3))
  x = magnitude * x / np.linalg.norm(x, axis=-1, keepdims=True)
  x = jnp.asarray(x, jnp.float32)
  # Near the sphere of radius 2 a rounding of z moves x by n^2 times as much.
  rtol = 1e-6 * max(1, magnitude)
  back = coord.inv_contract(coord.contract(x))
  np.testing.assert_allclose(back, x, rtol=rtol, atol=1e-6)


def test_inverse_contraction_has_a_gradient_at_the_origin():
  grad = jax.grad(lambda z: coord.inv_contract(z).sum())(jnp.zeros(3))
  np.testing.assert_array_equal(grad, 1)


@pytest.mark.parametrize('magnitude', [0.5, 10.0])
def test_isoscale_is_the_cube_root_of_the_jacobians_determinant(magnitude):
  x = jnp.array([0.48, -0.6, 0.64]) * magnitude
  jac = np.asarray(jax.jit(jax.jacfwd(coord.contract))(x), np.float64)
  want = np.linalg.det(jac) ** (1 / 3)
  # The small eigenvalue 1/n^2 is a difference of numbers of size 1/n.
  rtol = 1e-6 * max(1, magnitude)
  np.testing.assert_allclose(coord.contract3_isoscale(x), want, rtol=rtol)


def test_isoscale_and_its_gradient_are_finite():
  # Up to 1e27: the isoscale itself, n^(-4/3), is below float32 after that.
  sizes = MAGNITUDES[MAGNITUDES < 1e28]
  x = sizes[:, None] * jnp.array([0.6, 0.0, -0.8])
  values, grads = jax.jit(
    jax.vmap(jax.value_and_grad(coord.contract3_isoscale))
  )(x)
  assert np.all(values > 0) and np.all(values <= 1)
  assert np.all(np.isfinite(grads))


@pytest.mark.parametrize(
  'batch, spread', [((), 2.0), ((2,), 0.3), ((2, 3), 100.0)]
)
def test_closed_form_of_the_linearised_contraction(batch, spread):
  mean, cov = random_gaussians(1, batch, spread)
  jac = jax.jacfwd(coord.contract)
  for _ in batch:
    jac = jax.vmap(jac)
  jac = np.asarray(jax.jit(jac)(mean), np.float64)
  track = jax.jit(functools.partial(coord.track_linearize, coord.contract))
  got_mean, got_cov = track(mean, cov)
  np.testing.assert_allclose(got_mean, coord.contract(mean), rtol=1e-6)
  want = jac @ cov @ np.swapaxes(jac, -1, -2)
  # Entries cancel; the size of the largest one sets the rounding error.
  np.testing.assert_allclose(got_cov, want, rtol=1e-4, atol=2e-6 / spread**2)


def test_isotropic_tracking_agrees_between_formula_and_autodiff():
  mean, _ = random_gaussians(2, (7, 2), 2.0)
  scale = jnp.full((7, 2), 0.1)
  fast = coord.track_isotropic(coord.contract, mean, scale)
  generic = functools.partial(
    coord.track_isotropic, lambda x: coord.contract(x)
  )
  slow = jax.jit(generic)(mean, scale)
  np.testing.assert_allclose(fast[0], slow[0], rtol=1e-6)
  np.testing.assert_allclose(fast[1], slow[1], rtol=1e-5)
  assert coord.track_isotropic(coord.contract, mean, None)[1] is None


# --- ray warps -------------------------------------------------------------


@pytest.mark.parametrize('fn', [None, jnp.reciprocal, jnp.log, 'piecewise'])
def test_ray_warps_are_inverse_and_map_bounds_to_0_and_1(fn):
  near, far = jnp.array([[0.2], [0.5]]), jnp.array([[6.0], [1e3]])
  t_to_s, s_to_t = coord.construct_ray_warps(fn, near, far)
  s = jnp.linspace(0, 1, 9) * jnp.ones((2, 1))
  np.testing.assert_allclose(t_to_s(near), 0, atol=1e-6)
  np.testing.assert_allclose(t_to_s(far), 1, atol=1e-6)
  # In disparity, s near 1 is a small difference of numbers of size 1/near.
  np.testing.assert_allclose(t_to_s(s_to_t(s)), s, atol=1e-5)
  assert np.all(np.diff(s_to_t(s)) > 0)


def test_ray_warp_with_given_inverse_stays_within_the_bounds():
  ladder = functools.partial(curves.power_ladder, p=-1.5, premult=2)
  inverse = functools.partial(curves.inv_power_ladder, p=-1.5, premult=2)
  near, far = jnp.zeros((1, 1)), jnp.full((1, 1), 1e6)
  _, s_to_t = coord.construct_ray_warps(ladder, near, far, fn_inv=inverse)
  t = s_to_t(jnp.linspace(0, 1, 65)[None])
  assert t[0, 0] == 0 and np.all(t <= 1e6) and np.all(np.diff(t) >= 0)


def test_ray_of_no_length_has_normalised_distance_0_and_a_gradient():
  near = jnp.full((1, 1), 2.0)
  fn = lambda t: coord.construct_ray_warps(None, near, near)[0](t).sum()
  value, grad = jax.value_and_grad(fn)(near)
  assert value == 0 and np.all(np.isfinite(grad))


@pytest.mark.parametrize('fn', [jnp.reciprocal, jnp.log, jnp.sqrt, 'piecewise'])
@pytest.mark.parametrize('bound', [0.0, 2.0])
def test_ray_of_no_length_stays_at_its_bound_wherever_that_is(fn, bound):
  s = jnp.linspace(0, 1, 5)[None]

  def run(near, far, s):
    t_to_s, s_to_t = coord.construct_ray_warps(fn, near, far)
    t = s_to_t(s)
    return jnp.sum(t) + jnp.sum(t_to_s(t)), (t, t_to_s(t))

  near = jnp.full((1, 1), bound)
  grads, (t, back) = jax.grad(run, argnums=(0, 1, 2), has_aux=True)(
    near, near, s
  )
  np.testing.assert_array_equal(t, bound)
  np.testing.assert_array_equal(back, 0)
  assert all(np.all(np.isfinite(g)) for g in grads)


@pytest.mark.parametrize('fn', [jnp.sin, 'logarithmic'])
def test_ray_warp_without_known_inverse_is_refused(fn):
  near, far = jnp.ones((1, 1)), jnp.full((1, 1), 2.0)
  with pytest.raises(errors.ConfigError, match='Model.raydist_fn'):
    coord.construct_ray_warps(fn, near, far)


def test_piecewise_warp_has_finite_gradients_from_zero_on():
  near, far = jnp.zeros((1, 1)), jnp.full((1, 1), 1e6)
  t_to_s, s_to_t = coord.construct_ray_warps('piecewise', near, far)
  t = jnp.array([[0, 1e-30, 1, 1e6]])
  s = jnp.array([[0, 0.25, 0.5, 1]])
  assert np.all(np.isfinite(jax.grad(lambda t: t_to_s(t).sum())(t)))
  assert np.all(np.isfinite(jax.grad(lambda s: s_to_t(s).sum())(s)))


# --- encodings -------------------------------------------------------------


def test_expected_sin_is_the_mean_of_sines_of_samples():
  mean, var = jnp.float32(0.7), jnp.float32(0.4)
  z = np.random.default_rng(0).normal(size=200_000)
  want = np.sin(mean + np.sqrt(var) * z).mean()
  # Standard error below 0.6 / sqrt(200000) = 1.4e-3; four of them.
  np.testing.assert_allclose(coord.expected_sin(mean, var), want, atol=5e-3)


def slow_encoding(mean, var, min_deg, max_deg):
  """float64 twin by loops."""
  sines, cosines = [], []
  for k in range(min_deg, max_deg):
    damping = np.exp(-0.5 * var.astype(np.float64) * 4.0**k)
    sines.append(damping * np.sin(mean.astype(np.float64) * 2.0**k))
    cosines.append(damping * np.cos(mean.astype(np.float64) * 2.0**k))
  return np.concatenate(sines + cosines, axis=-1)


@pytest.mark.parametrize('batch', BATCHES)
def test_integrated_encoding_is_damped_sines_and_cosines_in_order(batch):
  gen = np.random.default_rng(3)
  mean = gen.uniform(-2, 2, size=(*batch, 5)).astype(np.float32)
  var = gen.uniform(0, 0.1, size=(*batch, 5)).astype(np.float32)
  got = coord.integrated_pos_enc(jnp.asarray(mean), jnp.asarray(var), 0, 6)
  # Phases reach 64, whose float32 spacing is 8e-6.
  np.testing.assert_allclose(got, slow_encoding(mean, var, 0, 6), atol=1e-5)


def test_encodings_sine_equals_safe_sin_where_floats_resolve_a_turn():
  gen = np.random.default_rng(4)
  x = gen.normal(size=40_000) * 10 ** gen.uniform(-6, 5.3, size=40_000)
  x = np.clip(x, -1.2e6, 1.2e6).astype(np.float32)[:, None]
  got = coord.integrated_pos_enc(jnp.asarray(x), jnp.zeros_like(x), 0, 1)
  period = np.float32(100 * np.pi)
  # Upstream's rule, in float64 after the exact float32 remainder.
  want = np.sin(np.where(np.abs(x) < period, x, x % period).astype(np.float64))
  np.testing.assert_allclose(got[:, :1], want, atol=3e-7)


def test_integrated_encoding_is_bounded_with_finite_gradients():
  sizes = [0.0, 1e-20, 1.0, 1e30]
  mean, var = np.meshgrid(np.r_[MAGNITUDES, -MAGNITUDES], sizes)
  mean, var = jnp.asarray(mean, jnp.float32), jnp.asarray(var, jnp.float32)
  encode = jax.jit(lambda m, v: coord.integrated_pos_enc(m, v, 0, 4))
  assert np.all(np.abs(encode(mean, var)) <= 1 + 1e-6)
  grads = jax.grad(lambda m, v: encode(m, v).sum(), (0, 1))(mean, var)
  assert all(np.all(np.isfinite(g)) for g in grads)


def test_integrated_encodings_derivatives_are_those_of_the_formula():
  def plain(mean, var):
    phase = jnp.concatenate([mean * 2.0**k for k in range(3)], -1)
    damp = jnp.concatenate([jnp.exp(-0.5 * var * 4.0**k) for k in range(3)], -1)
    return jnp.concatenate([damp * jnp.sin(phase), damp * jnp.cos(phase)], -1)

  ours = lambda m, v: coord.integrated_pos_enc(m, v, 0, 3)
  mean, var = jnp.array([0.3, -1.2]), jnp.array([0.02, 0.3])
  for arg in (0, 1):
    got = jax.jit(jax.jacrev(jax.jacfwd(ours, arg), 0))(mean, var)
    want = jax.jit(jax.jacrev(jax.jacfwd(plain, arg), 0))(mean, var)
    # Second derivatives reach 4^2 * 4; float32.
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=3e-5)


def test_encoding_of_constant_variance_is_differentiable():
  # A zero tangent for `var` reaches the custom rule.
  fn = lambda m: coord.integrated_pos_enc(m, jnp.zeros(3), 0, 2).sum()
  assert np.all(np.isfinite(jax.grad(fn)(jnp.ones(3))))


@pytest.mark.parametrize('batch', BATCHES)
def test_marginals_are_those_of_the_projected_gaussian(batch):
  mean, cov = random_gaussians(5, batch)
  basis = geopoly.generate_basis('icosahedron', 2).T
  got_mean, got_var = coord.lift_and_diagonalize(mean, cov, basis)
  np.testing.assert_allclose(got_mean, mean @ basis, rtol=1e-5, atol=1e-6)
  want = np.einsum('ik,...ij,jk->...k', basis, cov, basis)
  np.testing.assert_allclose(got_var, want, rtol=1e-5, atol=1e-6)


def test_identity_comes_first_in_the_positional_encoding():
  x = jnp.array([[0.1, 0.2, 0.3]])
  out = coord.pos_enc(x, 0, 2, append_identity=True)
  np.testing.assert_array_equal(out[:, :3], x)
  np.testing.assert_allclose(out[:, 3:6], np.sin(x), atol=1e-7)
  np.testing.assert_allclose(out[:, 6:9], np.sin(2 * x), atol=1e-7)
  np.testing.assert_allclose(out[:, 9:12], np.cos(x), atol=1e-7)
  # Degree 0, no octaves: the identity alone.
  np.testing.assert_array_equal(coord.pos_enc(x, 0, 0), x)


@pytest.mark.slow
def test_jit_changes_nothing():
  mean, cov = random_gaussians(6, (4,), 2.0)
  basis = geopoly.generate_basis('octahedron', 1).T

  def features(mean, cov):
    mean, cov = coord.track_linearize(coord.contract, mean, cov)
    mean, var = coord.lift_and_diagonalize(mean, cov, basis)
    return coord.integrated_pos_enc(mean, var, 0, 4)

  # Fusing may contract multiply-adds: last-digit changes of phases below 16.
  np.testing.assert_allclose(
    jax.jit(features)(mean, cov), features(mean, cov), atol=5e-6
  )
  assert features(mean, cov).dtype == jnp.float32
