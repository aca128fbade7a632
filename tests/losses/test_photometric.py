"""Colour losses: reference vectors, closed forms, weights."""

import json

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import pytest

from multinerf import errors, losses, types
from multinerf.losses import geometric, photometric

GOLDEN = [
  f'{kind}_{case}'
  for kind in ('mse', 'charb', 'rawnerf')
  for case in ('c0.0_lm1', 'c0.0_lm3', 'c0.1_lm1', 'c0.1_lm3', 'nomult')
]
# Rounding of a mean of 48 float32 numbers.
RTOL = 1e-5


def inputs(rgbs, target, weights, **fields):
  """Loss inputs of renderings that have colours only."""
  extra = fields.pop('extra', {})
  return losses.LossInputs(
    rays=model_util.no_rays(),
    rgb=jnp.asarray(target),
    lossmult=jnp.asarray(weights, jnp.float32),
    renderings=tuple(types.Rendering(rgb=rgb, **extra) for rgb in rgbs),
    levels=(),
    params=None,
    **fields,
  )


def normalised(lossmult, cfg, shape):
  """Weights of mean 1, as the step makes them from the rays' lossmult."""
  if cfg.disable_multiscale_loss:
    return np.ones(shape, np.float32)
  weights = np.broadcast_to(lossmult, shape)
  return weights / weights.mean()


def golden_config(data):
  return losses.LossConfig(**json.loads(str(data['params']))['config'])


def random_rgb(seed, shape=(16, 3)):
  gen = np.random.default_rng(seed)
  return jnp.asarray(gen.uniform(0.05, 0.95, shape), jnp.float32)


