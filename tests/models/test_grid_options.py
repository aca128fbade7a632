"""Options of the grid beyond its sizes: the box, jitter, half precision."""

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import ops_util
import pytest
from scipy import stats

from multinerf import errors, models
from multinerf.config import gin_setup
from multinerf.models import encodings

BOX = ((-1.5, -0.5, -2.0), (1.0, 1.5, 3.0))
GRID = dict(
  hash_map_size=512, min_grid_size=4, max_grid_size=16, scale_supersample=1.0
)


def test_a_cube_is_the_same_given_by_its_half_side_or_its_corners():
  points = jax.random.uniform(jax.random.key(0), (5, 2, 6, 3), minval=-2)
  scales = jnp.full((5, 2, 6), 0.1)
  found = []
  for box in (1.5, ((-1.5,) * 3, (1.5,) * 3)):
    grid = encodings.HashEncoding(**GRID, bbox_scaling=box)
    found.append(
      (
        grid.apply(grid.init(jax.random.key(1), points), points, scales),
        grid.covers(points),
      )
    )
  (by_side, inside), (by_corners, inside_too) = found
  np.testing.assert_allclose(by_side, by_corners, rtol=1e-4, atol=1e-8)
  np.testing.assert_array_equal(inside, inside_too)


def test_a_box_covers_what_lies_between_its_corners():
  grid = encodings.HashEncoding(bbox_scaling=BOX)
  corners = np.array(BOX)
  inside = jnp.float32(np.array([*corners, corners.mean(0), (0, 1.4, 2.9)]))
  outside = jnp.array(
    [(1.1, 0, 0), (0, -0.6, 0), (0, 0, -2.1), (0, 1.6, 0)], jnp.float32
  )
  assert np.all(grid.covers(inside)) and not np.any(grid.covers(outside))


def test_a_grid_whose_box_is_an_array_equals_and_hashes():
  grid = encodings.HashEncoding(bbox_scaling=np.array(BOX))
  assert grid == encodings.HashEncoding(bbox_scaling=BOX)
  assert hash(grid) == hash(encodings.HashEncoding(bbox_scaling=BOX))
  assert grid.clone(num_features=1).bbox_scaling == BOX


@pytest.mark.parametrize(
  'box',
  [0.0, -1.0, (1.0, 2.0), ((0, 0, 0), (1, 1, 0)), ((0, 0), (1, 1)), BOX[:1]],
  ids=str,
)
def test_what_is_no_box_is_refused(box):
  with pytest.raises(errors.ConfigError, match='HashEncoding.bbox_scaling'):
    # Annotations are checked in tests only; gin checks them by itself.
    encodings.HashEncoding(
      bbox_scaling=np.asarray(box) if np.ndim(box) else box
    )


def test_gin_gives_a_box_to_zipnerf_s_grids_and_to_encoders():
  text = f'HashEncoding.bbox_scaling = {BOX}'
  setup = gin_setup.load(['zipnerf_360.gin'], text)
  params = setup.build_model().grid_params_per_level
  assert all(p['bbox_scaling'] == BOX for p in params)
  assert f'HashEncoding.bbox_scaling = {BOX}' in setup.operative_config_str
  setup = gin_setup.load([], [text, 'NerfMLP.encoder = @HashEncoding()'])
  assert setup.build_model().nerf_mlp.encoder.bbox_scaling == BOX


# --- jitter ---------------------------------------------------------------


def index_grid():
  """A grid of levels 4, 8 and 16 whose features are the cells' coordinates."""
  grid = encodings.HashEncoding(
    **{**GRID, 'hash_map_size': 16**3},
    num_features=3,
    bbox_scaling=1.0,
    precondition_scaling=1.0,
    append_scale=False,
    jitter_coordinates=True,
  )
  tables = {
    f'grid_{n:02d}': jnp.stack(
      jnp.meshgrid(*[jnp.arange(n, dtype=jnp.float32)] * 3, indexing='ij'), -1
    )
    for n in (4, 8, 16)
  }
  return grid, {'params': tables}


def test_jitter_moves_every_point_by_half_a_cell_at_each_level_by_itself():
  grid, params = index_grid()
  points = jax.random.uniform(
    jax.random.key(0), (200, 4, 1, 3), minval=-0.45, maxval=0.45
  )
  keys = model_util.ray_keys(200)
  plain = grid.apply(params, points)
  moved = np.asarray(grid.apply(params, points, ray_keys=keys))
  # The interpolation of coordinates is the coordinate: cells, in all levels.
  np.testing.assert_allclose(
    plain[..., :3], points[..., 0, :] * 2 + 1.5, atol=1e-5
  )
  offsets = (moved - plain).reshape(800, 9)
  assert np.abs(offsets).max() <= 0.5 + 1e-4
  for column in offsets.T:
    assert stats.kstest(column, 'uniform', (-0.5, 1)).pvalue > 1e-3
  # 5 sigma of 36 correlations of 800 numbers each.
  correlation = np.corrcoef(offsets.T) - np.eye(9)
  assert np.abs(correlation).max() < 5 / np.sqrt(800)
  alone = grid.apply(params, points[7:8], ray_keys=keys[7:8])
  np.testing.assert_allclose(moved[7:8], alone, atol=1e-5)


