"""What camp_zipnerf's functions promise beyond those of multinerf.

Names that are functions of `multinerf.ops` have their tests there.
"""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import errors
from multinerf.compat.camp_zipnerf import (
  coord,
  geometry,
  grid_utils,
  hash_resample,
  image_utils,
  math,
  quaternion,
  ref_utils,
  render,
  rigid_body,
  spin_math,
  stepfun,
)

GEN = np.random.default_rng(0)
f32 = lambda x: jnp.asarray(x, jnp.float32)


def stair(n=5):
  t = f32(np.sort(GEN.uniform(0.5, 4, n + 1)))
  w = f32(GEN.dirichlet(np.ones(n)) * 0.7)
  return t, w


# --- math ---------------------------------------------------------------------


@pytest.mark.slow
def test_lookups_give_the_neighbours_whatever_the_device():
  xp, fp = f32([0, 1, 1, 3]), f32([5, 6, 7, 9])
  x = f32([-1, 0.5, 1, 2, 4])
  (lo, hi), ((a, b),) = math.sorted_lookup(x, xp, (fp,), True)
  np.testing.assert_array_equal(lo, [0, 0, 2, 2, 3])
  np.testing.assert_array_equal(hi, [0, 1, 3, 3, 3])
  np.testing.assert_array_equal([a, b], [fp[lo], fp[hi]])
  np.testing.assert_array_equal(math.searchsorted(xp, x, False), [lo, hi])
  got = math.sorted_interp(x, xp, fp, device_is_tpu=False)
  np.testing.assert_allclose(got, [5, 5.5, 7, 8, 9])


@pytest.mark.slow
def test_small_helpers_of_math():
  x = f32([[1, 2], [3, 4]])
  columns = math.unstack(x, axis=1)
  np.testing.assert_array_equal(columns, x.T)
  assert len(columns) == 2
  np.testing.assert_array_equal(math.average_across_multisamples(x), [2, 3])
  pairs = [(f32([1, 0]) > 0, f32([7, 7])), (f32([1, 1]) > 0, f32([8, 8]))]
  np.testing.assert_array_equal(math.select(pairs, 0.0), [7, 8])
  rate = math.create_learning_rate_decay(
    lr_init=1.0, lr_final=0.01, max_steps=10
  )
  np.testing.assert_allclose(rate(5), 0.1, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
  'fn',
  [
    lambda x: math.fake_clip(x, -1.0, 1.0),
    math.generate_clip_nograd_fn(-1.0, 1.0),
  ],
)
def test_clips_without_gradient_keep_that_of_the_identity(fn):
  value, slope = jax.value_and_grad(fn)(3.0)
  assert (value, slope) == (1.0, 1.0)
  out = math.fake_clip_jvp((3.0, -1.0, 1.0), (2.0, 0.0, 0.0))
  np.testing.assert_array_equal(out, (1.0, 2.0))


@pytest.mark.slow
def test_forward_and_backward_passes_make_custom_gradients():
  for fwd, bwd, slopes in (
    (math.safe_div_fwd, math.safe_div_bwd, lambda n, d: (1 / d, -n / d**2)),
    (
      math.safe_arctan2_fwd,
      math.safe_arctan2_bwd,
      lambda y, x: (x / (x * x + y * y), -y / (x * x + y * y)),
    ),
  ):
    primal = functools.partial(lambda fwd, a, b: fwd(a, b)[0], fwd)
    fn = jax.custom_vjp(primal)
    fn.defvjp(fwd, bwd)
    got = jax.grad(fn, (0, 1))(2.0, 5.0)
    np.testing.assert_allclose(got, slopes(2.0, 5.0), rtol=1e-6)
  for jvp, x, slope in (
    (math.plus_eps_jvp, 1.0, 1.0),
    (math.minus_eps_jvp, 1.0, 1.0),
    (math.expm1_jvp, 0.5, np.exp(0.5)),
  ):
    np.testing.assert_allclose(jvp((x,), (3.0,))[1], 3 * slope, rtol=1e-6)


# --- step functions -----------------------------------------------------------


