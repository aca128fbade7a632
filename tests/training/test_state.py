"""The initial state is a function of the model and the seed alone."""

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import pytest

from multinerf.training import optim, state

OPTIMIZER = optim.make_optimizer(optim.OptimConfig())


def create(seed=0, rays=None, net=None):
  rays = model_util.rays(2) if rays is None else rays
  net = model_util.model() if net is None else net
  return state.create(net, OPTIMIZER, rays, seed)


def assert_equal(got, want):
  assert jax.tree.structure(got) == jax.tree.structure(want)
  jax.tree.map(np.testing.assert_array_equal, got, want)


def test_the_same_seed_gives_the_same_state_bit_for_bit():
  assert_equal(create(3), create(3))


def test_other_seeds_give_other_kernels_everywhere():
  one = model_util.flat(create(3).params['params'])
  other = model_util.flat(create(4).params['params'])
  kernels = [k for k in one if k.endswith('kernel')]
  assert kernels
  for path in kernels:
    assert np.mean(np.asarray(one[path] == other[path])) < 0.1, path


def test_the_state_does_not_depend_on_the_example_rays():
  assert_equal(
    create(0, model_util.rays(2, 0)), create(0, model_util.rays(2, 5))
  )
  # nor on how many they are
  assert_equal(create(0).params, create(0, model_util.rays(5)).params)


@pytest.mark.parametrize('seed', [0, 20200823, 2**31, 2**32 - 1])
def test_every_32_bit_seed_is_kept_as_it_is(seed):
  got = create(seed)
  assert int(got.seed) == seed and got.seed.dtype == jnp.uint32
  finite = jax.tree.map(lambda x: np.all(np.isfinite(x)), got.params)
  assert all(jax.tree.leaves(finite))


def test_counters_start_at_zero_as_int32():
  got = create()
  for counter in (got.step, got.nonfinite_steps):
    assert counter == 0 and counter.dtype == jnp.int32
  assert got.opt_state[0].count == 0
  moments = jax.tree.leaves(got.opt_state[0].mu)
  assert all(np.all(np.asarray(m) == 0) for m in moments)


def test_num_params_counts_every_entry():
  got = create()
  sizes = [np.size(x) for x in jax.tree.leaves(got.params)]
  assert state.num_params(got) == sum(sizes)
  # PropMLP: 18 features, 2 x 8 wide, density.
  prop = 18 * 8 + 8 + 8 * 8 + 8 + 8 + 1
  assert (
    sum(x.size for x in jax.tree.leaves(got.params['params']['PropMLP_0']))
    == prop
  )
