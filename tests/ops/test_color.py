"""Tests of color."""

import functools

import golden_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import errors
from multinerf.ops import color

# --- against the reference -------------------------------------------------


@pytest.mark.parametrize('function', ['mse_to_psnr', 'psnr_to_mse'])
def test_psnr_matches_the_reference(golden, function):
  fn = getattr(color, function)
  golden_util.check_case(golden('image'), function, 'c0', fn)


@pytest.mark.parametrize('function', ['linear_to_srgb', 'srgb_to_linear'])
@pytest.mark.parametrize('case', ['jnp', 'np', 'eps'])
def test_srgb_matches_the_reference(golden, function, case):
  fn = getattr(color, function)
  golden_util.check_case(golden('image'), function, case, fn)
  data = golden('image').case(function, case)
  out = fn(data['in_x'], **golden_util.case_params(data), xnp=np)
  assert isinstance(out, np.ndarray)
  np.testing.assert_allclose(out, data['out'], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('case', ['f1', 'f2', 'f4', 'gray'])
def test_downsampling_matches_the_reference(golden, case):
  data = golden('image').case('downsample', case)
  out = color.downsample(data['in_img'], **golden_util.case_params(data))
  np.testing.assert_allclose(out, data['out'], rtol=1e-6)


@pytest.mark.parametrize('case', ['c0', 'it1', 'clipped'])
@pytest.mark.parametrize('backend', ['numpy', 'jax'])
def test_color_correction_matches_the_reference(golden, case, backend):
  data = golden('image').case('color_correct', case)
  fn = functools.partial(color.color_correct, **golden_util.case_params(data))
  img, ref = data['in_img'], data['in_ref']
  if backend == 'numpy':
    out = fn(img.astype(np.float64), ref.astype(np.float64))
  else:
    out = jax.jit(fn)(jnp.asarray(img), jnp.asarray(ref))
  # Reference: float32 SVD; a pixel at the edge of clipping may enter a round
  # in one and not in the other, which moves the fit by some 1e-4.
  np.testing.assert_allclose(out, data['out'], atol=3e-4)


# --- sRGB ------------------------------------------------------------------


def test_srgb_curves_are_inverse():
  # Not between 0.0031308 and 0.0031309, where the two thresholds differ.
  x = np.r_[np.linspace(0, 0.003, 50), np.linspace(0.0032, 4, 500)]
  srgb = color.linear_to_srgb(x, xnp=np)
  np.testing.assert_allclose(color.srgb_to_linear(srgb, xnp=np), x, rtol=1e-10)


def test_srgb_of_known_values():
  # 18 % grey is 117.7 / 255 on screen, and 50 % linear is 187.5.
  out = 255 * color.linear_to_srgb(np.array([0, 0.18, 0.5, 1.0]), xnp=np)
  np.testing.assert_allclose(out, [0, 117.65, 187.52, 255], atol=0.02)


def test_srgb_has_finite_gradients_at_every_magnitude():
  sizes = 10.0 ** np.arange(-36, 37, 4)
  x = jnp.asarray(np.r_[-sizes, 0, sizes], jnp.float32)
  assert np.all(np.isfinite(jax.vmap(jax.grad(color.linear_to_srgb))(x)))
  # x^(12/5) leaves float32 at 1e16.
  x = x[jnp.abs(x) < 1e15]
  assert np.all(np.isfinite(jax.vmap(jax.grad(color.srgb_to_linear))(x)))


def test_psnr_of_known_errors():
  got = color.mse_to_psnr(jnp.array([1.0, 0.1, 1e-3]))
  np.testing.assert_allclose(got, [0, 10, 30], atol=1e-5)


# --- stored pixels ---------------------------------------------------------


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_decoding_maps_the_integer_range_to_0_and_1(dtype):
  top = np.iinfo(dtype).max
  out = color.decode_rgb(np.array([[0, top // 3, top]], dtype))
  assert out.dtype == jnp.float32
  # 1/3: both 255 and 65535 are divisible by 3.
  np.testing.assert_allclose(out, [[0, 1 / 3, 1]], rtol=1e-6)


def test_decoding_composites_on_white():
  rgba = np.array([[255, 0, 0, 0], [255, 0, 0, 51], [0, 255, 0, 255]], np.uint8)
  out = color.decode_rgb(rgba)
  np.testing.assert_allclose(
    out, [[1, 1, 1], [1, 0.8, 0.8], [0, 1, 0]], rtol=1e-6
  )


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
def test_decoding_takes_floats_as_they_are(dtype):
  values = np.array([[0.5, 2.0, -1.0]], dtype)
  out = color.decode_rgb(values)
  assert out.dtype == jnp.float32
  np.testing.assert_array_equal(out, [[0.5, 2.0, -1.0]])


@pytest.mark.parametrize(
  'values', [np.zeros((2, 1), np.uint8), np.zeros((2, 3), np.int32)]
)
def test_decoding_refuses_other_layouts(values):
  with pytest.raises(errors.DataError, match='Images'):
    color.decode_rgb(values)


def test_decoding_under_jit_is_the_same():
  rgba = np.random.default_rng(0).integers(0, 256, (5, 4)).astype(np.uint8)
  np.testing.assert_allclose(
    jax.jit(color.decode_rgb)(rgba), color.decode_rgb(rgba), rtol=1e-6
  )


# --- images ----------------------------------------------------------------


def test_downsampling_averages_boxes():
  img = np.arange(4 * 6).reshape(4, 6).astype(np.float64)
  got = color.downsample(img, 2)
  for i in range(2):
    for j in range(3):
      box = img[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
      assert got[i, j] == box.mean()


def test_downsampling_by_a_factor_that_does_not_divide_is_refused():
  with pytest.raises(errors.DataError, match='6x4 pixels by 4.*Config.factor'):
    color.downsample(np.zeros((4, 6, 3)), 4)


@pytest.mark.parametrize('backend', ['numpy', 'jax'])
def test_color_correction_undoes_a_quadratic_warp(backend):
  gen = np.random.default_rng(1)
  img = gen.uniform(0.1, 0.9, size=(16, 16, 3))
  mix = np.array([[0.8, 0.1, 0.0], [0.0, 0.7, 0.1], [0.1, 0.0, 0.8]])
  ref = img @ mix + 0.05 * img**2 + 0.02
  assert np.abs(img - ref).max() > 0.05
  if backend == 'numpy':
    out = color.color_correct(img, ref)
    np.testing.assert_allclose(out, ref, atol=1e-8)
  else:
    out = color.color_correct(
      jnp.asarray(img, jnp.float32), jnp.asarray(ref, jnp.float32)
    )
    # float32 least squares with features of condition about 1e2.
    np.testing.assert_allclose(out, ref, atol=1e-4)


@pytest.mark.parametrize('value', [0.0, 0.4, 1.0])
def test_color_correction_of_constant_images_is_finite(value):
  # One colour: ten equal features; clipped: not one pixel to fit.
  img = np.full((8, 8, 3), value)
  out = color.color_correct(img, img)
  assert np.all(np.isfinite(out)) and np.all((out >= 0) & (out <= 1))
  if value == 0.4:
    np.testing.assert_allclose(out, img, atol=1e-6)


def test_color_correction_refuses_other_numbers_of_channels():
  with pytest.raises(errors.DataError, match='channels'):
    color.color_correct(np.zeros((2, 2, 3)), np.zeros((2, 2, 1)))


@pytest.mark.parametrize(('raw_tint', 'tint'), [(None, 0.5), (np.log(3), 0.75)])
def test_diffuse_and_tinted_light_add_up_before_the_tone_curve(raw_tint, tint):
  specular = np.array([0.0, 0.2, 1.0], np.float32)
  found = color.tinted(specular, np.zeros(3, np.float32), raw_tint)
  want = color.linear_to_srgb(0.25 + tint * specular)  # sigmoid(-log 3) = 1/4
  np.testing.assert_allclose(found, np.minimum(want, 1), rtol=1e-6)
