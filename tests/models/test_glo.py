"""Appearance codes: how they reach the colours, what zero codes mean."""

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import ops_util
import pytest

from multinerf import errors
from multinerf.config import gin_setup
from multinerf.models import encodings

AFFINE = dict(glo_mode='affine', glo_mlp_arch=(6, 5), glo_premultiplier=3.0)
MODEL = dict(num_glo_features=2, num_glo_embeddings=5)
RAYS, SAMPLES = 3, 4


def field_inputs():
  gen = np.random.default_rng(0)
  means = jnp.asarray(gen.uniform(-1, 1, (RAYS, SAMPLES, 3)), jnp.float32)
  samples = ops_util.sample_points(means, 1e-3**0.5)
  dirs = gen.normal(size=(RAYS, 3))
  dirs /= np.linalg.norm(dirs, axis=-1, keepdims=True)
  codes = jnp.asarray(gen.normal(size=(RAYS, 2)), jnp.float32)
  return samples, jnp.asarray(dirs, jnp.float32), codes


def run(net, codes, seed=0):
  """(parameters of the field, its output with these codes)."""
  samples, dirs, _ = field_inputs()

  @jax.jit
  def both(key):
    params = net.init(key, None, samples, viewdirs=dirs, glo_vec=codes)
    # Biases start at 0, which would hide that they are used.
    params = jax.tree.map(lambda x: x + 0.1, params)
    out = net.apply(params, None, samples, viewdirs=dirs, glo_vec=codes)
    return params['params'], out

  return jax.device_get(both(jax.random.key(seed)))


def dense(params, name, x):
  return x @ params[name]['kernel'] + params[name]['bias']


def silu(x):
  return x / (1 + np.exp(-x))


def direction_features(dirs):
  """Of degree 2: the direction, then sines and cosines of two octaves."""
  scaled = np.concatenate([dirs, 2 * dirs], axis=-1)
  waves = [np.sin(scaled), np.sin(scaled + np.pi / 2)]
  return np.concatenate([dirs, *waves], axis=-1)


def colour_twin(params, trunk, dirs, codes):
  """The colours of a tiny field with AFFINE, ray by ray and in float64."""
  rgb = np.zeros((RAYS, SAMPLES, 3))
  for ray in range(RAYS):
    code = 3.0 * codes[ray]
    code = silu(dense(params, 'GLO_MLP_0', code))
    code = silu(dense(params, 'GLO_MLP_1', code))
    pairs = dense(params, 'GLO_MLP_2', code)
    for i in range(SAMPLES):
      bottleneck = dense(params, 'Dense_3', trunk[ray, i])
      scaled = [
        np.exp(pairs[2 * k]) * bottleneck[k] + pairs[2 * k + 1]
        for k in range(len(bottleneck))
      ]
      x = np.concatenate([scaled, direction_features(dirs[ray])])
      x = np.maximum(dense(params, 'Dense_4', x), 0)
      colour = 1 / (1 + np.exp(-dense(params, 'Dense_5', x)))
      rgb[ray, i] = colour * 1.002 - 0.001
  return rgb


def trunk_twin(net, params):
  """Features behind the trunk, from the encoding on."""
  samples, _, _ = field_inputs()
  x = encodings.integrated(
    samples,
    directions=encodings.basis('octahedron', 1),
    min_deg=0,
    max_deg=3,
  )
  for name in ('Dense_0', 'Dense_1'):
    x = np.maximum(dense(params, name, np.float64(x)), 0)
  return x


@pytest.mark.parametrize('zero', [False, True])
def test_affine_mode_equals_loops_also_for_the_zero_code(zero):
  net = model_util.nerf_mlp(**AFFINE)
  _, dirs, codes = field_inputs()
  codes = jnp.zeros_like(codes) if zero else codes
  params, out = run(net, codes)
  trunk = trunk_twin(net, params)
  want = colour_twin(params, trunk, np.float64(dirs), np.float64(codes))
  # float32 through six layers.
  np.testing.assert_allclose(out.rgb, want, rtol=1e-4, atol=1e-5)


def shapes(net):
  samples, dirs, codes = field_inputs()
  tree = jax.eval_shape(
    lambda key: net.init(key, None, samples, viewdirs=dirs, glo_vec=codes),
    jax.random.key(0),
  )
  return {k: v['kernel'].shape for k, v in tree['params'].items()}


def test_layers_have_upstream_s_names_and_leave_the_others_theirs():
  plain = shapes(model_util.nerf_mlp())
  affine = shapes(model_util.nerf_mlp(**AFFINE))
  new = {'GLO_MLP_0': (2, 6), 'GLO_MLP_1': (6, 5), 'GLO_MLP_2': (5, 2 * 8)}
  # 15: direction; the code itself joins only when concatenated.
  assert plain['Dense_4'] == (8 + 15 + 2, 8)
  assert affine == plain | new | {'Dense_4': (8 + 15, 8)}
  joined = shapes(model_util.nerf_mlp(glo_mlp_arch=(6,)))
  wider = {'GLO_MLP_0': (2, 6), 'Dense_4': (8 + 15 + 6, 8)}
  assert joined == plain | wider


def test_zip_nerf_s_appearance_adds_its_published_number_of_parameters():
  # camp_zipnerf's 360_aglo128.gin over 360.gin: 10000 codes of 128 numbers,
  # two layers of 128 and one of 2 x 256.
  sizes = {}
  for name, more in {
    'without': [],
    'with': [
      'Model.num_glo_features = 128',
      'Model.num_glo_embeddings = 10000',
      "NerfMLP.glo_mode = 'affine'",
      'NerfMLP.glo_mlp_arch = [128, 128]',
      'NerfMLP.glo_mlp_act = @jax.nn.silu',
    ],
  }.items():
    net = gin_setup.load(['360.gin'], more).build_model()
    tree = model_util.shapes(net, model_util.rays(1))
    sizes[name] = sum(int(np.prod(shape)) for shape in tree.values())
  assert sizes['with'] - sizes['without'] == 1_379_072


@pytest.mark.parametrize('mode', ['concatenate', 'affine'])
@pytest.mark.slow
def test_each_image_has_colours_of_its_own_and_new_views_those_of_zero(mode):
  net = model_util.model(nerf=dict(glo_mode=mode), **MODEL)
  rays = model_util.rays(4)
  rays = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), rays)
  rays = rays.replace(cam_idx=jnp.arange(4)[:, None])

  @jax.jit
  def render(key):
    params = net.init(key, None, rays)
    draw = lambda zero: net.apply(params, None, rays, zero_glo=zero)
    return draw(False), draw(True)

  (own, levels), (new, new_levels) = render(jax.random.key(1))
  own, new = np.asarray(own[-1].rgb), np.asarray(new[-1].rgb)
  apart = np.abs(own[:, None] - own[None]).max(-1)
  assert np.all(apart[~np.eye(4, dtype=bool)] > 1e-4)
  np.testing.assert_array_equal(new, np.broadcast_to(new[:1], new.shape))
  # Appearance, not geometry.
  for one, other in zip(levels, new_levels, strict=True):
    np.testing.assert_array_equal(one.weights, other.weights)


@pytest.mark.parametrize(
  'options, words',
  [
    (dict(glo_mode='afine'), "'afine'; known: concatenate, affine"),
    (dict(glo_mode='affine', bottleneck_width=0), 'bottleneck_width = 0'),
  ],
)
def test_modes_that_cannot_work_are_refused(options, words):
  with pytest.raises(errors.ConfigError, match=words):
    shapes(model_util.nerf_mlp(**options))
