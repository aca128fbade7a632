"""Binary search and interpolation against counting and numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import ops_util
import pytest

from multinerf.ops import lookup


def knots_and_queries(seed, n, m, batch=(3,)):
  gen = np.random.default_rng(seed)
  # Quarters: many repeated knots, and queries that hit them exactly.
  a = np.sort(np.round(gen.random((*batch, n)) * 4) / 4, axis=-1)
  v = np.round(gen.uniform(-0.5, 1.5, (*batch, m)) * 8) / 8
  return jnp.float32(a), jnp.float32(v)


def test_sort_equals_numpy_for_numbers_of_any_size_and_sign():
  gen = np.random.default_rng(0)
  x = gen.normal(size=(5, 40)) * 10.0 ** gen.integers(-44, 38, (5, 40))
  x[:, :6] = [np.inf, -np.inf, 0.0, -0.0, 1.0, 1.0]
  x = jnp.float32(x)
  np.testing.assert_array_equal(jax.jit(lookup.sort)(x), np.sort(x))


def test_the_gradient_of_sort_goes_to_where_a_value_came_from():
  gen = np.random.default_rng(1)
  x, weights = jnp.float32(gen.normal(size=(2, 3, 9)))
  for sort in (lookup.sort, jnp.sort):
    grad = jax.grad(lambda x, sort=sort: jnp.sum(sort(x) ** 2 * weights))(x)
    want = np.zeros_like(x)
    np.put_along_axis(want, np.argsort(x), 2 * np.sort(x) * weights, axis=-1)
    np.testing.assert_allclose(grad, want, rtol=1e-6)


@pytest.mark.parametrize('n', [1, 2, 3, 8, 9])
def test_count_at_most_equals_a_sum_of_comparisons(n):
  a, v = knots_and_queries(n, n, 40)
  want = (np.asarray(a)[:, None, :] <= np.asarray(v)[:, :, None]).sum(-1)
  np.testing.assert_array_equal(lookup.count_at_most(a, v), want)


def test_count_at_most_takes_infinite_knots_and_queries():
  a = jnp.asarray([-jnp.inf, 0.0, jnp.inf])
  v = jnp.asarray([-jnp.inf, -1.0, 0.0, jnp.inf, jnp.nan])
  np.testing.assert_array_equal(lookup.count_at_most(a, v), [1, 1, 2, 3, 0])


@pytest.mark.parametrize('n', [1, 6])
def test_sorted_lookup_brackets_every_query(n):
  a, v = knots_and_queries(n + 100, n, 50)
  found = jax.jit(lookup.sorted_lookup)(v, a, (a,))
  (lo, hi), ((a_lo, a_hi),) = jax.tree.map(np.asarray, found)
  a, v = np.asarray(a), np.asarray(v)
  below, above = v < a[:, :1], v >= a[:, -1:]
  inside = ~below & ~above
  assert (a_lo <= v)[~below].all() and (a_hi > v)[~above].all()
  assert (hi - lo == 1)[inside].all() and (hi == lo)[~inside].all()
  assert (lo == 0)[below].all() and (hi == n - 1)[above].all()


def test_sorted_interp_equals_numpy_between_distinct_knots():
  gen = np.random.default_rng(0)
  xp = np.sort(gen.random((4, 9)), -1)
  fp, x = gen.normal(size=(4, 9)), gen.uniform(-0.2, 1.2, (4, 30))
  want = [np.interp(*row) for row in zip(x, xp, fp, strict=True)]
  args = [jnp.float32(z) for z in (x, xp, fp)]
  for fn in (lookup.sorted_interp, lookup.interp):
    # Slopes up to 2 / (closest knots, 1e-2) times the rounding of x.
    np.testing.assert_allclose(fn(*args), want, rtol=1e-4, atol=1e-4)
  ops_util.assert_batch_law(lookup.sorted_interp, *args)
  ops_util.assert_same_without_jit(lookup.sorted_interp, *args)


def test_sorted_interp_takes_the_last_value_at_a_repeated_knot():
  xp = jnp.asarray([0.0, 1.0, 1.0, 1.0, 2.0, 2.0])
  fp = jnp.asarray([0.0, 1.0, 5.0, 7.0, 8.0, 9.0])
  got = lookup.sorted_interp(jnp.asarray([0.5, 1.0, 1.5, 2.0, 3.0]), xp, fp)
  np.testing.assert_array_equal(got, [0.5, 7.0, 7.5, 9.0, 9.0])


def test_interp_fills_outside_with_left_and_right():
  xp, fp = jnp.asarray([0.0, 1.0]), jnp.asarray([2.0, 3.0])
  got = lookup.interp(jnp.asarray([-1.0, 0.5, 2.0]), xp, fp, left=-9, right=9)
  np.testing.assert_array_equal(got, [-9, 2.5, 9])


def test_sorted_interp_broadcasts_one_row_of_queries():
  x = jnp.linspace(0, 1, 5)
  xp, _ = ops_util.step_function(0, n=6, batch=(2, 3))
  fp = jnp.arange(7.0)
  got = lookup.sorted_interp(x, xp, fp)
  want = lookup.sorted_interp(
    jnp.broadcast_to(x, (2, 3, 5)), xp, jnp.broadcast_to(fp, (2, 3, 7))
  )
  np.testing.assert_array_equal(got, want)


def test_gradient_is_finite_for_knots_that_almost_coincide():
  total = lambda *args: lookup.sorted_interp(*args).sum()
  evaluate = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))
  fp = jnp.asarray([0.0, 0.5, 1.0])
  # With the plain quotient, d / d xp is 0 * inf = NaN below 1e-19.
  for gap in (0.0, 1e-38, 1e-30, 1e-20, 1e-7):
    xp = jnp.asarray([0.0, gap, 1.0])
    x = jnp.asarray([0.0, gap / 2, gap, 0.5])
    value, grads = evaluate(x, xp, fp)
    assert np.isfinite(value), gap
    assert all(np.isfinite(g).all() for g in grads), gap
