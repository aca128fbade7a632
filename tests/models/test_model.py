"""The model: levels, weights, backgrounds, appearance."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import model_util
import numpy as np
import pytest

from multinerf import errors, models

RAYS = model_util.rays(4)


def render(net, keys=None, rays=RAYS, scale=1.0, **options):
  """(renderings, levels) with fresh parameters times `scale`, compiled."""

  @jax.jit
  def run(key, keys, rays):
    params = net.init(key, None, rays)
    params = jax.tree.map(lambda x: scale * x, params)
    return net.apply(params, keys, rays, **options)

  return run(jax.random.key(0), keys, rays)


def test_parameter_paths_are_those_of_checkpoints():
  paths = set(model_util.shapes(model_util.model(), RAYS))
  dense = lambda count: {
    f'Dense_{i}/{leaf}' for i in range(count) for leaf in ('kernel', 'bias')
  }
  want = {f'NerfMLP_0/{p}' for p in dense(6)}
  assert paths == want | {f'PropMLP_0/{p}' for p in dense(3)}


def test_a_single_mlp_has_no_proposal_parameters():
  paths = model_util.shapes(model_util.model(single_mlp=True), RAYS)
  assert {p.split('/')[0] for p in paths} == {'NerfMLP_0'}


def test_embeddings_keep_their_published_names():
  net = model_util.model(
    num_glo_features=2, num_glo_embeddings=5, learned_exposure_scaling=True
  )
  shapes = model_util.shapes(net, RAYS)
  assert shapes['Embed_0/embedding'] == (5, 2)
  assert shapes['exposure_scaling_offsets/embedding'] == (5, 3)


def test_parameters_do_not_depend_on_flags_or_keys():
  net = model_util.model(
    num_glo_features=2, num_glo_embeddings=5, learned_exposure_scaling=True
  )

  def tree(keys=None, rays=RAYS, **options):
    fn = lambda key: net.init(key, keys, rays, **options)
    return jax.eval_shape(fn, jax.random.key(0))

  want = tree()
  for other in (
    tree(zero_glo=False),
    tree(zero_glo=True, compute_extras=True),
    tree(keys=model_util.ray_keys(4)),
    tree(rays=RAYS.replace(exposure_idx=RAYS.cam_idx)),
  ):
    assert jax.tree.structure(other) == jax.tree.structure(want)
    assert jax.tree.leaves(other) == jax.tree.leaves(want)


@pytest.mark.parametrize('random', [False, True])
def test_distances_are_sorted_and_weights_sum_to_at_most_one(random):
  keys = model_util.ray_keys(4) if random else None
  # Threefold weights: densities from nearly 0 to far above 1.
  renderings, levels = render(
    model_util.model(), keys, scale=3.0, compute_extras=True
  )
  assert [lv.weights.shape for lv in levels] == [(4, 6), (4, 4)]
  for rendering, level in zip(renderings, levels, strict=True):
    s, t, w = (np.asarray(x) for x in (level.sdist, level.tdist, level.weights))
    assert np.all(np.diff(s, axis=-1) >= 0) and s.min() >= 0 and s.max() <= 1
    assert np.all(np.diff(t, axis=-1) >= 0)
    assert np.all((t >= 1.5 - 1e-5) & (t <= 4.5 + 1e-5))
    assert np.all(w >= 0) and np.all(w.sum(-1) <= 1 + 1e-6)
    np.testing.assert_allclose(rendering.acc, w.sum(-1), rtol=1e-5)
  np.testing.assert_allclose(
    renderings[-1].rgb,
    np.sum(levels[-1].weights[..., None] * levels[-1].field.rgb, axis=-2)
    + (1 - np.asarray(renderings[-1].acc))[:, None],
    atol=1e-5,
  )


def test_opaque_background_absorbs_what_is_left():
  # Weak density, so that something is left.
  net = model_util.model(
    nerf=dict(density_bias=-6.0), prop=dict(density_bias=-6.0)
  )
  clear, levels = render(net, compute_extras=True)
  assert np.all(clear[-1].acc < 0.2)
  opaque, solid = render(net.clone(opaque_background=True), compute_extras=True)
  for rendering, level in zip(opaque, solid, strict=True):
    np.testing.assert_allclose(rendering.acc, 1, atol=1e-6)
    assert np.all(level.weights[:, -1] > 0.7)
  # All but the last interval of the first level are as before.
  np.testing.assert_allclose(
    solid[0].weights[:, :-1], levels[0].weights[:, :-1], rtol=1e-5
  )


def test_a_ray_is_rendered_alike_alone_and_in_company():
  net = model_util.model(
    nerf=dict(density_noise=1.0, bottleneck_noise=0.5),
    bg_intensity_range=(0.0, 1.0),
    single_jitter=False,
  )
  keys = model_util.ray_keys(4)
  together, levels = render(net, keys)
  one = jax.tree.map(lambda x: x[2:3], RAYS)
  alone, alone_levels = render(net, keys[2:3], one)
  for got, want in zip(alone_levels, levels, strict=True):
    np.testing.assert_allclose(got.sdist, want.sdist[2:3], atol=1e-5)
  # Sums in matrix products take another order with another number of rows.
  np.testing.assert_allclose(alone[-1].rgb, together[-1].rgb[2:3], atol=1e-4)
  # Rays do differ from each other in their jitter.
  s = np.asarray(levels[0].sdist)
  assert len(np.unique(s[:, 1])) == 4


def test_random_background_varies_and_is_its_middle_without_keys():
  net = model_util.model(
    nerf=dict(density_bias=-50.0),
    prop=dict(density_bias=-50.0),
    bg_intensity_range=(0.2, 0.6),
  )
  quiet, _ = render(net)
  np.testing.assert_allclose(quiet[-1].rgb, 0.4, atol=1e-6)
  noisy, _ = render(net, model_util.ray_keys(4))
  rgb = np.asarray(noisy[-1].rgb)
  assert np.all((rgb >= 0.2 - 1e-6) & (rgb <= 0.6 + 1e-6))
  assert len(np.unique(rgb)) == 12  # one per ray and channel


def test_appearance_code_colours_the_last_level_only_and_zero_glo_is_neutral():
  net = model_util.model(num_glo_features=2, num_glo_embeddings=5)
  same = jax.tree.map(lambda x: jnp.repeat(x[:1], 3, axis=0), RAYS)
  same = same.replace(cam_idx=jnp.int32([[0], [1], [2]]))
  coloured, levels = render(net, rays=same, zero_glo=False)
  neutral, neutral_levels = render(net, rays=same, zero_glo=True)
  assert len(np.unique(np.asarray(coloured[-1].rgb)[:, 0])) == 3
  np.testing.assert_allclose(np.ptp(neutral[-1].rgb, axis=0), 0, atol=1e-6)
  for got, want in zip(levels, neutral_levels, strict=True):
    np.testing.assert_allclose(got.weights, want.weights, atol=1e-6)


def test_near_annealing_opens_the_near_bound():
  net = model_util.model(near_anneal_rate=0.5, near_anneal_init=0.9)

  @jax.jit
  def first_s(frac):
    params = net.init(jax.random.key(0), None, RAYS)
    _, levels = net.apply(params, None, RAYS, train_frac=frac)
    return jnp.stack([level.sdist.min() for level in levels])

  for frac, near in ((0.0, 0.9), (0.25, 0.5), (0.5, 0.0), (1.0, 0.0)):
    got = np.asarray(first_s(np.float32(frac)))
    assert np.all(got >= near - 1e-6)
    assert got[0] <= near + 0.02  # the first level starts at the bound


def test_gradients_stop_between_levels_unless_asked_for():
  def through(stop):
    net = model_util.model(stop_level_grad=stop)

    @jax.jit
    def grads(key):
      params = net.init(key, None, RAYS)
      last = lambda p: jnp.sum(net.apply(p, None, RAYS)[0][-1].rgb)
      return jax.grad(last)(params)['params']['PropMLP_0']

    return jax.tree.leaves(grads(jax.random.key(0)))

  assert all(np.all(np.asarray(g) == 0) for g in through(True))
  open_grads = through(False)
  assert any(np.any(np.asarray(g) != 0) for g in open_grads)
  assert all(np.all(np.isfinite(g)) for g in open_grads)


def test_with_compute_dtype_sets_both_fields_and_nothing_else():
  net = model_util.model()
  half = models.with_compute_dtype(net, 'bfloat16')
  assert (
    half.nerf_mlp.compute_dtype == half.prop_mlp.compute_dtype == 'bfloat16'
  )
  assert model_util.shapes(half, RAYS) == model_util.shapes(net, RAYS)
  assert models.with_compute_dtype(half, 'float32') == net


def test_with_compute_dtype_does_not_mind_a_field_that_is_not_used():
  class Foreign(nn.Module):
    """Without options."""

  net = model_util.model(single_mlp=True).clone(prop_mlp=Foreign())
  half = models.with_compute_dtype(net, 'bfloat16')
  assert half.nerf_mlp.compute_dtype == 'bfloat16'
  with pytest.raises(errors.ConfigError, match='Model.prop_mlp is a Foreign'):
    models.with_compute_dtype(net.clone(single_mlp=False), 'bfloat16')


@pytest.mark.slow
def test_bfloat16_training_gradients_are_finite_float32():
  net = models.with_compute_dtype(model_util.model(), 'bfloat16')

  @jax.jit
  def run(key, keys):
    params = net.init(key, None, RAYS)
    loss = lambda p: jnp.sum(net.apply(p, keys, RAYS)[0][-1].rgb)
    return jax.value_and_grad(loss)(params)

  value, grads = run(jax.random.key(0), model_util.ray_keys(4))
  assert np.isfinite(value)
  for grad in jax.tree.leaves(grads['params']['NerfMLP_0']):
    assert grad.dtype == jnp.float32
    assert np.all(np.isfinite(grad)) and np.any(np.asarray(grad) != 0)


def test_more_images_than_appearance_codes_is_an_error():
  net = model_util.model(num_glo_features=2, num_glo_embeddings=5)
  models.check_num_images(net, 5)
  with pytest.raises(errors.ConfigError, match='num_glo_embeddings = 5'):
    models.check_num_images(net, 6)
  models.check_num_images(model_util.model(num_glo_embeddings=5), 6)
