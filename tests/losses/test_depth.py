"""Depth losses: loops over rays, invariances, devices, empty rays."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
import supervision_util

from multinerf import errors, losses

NUM_RAYS, NUM_INTERVALS = 16, 6
SIGMA = 0.3
NAMES = losses.DEPTH_LOSSES.names()
PUBLISHED = ('ds_nerf', 'l1', 'mse', 'scale_invariant', 'scale_shift', 'urf')


def random_batch(seed=0, known=0.6):
  """Rays from 2 to 6 whose depths are partly known, as float64."""
  gen = np.random.default_rng(seed)
  inner = np.sort(gen.uniform(2, 6, (NUM_RAYS, NUM_INTERVALS - 1)))
  ends = np.broadcast_to([2.0, 6.0], (NUM_RAYS, 2))
  tdist = np.sort(np.concatenate([inner, ends], -1))
  weights = gen.dirichlet(np.full(NUM_INTERVALS + 1, 0.5), NUM_RAYS)[:, 1:]
  trust = gen.uniform(0.2, 3, NUM_RAYS) * (gen.random(NUM_RAYS) < known)
  return dict(
    tdist=tdist,
    weights=weights,
    depths=gen.uniform(2.5, 5.5, NUM_RAYS),
    depth_weights=trust,
  )


def run(name, data, num_devices=1, mult=1.0):
  cfg = dict(depth_loss_type=name, depth_loss_mult=mult, depth_sigma=SIGMA)
  return supervision_util.spread('depth', cfg, data, num_devices)


def cdf(t, mean):
  return 0.5 * (1 + math.erf((t - mean) / (SIGMA * math.sqrt(2))))


def expected(t, w):
  return sum(w[i] * (t[i] + t[i + 1]) / 2 for i in range(len(w)))


def mean(t, w):
  return expected(t, w) / sum(w)


def loss_of_ray(name, t, w, depth):
  """Slow twin of the losses that look at one ray at a time."""
  if name == 'mse':
    return (expected(t, w) - depth) ** 2
  if name == 'l1':
    return abs(expected(t, w) - depth)
  total = 0.0
  for i in range(len(w)):
    target = cdf(t[i + 1], depth) - cdf(t[i], depth)
    if name == 'ds_nerf':
      total -= target * math.log(w[i] + 1e-5)
    elif t[i] < depth + 3 * SIGMA:
      total += (w[i] - target) ** 2
  return total


def slow_loss(name, data):
  """Twin by loops over rays, and by least squares where there is a fit."""
  trust = data['depth_weights'] / data['depth_weights'].sum()
  rays = list(zip(data['tdist'], data['weights'], data['depths'], strict=True))
  if name == 'scale_invariant':
    ratio = np.array([math.log(mean(t, w) / d) for t, w, d in rays])
    return np.sum(trust * ratio**2) - np.sum(trust * ratio) ** 2
  if name == 'scale_shift':
    predicted = np.array([mean(t, w) for t, w, _ in rays])
    root = np.sqrt(trust)
    system = np.stack([predicted, np.ones_like(predicted)], -1)
    fit = np.linalg.lstsq(
      system * root[:, None], data['depths'] * root, rcond=None
    )[0]
    return np.sum(trust * (system @ fit - data['depths']) ** 2)
  return sum(
    share * loss_of_ray(name, *ray)
    for share, ray in zip(trust, rays, strict=True)
  )


def correlated_batch(seed=0):
  """Depths that the predictions follow, so that the best scale is positive."""
  data = random_batch(seed)
  predicted = np.array(
    [mean(t, w) for t, w in zip(data['tdist'], data['weights'], strict=True)]
  )
  noise = np.random.default_rng(seed).normal(0, 0.3, NUM_RAYS)
  data['depths'] = np.abs(predicted * 0.8 + 1.5 + noise)
  return data


def test_the_published_losses_are_registered():
  assert NAMES == PUBLISHED


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('seed', range(3))
def test_losses_equal_their_slow_twins(name, seed):
  data = correlated_batch(seed)
  loss, _ = run(name, data)
  # Means of float32; the ridge of scale_shift adds up to 1e-4.
  np.testing.assert_allclose(loss, slow_loss(name, data), rtol=2e-4)


@pytest.mark.parametrize('name', NAMES)
def test_gradients_are_those_of_the_twins(name):
  data = correlated_batch(3)
  _, grad = run(name, data)
  gen = np.random.default_rng(0)
  for _ in range(3):
    step = gen.normal(size=data['weights'].shape) * data['weights'] * 1e-4
    high = slow_loss(name, data | {'weights': data['weights'] + step})
    low = slow_loss(name, data | {'weights': data['weights'] - step})
    # Central differences in float64 against float32 sums.
    np.testing.assert_allclose(
      np.sum(grad * 2 * step), high - low, rtol=2e-3, atol=1e-8
    )


@pytest.mark.parametrize('name', NAMES)
def test_one_device_and_eight_agree(name):
  # Eight shares hold from 0 to 2 known depths each: a mean per device would be
  # far off.
  data = correlated_batch(1)
  one, one_grad = run(name, data, 1)
  eight, eight_grad = run(name, data, 8)
  np.testing.assert_allclose(eight, one, rtol=1e-5)
  np.testing.assert_allclose(
    eight_grad, one_grad, rtol=1e-4, atol=1e-5 * np.abs(one_grad).max()
  )


@pytest.mark.parametrize('name', NAMES)
def test_rays_of_unknown_depth_contribute_nothing(name):
  data = random_batch(0)
  unknown = data['depth_weights'] == 0
  assert 0 < unknown.sum() < NUM_RAYS
  want, want_grad = run(name, data)
  for junk in (np.nan, np.inf, -1.0, 0.0):
    depths = np.where(unknown, junk, data['depths'])
    loss, grad = run(name, data | {'depths': depths})
    np.testing.assert_array_equal(loss, want)
    np.testing.assert_array_equal(grad, want_grad)
  np.testing.assert_array_equal(want_grad[unknown], 0)
  assert np.all(np.any(want_grad[~unknown] != 0, axis=-1))


@pytest.mark.parametrize('name', NAMES)
def test_a_batch_without_depths_costs_nothing(name):
  data = random_batch(0, known=0.0)
  loss, grad = run(name, data)
  assert loss == 0
  np.testing.assert_array_equal(grad, 0)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('kind', ['empty', 'solid', 'flat intervals', 'alike'])
def test_losses_and_gradients_are_finite(name, kind):
  data = random_batch(0)
  if kind == 'empty':
    data['weights'] = np.zeros_like(data['weights'])
  elif kind == 'solid':
    data['weights'] = np.zeros_like(data['weights'])
    data['weights'][:, 0] = 1
  elif kind == 'flat intervals':
    data['tdist'] = np.repeat(data['tdist'][:, :1], NUM_INTERVALS + 1, axis=1)
  else:  # one prediction everywhere: there is no best scale
    for key in ('tdist', 'weights'):
      data[key] = np.broadcast_to(data[key][:1], data[key].shape)
  loss, grad = run(name, data)
  assert np.isfinite(loss)
  assert np.all(np.isfinite(grad))


@pytest.mark.parametrize('name', ['scale_invariant', 'scale_shift'])
def test_unknown_scale_does_not_matter(name):
  data = correlated_batch(2)
  loss, grad = run(name, data)
  scaled, scaled_grad = run(name, data | {'depths': 2.7 * data['depths']})
  # scale_shift is in the units of the depths, squared.
  unit = 1 if name == 'scale_invariant' else 2.7**2
  np.testing.assert_allclose(scaled, unit * loss, rtol=1e-3)
  size = np.abs(grad).max()
  np.testing.assert_allclose(
    scaled_grad, unit * grad, rtol=1e-3, atol=1e-3 * unit * size
  )


@pytest.mark.parametrize('name', ['scale_invariant', 'scale_shift'])
def test_fog_cannot_stand_in_for_depth(name):
  # Thinner fog is no other depth: else it would fit depths of another scale.
  data = correlated_batch(2)
  loss, grad = run(name, data)
  thin = np.linspace(0.3, 1, NUM_RAYS)[:, None]
  thinner, _ = run(name, data | {'weights': data['weights'] * thin})
  np.testing.assert_allclose(thinner, loss, rtol=1e-4)
  along = np.sum(grad * data['weights'], axis=-1)
  np.testing.assert_allclose(along, 0, atol=1e-5 * np.abs(grad).max())


def test_an_unknown_shift_does_not_matter_to_scale_shift():
  data = correlated_batch(2)
  loss, _ = run('scale_shift', data)
  shifted, _ = run('scale_shift', data | {'depths': data['depths'] + 3})
  np.testing.assert_allclose(shifted, loss, rtol=1e-3)


def test_scale_shift_does_not_turn_the_scene_inside_out():
  data = correlated_batch(2)
  data['depths'] = 8 - data['depths']  # far is near
  loss, grad = run('scale_shift', data)
  np.testing.assert_array_equal(grad, 0)
  spread = np.average(
    (data['depths'] - np.average(data['depths'], weights=data['depth_weights']))
    ** 2,
    weights=data['depth_weights'],
  )
  np.testing.assert_allclose(loss, spread, rtol=1e-4)


def one_ray(weights, depth):
  tdist = np.linspace(2, 6, len(weights) + 1)[None]
  return dict(
    tdist=tdist,
    weights=np.array([weights]),
    depths=np.array([depth]),
    depth_weights=np.ones(1),
  )


@pytest.mark.parametrize('name', ['ds_nerf', 'urf'])
def test_a_surface_at_the_depth_is_best(name):
  # Intervals [2, 4] and [4, 6], far longer than sigma.
  right, _ = run(name, one_ray([0.0, 1.0], 5.0))
  foggy, _ = run(name, one_ray([0.3, 0.7], 5.0))
  wrong, _ = run(name, one_ray([1.0, 0.0], 5.0))
  assert right < 0.01 and right < foggy < wrong


def test_line_of_sight_leaves_alone_what_is_behind():
  # sigma is 0.3: the band around 2.5 ends at 3.4, in the second interval.
  _, grad = run('urf', one_ray([0.2, 0.1, 0.3, 0.2], 2.5))
  assert np.all(grad[0, :2] != 0) and np.all(grad[0, 2:] == 0)


def test_the_weight_of_the_loss_is_a_factor():
  data = random_batch(0)
  one, one_grad = run('mse', data)
  tenth, tenth_grad = run('mse', data, mult=0.1)
  np.testing.assert_allclose(tenth, 0.1 * one, rtol=1e-6)
  np.testing.assert_allclose(tenth_grad, 0.1 * one_grad, rtol=1e-5, atol=1e-9)


def test_an_unknown_loss_is_refused_before_any_step():
  cfg = losses.LossConfig(depth_loss_mult=1.0, depth_loss_type='dsnerf')
  with pytest.raises(errors.ConfigError, match='Config.depth_loss_type.*ds_n'):
    losses.active_regularizers(cfg)
  off = losses.LossConfig(depth_loss_type='dsnerf')
  assert 'depth' not in losses.active_regularizers(off)


def test_a_batch_of_a_loader_without_depths_is_refused():
  cfg = losses.LossConfig(depth_loss_mult=1.0)
  zeros = jnp.zeros((2, 3))
  with pytest.raises(errors.ConfigError, match='the batch has no depths'):
    losses.depth.depth(supervision_util.inputs(zeros, zeros[:, 1:]), cfg)
