"""`train_utils` and `robustnerf`: reference vectors and steps."""

import json

import golden_model
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import errors, parallel
from multinerf.compat.multinerf import (
  configs,
  models,
  robustnerf,
  train_utils,
  utils,
)

_ALWAYS = (
  'mse_c0.1_lm3',
  'charb_nomult',
  'rawnerf_c0.0_lm1',
  'robustnerf_th0.1',
  'metrics',
)
_SLOW = (
  *(f'mse_{case}' for case in ('c0.0_lm1', 'c0.0_lm3', 'c0.1_lm1', 'nomult')),
  *(f'charb_c0.{c}_lm{n}' for c in (0, 1) for n in (1, 3)),
  *(f'rawnerf_{case}' for case in ('c0.0_lm3', 'c0.1_lm1', 'nomult')),
  'robustnerf_th0.2',
  'robustnerf_th1.0',
  'metrics_nonormals',
)
COLOUR_CASES = [
  *_ALWAYS,
  *(pytest.param(case, marks=pytest.mark.slow) for case in _SLOW),
]


def colour_case(data):
  """(batch, renderings without rgb, rays, threshold, config) of a case."""
  params = json.loads(str(data['params']))
  extra = {
    k[len('in_r_') :]: jnp.asarray(v)
    for k, v in data.items()
    if k.startswith('in_r_')
  }
  truth = {
    k: jnp.asarray(data[f'in_{k}'])
    for k in ('disps', 'normals', 'alphas')
    if f'in_{k}' in data
  }
  rays = utils.dummy_rays().replace(lossmult=jnp.asarray(data['in_lossmult']))
  batch = utils.Batch(rays, jnp.asarray(data['in_gt']), **truth)
  config = configs.Config(**params['config'])
  return batch, extra, rays, params['loss_threshold'], config


