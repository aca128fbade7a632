"""Fields: parameter paths, options, normals."""

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import ops_util
import pytest

from multinerf.models import encodings
from multinerf.ops import coord

REF_NERF = dict(
  disable_density_normals=False,
  enable_pred_normals=True,
  enable_pred_roughness=True,
  use_diffuse_color=True,
  use_specular_tint=True,
  use_reflections=True,
  use_directional_enc=True,
  use_n_dot_v=True,
)


def inputs(rays=2, samples=3, scale=0.05):
  gen = np.random.default_rng(0)
  means = jnp.asarray(gen.uniform(-1.5, 1.5, (rays, samples, 3)), jnp.float32)
  dirs = gen.normal(size=(rays, 3))
  dirs /= np.linalg.norm(dirs, axis=-1, keepdims=True)
  points = ops_util.sample_points(means, scale)
  return points, jnp.asarray(dirs, jnp.float32)


def evaluate(net, keys=None, seed=0, **options):
  """Initialises and applies as one function; returns (params, output)."""
  samples, dirs = inputs()
  options = {'viewdirs': dirs, **options}

  @jax.jit
  def run(key):
    params = net.init(key, None, samples, **options)
    return params, net.apply(params, keys, samples, **options)

  return run(jax.random.key(seed))


def kernels(net, **options):
  """{Dense_k: kernel shape}; nothing is compiled."""
  samples, dirs = inputs()
  options = {'viewdirs': dirs, **options}
  tree = jax.eval_shape(
    lambda key: net.init(key, None, samples, **options), jax.random.key(0)
  )
  return {k: v['kernel'].shape for k, v in tree['params'].items()}


def test_layers_are_numbered_as_upstream_numbers_them():
  # 18 = 3 axes x 3 octaves x 2; 15 = 3 + 3 axes x 2 octaves x 2.
  assert kernels(model_util.nerf_mlp()) == {
    'Dense_0': (18, 8),
    'Dense_1': (8, 8),
    'Dense_2': (8, 1),  # density
    'Dense_3': (8, 8),  # bottleneck
    'Dense_4': (8 + 15, 8),
    'Dense_5': (8, 3),
  }
  assert kernels(model_util.prop_mlp()) == {
    'Dense_0': (18, 8),
    'Dense_1': (8, 8),
    'Dense_2': (8, 1),
  }


def test_ref_nerf_heads_are_numbered_in_their_order_of_construction():
  # 10 features of the integrated directional encoding of degree 2.
  assert kernels(model_util.nerf_mlp(**REF_NERF)) == {
    'Dense_0': (18, 8),
    'Dense_1': (8, 8),
    'Dense_2': (8, 1),  # density
    'Dense_3': (8, 3),  # predicted normals
    'Dense_4': (8, 3),  # diffuse
    'Dense_5': (8, 3),  # tint
    'Dense_6': (8, 1),  # roughness
    'Dense_7': (8, 8),  # bottleneck
    'Dense_8': (8 + 10 + 1, 8),
    'Dense_9': (8, 3),
  }


def test_skip_connection_joins_after_every_nth_layer_but_the_first():
  net = model_util.nerf_mlp(net_depth=6, skip_layer=2, disable_rgb=True)
  want = [(18, 8), (8, 8), (8, 8), (26, 8), (8, 8), (26, 8), (8, 1)]
  assert list(kernels(net).values()) == want


def test_disabled_heads_take_no_number():
  net = model_util.nerf_mlp(bottleneck_width=0)
  assert list(kernels(net).values()) == [
    (18, 8),
    (8, 8),
    (8, 1),
    (15, 8),
    (8, 3),
  ]


def test_no_view_directions_leave_out_the_second_stage():
  net = model_util.nerf_mlp()
  assert list(kernels(net, viewdirs=None).values()) == [
    (18, 8),
    (8, 8),
    (8, 1),
    (8, 3),
  ]


def test_appearance_code_widens_the_second_stage():
  glo = jnp.zeros((2, 5), jnp.float32)
  assert kernels(model_util.nerf_mlp(), glo_vec=glo)['Dense_4'] == (
    8 + 15 + 5,
    8,
  )


@pytest.mark.parametrize(
  'options',
  [
    dict(bottleneck_width=0),
    dict(use_directional_enc=True),  # without roughness: no blur
    dict(use_directional_enc=True, enable_pred_roughness=True),
    dict(REF_NERF),
    {**REF_NERF, 'enable_pred_normals': False},
    dict(use_diffuse_color=True),
    dict(warp_fn=coord.contract, disable_density_normals=False),
  ],
  ids=lambda o: '+'.join(o)[:60],
)
def test_options_give_finite_fields_of_the_promised_shapes(options):
  # All of 8 relus can be off at a point, whose density then has no gradient
  # and whose normal is 0.
  net = model_util.nerf_mlp(**options, net_activation=jax.nn.softplus)
  _, out = evaluate(net)
  assert out.density.shape == (2, 3) and np.all(out.density >= 0)
  assert out.rgb.shape == (2, 3, 3)
  assert np.all((out.rgb >= -0.001 - 1e-6) & (out.rgb <= 1.001 + 1e-6))
  has_normals = not options.get('disable_density_normals', True)
  assert (out.normals is not None) == has_normals
  predicts = options.get('enable_pred_normals', False)
  assert (out.normals_pred is not None) == predicts
  for normals in (out.normals, out.normals_pred):
    if normals is not None:
      length = np.linalg.norm(normals, axis=-1)
      np.testing.assert_allclose(length, 1, atol=1e-4)
  if options.get('enable_pred_roughness'):
    assert out.roughness.shape == (2, 3, 1) and np.all(out.roughness > 0)
  else:
    assert out.roughness is None
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(out))


