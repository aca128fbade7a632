"""Losses on weights and normals: reference vectors and closed forms."""

import dataclasses

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import ops_util
import pytest

from multinerf import errors, losses, types
from multinerf.losses import geometric
from multinerf.ops import curves

UP = np.float32([0, 0, 1])


def level(sdist, weights, normals=None, normals_pred=None):
  field = types.FieldOutput(
    density=None, normals=normals, normals_pred=normals_pred
  )
  return types.Level(sdist=sdist, tdist=None, weights=weights, field=field)


def inputs(levels, viewdirs=None):
  empty = jnp.zeros((0, 3), jnp.float32)
  return losses.LossInputs(
    rays=model_util.no_rays(viewdirs=viewdirs),
    rgb=empty,
    lossmult=empty,
    renderings=(),
    levels=tuple(levels),
    params=None,
  )


@pytest.fixture
def history(golden):
  """The reference's three levels, and its viewdirs."""
  data = golden('train_utils')
  get = lambda name, i: jnp.asarray(data[f'ray_history/in_{name}{i}'])
  names = ('sdist', 'weights', 'normals', 'normals_pred')
  levels = [level(*(get(name, i) for name in names)) for i in range(3)]
  return inputs(levels, jnp.asarray(data['ray_history/in_viewdirs']))


@pytest.mark.parametrize('mult', [1.0, 0.3])
def test_interlevel_matches_the_reference(golden, history, mult):
  got = geometric.interlevel(
    history, losses.LossConfig(interlevel_loss_mult=mult)
  )
  want = golden('train_utils')[f'interlevel_loss/mult{mult}/out']
  np.testing.assert_allclose(got, want, rtol=1e-4)


@pytest.mark.parametrize('mult', [0.01, 1.0])
def test_distortion_matches_the_reference(golden, history, mult):
  got = geometric.distortion(
    history, losses.LossConfig(distortion_loss_mult=mult)
  )
  want = golden('train_utils')[f'distortion_loss/mult{mult}/out']
  np.testing.assert_allclose(got, want, rtol=1e-4)


def test_gradients_of_both_match_the_reference(golden, history):
  cfg = losses.LossConfig(interlevel_loss_mult=1.0, distortion_loss_mult=1.0)

  def total(parts):
    levels = [level(s, w) for s, w in parts]
    found = inputs(levels)
    return geometric.interlevel(found, cfg) + geometric.distortion(found, cfg)

  parts = [(x.sdist, x.weights) for x in history.levels]
  grads = jax.jit(jax.grad(total))(parts)
  data = golden('train_utils')
  for i, (ds, dw) in enumerate(grads):
    for name, got in (('sdist', ds), ('weights', dw)):
      want = data[f'interlevel_plus_distortion1/grad_{name}{i}']
      # golden/README.md: rounding of lossfun_outer's gradients reaches 2.3
      # times (1e-5 + 1e-4 |x|) between versions of JAX.
      np.testing.assert_allclose(
        got, want, rtol=3e-4, atol=3e-5, err_msg=f'{name}{i}'
      )


@pytest.mark.parametrize('target', ['normals', 'normals_pred'])
@pytest.mark.parametrize('mult, coarse', [(0.1, 0.01), (1.0, 0.0), (0.0, 0.5)])
def test_orientation_matches_the_reference(
  golden, history, target, mult, coarse
):
  cfg = losses.LossConfig(
    orientation_loss_mult=mult,
    orientation_coarse_loss_mult=coarse,
    orientation_loss_target=target,
  )
  want = golden('train_utils')[f'orientation_loss/{target}_{mult}_{coarse}/out']
  np.testing.assert_allclose(
    geometric.orientation(history, cfg), want, rtol=1e-4
  )


@pytest.mark.parametrize(
  'mult, coarse', [(0.0003, 3e-05), (1.0, 0.0), (0.0, 0.5)]
)
def test_predicted_normals_match_the_reference(golden, history, mult, coarse):
  cfg = losses.LossConfig(
    predicted_normal_loss_mult=mult, predicted_normal_coarse_loss_mult=coarse
  )
  want = golden('train_utils')[f'predicted_normal_loss/{mult}_{coarse}/out']
  np.testing.assert_allclose(
    geometric.predicted_normals(history, cfg), want, rtol=1e-4
  )


def test_distortion_of_one_full_interval_is_a_third_of_its_width():
  s = jnp.float32([[0.2, 0.5, 0.8]])
  w = jnp.float32([[1.0, 0.0]])
  cfg = losses.LossConfig(distortion_loss_mult=2.0)
  got = geometric.distortion(inputs([level(s, w)]), cfg)
  np.testing.assert_allclose(got, 2 * 0.3 / 3, rtol=1e-5)


