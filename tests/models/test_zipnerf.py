"""Zip-NeRF: levels of grids, points per sample, fading of fine cells."""

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import ops_util
import pytest

from multinerf import errors, models
from multinerf.models import encodings, zipnerf
from multinerf.ops import coord

RAYS = model_util.rays(3)
MLP = dict(
  net_depth=1,
  net_width=8,
  disable_density_normals=True,
  warp_fn=coord.contract,
  unscented_mip_basis='hexify',
  unscented_scale_mult=0.5,
  bottleneck_width=6,
  net_width_viewdirs=8,
  net_depth_viewdirs=3,
  skip_layer_dir=2,
  deg_view=2,
)
GRID = dict(
  hash_map_size=512, min_grid_size=4, max_grid_size=16, scale_supersample=1.0
)


def model(**fields):
  options = dict(
    sampling_strategy=((0, 0, 6), (1, 1, 4)),
    mlp_params_per_level=(MLP | dict(disable_rgb=True), MLP),
    grid_params_per_level=(GRID | dict(num_features=1), GRID),
  )
  return models.Model(**(options | fields))


def test_parameters_are_named_as_upstream_names_them():
  tree = jax.eval_shape(
    lambda key: model().init(key, None, RAYS)['params'], jax.random.key(0)
  )
  assert set(tree) == {'MLP_0', 'MLP_1', 'grid_0', 'grid_1'}
  shapes = {k: v.shape for k, v in tree['grid_1'].items()}
  # 8^3 = 512 just fits.
  assert shapes == {
    'grid_04': (4, 4, 4, 2),
    'grid_08': (8, 8, 8, 2),
    'hash_16': (512, 2),
  }
  # Three levels of a feature and its scale feature.
  assert tree['MLP_0']['Dense_0']['kernel'].shape == (6, 8)
  assert tree['MLP_1']['Dense_0']['kernel'].shape == (9, 8)


def test_every_parameter_gets_a_gradient_and_rays_are_independent():
  net = model()

  @jax.jit
  def run(key):
    params = net.init(key, None, RAYS)
    keys = model_util.ray_keys(3)

    def loss(params, rays, keys):
      renderings, levels = net.apply(params, keys, rays, train_frac=0.5)
      total = jnp.sum(renderings[-1].rgb)
      return total + sum(jnp.sum(x.weights[..., 0]) for x in levels), renderings

    grads, renderings = jax.grad(loss, has_aux=True)(params, RAYS, keys)
    last = jax.tree.map(lambda x: x[2:], RAYS)
    _, alone = loss(params, last, keys[2:])
    return grads, renderings[-1].rgb, alone[-1].rgb

  grads, rgb, alone = run(jax.random.key(0))
  for path, grad in jax.tree_util.tree_leaves_with_path(grads):
    assert np.all(np.isfinite(grad)), path
    assert np.any(np.asarray(grad) != 0), path
  np.testing.assert_allclose(rgb[2:], alone, atol=1e-5)


def grid_twin(params, grid, points, scales):
  """Features of HashEncoding by loops, float64; dense levels only."""
  box = grid.bbox_scaling
  if np.ndim(box) == 0:
    box = ((-box,) * 3, (box,) * 3)
  low_corner, sides = np.array(box[0]), np.subtract(box[1], box[0])
  mean_side = np.prod(sides) ** (1 / 3)
  out = []
  for row, spread in zip(points, scales, strict=True):
    total = 0
    for x, scale in zip(row, spread, strict=True):
      features = []
      for name in sorted(params):
        table = np.asarray(params[name], np.float64)
        n = len(table)
        position = (x - low_corner) / sides * n - 0.5
        low = np.floor(position).astype(int)
        value = np.zeros(table.shape[-1])
        for corner in np.ndindex(2, 2, 2):
          cell = low + corner
          if np.all((cell >= 0) & (cell < n)):
            weight = np.prod(1 - np.abs(position - cell))
            value = value + weight * table[tuple(cell)]
        argument = 1 / (np.sqrt(8) * scale / mean_side * n)
        w = np.sqrt(1 - np.exp(-4 * argument**2 / np.pi))
        floor = grid.hash_init_range / grid.precondition_scaling
        typical = np.sqrt(floor**2 + np.mean(table**2))
        features.append(np.append(w * value, (2 * w - 1) * typical))
      total = total + np.concatenate(features)
    out.append(total / len(row) * grid.precondition_scaling)
  return np.array(out)


BOX = ((-1.5, -0.5, -2.0), (1.0, 1.5, 3.0))


