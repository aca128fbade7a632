"""Tests of volrend."""

import dataclasses

import golden_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf.ops import volrend

BATCHES = [(), (2,), (2, 3)]
# Compiled once instead of operation by operation.
alpha_weights = jax.jit(
  volrend.alpha_weights, static_argnames='opaque_background'
)


def random_rays(seed, batch, n=8):
  gen = np.random.default_rng(seed)
  density = gen.exponential(size=(*batch, n))
  tdist = np.cumsum(gen.uniform(0.05, 0.5, size=(*batch, n + 1)), axis=-1)
  directions = gen.normal(size=(*batch, 3))
  return tuple(
    jnp.asarray(x, jnp.float32) for x in (density, tdist, directions)
  )


# --- against the reference -------------------------------------------------


@pytest.mark.parametrize('case', ['opaque0', 'opaque1'])
def test_alpha_weights_and_gradients_match_the_reference(golden, case):
  golden_util.check_case(
    golden('render'), 'compute_alpha_weights_w', case, alpha_weights
  )


@pytest.mark.parametrize('case', ['opaque0', 'opaque1'])
def test_opacity_and_transmittance_match_the_reference(golden, case):
  def fn(density, tdist, dirs, opaque_background):
    depth = volrend.optical_depth(density, tdist, dirs)
    return volrend.composite(depth, opaque_background=opaque_background)

  golden_util.check_case(golden('render'), 'compute_alpha_weights', case, fn)


RENDER_CASES = [
  f'opaque{o}_bg{b}_extras{e}' for o in '01' for b in '01' for e in '01'
]
RENDER_CASES += [f'opaque{o}_bgvec_extras{e}' for o in '01' for e in '01']


@pytest.mark.parametrize('case', [*RENDER_CASES, 'zero_weights'])
def test_rendering_matches_the_reference(golden, case):
  data = golden('render').case('volumetric_rendering', case)

  def fn(rgbs, weights, tdist, bg_rgbs, t_far, compute_extras=True):
    extras = {
      name[len('in_extras_') :]: jnp.asarray(value)
      for name, value in data.items()
      if name.startswith('in_extras_')
    }
    out = volrend.volumetric_rendering(
      rgbs,
      weights,
      tdist,
      bg_rgbs,
      t_far,
      compute_extras=compute_extras,
      extras={**extras, 'normals_pred': None},
    )
    # jax orders the leaves of a dict by name, as upstream's rendering has them.
    return {
      f.name: getattr(out, f.name)
      for f in dataclasses.fields(out)
      if getattr(out, f.name) is not None
    }

  golden_util.check_case(
    golden('render'),
    'volumetric_rendering',
    case,
    fn,
    args=('rgbs', 'weights', 'tdist', 'bg_rgbs', 't_far'),
  )


# --- weights ---------------------------------------------------------------


@pytest.mark.parametrize('batch', BATCHES)
def test_weights_equal_a_loop_over_the_intervals(batch):
  density, tdist, directions = random_rays(0, batch)
  got = np.asarray(alpha_weights(density, tdist, directions))
  density, tdist, directions = (
    np.asarray(x, np.float64) for x in (density, tdist, directions)
  )
  left = np.ones(batch)
  length = np.linalg.norm(directions, axis=-1)
  for i in range(density.shape[-1]):
    width = (tdist[..., i + 1] - tdist[..., i]) * length
    passed = np.exp(-density[..., i] * width)
    np.testing.assert_allclose(got[..., i], left * (1 - passed), atol=1e-6)
    left = left * passed


def test_weights_and_what_is_left_sum_to_one():
  density, tdist, directions = random_rays(1, (16,))
  depth = volrend.optical_depth(density, tdist, directions)
  weights, alpha, transmittance = volrend.composite(depth)
  left = transmittance[:, -1] * (1 - alpha[:, -1])
  # Eight roundings.
  np.testing.assert_allclose(weights.sum(-1) + left, 1, atol=1e-6)


def test_weights_of_an_opaque_background_sum_to_one():
  weights = alpha_weights(*random_rays(2, (16,)), opaque_background=True)
  np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)


def test_weights_do_not_depend_on_how_a_ray_is_parametrised():
  density, tdist, directions = random_rays(3, (4,))
  want = alpha_weights(density, tdist, directions)
  got = alpha_weights(density, tdist / 4, directions * 4)
  np.testing.assert_allclose(got, want, rtol=1e-6)