def test_query_repeats_its_ends_unless_told():
  t, y = f32([1, 2, 3]), f32([5, 7])
  tq = f32([0, 1.5, 2, 9])
  np.testing.assert_array_equal(stepfun.query(tq, t, y), [5, 5, 7, 7])
  got = stepfun.query(tq, t, y, left=-1.0, right=-2.0)
  np.testing.assert_array_equal(got, [-1, 5, 7, -2])


@pytest.mark.slow
def test_empty_intervals_have_no_density():
  t, w = f32([0, 1, 1, 3]), f32([0.2, 0.5, 0.3])
  np.testing.assert_allclose(stepfun.weight_to_pdf(t, w), [0.2, 0, 0.15])


@pytest.mark.slow
def test_samples_depend_on_the_key_and_leave_out_eps():
  t, w = stair()
  logits = jnp.log(w)
  plain = stepfun.sample(None, t, logits, 8)
  np.testing.assert_allclose(
    plain[jnp.array([0, -1])], t[jnp.array([0, -1])], rtol=1e-5
  )
  short = stepfun.sample(None, t, logits, 8, eps=0.5)
  last = np.interp(0.5, np.cumsum([0, *w]) / w.sum(), t)
  np.testing.assert_allclose(short[-1], last, rtol=1e-5)
  keys = jax.random.split(jax.random.key(0))
  draws = [np.asarray(stepfun.sample(k, t, logits, 8)) for k in keys]
  assert np.abs(draws[0] - draws[1]).max() > 1e-3
  ends = stepfun.sample_intervals(keys[0], t, logits, 8, domain=(1.0, 3.0))
  assert ends.shape == (9,) and ends[0] >= 1 and ends[-1] <= 3


@pytest.mark.slow
def test_averages_over_tiny_overlaps_are_averages():
  tp, vp = f32([0, 1, 2]), f32([3, 5])
  t = f32([0.5, 0.5 + 1e-6, 1.9, 3.0])
  got = stepfun.resample(t, tp, vp, use_avg=True)
  np.testing.assert_allclose(got[jnp.array([0, 2])], [3, 5], rtol=1e-6)


# --- coordinates --------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
  ('fn', 'fn_inv'), [(None, None), (jnp.log, None), (jnp.log1p, jnp.expm1)]
)
def test_ray_warps_clip_to_the_bounds_of_the_ray(fn, fn_inv):
  near, far = f32([0.5]), f32([8.0])
  t_to_s, s_to_t = coord.construct_ray_warps(fn, near, far, fn_inv=fn_inv)
  t = f32([0.1, 0.5, 2.0, 8.0, 20.0])
  s = t_to_s(t)
  np.testing.assert_allclose(
    s[jnp.array([0, 1, 3, 4])], [0, 0, 1, 1], atol=1e-6
  )
  np.testing.assert_allclose(s_to_t(s), jnp.clip(t, 0.5, 8.0), rtol=1e-5)
  np.testing.assert_array_equal(s_to_t(f32([-1, 2])), [0.5, 8.0])


