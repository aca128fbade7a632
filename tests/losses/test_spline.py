"""The anti-aliased interlevel loss: numerical twin, closed forms, options."""

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import ops_util
import pytest

from multinerf import errors, losses, types
from multinerf.losses import geometric, spline

PRESET = {'mults': 0.01, 'blurs': (0.03, 0.003)}
EPS = float(jnp.finfo(jnp.float32).eps)


def level(sdist, weights):
  field = types.FieldOutput(density=None)
  return types.Level(
    sdist=jnp.asarray(sdist, jnp.float32),
    tdist=None,
    weights=jnp.asarray(weights, jnp.float32),
    field=field,
  )


def inputs(levels):
  empty = jnp.zeros((0, 3), jnp.float32)
  return losses.LossInputs(
    rays=model_util.no_rays(),
    rgb=empty,
    lossmult=empty,
    renderings=(),
    levels=tuple(levels),
    params=None,
  )


@jax.jit(static_argnames='blurs')
def loss_of(levels, mults, blurs):
  """The loss with the options as arguments, so that one program serves."""
  *proposals, last = levels
  return sum(
    mult * jnp.mean(spline.excess(last, proposal, blur))
    for proposal, mult, blur in zip(proposals, mults, blurs, strict=True)
  )


def run(levels, params):
  cfg = losses.LossConfig(spline_interlevel_params=params)
  return spline.spline_interlevel(inputs(levels), cfg)


def blurred_density(s, w, halfwidth, num=400_000):
  """Midpoints and values of density * box, by a numerical convolution."""
  low, high = -0.5, 1.5
  x = low + (np.arange(num) + 0.5) * (high - low) / num
  density = np.zeros(num)
  for left, right, weight in zip(s[:-1], s[1:], w, strict=True):
    inside = (x > left) & (x <= right)
    density[inside] = weight / (right - left)
  mass = np.concatenate([[0], np.cumsum(density)]) * (high - low) / num
  edges = np.linspace(low, high, num + 1)
  window = [np.interp(x + sign * halfwidth, edges, mass) for sign in (-1, 1)]
  return x, (window[1] - window[0]) / (2 * halfwidth), (high - low) / num


def slow_loss(levels, mults, blurs):
  """Numerical integrals of the numerical convolution, ray by ray."""
  *proposals, last = levels
  total = 0.0
  for proposal, mult, blur in zip(proposals, mults, blurs, strict=True):
    terms = []
    for s, w, s_prop, w_prop in zip(
      *(np.float64(x) for x in (last.sdist, last.weights)),
      *(np.float64(x) for x in (proposal.sdist, proposal.weights)),
      strict=True,
    ):
      x, density, dx = blurred_density(s, w, blur)
      target = np.histogram(x, s_prop, weights=density * dx)[0]
      terms.append(np.maximum(0, target - w_prop) ** 2 / (w_prop + EPS))
    total += mult * np.mean(terms)
  return total


def test_the_loss_equals_numerical_convolution_and_integration():
  levels = [
    level(*ops_util.step_function(seed, n=n, batch=(3,)))
    for seed, n in ((0, 9), (1, 7), (2, 6))
  ]
  got = loss_of(levels, (0.5, 2.0), (0.03, 0.2))
  # The grid's cells of 5e-6 are cut by ends of intervals of density < 100:
  # 5e-4 of a weight at most, against weights of about 0.1.
  want = slow_loss(levels, (0.5, 2.0), (0.03, 0.2))
  np.testing.assert_allclose(got, want, rtol=2e-3)
  # The registered term is that function.
  params = {'mults': [0.5, 2], 'blurs': (0.03, 0.2)}
  np.testing.assert_allclose(run(levels, params), got, rtol=1e-5)


def test_a_blurred_interval_is_a_triangle():
  last = level([[0.4, 0.6]], [[1.0]])
  # Twice as wide a box as the interval's half: a triangle from 0.3 to 0.7.
  ends, want = [0.0, 0.3, 0.4, 0.5, 0.7, 1.0], [0, 1 / 8, 3 / 8, 1 / 2, 0]
  half = level([ends], [0.5 * np.asarray(want)])
  got = loss_of([half, last], (1.0,), (0.1,))
  target = np.asarray(want)
  want_loss = np.mean((target / 2) ** 2 / (target / 2 + EPS))
  np.testing.assert_allclose(got, want_loss, rtol=1e-5)
  # Ends of 0.3 and 0.7 are rounded: 1e-8 of weight is missing outside.
  full = level([ends], [want])
  assert loss_of([full, last], (1.0,), (0.1,)) < 1e-7


def test_a_proposal_that_covers_the_blur_costs_nothing():
  last = level([[0.2, 0.3, 0.5]], [[0.3, 0.4]])
  wide = level([[0.0, 0.1, 0.7, 1.0]], [[0.0, 0.7, 0.0]])
  # 0.3 + 0.4 is not quite 0.7: 6e-8 of weight, squared.
  assert loss_of([wide, last], (1.0,), (0.05,)) < 1e-12
  # The loss of the unblurred bound is 0 too; only the blur needs room.
  tight = level([[0.0, 0.2, 0.5, 1.0]], [[0.0, 0.7, 0.0]])
  assert loss_of([tight, last], (1.0,), (0.05,)) > 1e-3


def test_missing_weight_costs_its_square_over_what_is_there():
  last = level([[0.4, 0.6]], [[1.0]])
  proposal = level([[0.0, 0.5, 1.0]], [[0.2, 0.6]])
  got = loss_of([proposal, last], (3.0,), (0.03,))
  np.testing.assert_allclose(got, 3 * 0.3**2 / 0.2 / 2, rtol=1e-5)


