"""Models that cannot work are refused by the name of the option."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import model_util
import numpy as np
import pytest

from multinerf import errors, models, types
from multinerf.config import gin_setup

NO_NORMALS = dict(disable_density_normals=True)
LEVELS = dict(
  sampling_strategy=((0, None, 6), (1, None, 4)),
  mlp_params_per_level=({'disable_rgb': True, **NO_NORMALS}, NO_NORMALS),
)


def zipnerf_model(**options):
  last = {**NO_NORMALS, **options}
  params = ({'disable_rgb': True, **NO_NORMALS}, last)
  return models.Model(**{**LEVELS, 'mlp_params_per_level': params})


# What is wrong, and all options that the message must name.
WRONG = [
  (dict(nerf=dict(use_reflections=True)), 'NerfMLP.use_reflections', 'normals'),
  (dict(nerf=dict(use_n_dot_v=True)), 'NerfMLP.use_n_dot_v', 'pred_normals'),
  (dict(nerf=dict(weight_init='he_unif')), 'NerfMLP.weight_init', 'he_uniform'),
  (dict(nerf=dict(weight_init='zeros')), 'NerfMLP.weight_init', 'zeros_init'),
  (dict(nerf=dict(skip_layer=0)), 'NerfMLP.skip_layer = 0', 'at least 1'),
  (dict(prop=dict(skip_layer=0)), 'PropMLP.skip_layer = 0', 'at least 1'),
  (dict(nerf=dict(skip_layer_dir=0)), 'NerfMLP.skip_layer_dir', 'at least 1'),
  (dict(num_nerf_samples=1), 'Model.num_nerf_samples', 'least'),
  (dict(num_prop_samples=1), 'Model.num_prop_samples', 'least'),
  (dict(single_mlp=True, num_glo_features=4), 'single_mlp', 'glo_features = 4'),
]
WORKING = [
  dict(nerf=dict(use_reflections=True, enable_pred_normals=True)),
  dict(nerf=dict(use_n_dot_v=True, disable_density_normals=False)),
  dict(nerf=dict(use_reflections=True), use_viewdirs=False),
  # Proposals have no colours to reflect anything in.
  dict(prop=dict(use_n_dot_v=True, skip_layer_dir=0)),
  dict(nerf=dict(net_depth=0, skip_layer=0)),
  dict(nerf=dict(weight_init='zeros_init')),
  dict(num_levels=1, num_prop_samples=0),
  dict(single_mlp=True, prop=dict(skip_layer=0)),
  dict(single_mlp=True, num_glo_features=4, nerf=dict(glo_mode='affine')),
  dict(single_mlp=True, num_glo_features=4, use_viewdirs=False),
  dict(single_mlp=True, num_glo_features=4, num_levels=1),
]


@pytest.mark.parametrize('options, option, more', WRONG, ids=str)
def test_options_that_cannot_work_are_named(options, option, more):
  net = model_util.model(**options)
  # What is refused did not work before.
  with pytest.raises(Exception):  # noqa: B017
    model_util.shapes(net, model_util.rays(2))
  with pytest.raises(errors.ConfigError, match=option) as caught:
    models.check_for_scene(net, 1, np.ones(1))
  assert more in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize('number', [0, -1])
def test_there_is_at_least_one_level(number):
  # It was one level in training, and none for whoever asked.
  net = model_util.model(num_levels=number)
  with pytest.raises(errors.ConfigError, match=f'Model.num_levels = {number}'):
    models.check_options(net)


@pytest.mark.parametrize('options', WORKING, ids=str)
def test_options_that_work_are_not_refused(options):
  net = model_util.model(**options)
  models.check_options(net)
  assert model_util.shapes(net, model_util.rays(2))


@pytest.mark.parametrize(
  'net, message',
  [
    (zipnerf_model(use_n_dot_v=True), 'MLP.use_n_dot_v'),
    (zipnerf_model(weight_init='he_unif'), 'MLP.weight_init.*he_uniform'),
    (zipnerf_model(skip_layer=0), 'MLP.skip_layer = 0'),
    (
      models.Model(**LEVELS | {'sampling_strategy': ((0, None, 1),) * 2}),
      'must be used',
    ),
    (
      models.Model(
        **LEVELS | {'sampling_strategy': ((0, None, 6), (1, None, 1))}
      ),
      'Model.sampling_strategy asks for 1 ',
    ),
  ],
)
def test_options_of_zipnerf_levels_are_named(net, message):
  with pytest.raises(errors.ConfigError, match=message):
    models.check_options(net)
  models.check_options(zipnerf_model())


@pytest.mark.parametrize(
  'bindings, message',
  [
    (['NerfMLP.use_reflections = True'], 'NerfMLP.use_reflections'),
    (["PropMLP.weight_init = 'he_unif'"], "Did you mean 'he_uniform'"),
    (['Model.num_levels = 0'], 'Model.num_levels'),
    (["MLP.weight_init = 'he_unif'"], '[(]gin: MLP.weight_init'),
  ],
)
def test_models_from_gin_are_checked(bindings, message):
  normals = '{}.disable_density_normals = True'
  is_mlp = bindings[0].startswith('MLP')
  names = ['MLP'] if is_mlp else ['NerfMLP', 'PropMLP']
  setup = gin_setup.load((), [*map(normals.format, names), *bindings])
  with pytest.raises(errors.ConfigError, match=message):
    setup.build_model()


class Blob(nn.Module):
  """A field of its own, without any option of an MLP."""

  @nn.compact
  def __call__(
    self, keys, samples, *, viewdirs=None, imageplane=None, glo_vec=None
  ):
    density = jnp.exp(-jnp.sum(samples.means**2, axis=-1))
    return types.FieldOutput(density, rgb=jnp.full_like(samples.means, 0.5))


def test_fields_of_other_classes_are_not_judged():
  net = models.Model(
    nerf_mlp=Blob(), prop_mlp=Blob(), single_mlp=True, num_glo_features=2
  )
  models.check_for_scene(net, 3, np.ones(3))
  jax.eval_shape(net.init, jax.random.key(0), None, model_util.rays(2))


def test_models_of_other_classes_are_not_judged():
  models.check_options(Blob())


@pytest.mark.parametrize(
  'fn',
  [jnp.reciprocal, jnp.log, (jnp.log, jnp.exp, {})],
  ids=['reciprocal', 'log', 'tuple'],
)
@pytest.mark.parametrize('near', [0.0, np.array([0.2, -1.0]), np.zeros(3)])
def test_a_curve_that_is_infinite_where_rays_begin_is_refused(fn, near):
  net = model_util.model(raydist_fn=fn)
  with pytest.raises(errors.ConfigError, match='Config.near') as caught:
    models.check_for_scene(net, 3, near)
  assert 'Model.raydist_fn' in str(caught.value)
  assert '\n' not in str(caught.value)
  models.check_for_scene(net, 3, np.array([0.2, 1e-3]))


@pytest.mark.parametrize(
  'fn', [None, 'piecewise', jnp.sqrt], ids=['none', 'piecewise', 'sqrt']
)
def test_other_curves_may_begin_at_the_camera(fn):
  models.check_for_scene(model_util.model(raydist_fn=fn), 3, np.float32(0))
