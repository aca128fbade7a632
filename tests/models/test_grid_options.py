"""Options of the grid beyond its sizes: the box."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import errors
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
