"""RobustNeRF's masks: reference vectors, a slow twin, hand-made patches."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import losses, parallel
from multinerf.losses import robustnerf

CASES = [f'c{i}_th{t}' for i in range(4) for t in ('0.5', '1.0', '3.0')]


def config(**options):
  return losses.LossConfig(
    data_loss_type='robustnerf', **({'enable_robustnerf_loss': True} | options)
  )


def case_of(data):
  """(options, threshold) of a golden case."""
  params = json.loads(str(data['params']))
  options = json.loads(params['_config'])
  options.pop('patch_size')  # the shape says it
  return options, params['_loss_threshold']


def on_devices(fn, num_devices=1):
  return jax.pmap(
    fn, axis_name=parallel.AXIS, devices=jax.devices()[:num_devices]
  )


@functools.cache
def compiled(num_devices, options):
  """The registered loss; leading axis: devices."""
  cfg = config(**dict(options))
  loss = losses.DATA_LOSSES.get('robustnerf')
  return on_devices(lambda p, t, s: loss(p, t, cfg, s), num_devices)


def call(pred, target, threshold, num_devices=1, **options):
  """(loss, next threshold, stats) of a whole batch, stats as the step has."""
  split = lambda x: np.reshape(x, (num_devices, -1, *x.shape[1:]))
  state = {'threshold': np.full(num_devices, threshold, np.float32)}
  fn = compiled(num_devices, tuple(options.items()))
  loss, state, stats = fn(split(pred), split(target), state)
  thresholds = np.asarray(state['threshold'])
  assert np.all(thresholds == thresholds[0])  # the same on every device
  stats = {k: np.mean(v) for k, v in stats.items()}
  return np.reshape(loss, np.shape(pred)), thresholds[0], stats


@pytest.mark.parametrize('case', CASES)
def test_mask_threshold_and_statistics_match_the_reference(golden, case):
  data = golden('robustnerf').case('robustnerf_mask', case)
  options, threshold = case_of(data)
  squared = data['in_errors']
  # Squared errors of colours sqrt(e) against black.
  loss, after, stats = call(
    np.sqrt(squared), np.zeros_like(squared), threshold, **options
  )
  # A mask is exact. Errors go through a square root and back: 1e-7.
  np.testing.assert_allclose(loss, squared * data['out_0'], rtol=1e-5)
  names = {k[len('out_1_') :] for k in data if k.startswith('out_1_')}
  assert set(stats) == names
  for name in names:
    np.testing.assert_allclose(
      stats[name], data[f'out_1_{name}'], rtol=1e-5, err_msg=name
    )
  np.testing.assert_allclose(after, data['out_1_loss_threshold'], rtol=1e-5)


@pytest.mark.parametrize('case', ['8_16', '4_8', '3_8', '8_8', '5_16'])
def test_inner_patch_matches_the_reference(golden, case):
  want = golden('robustnerf').case('inner_patch_mask', case)['out']
  got = robustnerf.inner_patch(*map(int, case.split('_')))
  np.testing.assert_array_equal(got, want)


def twin(errors, threshold, cfg):
  """The same in loops, as Sec. 3.3 of the paper tells it."""
  num, p = errors.shape[:2]
  small = errors[..., 0] < threshold
  side = cfg.robustnerf_smoothed_filter_size
  before = (side - 1) // 2
  near = np.zeros_like(small)
  patch = np.zeros_like(small)
  first = (p - cfg.robustnerf_inner_patch_size) // 2
  last = first + cfg.robustnerf_inner_patch_size
  for n in range(num):
    for y in range(p):
      for x in range(p):
        rows = slice(max(y - before, 0), y - before + side)
        columns = slice(max(x - before, 0), x - before + side)
        share = small[n, rows, columns].sum() / side**2
        near[n, y, x] = share > 1 - cfg.robustnerf_smoothed_inlier_quantile
    share = np.mean(small[n] | near[n])
    if share > 1 - cfg.robustnerf_inner_patch_inlier_quantile:
      patch[n, first:last, first:last] = True
  return small, near, patch


@pytest.mark.parametrize('side', [1, 2, 3, 4, 5])
@pytest.mark.parametrize('p, inner', [(2, 1), (6, 3), (7, 4), (8, 8)])
def test_masks_equal_loops_over_pixels(p, inner, side):
  errors = np.random.default_rng(p + side).random((3, p, p, 1))
  cfg = config(
    robustnerf_smoothed_filter_size=side,
    robustnerf_inner_patch_size=inner,
    robustnerf_smoothed_inlier_quantile=0.57,
    robustnerf_inner_patch_inlier_quantile=0.43,
  )
  got = robustnerf.inlier_mask(jnp.asarray(errors), 0.5, cfg)
  want = twin(errors, 0.5, cfg)
  values = (got.small_error, got.near_inliers, got.in_inlier_patch)
  for ours, theirs in zip(values, want, strict=True):
    np.testing.assert_array_equal(ours[..., 0], theirs)
  np.testing.assert_array_equal(got.mask[..., 0], want[0] | want[1] | want[2])


def test_a_distractor_is_masked_and_a_fine_detail_is_not():
  # Errors of 4 on a 4x8 block (a distractor), and on one pixel (a detail that
  # is not learned yet); 0.1 elsewhere.
  errors = np.full((2, 8, 8, 1), 0.1)
  errors[0, :4] = 4
  errors[1, 5, 5] = 4
  cfg = config(robustnerf_inner_patch_size=2)
  mask = np.asarray(robustnerf.inlier_mask(jnp.asarray(errors), 1.0, cfg).mask)
  assert not mask[0, :3].any() and mask[0, 4:].all()
  assert mask[1].all()


def test_only_inliers_have_a_gradient_and_the_mask_has_none():
  gen = np.random.default_rng(0)
  pred, target = gen.random((2, 4, 8, 8, 3)).astype(np.float32)
  loss, _, _ = call(pred, target, 0.1)
  data_loss = losses.DATA_LOSSES.get('robustnerf')

  def total(pred, target, state):
    return jnp.sum(data_loss(pred, target, config(), state)[0])

  state = {'threshold': np.float32([0.1])}
  grad = on_devices(jax.grad(total))(pred[None], target[None], state)[0]
  inlier = np.any(loss > 0, axis=-1, keepdims=True)
  assert 0.1 < inlier.mean() < 0.9
  np.testing.assert_allclose(grad, 2 * (pred - target) * inlier, rtol=1e-6)


def test_eight_devices_find_the_threshold_of_one():
  gen = np.random.default_rng(1)
  # Patches differ in error, so that the mean of their quantiles is another
  # number: this is where the reference depends on the devices.
  pred = gen.random((8, 4, 4, 3)).astype(np.float32)
  pred *= np.arange(1, 9, dtype=np.float32)[:, None, None, None]
  target = np.zeros_like(pred)
  options = dict(robustnerf_inner_patch_size=2, robustnerf_inlier_quantile=0.8)
  one = call(pred, target, 2.0, 1, **options)
  eight = call(pred, target, 2.0, 8, **options)
  np.testing.assert_array_equal(eight[0], one[0])
  np.testing.assert_array_equal(eight[1], one[1])
  for name in one[2]:
    np.testing.assert_allclose(eight[2][name], one[2][name], rtol=1e-6)
  errors = np.mean(pred**2, axis=-1)
  np.testing.assert_allclose(one[1], np.quantile(errors, 0.8), rtol=1e-6)
  per_patch = np.mean([np.quantile(e, 0.8) for e in errors])
  assert abs(per_patch - one[1]) > 0.1 * one[1]


def test_switched_off_it_is_the_squared_error_of_any_batch():
  gen = np.random.default_rng(2)
  pred, target = gen.random((2, 16, 3)).astype(np.float32)
  loss, _, stats = call(pred, target, 0.0, enable_robustnerf_loss=False)
  np.testing.assert_allclose(loss, (pred - target) ** 2, rtol=1e-6)
  assert stats['mask'] == 1


def test_a_nan_leaves_the_threshold_as_it_was():
  pred = np.full((1, 4, 4, 3), 0.5, np.float32)
  target = np.zeros_like(pred)
  assert call(pred, target, 0.7, robustnerf_inner_patch_size=2)[1] == 0.25
  pred[0, 0, 0, 0] = np.nan
  after = call(pred, target, 0.7, robustnerf_inner_patch_size=2)[1]
  assert after == np.float32(0.7)


def test_the_first_threshold_keeps_every_pixel():
  state = losses.init_data_loss_state(config())
  assert state == {'threshold': 1.0}
  assert state['threshold'].dtype == jnp.float32
