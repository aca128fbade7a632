"""Non-finite gradients, clipping per network, Adam."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import serialization

from multinerf import errors
from multinerf.losses import weight_decay
from multinerf.training import optim, state_dicts

CLIPS = ['0.001_0.0', '0.0_0.1', '0.1_0.1', '0.0_0.0', '1000.0_0.0']


def tree(seed=0, scale=1.0):
  gen = np.random.default_rng(seed)
  array = lambda *shape: jnp.asarray(
    scale * gen.normal(size=shape), jnp.float32
  )
  return {
    'params': {
      'NerfMLP_0': {'Dense_0': {'kernel': array(4, 5), 'bias': array(5)}},
      'PropMLP_0': {'Dense_0': {'kernel': array(2, 2)}},
    }
  }


def golden_tree(golden, prefix):
  data, out = golden('train_utils'), {}
  for key in data.keys:
    if key.startswith(prefix + '/'):
      *path, leaf = key[len(prefix) + 1 :].split('/')
      node = out
      for part in path:
        node = node.setdefault(part, {})
      node[leaf] = jnp.asarray(data[key])
  assert out, prefix
  return out


def clip(max_norm, max_val, grads):
  transform = optim.clip_per_network(max_norm, max_val)
  clipped, _ = transform.update(grads, transform.init(grads))
  return clipped


def norms(grads):
  return {
    name: float(optax.tree.norm(network))
    for name, network in grads['params'].items()
  }


@pytest.mark.parametrize('case', CLIPS)
def test_clipping_matches_the_reference(golden, case):
  max_norm, max_val = map(float, case.split('_'))
  grads = {'params': golden_tree(golden, 'clip_gradients/in')}
  prefix = f'clip_gradients/norm{max_norm}_val{max_val}/out'
  want = {'params': golden_tree(golden, prefix)}
  got = clip(max_norm, max_val, grads)
  assert jax.tree.structure(got) == jax.tree.structure(want)
  jax.tree.map(
    lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-5), got, want
  )


def test_each_network_is_clipped_to_the_norm_by_itself():
  grads = tree()
  grads['params']['PropMLP_0'] = jax.tree.map(
    lambda g: 1e-6 * g, grads['params']['PropMLP_0']
  )
  got = clip(0.1, 0.0, grads)
  np.testing.assert_allclose(norms(got)['NerfMLP_0'], 0.1, rtol=1e-5)
  # The other one is far below the limit and must not move with it.
  jax.tree.map(
    np.testing.assert_array_equal,
    got['params']['PropMLP_0'],
    grads['params']['PropMLP_0'],
  )


def test_values_are_clipped_before_the_norm():
  grads = {'params': {'a': {'x': jnp.float32([3.0, 4.0, 1000.0])}}}
  got = clip(1.0, 4.0, grads)['params']['a']['x']
  want = np.float32([3, 4, 4])
  np.testing.assert_allclose(got, want / np.linalg.norm(want), rtol=1e-5)


def test_clipping_keeps_a_zero_gradient_zero():
  got = clip(0.001, 0.1, jax.tree.map(jnp.zeros_like, tree()))
  jax.tree.map(lambda g: np.testing.assert_array_equal(g, 0), got)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_non_finite_gradients_are_zeroed_and_counted(bad):
  grads = tree()
  kernel = grads['params']['NerfMLP_0']['Dense_0']['kernel']
  hurt = kernel.at[1, 2].set(bad).at[3, 0].set(bad)
  grads['params']['NerfMLP_0']['Dense_0']['kernel'] = hurt
  clean, count = optim.zero_nonfinite(grads)
  assert count == 2 and count.dtype == jnp.int32
  want = kernel.at[1, 2].set(0).at[3, 0].set(0)
  got = clean['params']['NerfMLP_0']['Dense_0']['kernel']
  np.testing.assert_array_equal(got, want)
  # A NaN must not silence the rest of its network, as it did upstream.
  assert norms(clip(0.1, 0.0, clean))['NerfMLP_0'] == pytest.approx(0.1)


def test_finite_gradients_pass_unchanged():
  grads = tree(scale=1e30)
  clean, count = optim.zero_nonfinite(grads)
  assert count == 0
  jax.tree.map(np.testing.assert_array_equal, clean, grads)


def test_first_update_is_the_learning_rate_against_the_sign():
  cfg = optim.OptimConfig(
    lr_init=0.01,
    lr_final=0.01,
    lr_delay_steps=0,
    adam_eps=0.0,
    grad_max_norm=0.0,
  )
  optimizer = optim.make_optimizer(cfg)
  grads = tree()
  updates, _ = optimizer.update(grads, optimizer.init(grads))
  jax.tree.map(
    lambda u, g: np.testing.assert_allclose(u, -0.01 * np.sign(g), rtol=1e-4),
    updates,
    grads,
  )


@pytest.mark.parametrize(
  'beta1, beta2, eps', [(0.9, 0.999, 1e-6), (0.7, 0.5, 0.1)]
)
def test_optimizer_is_adam_on_clipped_gradients_with_the_schedule(
  beta1, beta2, eps
):
  cfg = optim.OptimConfig(
    lr_init=0.1,
    max_steps=10,
    lr_delay_steps=3,
    grad_max_norm=0.5,
    adam_beta1=beta1,
    adam_beta2=beta2,
    adam_eps=eps,
  )
  ours = optim.make_optimizer(cfg)
  # Ten lines of numpy as the slow twin (Kingma & Ba 2015, Algorithm 1).
  params = {'params': {'a': {'x': jnp.float32([1.0, -2.0])}}}
  state, twin = ours.init(params), np.float64([1.0, -2.0])
  m, v = np.zeros(2), np.zeros(2)
  for i in range(5):
    # Moments of a gradient that stays the same hardly depend on the betas.
    factor = (-0.2) ** i
    grads = jax.tree.map(lambda p, factor=factor: factor * (3 * p + 1), params)
    updates, state = ours.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    g = factor * (3 * twin + 1)
    g = g * min(1, 0.5 / np.linalg.norm(g))
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    p = i / 10
    rate = 0.1 ** (1 - p) * cfg.lr_final**p
    rate *= 0.01 + 0.99 * np.sin(np.pi / 2 * min(1, i / 3))
    m_hat, v_hat = m / (1 - beta1 ** (i + 1)), v / (1 - beta2 ** (i + 1))
    twin = twin - rate * m_hat / (np.sqrt(v_hat) + eps)
  np.testing.assert_allclose(params['params']['a']['x'], twin, rtol=1e-4)


def test_optimizer_state_has_the_layout_of_upstream_checkpoints():
  params = tree()
  state = optim.make_optimizer(optim.OptimConfig()).init(params)
  adam, schedule = state
  assert adam._fields == ('count', 'mu', 'nu')
  assert schedule._fields == ('count',)
  assert jax.tree.structure(adam.mu) == jax.tree.structure(params)


def grid_tree(seed=0):
  gen = np.random.default_rng(seed)
  array = lambda *shape: jnp.asarray(gen.normal(size=shape), jnp.float32)
  return {
    'params': {
      'MLP_0': {'Dense_0': {'kernel': array(4, 5)}},
      'grid_0': {'grid_16': array(3, 2), 'hash_32': array(6, 2)},
    }
  }


def run_steps(cfg, num_steps=3):
  optimizer = optim.make_optimizer(cfg)
  params = grid_tree()
  state = optimizer.init(params)
  for step in range(num_steps):
    updates, state = optimizer.update(grid_tree(step + 1), state, params)
    params = optax.apply_updates(params, updates)
  return params['params'], state


def test_grids_follow_their_own_rates_and_the_rest_its_own():
  rates = dict(lr_init_grid=0.1, lr_final_grid=0.05, max_steps=10)
  both, _ = run_steps(optim.OptimConfig(**rates))
  # Twins: one Adam for all, with the rates of one group.
  others, _ = run_steps(optim.OptimConfig(max_steps=10))
  grids, _ = run_steps(
    optim.OptimConfig(lr_init=0.1, lr_final=0.05, max_steps=10)
  )
  jax.tree.map(np.testing.assert_array_equal, both['MLP_0'], others['MLP_0'])
  jax.tree.map(np.testing.assert_array_equal, both['grid_0'], grids['grid_0'])
  kernel = lambda params: params['grid_0']['hash_32']
  assert np.abs(kernel(grids) - kernel(others)).max() > 1e-4


def test_hashed_levels_of_an_encoder_follow_the_rates_of_grids():
  # MultiNeRF's networks with @HashEncoding(): only dense levels say 'grid'.
  leaf = jnp.ones(2)
  levels = {'grid_016': leaf, 'hash_128': leaf}
  params = {
    'params': {'NerfMLP_0': {'Dense_0': {'bias': leaf}, 'encoder': levels}}
  }
  cfg = optim.OptimConfig(lr_init=1.0, lr_init_grid=0.1, lr_final_grid=0.05)
  optimizer = optim.make_optimizer(cfg)
  updates, _ = optimizer.update(params, optimizer.init(params), params)
  found = updates['params']['NerfMLP_0']
  slow, slow_too = found['encoder'].values()
  np.testing.assert_array_equal(slow, slow_too)
  np.testing.assert_allclose(found['Dense_0']['bias'], 10 * slow, rtol=1e-5)


def test_both_adams_are_saved_and_restored():
  rates = dict(lr_init_grid=0.1, lr_final_grid=0.05)
  _, state = run_steps(optim.OptimConfig(**rates))
  saved = serialization.to_state_dict(state)
  optimizer = optim.make_optimizer(optim.OptimConfig(**rates))
  fresh = optimizer.init(grid_tree())
  restored = state_dicts.fit(saved, fresh, source='a test')
  assert jax.tree.structure(restored) == jax.tree.structure(state)
  jax.tree.map(np.testing.assert_array_equal, restored, state)
  # One moment per parameter in all, not two.
  moments = [p for p in state_dicts.leaves(saved) if '/mu/' in p]
  assert len(moments) == len(jax.tree.leaves(grid_tree()))


@pytest.mark.parametrize(
  'options, words',
  [
    ({'lr_init_grid': 0.1}, ['lr_final_grid', '0.1 and None']),
    ({'lr_final_grid': 0.1}, ['lr_init_grid', 'None and 0.1']),
    (
      {
        'lr_init_grid': 0.1,
        'lr_final_grid': 0.1,
        'lr_schedule': optax.constant_schedule,
        'lr_schedule_kwargs': {'value': 1.0},
      },
      ['lr_schedule', "'log_lerp'"],
    ),
  ],
)
def test_rates_of_grids_that_cannot_be_are_refused(options, words):
  with pytest.raises(errors.ConfigError) as e:
    optim.make_optimizer(optim.OptimConfig(**options))
  for word in words:
    assert word in str(e.value)


def test_tree_stats_name_and_reduce_subtrees_as_the_reference(golden):
  data = golden('train_utils')
  grads = golden_tree(golden, 'clip_gradients/in')
  norm = lambda leaves: jnp.sqrt(sum(jnp.sum(x**2) for x in leaves))
  got = optim.tree_stats('grad_norms', grads, norm)
  prefix = 'summarize_tree/tree_norm/out/'
  want = {
    'grad_norms/' + k[len(prefix) :]: data[k]
    for k in data.keys
    if k.startswith(prefix)
  }
  assert got.keys() == want.keys()
  for key in want:
    np.testing.assert_allclose(got[key], want[key], rtol=1e-5, err_msg=key)


def test_tree_stats_stop_at_depth_three():
  deep = {'a': {'b': {'c': {'d': jnp.ones(2)}}}}
  got = optim.tree_stats('n', deep, len)
  assert got == {'n/a': 1, 'n/a/b': 1, 'n/a/b/c': 1}
  # The same names as those that weight decay knows.
  assert {f'n/{k}' for k in weight_decay.subtrees(deep)} == set(got)