def test_the_loss_is_smooth_where_the_classic_one_jumps():
  # A thin surface moves across the border of two proposals.
  shift = np.linspace(-0.02, 0.02, 81)[:, None]
  last = level(0.5 + shift + np.float64([[-1e-4, 1e-4]]), np.ones((81, 1)))
  ends = np.broadcast_to([0.0, 0.5, 1.0], (81, 3))
  proposal = level(ends, np.broadcast_to([0.9, 0.1], (81, 2)))
  values = jax.jit(lambda p, q: jnp.mean(spline.excess(q, p, 0.01), axis=-1))
  steps = np.abs(np.diff(values(proposal, last)))
  # From 0 to 0.9^2 / 0.1 / 2 = 4 over the 40 steps of the blur's width.
  np.testing.assert_allclose(steps.sum(), 4.05, rtol=1e-2)
  assert steps.max() < 0.25
  cfg = losses.LossConfig()
  classic = [
    float(geometric.interlevel(inputs([level(*p), level(*q)]), cfg))
    for p, q in (
      (([[0, 0.5, 1]], [[0.9, 0.1]]), ([[x - 1e-4, x + 1e-4]], [[1.0]]))
      for x in (0.4997, 0.5003)
    )
  ]
  # 0.9^2 and 0.1^2 of the surface's whole weight are missing, and nothing
  # lies between them.
  np.testing.assert_allclose(classic, [0.1**2, 0.9**2], rtol=1e-3)


def test_without_a_blur_width_the_proposals_widths_are_taken():
  last = level([[0.1, 0.35, 0.6]], [[0.5, 0.4]])
  uniform = level([np.linspace(0, 1, 9)], [np.full(8, 0.05)])
  got = loss_of([uniform, last], (1.0,), (None,))
  want = loss_of([uniform, last], (1.0,), (1 / 8,))
  np.testing.assert_allclose(got, want, rtol=1e-5)


def test_mean_width_is_the_geometric_mean_by_overlap():
  s_prop = jnp.float32([[0.2, 0.3, 0.3, 0.7, 0.9]])
  s = jnp.float32([[0.1, 0.25, 0.4, 0.4, 0.95]])
  # Widths 0.1, 0 (covers nothing), 0.4, 0.2; the ends reach to 0.1 and 0.95.
  got = spline.mean_width(s, s_prop)
  want = [
    0.1,
    (0.1**0.05 * 0.4**0.1) ** (1 / 0.15),
    1.0,  # an empty interval, whose weight is dropped
    (0.4**0.3 * 0.2**0.25) ** (1 / 0.55),
  ]
  np.testing.assert_allclose(got, [want], rtol=1e-5)


@pytest.mark.parametrize('blur', [None, 0.0, 0.03])
def test_gradients_are_finite_and_reach_proposals_only(blur):
  s, w = ops_util.step_function(0, n=6, batch=(2,), empty=True)
  s_prop, w_prop = ops_util.step_function(1, n=5, batch=(2,), empty=True)

  def loss(last, proposal):
    return loss_of([level(*proposal), level(*last)], (1.0,), (blur,))

  last, proposal = jax.jit(jax.grad(loss, argnums=(0, 1)))(
    (s, w), (s_prop, w_prop)
  )
  for grad in last:
    np.testing.assert_array_equal(grad, 0)
  for grad in proposal:
    assert np.isfinite(grad).all()
  assert np.any(np.asarray(proposal[1]) < 0)  # more weight, less loss


def test_levels_of_weight_0_and_single_levels_cost_nothing():
  some = level(*ops_util.step_function(0, n=4, batch=(2,)))
  nothing = level(some.sdist, jnp.zeros_like(some.weights))
  one = run([nothing, some, some], {'mults': (0, 1), 'blurs': (None, 0)})
  assert one < 1e-6  # rounding of equal weights
  assert run([nothing, some, some], {'mults': 0}) == 0
  assert run([some], {'mults': 1.0, 'blurs': 0.1}) == 0


def test_a_number_counts_for_every_proposal_level():
  assert spline.parse_params({'mults': 2}, 3) == ([2, 2, 2], [None] * 3)
  assert spline.parse_params(PRESET, 2) == ([0.01, 0.01], [0.03, 0.003])


@pytest.mark.parametrize(
  'params, words',
  [
    (PRESET | {'blurs': (0.03,)}, ['blurs', '1 entries', '3 proposal']),
    ({'mults': (1, 2)}, ['mults', '2 entries', '3 proposal']),
    ({'blurs': 0.1}, ["needs 'mults'"]),
    ({'mults': 1, 'blur': 0.1}, ["'blur'", "'blurs'"]),
    ({'mults': -1}, ['mults', '>= 0', '-1']),
    ({'mults': 1, 'blurs': (0.1, None, 'x')}, ['blurs', "'x'"]),
    ({'mults': (1, None, 1)}, ['mults', 'None']),
  ],
)
def test_options_that_do_not_fit_are_refused(params, words):
  with pytest.raises(errors.ConfigError) as e:
    spline.parse_params(params, 3)
  for word in ['Config.spline_interlevel_params', *words]:
    assert word in str(e.value)
  assert '\n' not in str(e.value)


def test_it_takes_the_place_of_the_classic_loss():
  classic = losses.active_regularizers(losses.LossConfig())
  assert 'interlevel' in classic and 'spline_interlevel' not in classic
  other = losses.active_regularizers(
    losses.LossConfig(spline_interlevel_params=PRESET)
  )
  assert 'spline_interlevel' in other and 'interlevel' not in other
