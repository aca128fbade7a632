"""Tests of raw."""

import golden_util
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import errors
from multinerf.data import batching
from multinerf.ops import raw

BACKENDS = {'np': np, 'jnp': jnp}
# Of an iPhone; rows sum to anything.
COLOR_MATRIX = np.array(
  [[0.85, -0.26, -0.1], [-0.81, 1.56, 0.26], [-0.13, 0.14, 0.74]]
)
NEUTRAL = np.array([0.4, 1.0, 0.6])


def random_mosaic(seed=0, shape=(6, 8)):
  return np.random.default_rng(seed).random(shape)


# --- against the reference -------------------------------------------------


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('exposure', [None, 0.5])
def test_postprocessing_matches_the_reference(golden, backend, exposure):
  data = golden('raw_utils').case('postprocess_raw', f'{backend}_{exposure}')
  xnp = BACKENDS[backend]
  out = raw.postprocess_raw(
    xnp.asarray(data['in_raw']), data['in_camtorgb'], exposure, xnp
  )
  # Colours in [0, 1] of float32 inputs.
  np.testing.assert_allclose(out, data['out'], atol=1e-6)


@pytest.mark.parametrize('backend', BACKENDS)
def test_demosaicking_matches_the_reference(golden, backend):
  data = golden('raw_utils').case('bilinear_demosaic', backend)
  xnp = BACKENDS[backend]
  out = raw.bilinear_demosaic(xnp.asarray(data['in_bayer']), xnp)
  np.testing.assert_allclose(out, data['out'], atol=1e-6)


def test_bayer_mask_matches_the_reference(golden):
  data = golden('raw_utils').case('pixels_to_bayer_mask', 'c0')
  out = batching.bayer_mask(data['in_pix_x'], data['in_pix_y'])
  np.testing.assert_array_equal(out, data['out'])


def test_affine_fit_matches_the_reference(golden):
  golden_util.check_case(
    golden('raw_utils'),
    'best_fit_affine',
    'c0',
    raw.best_fit_affine,
    params={'axis': (0, 1)},
  )
  golden_util.check_case(
    golden('raw_utils'), 'match_images_affine', 'c0', raw.match_images_affine
  )


def test_camera_matrix_matches_the_reference(golden):
  data = golden('raw_utils').case('process_exif', 'c0')
  out = raw.camera_to_rgb(
    data['out_ColorMatrix2'].reshape(-1, 3, 3), data['out_AsShotNeutral']
  )
  np.testing.assert_allclose(out, data['out_cam2rgb'], rtol=1e-12)


# --- mosaics ---------------------------------------------------------------


def test_demosaicking_keeps_what_was_measured():
  bayer = random_mosaic()
  rgb = raw.bilinear_demosaic(bayer, np)
  y, x = np.indices(bayer.shape)
  measured = batching.bayer_mask(x, y)
  np.testing.assert_array_equal((rgb * measured).sum(-1), bayer)


def test_demosaicking_is_exact_for_colours_that_change_linearly():
  y, x = np.indices((8, 10)).astype(np.float64)
  rgb = np.stack([1 + 0.1 * x - 0.2 * y, 2 - 0.3 * x, 0.5 * y + x], -1)
  y, x = np.indices((8, 10))
  bayer = (rgb * batching.bayer_mask(x, y)).sum(-1)
  out = raw.bilinear_demosaic(bayer, np)
  # But at the edges, where the neighbours are those of the other side.
  np.testing.assert_allclose(out[1:-1, 1:-1], rgb[1:-1, 1:-1], rtol=1e-12)


def test_demosaicking_single_pixels_equals_demosaicking_the_image():
  bayer = random_mosaic(shape=(6, 4))
  y, x = np.indices(bayer.shape)

  def shifted(dy, dx):
    return bayer[(y + dy) % 6, (x + dx) % 4]

  out = raw.demosaic_at(
    bayer,
    0.5 * (shifted(0, -1) + shifted(0, 1)),
    0.5 * (shifted(-1, 0) + shifted(1, 0)),
    0.25 * sum(shifted(dy, dx) for dy in (-1, 1) for dx in (-1, 1)),
    x,
    y,
  )
  np.testing.assert_allclose(out, raw.bilinear_demosaic(bayer, np), rtol=1e-12)


@pytest.mark.parametrize('shape', [(5, 4), (4, 5)])
def test_half_a_square_is_refused(shape):
  with pytest.raises(errors.DataError, match='2x2'):
    raw.bilinear_demosaic(np.zeros(shape), np)


# --- display ---------------------------------------------------------------


def test_a_white_surface_is_shown_white():
  camtorgb = raw.camera_to_rgb(COLOR_MATRIX, NEUTRAL)
  shown = raw.postprocess_raw(0.3 * NEUTRAL[None], camtorgb, 0.3)
  np.testing.assert_allclose(shown, 1, rtol=1e-12)
  darker = raw.postprocess_raw(0.3 * NEUTRAL[None], camtorgb, 0.6)
  np.testing.assert_allclose(darker, 187.52 / 255, atol=1e-4)  # 50 % linear


def test_auto_exposure_makes_three_percent_of_the_values_white():
  linear = np.random.default_rng(0).random((100, 100, 3))
  shown = raw.postprocess_raw(linear, np.eye(3))
  # Of 30000 values, the percentile falls between two.
  np.testing.assert_allclose(np.mean(shown >= 1), 0.03, atol=1e-4)


def test_what_is_below_black_or_above_white_is_clipped():
  shown = raw.postprocess_raw(np.array([[-0.5, 2.0, 0.0]]), np.eye(3), 1.0)
  np.testing.assert_array_equal(shown, [[0, 1, 0]])


@pytest.mark.parametrize(
  'matrix, neutral, message',
  [
    (np.zeros((3, 3)), NEUTRAL, 'ColorMatrix2 .* singular'),
    (np.ones((3, 3)), NEUTRAL, 'ColorMatrix2 .* singular'),
    (COLOR_MATRIX, np.array([0.4, 0.0, 1.0]), 'AsShotNeutral .* positive'),
  ],
)
def test_useless_colour_metadata_is_refused(matrix, neutral, message):
  with pytest.raises(errors.DataError, match=message):
    raw.camera_to_rgb(matrix, neutral)


# --- affine correction -----------------------------------------------------


def test_affine_correction_does_not_reward_a_grey_estimate():
  # The fit gt -> est amplifies an estimate of little contrast with its noise;
  # the fit est -> gt would flatten it to the mean.
  gen = np.random.default_rng(0)
  gt = gen.random((40, 40, 3))
  noise = gen.normal(size=gt.shape)
  fixed = raw.match_images_affine(0.1 * gt + 0.3 + 0.1 * noise, gt)
  np.testing.assert_allclose(fixed.mean(), gt.mean(), rtol=1e-9)
  assert fixed.std() > 1.5 * gt.std()


def test_affine_fit_survives_a_small_contrast_in_float32():
  x = np.float32(1000 + np.linspace(0, 1, 64).reshape(8, 8, 1))
  slope, _ = raw.best_fit_affine(x, 3 * x, (0, 1))
  np.testing.assert_allclose(slope, 3, rtol=1e-3)
