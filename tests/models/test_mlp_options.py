"""Options of the networks change the output as their formulas say.

The twin below is the field in float64 numpy, written from MultiNeRF's
behaviour; each option is one line of it.
"""

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import ops_util
import pytest

from multinerf.models import encodings

RAYS, SAMPLES, DEVIATION = 4, 5, 0.05
AXES = encodings.basis('octahedron', 1)
# Features of both signs, of the size of the positional encoding.
ONE_GRID = dict(
  hash_map_size=64,
  min_grid_size=4,
  max_grid_size=4,
  hash_init_range=1.0,
)
GRID = encodings.HashEncoding(**ONE_GRID, num_features=2)
LONE_FEATURE = encodings.HashEncoding(**ONE_GRID, num_features=1)

softplus = lambda x: np.logaddexp(x, 0.0)
sigmoid = lambda x: 1 / (1 + np.exp(-x))
relu = lambda x: np.maximum(x, 0.0)


def sinusoids(x, variance, low, high):
  """Sines of all octaves, then cosines; each octave by octave."""
  octaves = 2.0 ** np.arange(low, high)
  angle = np.concatenate([x * s for s in octaves], axis=-1)
  fade = np.concatenate(
    [np.exp(-variance * s**2 / 2) + 0 * x for s in octaves], -1
  )
  return np.concatenate([fade * np.sin(angle), fade * np.cos(angle)], axis=-1)


def twin(net, params, means, dirs):
  """(density, colour, roughness or None) of a field two layers deep."""
  layers = iter(sorted(k for k in params if k.startswith('Dense')))

  def dense(x):
    layer = params[next(layers)]
    return x @ np.float64(layer['kernel']) + np.float64(layer['bias'])

  encoding = sinusoids(
    means @ AXES, DEVIATION**2, net.min_deg_point, net.max_deg_point
  )
  x = encoding
  if net.encoder is not None:
    points = jnp.asarray(means)[..., None, :]
    grid = net.encoder.apply({'params': params['encoder']}, points)
    x = np.float64(grid)
    if net.use_posenc_with_grid:
      x = np.concatenate([x, net.posenc_feature_scale * encoding], axis=-1)
  for _ in range(net.net_depth):
    x = relu(dense(x))
  raw = x if net.skip_final_density_layer else dense(x)
  density = softplus(raw[..., 0] - 1)
  roughness = None
  if net.enable_pred_roughness:
    roughness = softplus(dense(x) + net.roughness_bias)
  view = np.concatenate([dirs, sinusoids(dirs, 0.0, 0, net.deg_view)], axis=-1)
  view = np.broadcast_to(view[:, None], (*means.shape[:2], view.shape[-1]))
  x = relu(dense(np.concatenate([dense(x), view], axis=-1)))
  rgb = sigmoid(net.rgb_premultiplier * dense(x))
  assert next(layers, None) is None
  return density, rgb * 1.002 - 0.001, roughness


@pytest.mark.parametrize(
  'option, value, others',
  [
    ('min_deg_point', 1, {}),
    ('max_deg_point', 2, {}),
    ('rgb_premultiplier', 3.0, {}),
    ('roughness_bias', 0.5, dict(enable_pred_roughness=True)),
    ('num_rgb_channels', 4, {}),
    ('use_posenc_with_grid', True, dict(encoder=GRID)),
    (
      'posenc_feature_scale',
      0.3,
      dict(encoder=GRID, use_posenc_with_grid=True),
    ),
    (
      'skip_final_density_layer',
      True,
      dict(encoder=LONE_FEATURE, net_depth=0),
    ),
  ],
  ids=lambda x: x if isinstance(x, str) else '',
)
def test_the_option_changes_the_output_as_its_formula_says(
  option, value, others
):
  gen = np.random.default_rng(0)
  means = gen.uniform(-1.5, 1.5, (RAYS, SAMPLES, 3)).astype(np.float32)
  dirs = gen.normal(size=(RAYS, 3)).astype(np.float32)
  dirs /= np.linalg.norm(dirs, axis=-1, keepdims=True)
  samples = ops_util.sample_points(jnp.asarray(means), DEVIATION)

  def run(**options):
    net = model_util.nerf_mlp(**others, **options)
    output = jax.jit(
      lambda key: net.init_with_output(
        key, None, samples, viewdirs=jnp.asarray(dirs)
      )
    )
    return net, *output(jax.random.key(0))

  _, plain, _ = run()
  net, out, params = run(**{option: value})
  assert any(
    a.shape != b.shape or np.abs(a - b).max() > 1e-2
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(out), strict=True)
  )
  density, rgb, roughness = twin(net, params['params'], means, dirs)
  # float32 sums of tens of terms of size one.
  np.testing.assert_allclose(out.density, density, atol=2e-5)
  np.testing.assert_allclose(out.rgb, rgb, atol=2e-5)
  assert (out.roughness is None) == (roughness is None)
  if roughness is not None:
    np.testing.assert_allclose(out.roughness, roughness, atol=2e-5)


@pytest.mark.parametrize('name', ['he_uniform', 'glorot_uniform'])
def test_weights_are_drawn_by_the_named_initialiser(name):
  net = model_util.nerf_mlp(weight_init=name, net_width=64)
  means = jnp.zeros((1, 2, 3))
  params = jax.jit(net.init)(
    jax.random.key(0),
    None,
    ops_util.sample_points(means),
    viewdirs=jnp.ones((1, 3)),
  )['params']
  for layer in ('Dense_0', 'Dense_1'):
    rows, columns = params[layer]['kernel'].shape
    # He et al. 2015: variance 2 / rows; Glorot and Bengio 2010, Eq. 16:
    # 2 / (rows + columns). The bound of a uniform is sqrt(3) deviations.
    wide = rows if name == 'he_uniform' else rows + columns
    bound = np.sqrt(6 / wide)
    largest = np.abs(params[layer]['kernel']).max()
    # A thousand weights: none in the last hundredth with probability e^-10.
    assert 0.99 * bound < largest <= bound
    assert not np.any(params[layer]['bias'])


@pytest.mark.parametrize('uses', [True, False])
def test_colours_follow_the_view_direction_only_if_it_is_used(uses):
  rays = model_util.rays()
  turned = rays.replace(viewdirs=jnp.roll(rays.viewdirs, 1, axis=-1))
  net = model_util.model(use_viewdirs=uses)

  @jax.jit
  def run(key):
    params = net.init(key, None, rays)
    rgb = lambda r: net.apply(params, None, r)[0][-1].rgb
    return rgb(rays), rgb(turned)

  rgb, other = run(jax.random.key(0))
  assert np.ptp(rgb) > 0
  if uses:
    assert np.abs(rgb - other).max() > 1e-3
  else:
    np.testing.assert_array_equal(rgb, other)