@pytest.mark.slow
def test_roots_and_isotropic_matrices():
  a = GEN.normal(size=(2, 3, 3))
  cov = f32(a @ np.swapaxes(a, -1, -2))
  root, (vectors, values) = jax.jit(lambda c: coord.sqrtm(c, True))(cov)
  rebuilt = vectors * jnp.sqrt(values)[:, None] @ jnp.swapaxes(vectors, 1, 2)
  np.testing.assert_allclose(root, rebuilt, atol=1e-4)
  iso = jax.jit(coord.isotropize)(cov)
  np.testing.assert_allclose(np.linalg.det(iso), np.linalg.det(cov), rtol=1e-3)
  with pytest.raises(errors.ConfigError, match="'rough'"):
    coord.isotropize(cov, 'rough')
  inverse, (_, eigenvalues) = jax.jit(
    lambda c: spin_math.inv_sqrtm(c, normalize_eigvals=True)
  )(cov)
  np.testing.assert_allclose(jnp.prod(eigenvalues, -1), 1, rtol=1e-3)
  np.testing.assert_allclose(np.linalg.det(inverse), 1, rtol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize('axis', [0, -2])
@pytest.mark.parametrize('basis', ['mean', 'julier', 'random_64'])
def test_sigma_points_go_to_the_axis_asked_for(basis, axis):
  mean, cov = (
    f32(GEN.normal(size=(2, 5, 3))),
    jnp.eye(3) * jnp.ones((2, 5, 1, 1)),
  )
  fn = jax.jit(coord.unscented_transform, static_argnums=(2, 3))
  points = jnp.moveaxis(fn(mean, cov, basis, axis), axis, 0)
  count = {'mean': 1, 'julier': 7, 'random_64': 64}[basis]
  assert points.shape == (count, 2, 5, 3)
  # 64 draws: 5 sigma.
  np.testing.assert_allclose(
    points.mean(0), mean, atol=5 / 8 if basis == 'random_64' else 1e-5
  )
  if basis == 'random_64':  # every Gaussian has its own
    offsets = np.asarray(points - mean)
    assert np.abs(offsets[:, 0, 0] - offsets[:, 1, 0]).max() > 0.1


def make_rays(n=3):
  return types.SimpleNamespace(
    origins=f32(GEN.normal(size=(n, 3))),
    directions=f32(GEN.normal(size=(n, 3)) * 2),
    radii=f32(np.full((n, 1), 0.01)),
  )


@pytest.mark.slow
def test_control_points_are_on_their_cones():
  rays = make_rays()
  tdist = f32(np.sort(GEN.uniform(1, 4, (3, 5)), -1))
  args = (rays.origins, rays.directions, rays.radii)
  means, covs = render.cast_rays(tdist, *args, 'cone', diag=False)
  fn = lambda basis, rng: coord.compute_control_points(
    means, covs, rays, tdist, rng, basis, 1.0
  )
  for basis in ('hexify', 'mean'):
    points, radius = fn(basis, None)
    offset = np.asarray(points - rays.origins[:, None, None])
    d = np.asarray(rays.directions)[:, None, None]
    t = np.sum(offset * d, -1) / np.sum(d * d, -1)
    np.testing.assert_allclose(radius, 0.01 * t / np.sqrt(2), rtol=1e-4)
    across = np.linalg.norm(offset - t[..., None] * d, axis=-1)
    want = radius if basis == 'hexify' else 0 * radius
    np.testing.assert_allclose(across, want, atol=2e-5)
  keys = jax.random.split(jax.random.key(0))
  random = [np.asarray(fn('hexify', k)[0]) for k in keys]
  assert np.abs(random[0] - random[1]).max() > 1e-3
  bare = coord.compute_control_points(
    means, covs, None, tdist, None, 'mean', 0.0
  )
  np.testing.assert_array_equal(bare[0], means[..., None, :])
  assert bare[1] is None
  with pytest.raises(errors.ConfigError, match='needs rays'):
    coord.compute_control_points(means, covs, None, tdist, None, 'mean', 1.0)


# --- rendering ----------------------------------------------------------------


@pytest.mark.slow
def test_alpha_weights_come_alone():
  t, _ = stair()
  density, d = f32(GEN.uniform(size=5)), f32([0, 3.0, 4.0])
  got = jax.jit(render.compute_alpha_weights)(density, t, d)
  tau = np.asarray(density) * np.diff(t) * 5
  want = np.exp(-np.cumsum([0, *tau[:-1]])) * (1 - np.exp(-tau))
  np.testing.assert_allclose(got, want, rtol=1e-4)
  with pytest.raises(TypeError):
    render.compute_alpha_weights(density, t, d, opaque_background=True)


@pytest.mark.slow
def test_rendering_describes_what_was_hit():
  t, w = stair()
  rgbs, value = f32(GEN.uniform(size=(5, 3))), f32(GEN.uniform(size=(5, 2)))
  fn = jax.jit(
    lambda: render.volumetric_rendering(
      rgbs, w, t, 0.5, True, {'x': value, 'none': None}, (10, 50)
    )
  )
  out = fn()
  assert set(out) == {
    'rgb', 'acc', 'distance_mean', 'distance_percentile_10',
    'distance_median', 'x',
  }  # fmt: skip
  np.testing.assert_allclose(out['rgb'], w @ rgbs + 0.15, rtol=1e-5)
  np.testing.assert_allclose(out['x'], w @ value, rtol=1e-5)
  cdf = np.cumsum([0, *w]) / w.sum()
  want = np.interp([0.1, 0.5], cdf, t)
  got = [out['distance_percentile_10'], out['distance_median']]
  np.testing.assert_allclose(got, want, rtol=1e-4)
  assert render.volumetric_rendering(None, w, t, 0.5, False) == {'rgb': None}


@pytest.mark.slow
def test_orientation_loss_counts_normals_that_face_away():
  w, v = f32([[0.5, 0.25]]), f32([[0, 0, 1]])
  n = f32([[[0, 0, -1], [0, 0.6, 0.8]]])
  np.testing.assert_allclose(ref_utils.orientation_loss(w, n, v), 0.5)
  exact = ref_utils.l2_normalize(f32([3e-8, 0, 4e-8]))
  np.testing.assert_allclose(exact, [0.6, 0, 0.8], rtol=1e-6)


# --- grids and images ---------------------------------------------------------


@pytest.mark.slow
def test_grids_are_interpolated_between_centres_of_cells():
  values = f32(GEN.normal(size=(4, 5, 6, 2)))
  at = f32([[1.5, 2.5, 3.5], [2.0, 2.5, 3.5], [0.25, 0.5, 0.5]])
  fn = jax.jit(grid_utils.trilerp, static_argnums=2)
  got = fn(values, at, 'grid')
  want = [
    values[1, 2, 3],
    (values[1, 2, 3] + values[2, 2, 3]) / 2,
    0.75 * values[0, 0, 0],
  ]
  np.testing.assert_allclose(got, want, rtol=1e-5)
  table = f32(GEN.normal(size=(16, 2)))
  np.testing.assert_array_equal(
    fn(table, at, 'hash'), jax.jit(hash_resample.hash_resample_3d)(table, at)
  )
  with pytest.raises(errors.ConfigError, match="'tree'"):
    grid_utils.trilerp(values, at, 'tree')


@pytest.mark.slow
def test_similarity_of_tiles_is_one_for_equal_ones_and_that_of_numpy():
  a, b = f32(GEN.uniform(size=(2, 3, 8, 8, 3)))
  fn = jax.jit(image_utils.tiled_ssim)
  np.testing.assert_allclose(fn(a, a), 1, rtol=1e-5)
  x, y = (np.asarray(v, np.float64).reshape(3, 64, 3) for v in (a, b))
  cov = ((x - x.mean(1, keepdims=True)) * (y - y.mean(1, keepdims=True))).mean(
    1
  )
  top = (2 * x.mean(1) * y.mean(1) + 1e-4) * (2 * cov + 9e-4)
  bottom = (x.mean(1) ** 2 + y.mean(1) ** 2 + 1e-4) * (
    x.var(1) + y.var(1) + 9e-4
  )
  np.testing.assert_allclose(fn(a, b), (top / bottom).mean(-1), rtol=1e-3)


@pytest.mark.slow
def test_a_histogram_is_a_picture_of_its_bars():
  picture = image_utils.render_histogram(
    np.array([0, 0, 0, 1, np.nan]), bins=2, range=(0, 1)
  )
  assert picture.shape == (480, 640, 3) and picture.dtype == np.uint8
  blue = (picture == (31, 119, 180)).all(-1)
  heights = blue.sum(0)
  # Three values in the left bar, one in the right.
  assert heights[200] == pytest.approx(3 * heights[500], rel=0.02)


def test_metrics_can_do_without_ssim():
  gt = GEN.uniform(size=(16, 16, 3))
  both = image_utils.MetricHarness()(gt + 0.1, gt, name_fn=str.upper)
  assert both['PSNR'] == pytest.approx(20.0) and 'SSIM' in both
  assert set(image_utils.MetricHarness(disable_ssim=True)(gt, gt + 1)) == {
    'psnr'
  }


# --- vectors ------------------------------------------------------------------


@pytest.mark.slow
def test_functions_of_spin_math_are_finite_at_their_edges():
  x = f32([0.0, 1e-9, 4.0])
  np.testing.assert_allclose(spin_math.safe_sqrt(x), [0, 0, 2])
  ones = spin_math.safe_sqrt(x, value_at_zero=1.0)
  np.testing.assert_allclose(ones, [1, 1, 2])
  np.testing.assert_allclose(
    spin_math.safe_log(x, value_at_zero=1.0), [0, 0, np.log(4)], rtol=1e-6
  )
  edges = f32([-2.0, 0.0, 2.0])
  np.testing.assert_allclose(
    spin_math.safe_acos(edges), [np.pi, np.pi / 2, 0], atol=1e-3
  )
  for fn in (
    lambda v: jnp.sum(spin_math.safe_sqrt(v)),
    lambda v: jnp.sum(spin_math.safe_acos(v)),
    lambda v: jnp.sum(spin_math.normalize(v)),
  ):
    assert np.isfinite(jax.jit(jax.grad(fn))(jnp.zeros(3))).all()
  v = f32([[3.0, 4.0], [0.0, 0.0]])
  np.testing.assert_allclose(spin_math.normalize(v), [[0.6, 0.8], [0, 0]])


@pytest.mark.slow
def test_homogeneous_transforms_move_points():
  points = f32(GEN.normal(size=(2, 4, 3)))
  np.testing.assert_allclose(
    spin_math.from_homogeneous(2 * spin_math.to_homogeneous(points)),
    points,
    rtol=1e-6,
  )
  r = rigid_body.exp_so3(f32([0, 0, np.pi / 2]))
  transform = rigid_body.rts_to_sim3(r, f32([1, 2, 3]), 2.0)
  got = spin_math.apply_homogeneous_transform(transform, points)
  x, y, z = np.moveaxis(np.asarray(points), -1, 0)
  want = np.stack([1 - 2 * y, 2 + 2 * x, 3 + 2 * z], -1)
  np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.slow
def test_rotations_take_the_eps_that_they_do_not_need():
  v = f32([0.3, -0.2, 0.5])
  q = quaternion.from_axis_angle(v, eps=1e-3)
  np.testing.assert_allclose(quaternion.to_axis_angle(q, 1e-3), v, rtol=1e-5)
  m = rigid_body.exp_so3(v, 1e-3)
  back = quaternion.from_rotation_matrix(m, 1e-3)
  np.testing.assert_allclose(back, q, atol=1e-6)
  np.testing.assert_allclose(rigid_body.log_so3(m, 1e-3), v, atol=1e-5)
  screw = jnp.concatenate([v, f32([1, 2, 3])])
  motion = rigid_body.exp_se3(screw, 1e-3)
  np.testing.assert_allclose(rigid_body.log_se3(motion, 1e-3), screw, atol=1e-4)
  both = rigid_body.se3_to_rp(motion)
  np.testing.assert_allclose(rigid_body.rp_to_se3(*both), motion, atol=1e-6)
  np.testing.assert_allclose(
    quaternion.exp(quaternion.log(q, 1e-3), 1e-3), q, atol=1e-6
  )
  np.testing.assert_allclose(rigid_body.unskew(rigid_body.skew(v)), v)


@pytest.mark.slow
def test_random_points_fill_a_shell():
  points = geometry.sample_random_points_on_sphere(
    jax.random.key(0), 2000, 1.0, 2.0
  )
  r = np.linalg.norm(points, axis=-1)
  assert r.min() >= 1 and r.max() <= 2
  np.testing.assert_allclose(r.mean(), 1.5, atol=0.03)  # 4 sigma
  np.testing.assert_allclose(points.mean(0), 0, atol=0.09)


@pytest.mark.slow
def test_angles_and_boxes_of_points():
  cosines = np.array([-1.5, 0.5, 1.0], np.float32)
  for fn in (geometry.cosine_to_deg, geometry.onp_cosine_to_deg):
    np.testing.assert_allclose(fn(cosines), [180, 60, 0], rtol=1e-5)
  xyza = GEN.uniform(size=(4, 4, 4))
  xyza[..., 3] = 0
  xyza[0, :2] = [[0.1, 0.9, 0.4, 1.0], [0.3, 0.2, 0.8, 1.0]]
  got = geometry.compute_bbox_from_xyza(xyza, 0.1)
  np.testing.assert_allclose(got, [[0, 0.1, 0.3], [0.4, 1.0, 0.9]], atol=1e-9)
  r, theta, phi = geometry.cartesian_to_spherical(f32([0, 0, 0]))
  assert r > 0 and theta == 0 and phi == 0