def test_distortion_looks_at_the_last_level_only():
  s, w = ops_util.step_function(0, batch=(4,))
  other = level(*ops_util.step_function(1, batch=(4,)))
  cfg = losses.LossConfig(distortion_loss_mult=1.0)
  alone = geometric.distortion(inputs([level(s, w)]), cfg)
  both = geometric.distortion(inputs([other, level(s, w)]), cfg)
  np.testing.assert_array_equal(alone, both)


def test_interlevel_is_zero_for_proposals_that_equal_the_last_level():
  s, w = ops_util.step_function(0, batch=(4,))
  cfg = losses.LossConfig()
  got = geometric.interlevel(inputs([level(s, w)] * 3), cfg)
  # Differences of cumulative sums: rounding of 1e-7, squared over 1e-7.
  np.testing.assert_allclose(got, 0, atol=1e-6)
  half = level(s, w / 2)  # covers half of the weight
  assert geometric.interlevel(inputs([half, level(s, w)]), cfg) > 0.01


def test_interlevel_trains_proposals_and_never_the_last_level():
  cfg = losses.LossConfig()
  s, w = ops_util.step_function(0, batch=(4,))
  s2, w2 = ops_util.step_function(1, batch=(4,))

  def total(first, last):
    return geometric.interlevel(inputs([level(s, first), level(*last)]), cfg)

  first, last = jax.jit(jax.grad(total, argnums=(0, 1)))(w / 2, (s2, w2))
  assert np.any(np.asarray(first) != 0)
  for grad in last:
    np.testing.assert_array_equal(grad, 0)


def test_interlevel_of_a_single_level_is_zero():
  one = level(*ops_util.step_function(0, batch=(4,)))
  assert geometric.interlevel(inputs([one]), losses.LossConfig()) == 0


def facing(normal, weights):
  """A level of one ray that looks along -z, so that +z faces the eye."""
  n = jnp.broadcast_to(jnp.float32(normal), (*weights.shape, 3))
  return inputs(
    [level(None, weights, n, n)],
    jnp.broadcast_to(-UP, (*weights.shape[:-1], 3)),
  )


@pytest.mark.parametrize(
  'normal, want',
  [
    ([0, 0, 1], 0.0),  # towards the eye
    ([1, 0, 0], 0.0),  # across
    ([0, 0, -1], 0.5 * 0.7),  # away: |cos| = 1
    ([0.8, 0, -0.6], 0.5 * 0.7 * 0.36),
  ],
)
def test_orientation_penalises_weight_that_faces_away(normal, want):
  cfg = losses.LossConfig(orientation_loss_mult=0.5)
  weights = jnp.float32([[0.3, 0.4]])
  got = geometric.orientation(facing(normal, weights), cfg)
  np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-9)


def test_predicted_normals_cost_weight_times_one_minus_cosine():
  cfg = losses.LossConfig(predicted_normal_loss_mult=2.0)
  w = jnp.float32([[0.3, 0.4]])
  up = jnp.broadcast_to(jnp.asarray(UP), (1, 2, 3))
  cost = lambda a, b: geometric.predicted_normals(
    inputs([level(None, w, a, b)]), cfg
  )
  assert cost(up, up) == 0
  np.testing.assert_allclose(cost(up, -up), 2 * 0.7 * 2, rtol=1e-6)


def test_coarse_and_last_levels_have_weights_of_their_own():
  w = jnp.float32([[1.0]])
  away = jnp.asarray(-UP).reshape(1, 1, 3)
  levels = [level(None, w, away, away)] * 3
  view = jnp.asarray(-UP).reshape(1, 3)
  cfg = losses.LossConfig(
    orientation_loss_mult=5.0, orientation_coarse_loss_mult=0.25
  )
  got = geometric.orientation(inputs(levels, view), cfg)
  np.testing.assert_allclose(got, 5.0 + 2 * 0.25, rtol=1e-6)


def test_levels_of_weight_zero_need_no_normals():
  # Proposals without normals are the rule; only the last level has them.
  w = jnp.float32([[1.0]])
  away = jnp.asarray(-UP).reshape(1, 1, 3)
  levels = [level(None, w), level(None, w, away, -away)]
  view = jnp.asarray(-UP).reshape(1, 3)
  cfg = losses.LossConfig(
    orientation_loss_mult=1.0,
    orientation_loss_target='normals',
    predicted_normal_loss_mult=1.0,
  )
  assert geometric.orientation(inputs(levels, view), cfg) == 1
  assert geometric.predicted_normals(inputs(levels, view), cfg) == 2


def test_missing_normals_say_which_option_makes_them():
  w = jnp.float32([[1.0]])
  one = inputs([level(None, w)], jnp.asarray(UP).reshape(1, 3))
  cfg = losses.LossConfig(
    orientation_loss_mult=1.0, predicted_normal_loss_mult=1.0
  )
  with pytest.raises(errors.ConfigError, match='enable_pred_normals'):
    geometric.orientation(one, cfg)
  with pytest.raises(errors.ConfigError, match='disable_density_normals'):
    geometric.predicted_normals(one, cfg)


