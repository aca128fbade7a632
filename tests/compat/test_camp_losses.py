"""camp_zipnerf's loss_utils against sums written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import errors
from multinerf.compat.camp_zipnerf import loss_utils, stepfun, utils

GEN = np.random.default_rng(0)


def level(n):
  unit = lambda: _unit(GEN.normal(size=(3, n, 3)))
  s = np.sort(GEN.uniform(size=(3, n + 1)), -1)
  s[:, 0], s[:, -1] = 0, 1
  values = {
    'sdist': s,
    'tdist': 2 + 3 * s,
    'weights': GEN.dirichlet(np.ones(n), 3) * 0.8,
    'normals': unit(),
    'normals_pred': unit(),
    'raw_grad_density': GEN.normal(size=(3, n, 3)),
    'density': None,
  }
  as_jax = lambda v: None if v is None else jnp.asarray(v, jnp.float32)
  return {k: as_jax(v) for k, v in values.items()}


def _unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


HISTORY = [level(6), level(5), level(4)]
RAYS = utils.Rays(
  viewdirs=jnp.asarray(_unit(GEN.normal(size=(3, 3))), jnp.float32)
)


@pytest.mark.slow
def test_the_interlevel_loss_compares_blurred_weights():
  fn = jax.jit(
    lambda h: loss_utils.spline_interlevel_loss(
      h, mults=(0.5, 2.0), blurs=(0.03, 0.003)
    )
  )
  got = fn(HISTORY)
  last = HISTORY[-1]
  for value, mult, blur, prop in zip(
    got, (0.5, 2.0), (0.03, 0.003), HISTORY, strict=False
  ):
    target = stepfun.blur_and_resample_weights(
      prop['sdist'], last['sdist'], last['weights'], blur
    )
    w = np.asarray(prop['weights'])
    want = mult * np.mean(np.maximum(0, target - w) ** 2 / (w + 1.2e-7))
    np.testing.assert_allclose(value, want, rtol=1e-4)
  one = loss_utils.spline_interlevel_loss(
    HISTORY, mults=(0.0, 2.0), blurs=0.003
  )
  np.testing.assert_allclose(one, got[1:], rtol=1e-5)
  with pytest.raises(errors.ConfigError, match='3 entries'):
    loss_utils.spline_interlevel_loss(HISTORY, mults=(1.0, 1.0, 1.0))


@pytest.mark.slow
def test_the_distortion_loss_bends_what_it_is_told_to():
  fn = lambda **kw: loss_utils.distortion_loss(HISTORY, **kw)
  w = np.asarray(HISTORY[-1]['weights'])
  for options, ends in (
    ({}, HISTORY[-1]['sdist']),
    (
      {'target': 'tdist', 'curve_fn': jnp.log},
      np.log(HISTORY[-1]['tdist']),
    ),
  ):
    t = np.asarray(ends)
    mid = (t[:, 1:] + t[:, :-1]) / 2
    pairs = np.abs(mid[:, :, None] - mid[:, None])
    want = np.einsum('bi,bj,bij->b', w, w, pairs)
    want += (w**2 * np.diff(t)).sum(-1) / 3
    got = fn(mult=2.0, **options)
    np.testing.assert_allclose(got, 2 * want.mean(), rtol=1e-4)


def weighted(values, mults=(0.5, 0.5, 2.0)):
  return sum(m * v for m, v in zip(mults, values, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize('target', ['normals', 'normals_pred'])
def test_the_orientation_loss_counts_normals_that_face_away(target):
  fn = lambda stop: lambda h: loss_utils.orientation_loss(
    RAYS, h, target=target, coarse_mult=0.5, mult=2.0,
    stop_gradient_weights=stop,
  )  # fmt: skip

  def one(h):
    cosine = np.sum(h[target] * -RAYS.viewdirs[:, None], axis=-1)
    return np.mean(np.sum(h['weights'] * np.minimum(0, cosine) ** 2, -1))

  got, grads = jax.jit(jax.value_and_grad(fn(False)))(HISTORY)
  np.testing.assert_allclose(got, weighted(map(one, HISTORY)), rtol=1e-5)
  assert np.abs(grads[0]['weights']).max() > 0
  stopped = jax.jit(jax.grad(fn(True)))(HISTORY)
  assert not np.any(stopped[0]['weights'])
  np.testing.assert_allclose(stopped[2][target], grads[2][target], rtol=1e-6)


@pytest.mark.slow
def test_predicted_normals_and_gradients_are_compared():
  options = {'coarse_mult': 0.5, 'mult': 2.0}

  def mismatch(h):
    cosine = np.sum(h['normals'] * h['normals_pred'], axis=-1)
    return np.mean(np.sum(h['weights'] * (1 - cosine), -1))

  got = loss_utils.predicted_normal_loss(HISTORY, **options)
  np.testing.assert_allclose(got, weighted(map(mismatch, HISTORY)), rtol=1e-5)

  def excess(h):
    norm = np.linalg.norm(h['raw_grad_density'], axis=-1)
    np.testing.assert_allclose(
      loss_utils.eikonal_equation(h['raw_grad_density']),
      np.mean((norm - 1) ** 2),
      rtol=1e-5,
    )
    return np.mean((norm - 1) ** 2)

  got = loss_utils.eikonal_loss(HISTORY, **options)
  np.testing.assert_allclose(got, weighted(map(excess, HISTORY)), rtol=1e-5)
  without = [
    dict.fromkeys(h) | {k: h[k] for k in ('sdist', 'weights')} for h in HISTORY
  ]
  for fn in (loss_utils.eikonal_loss, loss_utils.predicted_normal_loss):
    with pytest.raises(errors.ConfigError):
      fn(without)
