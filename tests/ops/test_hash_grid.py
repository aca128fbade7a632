"""The hash grid against a slow twin, its gradients, and its conventions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import errors
from multinerf.ops import hash_grid

SIZES = (4, 8, 16)
TABLE_SIZE = 200  # 4^3 is dense, 8^3 and 16^3 are hashed
_CORNERS = tuple(itertools.product((0, 1), repeat=3))


def _tables(seed, num_features=2):
  gen = np.random.default_rng(seed)
  rows = [min(size**3, TABLE_SIZE) for size in SIZES]
  return [
    jnp.asarray(gen.normal(size=(r, num_features)), jnp.float32) for r in rows
  ]


def _slow_lookup(tables, x):
  """One point at a time, in Python integers and floats."""
  out = []
  for point in x:
    features = []
    for table, size in zip(tables, SIZES, strict=True):
      position = point * size - 0.5
      low = np.floor(position).astype(int)
      value = np.zeros(table.shape[-1])
      for corner in itertools.product((0, 1), repeat=3):
        cell = low + corner
        weight = np.prod(1 - np.abs(position - cell))
        if size**3 <= TABLE_SIZE:
          if np.any(cell < 0) or np.any(cell >= size):
            continue
          row = (cell[0] * size + cell[1]) * size + cell[2]
        else:
          cx, cy, cz = (int(c) % 2**32 for c in cell)
          hashed = cx ^ (cy * 19349663 % 2**32) ^ (cz * 83492791 % 2**32)
          row = hashed % TABLE_SIZE
        value += weight * table[row]
      features.append(value)
    out.append(np.concatenate(features))
  return np.array(out)


def _plain_lookup(tables, x):
  """The textbook formula with corners as an axis, differentiable by JAX."""
  out = []
  corners = jnp.array(_CORNERS)
  for table, size in zip(tables, SIZES, strict=True):
    position = x[:, None] * size - 0.5
    low = jnp.floor(position)
    frac = position - low
    cell = low.astype(jnp.int32) + corners
    weight = jnp.prod(jnp.where(corners == 1, frac, 1 - frac), axis=-1)
    if size**3 <= TABLE_SIZE:
      inside = jnp.all((cell >= 0) & (cell < size), axis=-1)
      weight = jnp.where(inside, weight, 0.0)
      cell = jnp.clip(cell, 0, size - 1)
    rows = hash_grid.corner_index(cell, size, TABLE_SIZE)
    out.append(jnp.sum(weight[..., None] * table[rows], axis=1))
  return jnp.concatenate(out, axis=-1)


def _lookup(tables, x):
  return hash_grid.lookup(tables, x, sizes=SIZES, table_size=TABLE_SIZE)


@pytest.mark.parametrize('seed', range(3))
def test_lookup_equals_the_slow_twin_inside_and_outside_the_cube(seed):
  tables = _tables(seed)
  gen = np.random.default_rng(seed + 10)
  x = gen.uniform(-0.2, 1.2, (40, 3)).astype(np.float32)
  got = jax.jit(_lookup)(tables, x)
  # float32 positions times 16 cells leave about 1e-6 of a cell.
  np.testing.assert_allclose(got, _slow_lookup(tables, x), rtol=0, atol=2e-5)


def test_gradients_equal_those_of_differentiating_the_plain_formula():
  tables = _tables(0)
  gen = np.random.default_rng(5)
  # Outside the cube, too: dense grids end there, hashed ones do not.
  x = gen.uniform(-0.3, 1.3, (60, 3)).astype(np.float32)
  cotangent = gen.normal(size=(60, 6)).astype(np.float32)

  got = jax.vjp(_lookup, tables, x)[1](cotangent)
  want = jax.vjp(_plain_lookup, tables, x)[1](cotangent)
  for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_second_derivatives_exist_for_losses_on_normals():
  tables = _tables(0)
  x = np.full((2, 3), 0.4, np.float32)

  def loss(tables):
    normals = jax.grad(lambda p: jnp.sum(_lookup(tables, p)))(x)
    return jnp.sum(normals**2)

  grads = jax.tree.leaves(jax.grad(loss)(tables))
  assert all(np.all(np.isfinite(g)) for g in grads)
  assert any(np.any(g != 0) for g in grads)


def test_a_constant_dense_grid_is_constant_inside_and_zero_outside():
  table = jnp.ones((4**3, 1))
  lookup = lambda x: hash_grid.lookup(
    [table], jnp.asarray(x), sizes=(4,), table_size=64
  )
  np.testing.assert_allclose(lookup([[0.5, 0.2, 0.8]]), 1.0, rtol=1e-6)
  np.testing.assert_allclose(lookup([[1.3, 0.5, 0.5]]), 0.0)
  # Half a cell outside the last centre the value has faded to one half.
  np.testing.assert_allclose(lookup([[1.0, 0.5, 0.5]]), 0.5, rtol=1e-6)


@pytest.mark.parametrize('batch', [(), (2,), (2, 3)])
def test_any_batch_shape_gives_the_same_values(batch):
  tables = _tables(1)
  x = jnp.full((*batch, 3), 0.3, jnp.float32)
  got = _lookup(tables, x)
  assert got.shape == (*batch, 6)
  want = _slow_lookup(tables, x.reshape(-1, 3)[:1])[0]
  np.testing.assert_allclose(got.reshape(-1, 6)[0], want, atol=1e-5)


def test_sizes_are_a_geometric_sequence_with_both_ends():
  assert hash_grid.grid_sizes(16, 128, 1.0) == (16, 32, 64, 128)
  assert hash_grid.grid_sizes(16, 64, 2.0) == (16, 23, 32, 45, 64)
  assert hash_grid.grid_sizes(32, 32, 1.0) == (32,)


def test_a_fractional_number_of_levels_is_refused():
  with pytest.raises(errors.ConfigError, match='must be whole'):
    hash_grid.grid_sizes(16, 100, 1.0)


@pytest.mark.parametrize('x', [np.nan, np.inf, -np.inf, 1e9, -1e9])
def test_positions_out_of_this_world_read_no_foreign_memory(x):
  tables = [jnp.ones_like(t) for t in _tables(0)]
  point = jnp.array([[0.5, x, 0.5]], jnp.float32)
  got = jax.jit(_lookup)(tables, point)
  # The dense level is zero there, or not a number, but never something else.
  assert np.all((got[:, :2] == 0) | np.isnan(got[:, :2]))
  grads = jax.jit(jax.grad(lambda t: jnp.sum(_lookup(t, point))))(tables)
  np.testing.assert_array_equal(np.nan_to_num(grads[0]), 0)


def test_a_grid_of_one_cell_is_refused():
  with pytest.raises(errors.ConfigError, match='at least 2 cells'):
    hash_grid.lookup(
      [jnp.ones((1, 1))], jnp.zeros((1, 3)), sizes=(1,), table_size=8
    )


def test_a_table_of_another_size_is_refused():
  with pytest.raises(ValueError, match='need \\[64\\]'):
    hash_grid.lookup(
      [jnp.ones((63, 1))], jnp.zeros((1, 3)), sizes=(4,), table_size=64
    )
