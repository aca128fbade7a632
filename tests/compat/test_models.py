"""The model in upstream's call form, and whole images."""

import functools

import golden_model
import jax
import jax.numpy as jnp
import model_util
import numpy as np
import pytest

from multinerf import models as ours
from multinerf.compat.multinerf import configs, models, train_utils, utils

CONFIG = configs.Config(
  vis_num_rays=2, render_chunk_size=16, batch_size=64, far=4.5, near=1.5
)


def small_model(**fields):
  sizes = dict(num_prop_samples=6, num_nerf_samples=4, num_levels=2)
  return models.Model(
    config=CONFIG,
    nerf_mlp=model_util.nerf_mlp(),
    prop_mlp=model_util.prop_mlp(),
    **(sizes | fields),
  )


def upstream_rays(n=4, **fields):
  rays = model_util.rays(n, lossmult=jnp.ones((n, 1)), **fields)
  return utils.Rays(**vars(rays))


@pytest.fixture(scope='module')
def variables():
  return model_util.init(small_model(), upstream_rays())


def test_parameters_are_those_of_the_package(variables):
  plain = model_util.shapes(model_util.model(), model_util.rays())
  got = {k: v.shape for k, v in model_util.flat(variables['params']).items()}
  assert got == plain


def test_deterministic_results_are_those_of_the_package_as_dicts(variables):
  rays = upstream_rays()
  options = dict(train_frac=0.5, compute_extras=True)

  @jax.jit
  def both(variables):
    plain = model_util.model().apply(variables, None, rays, **options)
    return small_model().apply(variables, None, rays, **options), plain

  (renderings, history), (want, levels) = both(variables)
  for got, model, level, entry in zip(
    renderings, want, levels, history, strict=True
  ):
    for name, value in vars(model).items():
      if value is None:
        assert name not in got
      else:
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(entry['sdist'], level.sdist, atol=1e-6)
    np.testing.assert_allclose(
      entry['density'], level.field.density, rtol=1e-5, atol=1e-6
    )
    assert entry['normals_pred'] is None
    assert got['ray_sdist'].shape == (2, entry['sdist'].shape[-1])
    np.testing.assert_array_equal(got['ray_weights'], entry['weights'][:2])
  # Proposals are shown in the colour that the last level adds up to.
  last = history[1]
  colour = np.sum(last['weights'][:2, :, None] * last['rgb'][:2], 1)
  np.testing.assert_allclose(
    renderings[0]['ray_rgbs'], np.repeat(colour[:, None], 6, 1), rtol=1e-5
  )
  np.testing.assert_array_equal(renderings[1]['ray_rgbs'], last['rgb'][:2])


@pytest.mark.slow
def test_one_key_of_either_kind_jitters_every_ray_apart(variables):
  same = upstream_rays(1)
  rays = jax.tree.map(lambda x: jnp.repeat(x, 3, axis=0), same)
  call = jax.jit(small_model().apply)
  sdist = lambda key: np.asarray(call(variables, key, rays)[1][0]['sdist'])
  new, old = sdist(jax.random.key(3)), sdist(jax.random.PRNGKey(3))
  np.testing.assert_array_equal(new, old)
  assert (new[0] != new[1]).any() and (new[1] != new[2]).any()
  assert (new != sdist(jax.random.key(4))).any()


def test_constructed_model_has_the_default_fields():
  rays = upstream_rays(3)
  made = []

  def construct(key):
    model, variables = models.construct_model(key, rays, CONFIG)
    made.append(model)
    return variables

  shapes = jax.eval_shape(construct, jax.random.key(0))['params']
  default = ours.Model()
  assert made[0].num_levels == default.num_levels
  assert made[0].nerf_mlp == default.nerf_mlp and made[0].config is CONFIG
  width = default.nerf_mlp.net_width
  assert shapes['NerfMLP_0']['Dense_1']['kernel'].shape == (width, width)
  assert set(shapes) == {'NerfMLP_0', 'PropMLP_0'}


@pytest.mark.slow
def test_an_image_is_the_rays_of_its_chunks(variables):
  model = small_model()
  height, width = 5, 7  # 35 rays: chunks of 16, 16 and 3
  flat = upstream_rays(height * width)
  rays = jax.tree.map(lambda x: x.reshape(height, width, -1), flat)
  render_fn = functools.partial(
    train_utils.create_render_fn(model), variables, 0.5
  )
  got = models.render_image(render_fn, rays, None, CONFIG, verbose=False)
  want, _ = jax.jit(
    functools.partial(model.apply, train_frac=0.5, compute_extras=True)
  )(variables, None, flat)
  for name, value in want[-1].items():
    if name.startswith('ray_'):
      assert len(got[name]) == 2 and len(got[name][0]) == CONFIG.vis_num_rays
    else:
      np.testing.assert_allclose(
        got[name].reshape(value.shape), value, rtol=1e-4, atol=1e-5
      )


@pytest.mark.slow
def test_renderings_answer_the_reference(golden):
  data = golden('model_blender_256')
  found = golden_model.model(data)
  names = set(found.__dataclass_fields__) - {'parent', 'name'}
  model = models.Model(
    config=CONFIG, **{name: getattr(found, name) for name in names}
  )
  rays = golden_model.batch(data).rays
  renderings, history = jax.jit(
    functools.partial(model.apply, train_frac=0.5, compute_extras=True)
  )(golden_model.params(data), None, rays)
  compared = 0
  for key in data.keys:
    if not key.startswith('fwd_tf0.5/'):
      continue
    _, level, name = key.split('/')
    i, is_history = int(level[4:]), level.startswith('hist')
    got = (history if is_history else renderings)[i][name]
    want = data[key]
    if name.startswith('ray_'):  # of how many rays is an option
      want = want[: len(got)]
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4, err_msg=key)
    compared += 1
  assert compared > 20
