"""Losses on supervised normals: loops over rays, devices, empty rays."""

import jax.numpy as jnp
import numpy as np
import pytest
import supervision_util

from multinerf import errors, losses

NUM_RAYS, NUM_INTERVALS = 16, 5
NAMES = losses.NORMAL_LOSSES.names()


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def random_batch(seed=0):
  """Rays whose true normals are partly transparent or unknown, as float64."""
  gen = np.random.default_rng(seed)
  weights = gen.dirichlet(np.ones(NUM_INTERVALS + 1), NUM_RAYS)[:, 1:]
  # As read from 8 bits or averaged, not quite of length 1.
  truth = unit(gen.normal(size=(NUM_RAYS, 3))) * gen.uniform(
    0.9, 1.1, (NUM_RAYS, 1)
  )
  truth[3] = 0
  alphas = gen.random(NUM_RAYS)
  alphas[::4] = 0
  shape = (NUM_RAYS, NUM_INTERVALS, 3)
  return dict(
    tdist=np.zeros((NUM_RAYS, NUM_INTERVALS + 1)),
    weights=weights,
    normals=unit(gen.normal(size=shape)),
    normals_pred=unit(gen.normal(size=shape)),
    truth=truth,
    alphas=alphas,
  )


def run(name, data, num_devices=1, **options):
  cfg = dict(normal_loss_type=name, normal_loss_mult=1.0, **options)
  return supervision_util.spread('normal', cfg, data, num_devices)


def slow_loss(name, data, which='normals'):
  """Twin by a loop over rays."""
  total = count = 0.0
  for w, n, truth, alpha in zip(
    data['weights'], data[which], data['truth'], data['alphas'], strict=True
  ):
    if alpha == 0 or not truth.any():
      continue
    pred, truth = w @ n, unit(truth)
    if name == 'cosine':
      error = 1 - unit(pred) @ truth
    elif name == 'l2':
      error = sum((pred[i] - truth[i]) ** 2 for i in range(3))
    else:
      error = sum(abs(pred[i] - truth[i]) for i in range(3)) + 1 - pred @ truth
    total, count = total + alpha * error, count + alpha
  return total / count


def test_the_published_losses_are_registered():
  assert NAMES == ('cosine', 'l1_cosine', 'l2')


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('which', ['normals', 'normals_pred'])
def test_losses_equal_their_slow_twins(name, which):
  data = random_batch(0)
  loss, _ = run(name, data, normal_loss_target=which)
  want = slow_loss(name, data, which)
  np.testing.assert_allclose(loss, want, rtol=1e-5)  # means of float32


@pytest.mark.parametrize('name', NAMES)
def test_one_device_and_eight_agree(name):
  data = random_batch(1)
  one, one_grad = run(name, data, 1)
  eight, eight_grad = run(name, data, 8)
  np.testing.assert_allclose(eight, one, rtol=1e-5)
  np.testing.assert_allclose(eight_grad, one_grad, rtol=1e-4, atol=1e-6)
  none = (data['alphas'] == 0) | ~data['truth'].any(-1)
  np.testing.assert_array_equal(one_grad[none], 0)
  assert np.all(np.any(one_grad[~none] != 0, axis=-1))


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('kind', ['empty', 'solid', 'transparent'])
def test_losses_and_gradients_are_finite(name, kind):
  data = random_batch(0)
  if kind == 'transparent':
    data['alphas'] = 0 * data['alphas']
  else:
    data['weights'] = np.zeros_like(data['weights'])
    data['weights'][:, 0] = kind == 'solid'
  loss, grad = run(name, data)
  assert np.isfinite(loss) and np.all(np.isfinite(grad))
  if kind == 'transparent':
    assert loss == 0
    np.testing.assert_array_equal(grad, 0)


@pytest.mark.parametrize('name', NAMES)
def test_the_true_normal_is_best_and_the_opposite_worst(name):
  data = random_batch(0)
  data['truth'][3] = [0, 0, 1]
  data['weights'] = np.zeros_like(data['weights'])
  data['weights'][:, 2] = 1
  found = []
  for angle in (0, 0.5, 1.5, np.pi):
    n, across = unit(data['truth']), unit(np.cross(data['truth'], [0.3, 1, 0]))
    turned = np.cos(angle) * n + np.sin(angle) * across
    normals = np.broadcast_to(turned[:, None], data['normals'].shape)
    found.append(run(name, data | {'normals': normals})[0])
  assert abs(found[0]) < 1e-5 and found == sorted(found)


def test_without_opacities_known_normals_count_alike():
  data = random_batch(0)
  data['alphas'] = np.ones(NUM_RAYS)
  want = slow_loss('l2', data)
  del data['alphas']
  loss, _ = run('l2', data)
  np.testing.assert_allclose(loss, want, rtol=1e-5)


def test_an_unknown_loss_is_refused_before_any_step():
  cfg = losses.LossConfig(normal_loss_mult=1.0, normal_loss_type='cos')
  with pytest.raises(errors.ConfigError, match='Config.normal_loss_type'):
    losses.active_regularizers(cfg)
  off = losses.LossConfig(normal_loss_type='cos')
  assert 'normal' not in losses.active_regularizers(off)


@pytest.mark.parametrize(
  'target, option',
  [
    ('normals', 'disable_density_normals = False'),
    ('normals_pred', 'enable_pred_normals = True'),
  ],
)
def test_a_field_without_normals_is_told_which_option_makes_them(
  target, option
):
  cfg = losses.LossConfig(normal_loss_mult=1.0, normal_loss_target=target)
  weights = jnp.zeros((2, 3))
  without = supervision_util.inputs(None, weights)
  with pytest.raises(errors.ConfigError, match=f'NerfMLP.{option}'):
    losses.normals.normal(without, cfg)
  some = jnp.zeros((2, 3, 3))
  no_truth = supervision_util.inputs(None, weights, some, some)
  with pytest.raises(errors.ConfigError, match='batch has no normals'):
    losses.normals.normal(no_truth, cfg)