@pytest.mark.parametrize('case', COLOUR_CASES)
def test_data_loss_and_gradients_answer_the_reference(golden, case):
  data = golden('train_utils').case('compute_data_loss', case)
  batch, extra, rays, threshold, config = colour_case(data)
  num_levels = sum(k.startswith('in_rgb') for k in data)
  rgbs = [jnp.asarray(data[f'in_rgb{i}']) for i in range(num_levels)]

  @jax.jit
  def loss_fn(rgbs):
    renderings = [{'rgb': rgb, 'ray_rgbs': rgb} | extra for rgb in rgbs]
    return train_utils.compute_data_loss(
      batch, renderings, rays, threshold, config
    )

  (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(rgbs)
  np.testing.assert_allclose(loss, data['out_loss'], rtol=1e-5)
  stored = {k for k in data if k.startswith('out_stats_')}
  assert {f'out_stats_{k}' for k in stats} == stored
  for name, value in stats.items():
    np.testing.assert_allclose(
      value, data[f'out_stats_{name}'], rtol=1e-4, err_msg=name
    )
  for i, grad in enumerate(grads):
    np.testing.assert_allclose(
      grad, data[f'grad_rgb{i}'], rtol=1e-4, atol=1e-8, err_msg=str(i)
    )


@pytest.mark.parametrize(
  'case',
  [
    'c1_th0.5',
    pytest.param('c0_th1.0', marks=pytest.mark.slow),
    pytest.param('c2_th1.0', marks=pytest.mark.slow),
    pytest.param('c3_th3.0', marks=pytest.mark.slow),
  ],
)
def test_robustnerf_mask_answers_the_reference(golden, case):
  data = golden('robustnerf').case('robustnerf_mask', case)
  params = json.loads(str(data['params']))
  # Any object with the options will do.
  config = type('Options', (), json.loads(params['_config']))
  mask, stats = jax.jit(robustnerf.robustnerf_mask, static_argnums=2)(
    jnp.asarray(data['in_errors']), params['_loss_threshold'], config
  )
  np.testing.assert_array_equal(mask, data['out_0'])
  assert {f'out_1_{k}' for k in stats} == {k for k in data if 'out_1_' in k}
  for name, value in stats.items():
    np.testing.assert_allclose(value, data[f'out_1_{name}'], rtol=1e-5)


def test_without_its_flag_robustnerf_counts_every_pixel():
  config = configs.Config(data_loss_type='robustnerf')
  mask, stats = robustnerf.robustnerf_mask(jnp.ones((2, 3, 3, 3)), 0.1, config)
  np.testing.assert_array_equal(mask, np.ones((2, 3, 3, 1)))
  assert set(stats) == {'loss_threshold', 'mask'}


# --- regularisers -------------------------------------------------------------


@pytest.fixture
def history(golden):
  """The ray history and the rays that all regularisers share."""
  data = golden('train_utils')
  levels = [
    {
      name: jnp.asarray(data[f'ray_history/in_{name}{i}'])
      for name in ('sdist', 'weights', 'normals', 'normals_pred')
    }
    for i in range(3)
  ]
  viewdirs = jnp.asarray(data['ray_history/in_viewdirs'])
  return levels, utils.dummy_rays().replace(viewdirs=viewdirs)


@pytest.mark.parametrize('mult', ['1.0', '0.3'])
def test_interlevel_loss_answers_the_reference(golden, history, mult):
  config = configs.Config(interlevel_loss_mult=float(mult))
  want = golden('train_utils')[f'interlevel_loss/mult{mult}/out']
  got = train_utils.interlevel_loss(history[0], config)
  np.testing.assert_allclose(got, want, rtol=1e-4)


@pytest.mark.parametrize('mult', ['0.01', '1.0'])
def test_distortion_loss_answers_the_reference(golden, history, mult):
  config = configs.Config(distortion_loss_mult=float(mult))
  want = golden('train_utils')[f'distortion_loss/mult{mult}/out']
  got = train_utils.distortion_loss(history[0], config)
  np.testing.assert_allclose(got, want, rtol=1e-4)


@pytest.mark.slow
def test_gradients_of_both_answer_the_reference(golden, history):
  config = configs.Config(interlevel_loss_mult=1, distortion_loss_mult=1)

  @jax.grad
  def grad(levels):
    loss = train_utils.interlevel_loss(levels, config)
    return loss + train_utils.distortion_loss(levels, config)

  found = grad([{k: h[k] for k in ('sdist', 'weights')} for h in history[0]])
  for i, level in enumerate(found):
    for name, value in level.items():
      want = golden('train_utils')[
        f'interlevel_plus_distortion1/grad_{name}{i}'
      ]
      np.testing.assert_allclose(value, want, rtol=3e-4, atol=3e-5)


@pytest.mark.parametrize('target', ['normals', 'normals_pred'])
@pytest.mark.parametrize('mults', ['0.1_0.01', '1.0_0.0', '0.0_0.5'])
def test_orientation_loss_answers_the_reference(golden, history, target, mults):
  fine, coarse = map(float, mults.split('_'))
  config = configs.Config(
    orientation_loss_target=target,
    orientation_loss_mult=fine,
    orientation_coarse_loss_mult=coarse,
  )
  levels, rays = history
  got = train_utils.orientation_loss(rays, models.Model(), levels, config)
  want = golden('train_utils')[f'orientation_loss/{target}_{mults}/out']
  np.testing.assert_allclose(got, want, rtol=1e-4)


@pytest.mark.parametrize('mults', ['0.0003_3e-05', '1.0_0.0', '0.0_0.5'])
def test_predicted_normal_loss_answers_the_reference(golden, history, mults):
  fine, coarse = map(float, mults.split('_'))
  config = configs.Config(
    predicted_normal_loss_mult=fine, predicted_normal_coarse_loss_mult=coarse
  )
  got = train_utils.predicted_normal_loss(models.Model(), history[0], config)
  want = golden('train_utils')[f'predicted_normal_loss/{mults}/out']
  np.testing.assert_allclose(got, want, rtol=1e-4)


def test_missing_normals_are_an_error_that_names_the_option(history):
  levels = [h | {'normals': None} for h in history[0]]
  config = configs.Config(predicted_normal_loss_mult=1.0)
  with pytest.raises(errors.ConfigError, match='disable_density_normals'):
    train_utils.predicted_normal_loss(None, levels, config)


# --- trees --------------------------------------------------------------------


def tree_of(golden, prefix):
  tree = {}
  for key in golden('train_utils').keys:
    if key.startswith(prefix):
      *path, leaf = key[len(prefix) :].split('/')
      node = tree
      for name in path:
        node = node.setdefault(name, {})
      node[leaf] = jnp.asarray(golden('train_utils')[key])
  return tree


def test_reductions_of_trees_answer_the_reference(golden):
  tree = tree_of(golden, 'clip_gradients/in/')
  for name in ('tree_norm', 'tree_norm_sq', 'tree_abs_max', 'tree_len'):
    want = golden('train_utils')[f'{name}/out']
    got = getattr(train_utils, name)(tree)
    np.testing.assert_allclose(got, want, rtol=1e-5, err_msg=name)
  assert train_utils.tree_sum({'a': 1, 'b': {'c': 2}}) == 3
  assert train_utils.tree_abs_max({}) == train_utils.tree_sum({}) == 0


def test_the_summary_of_a_tree_answers_the_reference(golden):
  tree = tree_of(golden, 'clip_gradients/in/')
  got = train_utils.summarize_tree(tree, train_utils.tree_norm)
  prefix = 'summarize_tree/tree_norm/out/'
  want = {
    k[len(prefix) :]: golden('train_utils')[k]
    for k in golden('train_utils').keys
    if k.startswith(prefix)
  }
  assert set(got) == set(want)
  for path, value in want.items():
    np.testing.assert_allclose(got[path], value, rtol=1e-5, err_msg=path)
  top = train_utils.summarize_tree(tree, len, ancestry=('x',), max_depth=2)
  assert top == {'x/NerfMLP_0': 2, 'x/PropMLP_0': 1}


@pytest.mark.parametrize('norm, value', [(0.001, 0.0), (0.0, 0.1), (0.1, 0.1)])
def test_clipped_gradients_answer_the_reference(golden, norm, value):
  config = configs.Config(grad_max_norm=norm, grad_max_val=value)
  grad = {'params': tree_of(golden, 'clip_gradients/in/')}
  got = train_utils.clip_gradients(grad, config)
  want = tree_of(golden, f'clip_gradients/norm{norm}_val{value}/out/')
  flat, tree = jax.tree.flatten(got)
  wanted, same = jax.tree.flatten({'params': want})
  assert tree == same
  for a, b in zip(flat, wanted, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-9)


# --- steps --------------------------------------------------------------------


def upstream_model(data, config):
  """The golden file's model in upstream's call form."""
  found = golden_model.model(data)
  names = set(found.__dataclass_fields__) - {'parent', 'name'}
  fields = {name: getattr(found, name) for name in names}
  return models.Model(config=config, **fields)


def golden_setup(golden, name):
  data = golden(name)
  known = configs.Config.__dataclass_fields__
  options = json.loads(str(data['config_json']))
  config = configs.Config(
    **{k: v for k, v in options.items() if k in known and k not in UNREAD}
  )
  batch = golden_model.batch(data)
  rays = utils.Rays(**vars(batch.rays))
  batch = utils.Batch(rays, batch.rgb, batch.disps, batch.normals, batch.alphas)
  return data, config, upstream_model(data, config), batch


# Functions by name, and options that do nothing.
UNREAD = (
  'render_dist_curve_fn',
  'vocab_tree_path',
  'render_spherical',
  'autoexpose_renders',
)


@pytest.mark.parametrize(
  'name', [pytest.param('model_blender_256', marks=pytest.mark.slow)]
)
def test_a_train_step_answers_the_reference(golden, name, monkeypatch):
  data, config, model, batch = golden_setup(golden, name)
  monkeypatch.setattr(
    parallel,
    'pmap_step',
    lambda fn, donate_state: jax.pmap(
      fn, axis_name=parallel.AXIS, devices=jax.devices()[:1]
    ),
  )
  monkeypatch.setattr(parallel, 'local_device_count', lambda: 1)
  state, lr_fn = train_utils.create_optimizer(config, golden_model.params(data))
  step = train_utils.create_train_step(model, config)
  lead = lambda tree: jax.tree.map(lambda x: jnp.asarray(x)[None], tree)
  rngs = jax.random.split(jax.random.PRNGKey(0), 1)
  new, stats, _ = step(rngs, lead(state), lead(batch), None, 0.5, 1.0)
  np.testing.assert_allclose(lr_fn(0), data['train/step0/lr'], rtol=1e-5)
  for key in data.keys:
    if not key.startswith('train/step0/') or 'clipped' in key:
      continue
    head, *rest = key[len('train/step0/') :].split('.', 1)
    # Adam divides by magnitudes near 0 in the first step.
    if head in ('lr', 'loss_threshold') or head.startswith('opt_update'):
      continue
    value = stats[head][rest[0]] if rest else stats[head]
    np.testing.assert_allclose(
      value[0], data[key], rtol=5e-4, atol=1e-6, err_msg=key
    )
  for path, value in jax.tree_util.tree_leaves_with_path(new.params):
    name = '/'.join(p.key for p in path[1:])
    want = data[f'params1/{name}']
    rate = float(data['train/step0/lr'])
    np.testing.assert_allclose(value[0], want, rtol=1e-4, atol=2 * rate)
