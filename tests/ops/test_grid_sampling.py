"""Look-ups in volumes and tables against scipy and against corners by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import interpolate

from multinerf import errors
from multinerf.ops import grid_sampling, hash_grid

GEN = np.random.default_rng(0)
DATA = GEN.uniform(size=(5, 4, 6, 2)).astype(np.float32)
INSIDE = (GEN.uniform(size=(3, 7, 3)) * [4, 3, 5]).astype(np.float32)
ANYWHERE = (GEN.uniform(-1, 2, size=(200, 3)) * [5, 4, 6]).astype(np.float32)


def sample(locations, **options):
  fn = lambda x: grid_sampling.resample_3d(jnp.asarray(DATA), x, **options)
  return jax.jit(fn)(jnp.asarray(locations))


def scipy_sample(data, locations):
  axes = [np.arange(n) for n in data.shape[:3]]
  return interpolate.RegularGridInterpolator(axes, data)(locations)


@pytest.mark.parametrize(
  'half', [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_inside_it_is_the_interpolation_of_scipy(half):
  got = sample(
    INSIDE + 0.5 * half, coordinate_order='zyx', half_pixel_center=half
  )
  np.testing.assert_allclose(got, scipy_sample(DATA, INSIDE), atol=1e-5)
  flipped = sample(INSIDE[..., ::-1] + 0.5 * half, half_pixel_center=half)
  np.testing.assert_allclose(flipped, got, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('edge', grid_sampling.EDGES)
def test_outside_it_is_that_of_a_padded_volume(edge):
  mode = {'CLAMP': {'mode': 'edge'}}.get(edge, {'constant_values': 42.0})
  pad = 8
  padded = np.pad(DATA, ((pad, pad),) * 3 + ((0, 0),), **mode)
  got = sample(
    ANYWHERE,
    edge_behavior=edge,
    constant_values=42.0,
    coordinate_order='zyx',
  )
  want = scipy_sample(padded, ANYWHERE + pad)
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('half', [False, True])
def test_the_nearest_cell_is_the_interpolation_at_its_centre(half):
  rounded = np.floor(ANYWHERE) if half else np.round(ANYWHERE)
  got = sample(ANYWHERE, method='NEAREST', half_pixel_center=half)
  np.testing.assert_array_equal(got, sample(rounded))


def test_a_hash_table_is_read_at_the_eight_corners():
  table = GEN.normal(size=(64, 2)).astype(np.float32)
  fn = jax.jit(grid_sampling.hash_resample_3d)
  got = fn(jnp.asarray(table), jnp.asarray(ANYWHERE))
  position = ANYWHERE.astype(np.float64) - 0.5
  low = np.floor(position)
  want = np.zeros((len(ANYWHERE), 2))
  for corner in np.ndindex(2, 2, 2):
    weight = np.prod(1 - np.abs(low + corner - position), axis=-1)
    for i in range(len(ANYWHERE)):
      cell = [int(v) & 0xFFFFFFFF for v in low[i] + corner]
      row = cell[0] ^ (cell[1] * 19349663) ^ (cell[2] * 83492791)
      want[i] += weight[i] * table[(row & 0xFFFFFFFF) % 64]
  np.testing.assert_allclose(got, want, atol=1e-5)
  near = jax.jit(
    lambda t, x: grid_sampling.hash_resample_3d(t, x, method='NEAREST')
  )(jnp.asarray(table), jnp.asarray(ANYWHERE))
  whole = fn(jnp.asarray(table), jnp.asarray(np.floor(ANYWHERE) + 0.5))
  np.testing.assert_array_equal(near, whole)


@pytest.mark.slow
def test_rows_are_those_of_the_hash_grid():
  cells = jnp.asarray(GEN.integers(0, 500, size=(100, 3)), jnp.int32)
  np.testing.assert_array_equal(
    grid_sampling.hash_rows(cells, 1024),
    hash_grid.corner_index(cells, 512, 1024),
  )


@pytest.mark.parametrize(
  'option',
  [{'method': 'CUBIC'}, {'edge_behavior': 'WRAP'}, {'coordinate_order': 'yx'}],
)
def test_unknown_options_are_named(option):
  (name, value), *_ = option.items()
  with pytest.raises(errors.ConfigError, match=f"{name} = '{value}'; known"):
    grid_sampling.resample_3d(jnp.asarray(DATA), jnp.zeros((1, 3)), **option)
