"""A `Renderer` renders what the render step does, and no more than asked."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import model_util
import numpy as np
import pytest
import run_util

from multinerf import errors, parallel, types
from multinerf.app import renderer as renderer_lib
from multinerf.cameras import projection
from multinerf.config import gin_setup, views
from multinerf.data import base
from multinerf.training import step as step_lib

FIELDS = [field.name for field in dataclasses.fields(types.Rendering)]


@pytest.fixture(scope='module')
def case(tmp_path_factory):
  """(setup, scene, parameters) of a tiny field that was not trained."""
  data = run_util.render_scene(tmp_path_factory.mktemp('scene'))
  setup = gin_setup.load(
    ['blender_256.gin'],
    [
      *run_util.BINDINGS,
      f"Config.data_dir = '{data}'",
      'Config.render_chunk_size = 100',
    ],
  )
  scene = base.load_scene(views.view(setup.config, base.DataConfig), 'test')
  pixels = projection.image_pixels(scene.cameras, 0)
  rays = projection.cast_ray_batch(
    scene.cameras, jax.tree.map(lambda x: x[0], pixels)
  )
  params = setup.build_model().init(jax.random.key(0), None, rays)
  return setup, scene, params


@pytest.fixture(scope='module')
def plainly(case):
  """A function: index -> that camera's image, without chunks or devices."""
  setup, scene, params = case
  render = jax.jit(step_lib.make_render_step(setup.build_model()))

  def view(index):
    one = scene.cameras.take(index)
    return render(params, projection.image_pixels(one, 0), one, 1.0)

  return view


def close(found, want, names):
  for name in names:
    got, expected = getattr(found, name), getattr(want, name)
    assert (got is None) == (expected is None), name
    if expected is not None:
      # Other shapes are other programs, which round differently.
      np.testing.assert_allclose(got, expected, atol=2e-4, rtol=2e-4)


@pytest.fixture(scope='module')
def renderer(case):
  setup = case[0]
  return renderer_lib.Renderer(setup.build_model(), setup.config)


def test_a_stream_of_images_is_what_the_render_step_says(
  case, renderer, plainly
):
  _, scene, params = case
  replicated = parallel.replicate(params)
  order = [1, 0, 1]
  found = list(renderer.stream(replicated, scene.cameras, order))
  for i, view in zip(order, found, strict=True):
    assert view.rendering.rgb.shape == (16, 16, 3)
    assert view.seconds > 0
    close(view.rendering, plainly(i), FIELDS)
  one = renderer.view(replicated, scene.cameras, 0)
  for name in FIELDS:
    np.testing.assert_array_equal(
      getattr(one, name), getattr(found[1].rendering, name)
    )


def test_only_the_fields_wanted_are_rendered(case, renderer, plainly):
  _, scene, params = case
  found = renderer.view(
    parallel.replicate(params), scene.cameras, fields=('rgb', 'acc')
  )
  close(found, plainly(0), ('rgb', 'acc'))
  rest = set(FIELDS) - {'rgb', 'acc'}
  assert all(getattr(found, name) is None for name in rest)


def test_images_of_nearly_one_size_share_a_program(case):
  setup, scene, params = case
  config = dataclasses.replace(setup.config, render_chunk_size=64)
  renderer = renderer_lib.Renderer(setup.build_model(), config)
  replicated = parallel.replicate(params)
  for height in (16, 12, 10):
    cameras = scene.cameras.replace(
      heights=np.full_like(np.asarray(scene.cameras.heights), height)
    )
    found = renderer.view(replicated, cameras, fields=('rgb',))
    assert found.rgb.shape == (height, 16, 3)
  # 16 x 16 and 12 x 16 pixels make full chunks of 64; 10 x 16 make three of 56.
  assert renderer.num_programs == 2


@pytest.mark.slow
def test_rendering_in_half_precision_is_nearly_the_same(case, renderer):
  setup, scene, params = case
  config = dataclasses.replace(setup.config, render_compute_dtype='bfloat16')
  half = renderer_lib.Renderer(setup.build_model(), config)
  replicated = parallel.replicate(params)
  want = renderer.view(replicated, scene.cameras, fields=('rgb',)).rgb
  found = half.view(replicated, scene.cameras, fields=('rgb',)).rgb
  assert found.dtype == np.float32
  assert 0 < np.max(np.abs(found - want)) < 0.05  # eight bits of mantissa


def test_metrics_without_files_are_those_with_files(case, renderer, tmp_path):
  _, scene, params = case
  replicated = parallel.replicate(params)
  with_files = renderer.evaluate(replicated, scene, 3, str(tmp_path))
  without = renderer.evaluate(replicated, scene, 3, None)
  assert without.images[0].metrics.keys() == with_files.images[0].metrics.keys()
  for name, value in with_files.mean.items():
    # Two programs; the predictions are rounded to 8 bits before they count.
    assert without.mean[name] == pytest.approx(value, abs=1e-2, rel=1e-2)
  assert sorted(p.name for p in (tmp_path / 'test_preds').glob('color_0*'))


def test_leaving_out_empty_rays_changes_only_those(case, plainly):
  setup, scene, params = case
  # An untrained field is half fog everywhere.
  config = dataclasses.replace(setup.config, render_empty_below=0.5)
  sparse = renderer_lib.Renderer(setup.build_model(), config)
  found = sparse.view(parallel.replicate(params), scene.cameras)
  want = plainly(0)
  for name in FIELDS:
    got, expected = getattr(found, name), getattr(want, name)
    assert (got is None) == (expected is None), name
  left = np.all(np.abs(found.rgb - want.rgb) < 2e-4, axis=-1)
  white = np.all(np.abs(found.rgb - 1.0) < 1e-5, axis=-1)
  assert np.all(left | white)
  assert np.any(left) and np.any(white)


class Fog(nn.Module):
  """A field of somebody else's: the signature of `types.Field`, no options."""

  @nn.compact
  def __call__(
    self, keys, samples, *, viewdirs=None, imageplane=None, glo_vec=None
  ):
    density = self.param('density', nn.initializers.ones, ())
    return types.FieldOutput(
      jnp.broadcast_to(density, samples.means.shape[:-1]),
      rgb=jnp.full_like(samples.means, 0.5),
    )


def test_a_field_without_compute_dtype_renders_but_not_in_half_precision(case):
  setup, scene, _ = case
  model = setup.build_model().clone(nerf_mlp=Fog(name='Fog_0'))
  params = jax.jit(model.init)(jax.random.key(0), None, model_util.rays(2))
  renderer = renderer_lib.Renderer(model, setup.config)
  view = renderer.view(
    parallel.replicate(params), scene.cameras, fields=['rgb']
  )
  assert np.all(np.isfinite(view.rgb))
  config = dataclasses.replace(setup.config, render_compute_dtype='bfloat16')
  with pytest.raises(errors.ConfigError) as e:
    renderer_lib.Renderer(model, config)
  for word in ('Config.render_compute_dtype', 'Model.nerf_mlp', 'Fog'):
    assert word in str(e.value)