def test_jitter_blurs_as_the_mean_over_a_lattice_of_offsets_does():
  grid = encodings.HashEncoding(
    min_grid_size=8,
    max_grid_size=8,
    hash_map_size=64,
    jitter_coordinates=True,
    hash_init_range=1.0,
    bbox_scaling=1.0,
  )
  point = jnp.array([0.21, -0.33, 0.08])
  params = grid.init(jax.random.key(0), point[None, None])
  num = 20_000
  found = grid.apply(
    params,
    jnp.broadcast_to(point, (num, 1, 1, 3)),
    ray_keys=model_util.ray_keys(num),
  )[:, 0]
  steps = (np.arange(16) + 0.5) / 16 - 0.5
  offsets = np.stack(np.meshgrid(*[steps] * 3, indexing='ij'), -1)
  near = point + jnp.float32(offsets.reshape(-1, 1, 1, 3)) * 2 / 8
  want = np.mean(grid.apply(params, near)[:, 0], axis=0)
  # 4 sigma of the mean of that many.
  tolerance = 4 * np.std(found, axis=0).max() / np.sqrt(num)
  np.testing.assert_allclose(np.mean(found, axis=0), want, atol=tolerance)


@pytest.mark.parametrize('option', [True, False])
def test_a_field_jitters_its_grid_in_training_only(option):
  grid = encodings.HashEncoding(**GRID, jitter_coordinates=option)
  net = models.MLP(
    net_depth=1,
    net_width=8,
    disable_rgb=True,
    disable_density_normals=True,
    encoder=grid.clone(hash_init_range=1.0),
  )
  samples = ops_util.sample_points(
    jax.random.uniform(jax.random.key(2), (4, 3, 3)), 0.1
  )
  params = net.init(jax.random.key(0), None, samples)
  density = lambda keys: np.asarray(net.apply(params, keys, samples).density)
  first, second = (density(model_util.ray_keys(4, seed)) for seed in (0, 1))
  assert np.array_equal(first, second) != option
  np.testing.assert_array_equal(density(None), density(None))
  np.testing.assert_array_equal(first, density(model_util.ray_keys(4, 0)))


# --- half precision -------------------------------------------------------


def test_half_precision_is_that_of_hashed_levels_and_of_nothing_else():
  grid = encodings.HashEncoding(**GRID, use_float16_hash=True)
  points = jax.random.uniform(jax.random.key(0), (5, 2, 6, 3), minval=-2)
  scales = jnp.full((5, 2, 6), 0.1)
  params = grid.init(jax.random.key(1), points)
  types = {name: x.dtype for name, x in params['params'].items()}
  assert types == {
    'grid_04': jnp.float32,
    'grid_08': jnp.float32,
    'hash_16': jnp.float16,
  }
  found = grid.apply(params, points, scales)
  assert found.dtype == jnp.float32
  # The same numbers, stored in full.
  full = jax.tree.map(lambda x: x.astype(jnp.float32), params)
  want = encodings.HashEncoding(**GRID).apply(full, points, scales)
  np.testing.assert_array_equal(found, want)


@pytest.mark.slow
def test_training_moves_a_table_of_half_precision_as_it_moves_a_full_one():
  batches = [model_util.batch(seed=seed) for seed in range(4)]
  states = []
  for is_half in (True, False):
    grid = encodings.HashEncoding(
      **GRID, bbox_scaling=6.0, use_float16_hash=is_half
    )
    run = model_util.training(net=model_util.model(nerf=dict(encoder=grid)))
    last, table = run.run(batches)
    first = run.first
    assert not np.any(table['nonfinite_grads'])
    states.append((first, last))
  at = lambda tree: model_util.flat(tree)['NerfMLP_0/encoder/hash_16']
  change = {}
  for (first, last), dtype in zip(states, ('float16', 'float32'), strict=True):
    before, after = at(first.params['params']), at(last.params['params'])
    assert before.dtype == after.dtype == dtype
    change[dtype] = np.float32(after) - np.float32(before)
    for moments in jax.tree.leaves(last.opt_state):
      assert moments.dtype in (np.float32, np.int32)
      assert np.all(np.isfinite(moments))
  moved = change['float32'] != 0
  assert moved.mean() > 0.1
  # Four steps of Adam at a rate of 0.01; float16 rounds values of 0.04 at 2e-5
  # each time, but the same start and rate must give the same way.
  error = np.abs(change['float16'] - change['float32'])[moved]
  assert np.median(error) < 1e-3
  assert np.median(np.abs(change['float16'][moved])) > 1e-3


def test_sizes_that_an_mlp_chooses_for_its_grid_are_refused():
  binding = "MLP.extra_grid_kwargs = {'max_grid_size': 64}"
  with pytest.raises(errors.ConfigError, match='sizes an MLP chooses'):
    gin_setup.load([], binding)