@pytest.mark.parametrize('empty', [False, True])
def test_gradients_are_finite_for_empty_rays_and_intervals(empty):
  s, w = ops_util.step_function(0, batch=(3,), empty=True)
  w = jnp.zeros_like(w) if empty else w
  cfg = losses.LossConfig(distortion_loss_mult=1.0)

  def total(w0, w1):
    found = inputs([level(s, w0), level(s, w1)])
    return geometric.interlevel(found, cfg) + geometric.distortion(found, cfg)

  grads = jax.jit(jax.grad(total, argnums=(0, 1)))(jnp.zeros_like(w), w)
  assert all(np.all(np.isfinite(g)) for g in grads)


def slow_distortion(t, w):
  """Mean over rays of the double sum (mip-NeRF 360, Eq. 15), in float64."""
  t, w = np.float64(t), np.float64(w)
  mid = (t[:, 1:] + t[:, :-1]) / 2
  pairs = np.abs(mid[:, :, None] - mid[:, None, :])
  between = np.einsum('ri,rj,rij->r', w, w, pairs)
  return np.mean(between + np.sum(w**2 * np.diff(t), axis=-1) / 3)


def metric_level(far):
  s, w = ops_util.step_function(3, batch=(4,))
  tdist = far ** (2 * s - 1)  # from 1 / far to far
  return dataclasses.replace(level(s, w), tdist=tdist)


@pytest.mark.parametrize('far', [3.0, 1e6])
def test_distortion_of_bent_metric_distances_is_the_double_sum(far):
  one = metric_level(far)
  kwargs = {'p': -0.25, 'premult': 10000.0}
  cfg = losses.LossConfig(
    distortion_loss_mult=0.01,
    distortion_loss_target='tdist',
    distortion_loss_curve_fn=(curves.power_ladder, kwargs),
  )
  got = geometric.distortion(inputs([one]), cfg)
  x = np.float64(one.tdist) * 1e4
  bent = 1.25 / -0.25 * ((x / 1.25 + 1) ** -0.25 - 1)  # behaviour.md 11.4
  # Distances near the supremum 5 have float32 steps of 5e-7.
  want = 0.01 * slow_distortion(bent, one.weights)
  np.testing.assert_allclose(got, want, rtol=1e-4)


def test_distortion_measures_the_target_and_scales_with_the_curve():
  one = metric_level(3.0)
  loss = lambda **options: geometric.distortion(
    inputs([one]), losses.LossConfig(distortion_loss_mult=1.0, **options)
  )
  np.testing.assert_allclose(
    loss(distortion_loss_target='tdist'),
    slow_distortion(one.tdist, one.weights),
    rtol=1e-5,
  )
  curve = (lambda t, by: by * t, {'by': 3.0})
  np.testing.assert_allclose(
    loss(distortion_loss_curve_fn=curve), 3 * loss(), rtol=1e-5
  )


def gradient_level(gradient):
  field = types.FieldOutput(
    density=None, raw_grad_density=jnp.asarray(gradient, jnp.float32)
  )
  return types.Level(sdist=None, tdist=None, weights=None, field=field)


def test_eikonal_wants_gradients_of_length_one():
  unit = gradient_level([[[0, 0.6, 0.8], [1, 0, 0]]])
  others = gradient_level([[[0, 0, 3], [0, 0, 0]]])  # (3 - 1)^2 and 1
  cfg = losses.LossConfig(eikonal_loss_mult=0.5)
  np.testing.assert_allclose(
    geometric.eikonal(inputs([others, unit]), cfg), 0, atol=1e-12
  )
  np.testing.assert_allclose(
    geometric.eikonal(inputs([unit, others]), cfg), 0.5 * 2.5, rtol=1e-6
  )
  cfg = losses.LossConfig(eikonal_coarse_loss_mult=2.0)
  np.testing.assert_allclose(
    geometric.eikonal(inputs([others, others, unit]), cfg), 2 * 5, rtol=1e-6
  )


def test_eikonal_slope_is_finite_for_every_length():
  cfg = losses.LossConfig(eikonal_loss_mult=1.0)
  total = lambda g: geometric.eikonal(inputs([gradient_level(g)]), cfg)
  # Lengths whose square float32 can hold.
  lengths = np.float32([0, 1e-38, 1e-25, 1e-19, 1e-10, 1, 1e10, 1e18])
  gradient = lengths[:, None, None] * np.float32([0.0, 0.6, 0.8])
  assert np.isfinite(jax.grad(total)(jnp.asarray(gradient))).all()


def test_eikonal_without_gradients_names_the_options():
  cfg = losses.LossConfig(eikonal_loss_mult=1.0)
  one = level(*ops_util.step_function(0, batch=(4,)))
  with pytest.raises(errors.ConfigError, match='disable_density_normals'):
    geometric.eikonal(inputs([one]), cfg)
