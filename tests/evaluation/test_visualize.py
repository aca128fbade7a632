"""Pictures: colours, depth limits, tags, rays, contact sheets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import types
from multinerf.cameras import projection
from multinerf.evaluation import visualize

MAGENTA = [1.0, 0.0, 1.0]


def test_turbo_runs_from_blue_over_green_to_red():
  # Entries 32, 128 and 224 of the published 256-entry table, of which the
  # polynomial is the authors' fit: off by 0.077 at most here.
  want = [
    (0.27628, 0.42118, 0.89123),
    (0.64362, 0.98999, 0.23356),
    (0.81608, 0.18462, 0.01809),
  ]
  found = visualize.turbo(np.array([32, 128, 224]) / 255)
  np.testing.assert_allclose(found, want, atol=0.08)
  ramp = visualize.turbo(np.linspace(-1, 2, 301))
  assert ramp.min() >= 0 and ramp.max() <= 1
  np.testing.assert_array_equal(ramp[0], ramp[100])  # clipped outside [0, 1]


def test_nan_is_magenta_and_infinity_is_the_end_of_the_map():
  found = visualize.turbo(np.array([np.nan, np.inf, -np.inf, 1.0, 0.0]))
  np.testing.assert_array_equal(found[0], MAGENTA)
  np.testing.assert_array_equal(found[1], found[3])
  np.testing.assert_array_equal(found[2], found[4])


def test_depth_limits_are_percentiles_of_what_is_finite():
  depth = np.random.default_rng(0).permutation(np.arange(101.0)).reshape(1, -1)
  spoilt = np.concatenate([depth, [[np.nan] * 50 + [np.inf] * 51]])
  assert visualize.depth_limits(spoilt, percentile=10) == (10.0, 90.0)


def test_integer_weights_count_like_repeated_pixels():
  gen = np.random.default_rng(1)
  depth = gen.uniform(1, 9, (10, 10))
  times = gen.integers(0, 4, (10, 10))
  weighted = visualize.depth_limits(depth, times.astype(float), percentile=20)
  repeated = np.repeat(depth.ravel(), times.ravel())[None]
  plain = visualize.depth_limits(repeated, percentile=20)
  # Between neighbouring samples the two interpolate differently: 100 samples
  # over 8 units lie 0.08 apart.
  np.testing.assert_allclose(weighted, plain, atol=0.1)


def test_limits_of_nothing_are_zero_and_one():
  depth = np.full((2, 2), np.nan)
  assert visualize.depth_limits(depth) == (0.0, 1.0)
  assert visualize.depth_limits(np.ones((2, 2)), np.zeros((2, 2))) == (0.0, 1.0)


@pytest.mark.parametrize('curve_fn', [np.log, jnp.log, lambda x: -1 / x])
def test_normalised_depth_is_monotonic_and_reaches_the_ends(curve_fn):
  depth = np.linspace(0.0, 20.0, 50)
  found = visualize.normalise_depth(depth, (1.0, 10.0), curve_fn)
  assert np.all(np.diff(found) >= 0)
  assert found[0] == 0.0 and found[-1] == 1.0
  inside = visualize.normalise_depth(
    np.array([1.0, 10.0]), (1.0, 10.0), curve_fn
  )
  # float32 inside the curve.
  np.testing.assert_allclose(inside, [0, 1], atol=1e-6)


def test_a_constant_depth_does_not_divide_by_zero():
  found = visualize.colour_depth(np.full((3, 4), 2.0))
  assert np.all(np.isfinite(found)) and found.shape == (3, 4, 3)


def test_matte_keeps_opaque_pixels_and_shows_a_board_through_the_rest():
  rgb = np.random.default_rng(0).uniform(size=(16, 16, 3))
  np.testing.assert_array_equal(visualize.matte(rgb, np.ones((16, 16))), rgb)
  board = visualize.matte(rgb, np.zeros((16, 16)))
  assert set(np.unique(board)) == {0.8, 1.0}
  assert board[0, 0, 0] == board[8, 8, 0] != board[0, 8, 0]


def test_the_suite_has_every_tag_and_every_picture_the_image_size(
  full_rendering, make_scene
):
  scene = make_scene(1)
  pixels = projection.image_pixels(scene.cameras, 0)
  rays = projection.cast_ray_batch(scene.cameras, pixels)
  suite = visualize.visualize_suite(
    full_rendering(0), rays, levels=two_levels(), ray_rgb=np.zeros((4, 3))
  )
  assert set(suite) == {
    'color', 'acc', 'color_matte', 'depth_mean', 'depth_median',
    'depth_triplet', 'coords_mod', 'normals', 'normals_pred', 'roughness',
    'ray_weights', 'ray_colors',
  }  # fmt: skip
  for name, picture in suite.items():
    assert picture.ndim == 3 and picture.shape[2] == 3, name
    assert np.all(np.isfinite(picture)), name
    # Blending with float32 opacity rounds.
    assert picture.min() >= 0 and picture.max() <= 1 + 1e-6, name
    if not name.startswith('ray'):
      assert picture.shape[:2] == (16, 20), name


def test_the_suite_leaves_out_what_is_not_there(make_rendering):
  rgb = np.zeros((4, 4, 3))
  assert set(visualize.visualize_suite(make_rendering(rgb=rgb))) == {'color'}
  with_acc = make_rendering(rgb=rgb, acc=np.ones((4, 4)))
  assert set(visualize.visualize_suite(with_acc)) == {
    'color', 'acc', 'color_matte',
  }  # fmt: skip


def test_a_sharp_surface_is_grey_in_the_depth_triplet(make_rendering):
  depth = np.random.default_rng(0).uniform(1, 5, (8, 8))
  sharp = make_rendering(
    rgb=np.zeros((8, 8, 3)),
    acc=np.ones((8, 8)),
    distance_percentile_5=depth,
    distance_median=depth,
    distance_percentile_95=depth,
  )
  picture = visualize.visualize_suite(sharp)['depth_triplet']
  np.testing.assert_array_equal(picture[..., 0], picture[..., 2])
  assert len(np.unique(picture)) > 10


def test_nan_normals_are_painted_magenta(full_rendering):
  rendering = full_rendering(0)
  normals = np.array(rendering.normals)
  normals[2, 3, 1] = np.nan
  acc = np.ones_like(rendering.acc)
  fields = {'rgb': rendering.rgb, 'acc': acc, 'normals': normals}
  spoilt = jax.tree.map(
    np.asarray,
    types.Rendering(**{k: jnp.asarray(v) for k, v in fields.items()}),
  )
  picture = visualize.visualize_suite(spoilt)['normals']
  np.testing.assert_array_equal(picture[2, 3], MAGENTA)
  assert not np.array_equal(picture[2, 4], MAGENTA)


def two_levels(num_rays=4):
  """A proposal without colour and a final level whose samples are red/blue."""
  edges = jnp.tile(jnp.array([0.0, 0.5, 1.0]), (num_rays, 1))
  weights = jnp.tile(jnp.array([0.25, 0.75]), (num_rays, 1))
  rgb = jnp.tile(jnp.array([[1.0, 0, 0], [0, 0, 1.0]]), (num_rays, 1, 1))
  density = jnp.ones_like(weights)
  proposal = types.Level(edges, edges, weights, types.FieldOutput(density))
  final = types.Level(
    edges, edges, weights, types.FieldOutput(density, rgb=rgb)
  )
  return [proposal, final]


def test_ray_pictures_show_weights_and_colours_at_their_distance():
  green = np.tile([[0.0, 1.0, 0.0]], (4, 1))
  found = visualize.visualize_rays(two_levels(), green)
  rows, cols, _ = found['ray_colors'].shape
  assert found['ray_weights'].shape == (rows, cols, 3)
  top, bottom = rows // 4, 3 * rows // 4
  np.testing.assert_array_equal(found['ray_colors'][top, 0], [0, 1, 0])
  np.testing.assert_array_equal(found['ray_colors'][bottom, 0], [1, 0, 0])
  np.testing.assert_array_equal(found['ray_colors'][bottom, -1], [0, 0, 1])
  strong = visualize.turbo(np.array(1.0))
  weak = visualize.turbo(np.array(1 / 3))
  np.testing.assert_allclose(found['ray_weights'][0, -1], strong, atol=1e-6)
  np.testing.assert_allclose(found['ray_weights'][0, 0], weak, atol=1e-6)


def test_ray_colours_need_colours_at_every_level():
  assert 'ray_colors' not in visualize.visualize_rays(two_levels())


def test_a_contact_sheet_holds_every_picture_in_its_cell(full_rendering):
  truth = np.full((16, 20, 3), 0.25)
  row = visualize.contact_row(full_rendering(0), truth)
  assert list(row) == ['truth', 'prediction', 'depth', 'normals']
  sheet = visualize.contact_sheet([row, row], cell_width=64, gap=4)
  assert sheet.shape[1] == 4 + 4 * (64 + 4)
  # 64 / 20 of 16 rows is 51; each cell has a label and a gap besides.
  assert sheet.shape[0] > 2 * (51 + 4)
  cell = sheet[:, 4:68]
  quarter = np.all(np.abs(cell - 0.25) < 1 / 255, axis=-1)
  # Letters are anti-aliased: a few of their pixels may have that grey too.
  assert 2 * 51 * 64 <= quarter.sum() < 2.05 * 51 * 64
  label = sheet[4:20, 4:68]
  assert label.min() < 0.5 and label.max() == 1.0  # dark text on white


def test_a_contact_sheet_takes_rows_of_different_length_but_not_none():
  picture = np.zeros((4, 4, 3))
  sheet = visualize.contact_sheet(
    [{'a': picture, 'b': picture}, {'c': picture}], cell_width=32
  )
  assert sheet.ndim == 3
  with pytest.raises(ValueError, match='at least one'):
    visualize.contact_sheet([])