@pytest.mark.parametrize('box', [2.0, BOX, np.array(BOX), BOX[::-1]], ids=str)
def test_features_fade_and_average_as_by_loops(box):
  grid = encodings.HashEncoding(
    bbox_scaling=box,
    hash_map_size=5000,
    min_grid_size=4,
    max_grid_size=16,
    scale_supersample=1.0,
    hash_init_range=0.3,
  )
  gen = np.random.default_rng(0)
  points = gen.uniform(-1.9, 1.9, (5, 6, 3))
  scales = 10 ** gen.uniform(-3, 0.5, (5, 6))

  @jax.jit
  def run(key):
    x, s = jnp.float32(points)[None], jnp.float32(scales)[None]
    params = grid.init(key, x, s)
    return params['params'], grid.apply(params, x, s)[0]

  params, got = run(jax.random.key(0))
  want = grid_twin(jax.device_get(params), grid, points, scales)
  assert got.shape == (5, 3 * (2 + 1))
  np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-4)


def test_far_samples_hardly_see_fine_levels():
  grid = encodings.HashEncoding(**GRID, hash_init_range=0.5, append_scale=False)
  x = jnp.zeros((1, 1, 1, 3)) + 0.3
  params = jax.jit(grid.init)(jax.random.key(0), x)
  apply = jax.jit(grid.apply)
  full = apply(params, x)
  near = apply(params, x, jnp.full((1, 1, 1), 1e-4))
  far = apply(params, x, jnp.full((1, 1, 1), 100.0))
  np.testing.assert_allclose(near, full, rtol=1e-5)
  assert np.abs(far).max() < 1e-2 * np.abs(full).max()


@pytest.mark.slow
def test_density_is_zero_outside_of_the_grid():
  params = (
    MLP | dict(warp_fn=None, disable_rgb=True),
    MLP | dict(warp_fn=None),
  )
  grids = (GRID | dict(bbox_scaling=0.5, num_features=1), GRID)
  net = model(mlp_params_per_level=params, grid_params_per_level=grids)
  levels = jax.jit(
    lambda key: net.apply(net.init(key, None, RAYS), None, RAYS)[1]
  )(jax.random.key(0))
  t = np.asarray(levels[0].tdist)
  middle = 0.5 * (t[:, 1:] + t[:, :-1])
  means = RAYS.origins[:, None] + middle[..., None] * RAYS.directions[:, None]
  outside = np.max(np.abs(means), axis=-1) > 0.7  # clearly
  density = np.asarray(levels[0].field.density)
  assert outside.any() and np.all(density[outside] == 0)
  assert np.any(density > 0)


def test_levels_may_share_a_field():
  net = model(
    sampling_strategy=((0, 0, 4), (0, 0, 4), (1, 1, 4)),
  )
  tree = jax.eval_shape(
    lambda key: net.init(key, None, RAYS)['params'], jax.random.key(0)
  )
  assert set(tree) == {'MLP_0', 'MLP_1', 'grid_0', 'grid_1'}


@pytest.mark.parametrize(
  'strategy', [((0, 0, 4),), ((0, 0, 4), (1, None, 4)), ((0, 0, 4), (2, 1, 4))]
)
def test_entries_that_no_level_uses_are_an_error(strategy):
  with pytest.raises(errors.ConfigError, match='must be used'):
    zipnerf.check(strategy, 2, 2)


def test_a_level_of_another_form_is_an_error():
  with pytest.raises(errors.ConfigError, match='number of intervals'):
    zipnerf.check(((0, 4),), 1, 0)


@pytest.mark.parametrize(
  'fields, num_features',
  [
    (dict(net_depth=2, net_width=8), 8),
    (dict(net_depth=2, skip_layer=1, net_width=1), 19),
    (dict(net_depth=0), 18),
  ],
)
def test_a_trunk_of_many_features_is_not_the_density(fields, num_features):
  # Feature 0 was taken in silence, and of several parts, a ValueError raised.
  net = model_util.nerf_mlp(skip_final_density_layer=True, **fields)
  samples = ops_util.sample_points(jnp.zeros((2, 3, 3)), 0.1)
  with pytest.raises(errors.ConfigError, match='skip_final') as caught:
    jax.eval_shape(net.init, jax.random.key(0), None, samples)
  assert f'there are {num_features};' in str(caught.value)


def test_the_only_feature_of_a_grid_can_be_the_density():
  grid = encodings.HashEncoding(
    min_grid_size=4, max_grid_size=4, num_features=1, append_scale=False
  )
  net = models.MLP(
    net_depth=0,
    skip_final_density_layer=True,
    disable_rgb=True,
    disable_density_normals=True,
    density_activation=lambda x: x,
    density_bias=0.0,
    encoder=grid,
  )
  samples = ops_util.sample_points(jnp.full((1, 2, 3), 0.3), 0.1)
  params = net.init(jax.random.key(0), None, samples)
  (table,) = jax.tree.leaves(params)
  density = net.apply(params, None, samples).density
  want = grid.apply({'params': {'grid_4': table}}, samples.means[..., None, :])
  np.testing.assert_allclose(density, want[..., 0], rtol=1e-6)