def test_directional_encoding_without_roughness_is_that_of_roughness_zero():
  net = model_util.nerf_mlp(use_directional_enc=True)
  rough = model_util.nerf_mlp(
    use_directional_enc=True,
    enable_pred_roughness=True,
    roughness_activation=jnp.zeros_like,
  )
  params, out = evaluate(net)
  # The roughness head is Dense_3 and moves later layers by one.
  layers = dict(params['params'])
  shifted = {k: layers[k] for k in ('Dense_0', 'Dense_1', 'Dense_2')}
  shifted['Dense_3'] = {
    'kernel': jnp.ones((8, 1)),
    'bias': jnp.ones((1,)),
  }
  for i in (3, 4, 5):
    shifted[f'Dense_{i + 1}'] = layers[f'Dense_{i}']
  samples, dirs = inputs()
  got = jax.jit(
    lambda p: rough.apply({'params': p}, None, samples, viewdirs=dirs)
  )(shifted)
  np.testing.assert_allclose(got.rgb, out.rgb, atol=1e-6)


@pytest.mark.parametrize('warp', [None, coord.contract], ids=['', 'contract'])
def test_density_normals_are_finite_differences(warp):
  net = model_util.nerf_mlp(
    disable_density_normals=False,
    disable_rgb=True,
    net_activation=jnp.tanh,  # relu has kinks
    density_activation=lambda x: x,
    max_deg_point=1,
    warp_fn=warp,
  )
  samples, _ = inputs()
  # |x| = 1 is the contraction's own kink; stay away from it.
  means = samples.means
  radius = np.linalg.norm(means, axis=-1, keepdims=True)
  means = jnp.where(np.abs(radius - 1) < 0.1, 2 * means, means)
  samples = samples.replace(means=means)
  h = 1e-2
  shifts = h * np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)

  @jax.jit
  def run(key):
    params = net.init(key, None, samples)
    density = lambda x: net.apply(params, None, x).density
    moved = jax.vmap(lambda d: density(samples.replace(means=means + d)))(
      jnp.asarray(shifts)
    )
    return net.apply(params, None, samples), moved

  out, moved = run(jax.random.key(0))
  slope = np.moveaxis((moved[:3] - moved[3:]) / (2 * h), 0, -1)
  # Truncation h^2 f'''/6 and rounding 1e-7 / h are both about 1e-5.
  np.testing.assert_allclose(out.raw_grad_density, slope, rtol=2e-3, atol=2e-4)
  want = -slope / np.linalg.norm(slope, axis=-1, keepdims=True)
  np.testing.assert_allclose(out.normals, want, atol=5e-3)


def test_losses_on_density_normals_reach_a_hash_grid():
  # Second-order: the gradient of a gradient of the grid look-up.
  net = model_util.nerf_mlp(
    disable_density_normals=False,
    disable_rgb=True,
    encoder=encodings.HashEncoding(
      hash_map_size=64,
      min_grid_size=4,
      max_grid_size=8,
      scale_supersample=1.0,
      hash_init_range=0.5,
    ),
  )
  samples, _ = inputs()

  @jax.jit
  def grads(key):
    params = net.init(key, None, samples)
    up = lambda p: jnp.sum(net.apply(p, None, samples).normals[..., 2])
    return jax.grad(up)(params)

  found = grads(jax.random.key(0))['params']['encoder']
  for name, grad in found.items():
    assert np.all(np.isfinite(grad)), name
    assert np.any(np.asarray(grad) != 0), name


@pytest.mark.slow
def test_noise_needs_keys_and_changes_what_its_option_says():
  options = dict(density_noise=1.0, bottleneck_noise=0.0)
  keys = model_util.ray_keys(2)
  _, quiet = evaluate(model_util.nerf_mlp(**options))
  _, noisy = evaluate(model_util.nerf_mlp(**options), keys=keys)
  _, plain = evaluate(model_util.nerf_mlp(), keys=keys)
  np.testing.assert_allclose(quiet.density, plain.density, rtol=1e-6)
  assert np.all(np.abs(noisy.density - plain.density) > 1e-4)
  np.testing.assert_allclose(noisy.rgb, plain.rgb, atol=1e-6)
  _, noisy = evaluate(model_util.nerf_mlp(bottleneck_noise=1.0), keys=keys)
  np.testing.assert_allclose(noisy.density, plain.density, rtol=1e-6)
  assert np.all(np.abs(noisy.rgb - plain.rgb) > 1e-6)


@pytest.mark.slow
def test_bfloat16_layers_keep_float32_parameters_and_outputs():
  options = {**REF_NERF, 'net_width': 16}
  params, out = evaluate(model_util.nerf_mlp(**options))
  half_params, half = evaluate(
    model_util.nerf_mlp(**options, compute_dtype='bfloat16')
  )
  for leaf in jax.tree.leaves((half_params, half)):
    assert leaf.dtype == jnp.float32 and np.all(np.isfinite(leaf))
  jax.tree.map(np.testing.assert_array_equal, half_params, params)
  # 8 bits of mantissa through six layers.
  np.testing.assert_allclose(half.density, out.density, rtol=0.1, atol=0.02)
  np.testing.assert_allclose(half.rgb, out.rgb, atol=0.05)
  assert np.any(np.asarray(half.density) != np.asarray(out.density))