def test_splitting_an_interval_leaves_the_other_weights_alone():
  density, tdist, directions = random_rays(4, (3,), n=4)
  weights = alpha_weights(density, tdist, directions)
  mid = 0.5 * (tdist[:, 1:2] + tdist[:, 2:3])
  split = alpha_weights(
    jnp.concatenate([density[:, :2], density[:, 1:]], -1),
    jnp.concatenate([tdist[:, :2], mid, tdist[:, 2:]], -1),
    directions,
  )
  merged = jnp.concatenate(
    [split[:, :1], split[:, 1:2] + split[:, 2:3], split[:, 3:]], -1
  )
  np.testing.assert_allclose(merged, weights, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('opaque', [False, True])
def test_weights_and_gradients_are_finite_for_every_density_and_width(opaque):
  sizes = np.r_[0, 10.0 ** np.arange(-36, 38, 6), np.inf]
  # Every density in first, middle and last position, on rays from empty to
  # 1e10 long, with an interval of length 0 among the others.
  density = np.stack([sizes, np.roll(sizes, 1), sizes], axis=-1)
  widths = np.array([[0, 1, 0], [1e-30, 0, 1e-3], [1, 1e10, 1]])
  tdist = np.concatenate([np.zeros((3, 1)), np.cumsum(widths, -1)], axis=-1)
  density, tdist = np.broadcast_arrays(
    np.pad(density, ((0, 0), (0, 1)))[:, None], tdist[None]
  )
  density = jnp.asarray(density[..., :3], jnp.float32)
  tdist = jnp.asarray(tdist, jnp.float32)
  directions = jnp.array([0.0, 3.0, 4.0]) * jnp.ones(density.shape)

  def weights(*args):
    return alpha_weights(*args, opaque_background=opaque)

  out = weights(density, tdist, directions)
  assert np.all(out >= 0) and np.all(out.sum(-1) <= 1 + 1e-6)
  pick = jnp.array([1.0, -2.0, 3.0])
  grads = jax.grad(lambda *a: (weights(*a) * pick).sum(), argnums=(0, 1, 2))
  for grad in jax.jit(grads)(density, tdist, directions):
    assert np.all(np.isfinite(grad))


def test_infinite_density_hides_what_is_behind_it():
  density = jnp.array([0.0, jnp.inf, 5.0])
  tdist = jnp.array([0.0, 1.0, 2.0, 3.0])
  weights = alpha_weights(density, tdist, jnp.array([0.0, 0.0, 1.0]))
  np.testing.assert_array_equal(weights, [0, 1, 0])


def test_ray_without_direction_is_empty_and_has_gradients():
  density, tdist, _ = random_rays(5, ())
  fn = lambda d: alpha_weights(density, tdist, d).sum()
  value, grad = jax.value_and_grad(fn)(jnp.zeros(3))
  assert value == 0 and np.all(np.isfinite(grad))


def test_wrong_number_of_endpoints_is_refused():
  with pytest.raises(ValueError, match='one entry more'):
    alpha_weights(jnp.ones(3), jnp.arange(3.0), jnp.ones(3))


# --- rendering -------------------------------------------------------------


def render(weights, tdist, **kwargs):
  rgbs = jnp.full((*weights.shape, 3), 0.25)
  far = tdist[..., -1:] + 1
  return volrend.volumetric_rendering(
    rgbs, weights, tdist, 1.0, far, compute_extras=True, **kwargs
  )


@pytest.mark.parametrize('batch', BATCHES)
def test_background_takes_the_weight_that_is_left(batch):
  density, tdist, directions = random_rays(6, batch)
  weights = alpha_weights(density, tdist, directions)
  out = render(weights, tdist)
  acc = np.asarray(weights.sum(-1))
  np.testing.assert_allclose(out.acc, acc, rtol=1e-6)
  want = np.broadcast_to((1 - 0.75 * acc)[..., None], (*batch, 3))
  np.testing.assert_allclose(out.rgb, want, rtol=1e-5)


def test_ray_without_weights_renders_finite_values_and_gradients():
  tdist = jnp.array([[0.0, 0.0, 1.0, 4.0], [2.0, 3.0, 5.0, 8.0]])

  def total(weights, tdist):
    out = render(weights, tdist, extras={'roughness': jnp.ones((2, 3, 1))})
    return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(out))

  value, grads = jax.jit(jax.value_and_grad(total, (0, 1)))(
    jnp.zeros((2, 3)), tdist
  )
  assert np.isfinite(value)
  assert all(np.all(np.isfinite(g)) for g in grads)
  out = render(jnp.zeros((2, 3)), tdist)
  np.testing.assert_array_equal(out.acc, 0)
  np.testing.assert_array_equal(out.rgb, 1)


def test_distances_of_a_thin_surface_are_where_it_is():
  tdist = jnp.array([1.0, 2.0, 2.01, 5.0])
  out = render(jnp.array([0.0, 1.0, 0.0]), tdist)
  for name in ('mean', 'percentile_5', 'median', 'percentile_95'):
    assert 2 <= getattr(out, f'distance_{name}') <= 2.01, name


def test_missing_weight_counts_as_far_unless_told_otherwise():
  tdist = jnp.array([1.0, 2.0, 3.0])
  weights = jnp.array([0.2, 0.2])
  assert render(weights, tdist).distance_median > 3
  hit_only = volrend.volumetric_rendering(
    None, weights, tdist, 0.0, None, compute_extras=True
  )
  np.testing.assert_allclose(hit_only.distance_median, 2, rtol=1e-6)


def test_missing_colours_are_black():
  tdist = jnp.array([1.0, 2.0, 3.0])
  weights = jnp.array([0.5, 0.25])
  out = volrend.volumetric_rendering(None, weights, tdist, 0.8, tdist[-1:])
  np.testing.assert_allclose(out.rgb, [0.2, 0.2, 0.2], rtol=1e-6)
  assert out.acc is None


def test_jit_changes_nothing():
  density, tdist, directions = random_rays(7, (2, 3))
  fn = lambda *a: render(alpha_weights(*a), a[1])
  plain, jitted = (
    fn(density, tdist, directions),
    jax.jit(fn)(density, tdist, directions),
  )
  for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(jitted), strict=True):
    assert a.dtype == jnp.float32
    np.testing.assert_allclose(a, b, rtol=1e-5)