@pytest.mark.parametrize('case', GOLDEN)
def test_data_loss_and_gradients_match_the_reference(golden, case):
  data = golden('train_utils').case('compute_data_loss', case)
  cfg = golden_config(data)
  rgbs = [jnp.asarray(data[f'in_rgb{i}']) for i in range(3)]
  target = data['in_gt']
  weights = normalised(data['in_lossmult'], cfg, target.shape)

  def loss_fn(rgbs):
    loss, _, stats = photometric.data_loss(inputs(rgbs, target, weights), cfg)
    return loss, stats

  (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(rgbs)
  np.testing.assert_allclose(loss, data['out_loss'], rtol=RTOL)
  np.testing.assert_allclose(stats['mses'], data['out_stats_mses'], rtol=RTOL)
  for i, grad in enumerate(grads):
    np.testing.assert_allclose(
      grad, data[f'grad_rgb{i}'], rtol=1e-4, atol=1e-8, err_msg=str(i)
    )


@pytest.mark.parametrize('case', ['metrics', 'metrics_nonormals'])
def test_geometry_metrics_match_the_reference(golden, case):
  data = golden('train_utils').case('compute_data_loss', case)
  cfg = golden_config(data)
  rendered = {
    k[len('in_r_') :]: jnp.asarray(v)
    for k, v in data.items()
    if k.startswith('in_r_')
  }
  truth = {
    k: jnp.asarray(data[f'in_{k}']) for k in ('disps', 'normals', 'alphas')
  }
  rgbs = [jnp.asarray(data[f'in_rgb{i}']) for i in range(3)]
  weights = normalised(data['in_lossmult'], cfg, data['in_gt'].shape)
  got = inputs(rgbs, data['in_gt'], weights, extra=rendered, **truth)
  stats = geometric.geometry_stats(got, cfg)
  for name in ('disparity_mses', 'normal_maes'):
    np.testing.assert_allclose(
      stats[name], data[f'out_stats_{name}'], rtol=1e-4, err_msg=name
    )


def test_no_metrics_are_computed_unless_asked_for():
  rgb = random_rgb(0)
  got = inputs([rgb], rgb, np.ones((16, 3)))
  assert geometric.geometry_stats(got, losses.LossConfig()) == {}


def test_losses_of_single_values_are_their_formulas():
  cfg = losses.LossConfig(charb_padding=0.3)
  pred = jnp.float32([[0.5, 1.5, 0.25]])
  target = jnp.float32([[0.1, 0.4, 0.25]])
  np.testing.assert_allclose(
    photometric.mse(pred, target, cfg), [[0.16, 1.21, 0.0]], rtol=1e-6
  )
  np.testing.assert_allclose(
    photometric.charb(pred, target, cfg),
    [[0.5, np.sqrt(1.21 + 0.09), 0.3]],
    rtol=1e-6,
  )
  np.testing.assert_allclose(
    photometric.rawnerf(pred, target, cfg),
    [[(0.4 / 0.501) ** 2, (0.6 / 1.001) ** 2, 0.0]],
    rtol=1e-6,
  )


@pytest.mark.parametrize('scale', [0.01, 0.5])
def test_robust_losses_are_their_formulas_of_the_squared_error(scale):
  cfg = losses.LossConfig(robust_loss_scale=scale)
  pred = jnp.float32([[0.5, 1.5, 0.25]])
  target = jnp.float32([[0.1, 0.4, 0.25]])
  e4 = np.float64([[0.4, 1.1, 0.0]]) ** 4  # (error^2)^2
  got = {
    name: losses.DATA_LOSSES.get(name)(pred, target, cfg)
    for name in ('cauchy', 'geman-mcclure')
  }
  want = np.log1p(e4 / (2 * scale**2))
  np.testing.assert_allclose(got['cauchy'], want, rtol=1e-5)
  want = 2 * e4 / (e4 + 4 * scale**2)
  np.testing.assert_allclose(got['geman-mcclure'], want, rtol=1e-5)


@pytest.mark.parametrize('name', ['cauchy', 'geman-mcclure'])
def test_robust_losses_ignore_outliers_and_not_the_rest(name):
  cfg = losses.LossConfig()
  loss = losses.DATA_LOSSES.get(name)
  error = jnp.float32([[0.0, 0.1, 1.0]])
  grad = jax.grad(lambda p: jnp.sum(loss(p, jnp.zeros_like(p), cfg)))(error)
  assert grad[0, 0] == 0
  # The error of a whole colour pulls less than one of a tenth.
  assert 0 < grad[0, 2] < grad[0, 1]


def test_rawnerf_gradient_ignores_the_scale_and_stops_at_white():
  cfg = losses.LossConfig()
  grad = jax.grad(
    lambda p: jnp.sum(photometric.rawnerf(p, jnp.full_like(p, 0.4), cfg))
  )(jnp.float32([[0.5, 1.5, 0.0]]))
  want = [[2 * 0.1 / 0.501**2, 0.0, -2 * 0.4 / 0.001**2]]
  np.testing.assert_allclose(grad, want, rtol=1e-5)


@pytest.mark.parametrize('padding', [1e-3, 1e-12])
def test_charbonnier_gradient_is_finite_at_the_truth(padding):
  cfg = losses.LossConfig(charb_padding=padding)
  x = jnp.full((1, 3), 0.5, jnp.float32)
  grad = jax.grad(lambda p: jnp.sum(photometric.charb(p, x, cfg)))(x)
  np.testing.assert_array_equal(grad, 0)


@pytest.mark.parametrize('kind', ['mse', 'charb', 'rawnerf'])
@pytest.mark.parametrize('parts', [(8, 8), (4, 4, 4, 4), (1,) * 16])
def test_the_mean_of_shares_is_the_global_weighted_mean(kind, parts):
  cfg = losses.LossConfig(data_loss_type=kind, data_coarse_loss_mult=0.3)
  gen = np.random.default_rng(1)
  rgbs = [random_rgb(0), random_rgb(1)]
  target = random_rgb(2)
  # From 0 to 64: what a multi-scale data set has, and masked pixels.
  lossmult = np.float32(4 ** gen.integers(0, 4, (16, 1)) - 1)
  weights = normalised(lossmult, cfg, target.shape)
  level_loss = losses.DATA_LOSSES.get(kind)
  full = np.broadcast_to(lossmult, target.shape)
  level = [np.average(level_loss(r, target, cfg), weights=full) for r in rgbs]
  mses = [np.average((r - target) ** 2, weights=full) for r in rgbs]

  shares, start = [], 0
  for size in parts:
    cut = slice(start, start + size)
    share = inputs([r[cut] for r in rgbs], target[cut], weights[cut])
    shares.append(photometric.data_loss(share, cfg))
    start += size
  np.testing.assert_allclose(
    np.mean([loss for loss, _, _ in shares]),
    level[1] + 0.3 * level[0],
    rtol=RTOL,
  )
  np.testing.assert_allclose(
    np.mean([stats['mses'] for _, _, stats in shares], axis=0), mses, rtol=RTOL
  )


def test_coarse_loss_of_a_single_level_is_nothing():
  cfg = losses.LossConfig(data_coarse_loss_mult=0.5, data_loss_mult=2.0)
  pred, target = random_rgb(0), random_rgb(1)
  weights = np.ones((16, 3))
  loss, _, stats = photometric.data_loss(inputs([pred], target, weights), cfg)
  want = 2 * np.mean(photometric.charb(pred, target, cfg))
  np.testing.assert_allclose(loss, want, rtol=RTOL)
  assert stats['mses'].shape == (1,)


def test_batches_of_patches_have_the_same_loss_as_their_rays():
  cfg = losses.LossConfig()
  pred, target = random_rgb(0), random_rgb(1)
  weights = np.random.default_rng(0).random((16, 3))
  flat, _, _ = photometric.data_loss(inputs([pred], target, weights), cfg)
  patch = lambda x: jnp.reshape(x, (4, 2, 2, 3))
  patches, _, _ = photometric.data_loss(
    inputs([patch(pred)], patch(target), patch(weights)), cfg
  )
  np.testing.assert_allclose(patches, flat, rtol=RTOL)


def test_unknown_loss_names_the_gin_key():
  cfg = losses.LossConfig(data_loss_type='chrab')
  rgb = random_rgb(0)
  with pytest.raises(errors.ConfigError, match='Did you mean .charb'):
    photometric.data_loss(inputs([rgb], rgb, np.ones((16, 3))), cfg)


def test_a_new_loss_needs_no_change_elsewhere(monkeypatch):
  table = dict(losses.DATA_LOSSES._entries)
  monkeypatch.setattr(losses.DATA_LOSSES, '_entries', table)
  losses.DATA_LOSSES.register('l1')(lambda p, t, cfg: jnp.abs(p - t))
  pred, target = random_rgb(0), random_rgb(1)
  loss, _, _ = photometric.data_loss(
    inputs([pred], target, np.ones((16, 3))),
    losses.LossConfig(data_loss_type='l1'),
  )
  np.testing.assert_allclose(loss, np.mean(np.abs(pred - target)), rtol=RTOL)


class Counting:
  """A loss that remembers how often it was asked, and by which level."""

  def init_state(self, cfg):
    return {'count': jnp.asarray(cfg.charb_padding)}

  def __call__(self, pred, target, cfg, state):
    error = jnp.abs(pred - target) * state['count']
    return error, {'count': state['count'] + 1}, {'seen': jnp.max(pred)}


def test_a_loss_with_a_memory_needs_no_change_elsewhere(monkeypatch):
  table = dict(losses.DATA_LOSSES._entries)
  monkeypatch.setattr(losses.DATA_LOSSES, '_entries', table)
  losses.DATA_LOSSES.register('counting')(Counting())
  cfg = losses.LossConfig(
    data_loss_type='counting', charb_padding=2.0, data_coarse_loss_mult=0.1
  )
  state = losses.init_data_loss_state(cfg)
  assert state == {'count': 2.0}
  coarse, last, target = random_rgb(0), random_rgb(1), random_rgb(2)
  loss, state, stats = photometric.data_loss(
    inputs([coarse, last], target, np.ones((16, 3))), cfg, state
  )
  # Both levels see the state of the step before; one step counts once.
  want = 2 * np.mean(np.abs(last - target) + 0.1 * np.abs(coarse - target))
  np.testing.assert_allclose(loss, want, rtol=RTOL)
  assert state == {'count': 3.0}
  assert stats['seen'] == np.max(last) and stats['mses'].shape == (2,)


def test_losses_without_a_memory_start_and_stay_empty():
  cfg = losses.LossConfig(data_loss_type='mse')
  assert losses.init_data_loss_state(cfg) == {}
  rgb = random_rgb(0)
  _, state, stats = photometric.data_loss(
    inputs([rgb], rgb, np.ones((16, 3))), cfg
  )
  assert state == {} and set(stats) == {'mses'}
