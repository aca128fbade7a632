"""Where a level puts its intervals."""

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import ops_util
import pytest

from multinerf.models import sampling

OPTIONS = dict(
  dilation=None,
  anneal=1.0,
  padding=0.0,
  single_jitter=True,
  domain=(0.0, 1.0),
)


def resample(keys, s, w, num_samples, **options):
  fn = jax.jit(
    lambda keys, s, w: sampling.resample(
      keys, s, w, num_samples, **{**OPTIONS, **options}
    )
  )
  return fn(keys, s, w)


def test_annealing_starts_flat_and_ends_at_the_weights():
  assert sampling.schlick_bias(0.0, 10) == 0
  assert sampling.schlick_bias(1.0, 10) == 1
  assert sampling.schlick_bias(0.3, 0) == 1  # slope 0: off
  # Slope 1 is the identity; larger slopes rise faster.
  assert sampling.schlick_bias(0.3, 1) == pytest.approx(0.3)
  assert sampling.schlick_bias(0.1, 10) == pytest.approx(1 / 1.9)


@pytest.mark.parametrize('single_jitter', [True, False])
@pytest.mark.parametrize('dilation', [None, 0.02])
def test_endpoints_are_sorted_and_inside_the_domain(single_jitter, dilation):
  s, w = ops_util.step_function(0, batch=(32,), empty=True)
  got = resample(
    model_util.ray_keys(32),
    s,
    w,
    8,
    single_jitter=single_jitter,
    dilation=dilation,
    domain=(0.1, 0.9),
  )
  assert got.shape == (32, 9)
  assert np.all(np.diff(got, axis=-1) >= 0)
  assert np.all((got >= np.float32(0.1)) & (got <= np.float32(0.9)))


def test_one_interval_is_divided_equally_without_keys():
  s, w = jnp.float32([[0, 1]]), jnp.float32([[1]])
  got = resample(None, s, w, 5)
  np.testing.assert_allclose(got, [np.linspace(0, 1, 6)], atol=1e-6)


def test_samples_go_where_the_weight_is():
  s = jnp.linspace(0, 1, 11)[None]
  w = jnp.zeros((1, 10), jnp.float32).at[0, 3].set(1.0)
  got = resample(None, s, w, 8)
  middles = (got[:, 1:] + got[:, :-1]) / 2
  assert np.all((middles > 0.3 - 1e-6) & (middles < 0.4 + 1e-6))


@pytest.mark.parametrize(
  'weights, anneal', [(0.0, 1.0), (None, 0.0)], ids=['unseen', 'flat']
)
def test_empty_rays_and_exponent_zero_treat_all_intervals_alike(
  weights, anneal
):
  s, w = ops_util.step_function(3, batch=(2,))
  w = w if weights is None else jnp.zeros_like(w)
  got = resample(None, s, w, 8, anneal=anneal)
  # Eight equal steps of probability over eight intervals: their middles.
  middles = (s[:, 1:] + s[:, :-1]) / 2
  want = (middles[:, 1:] + middles[:, :-1]) / 2
  np.testing.assert_allclose(got[:, 1:-1], want, atol=1e-5)


def test_dilation_lets_samples_leave_a_narrow_peak():
  s = jnp.linspace(0, 1, 11)[None]
  w = jnp.full((1, 10), 1e-6, jnp.float32).at[0, 5].set(1.0)
  spread = lambda d: np.ptp(resample(None, s, w, 16, dilation=d))
  assert spread(0.1) > 2 * spread(None)


def test_padding_gives_every_interval_a_share():
  s = jnp.linspace(0, 1, 11)[None]
  w = jnp.zeros((1, 10), jnp.float32).at[0, 5].set(1.0)
  padded = resample(None, s, w, 64, padding=0.1)
  counts, _ = np.histogram(padded, bins=10, range=(0, 1))
  assert np.all(counts > 0) and counts[5] == counts.max()


@pytest.mark.parametrize('single_jitter', [True, False])
def test_jitter_of_a_ray_does_not_see_its_neighbours(single_jitter):
  s, w = ops_util.step_function(0, batch=(6,))
  keys = model_util.ray_keys(6)
  together = resample(keys, s, w, 8, single_jitter=single_jitter)
  alone = resample(keys[2:3], s[2:3], w[2:3], 8, single_jitter=single_jitter)
  np.testing.assert_allclose(alone, together[2:3], atol=1e-6)
  # The same histogram with another key is sampled elsewhere.
  other = resample(keys[3:4], s[2:3], w[2:3], 8, single_jitter=single_jitter)
  assert np.any(np.abs(other - together[2:3]) > 1e-3)


@pytest.mark.parametrize('anneal', [0.0, 0.5, 1.0])
def test_gradients_are_finite_where_weights_vanish(anneal):
  s, w = ops_util.step_function(0, batch=(3,), empty=True)
  w = w.at[1].set(0.0)
  grad = jax.jit(
    jax.grad(
      lambda s, w: jnp.sum(
        sampling.resample(None, s, w, 8, **{**OPTIONS, 'anneal': anneal}) ** 2
      ),
      argnums=(0, 1),
    )
  )(s, w)
  assert all(np.all(np.isfinite(g)) for g in grad)
