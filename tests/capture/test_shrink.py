"""Smaller copies: sizes, area averages, files."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image

from multinerf.capture import shrink


def brute_force_area_average(image, factor):
  """Mean over the exact area of each new pixel, by repeating pixels."""
  height, width, channels = image.shape
  new_w, new_h = shrink.reduced_size(width, height, factor)
  tall = np.repeat(image.astype(np.float64), new_h, axis=0)
  tall = tall.reshape(new_h, height, width, channels).mean(axis=1)
  wide = np.repeat(tall, new_w, axis=1)
  return wide.reshape(new_h, new_w, width, channels).mean(axis=2)


@pytest.mark.parametrize('factor', [2, 4, 8])
@pytest.mark.parametrize('size', [(32, 48), (33, 50), (7, 5)])
def test_every_new_pixel_is_the_mean_of_the_area_it_covers(size, factor):
  gen = np.random.default_rng(0)
  image = gen.integers(0, 256, (*size, 3), dtype=np.uint8)
  got = shrink.area_average(image, factor).astype(np.float64)
  want = brute_force_area_average(image, factor)
  assert got.shape == want.shape
  # Half a level of rounding, and float32.
  assert np.abs(got - want).max() <= 0.501


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
  st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([2, 3, 4, 8])
)
def test_sizes_are_divided_and_rounded(width, height, factor):
  for side, new in zip(
    (width, height), shrink.reduced_size(width, height, factor), strict=True
  ):
    assert new >= 1
    assert abs(new - side / factor) <= 0.5 or side < factor


def test_sizes_are_those_of_the_published_scenes():
  # mip-NeRF 360, "garden": images_4 and images_8 as distributed are 1297x840
  # and 648x420 (of 5187x3361).
  assert shrink.reduced_size(5187, 3361, 4) == (1297, 840)
  assert shrink.reduced_size(5187, 3361, 8) == (648, 420)


def test_a_constant_stays_constant_and_16_bits_become_8():
  image = np.full((10, 14, 3), 257 * 77, np.uint16)
  small = shrink.area_average(image, 4)
  assert small.dtype == np.uint8
  assert (small == 77).all()


def test_transparent_pixels_do_not_bleed_their_colour():
  image = np.zeros((2, 2, 4), np.uint8)
  image[0] = [200, 100, 50, 255]
  image[1] = [0, 255, 0, 0]  # invisible green
  (pixel,) = shrink.area_average(image, 2)[0]
  # One level of rounding in premultiplying and back.
  assert np.abs(pixel.astype(int) - [200, 100, 50, 128]).max() <= 1


def test_copies_have_the_same_names_in_a_folder_per_factor(tmp_path):
  image = np.full((9, 12, 3), 128, np.uint8)
  shrink.write_copies(image, tmp_path, 'b.png', (2, 4))
  shrink.write_copies(image, tmp_path, 'A.JPG', (2, 4))
  found = sorted(
    p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob('*.*')
  )
  want = ['images_2/A.JPG', 'images_2/b.png', 'images_4/A.JPG']
  assert found == [*want, 'images_4/b.png']
  with Image.open(tmp_path / 'images_4' / 'A.JPG') as jpeg:
    assert (jpeg.format, jpeg.size) == ('JPEG', (3, 2))
