"""Metrics against reference vectors, brute force and identities."""

import math

import numpy as np
import pytest

from multinerf import errors
from multinerf.data import images
from multinerf.evaluation import metrics


def random_image(seed, shape=(14, 17, 3)):
  return np.random.default_rng(seed).uniform(size=shape)


def slow_ssim(a, b):
  """Eq. 13 of Wang et al. 2004, one window at a time, no tricks."""
  offsets = np.arange(11) - 5
  window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
  window /= window.sum()
  values = []
  for y in range(a.shape[0] - 10):
    for x in range(a.shape[1] - 10):
      for c in range(a.shape[2]):
        p, q = a[y : y + 11, x : x + 11, c], b[y : y + 11, x : x + 11, c]
        mp, mq = np.sum(window * p), np.sum(window * q)
        vp, vq = np.sum(window * (p - mp) ** 2), np.sum(window * (q - mq) ** 2)
        cov = np.sum(window * (p - mp) * (q - mq))
        values.append(
          (2 * mp * mq + 1e-4)
          * (2 * cov + 9e-4)
          / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4))
        )
  return np.mean(values)


def test_ssim_and_psnr_equal_the_reference_harness(golden):
  case = golden('image').case('MetricHarness', 'c0')
  found = metrics.Metrics(quantize=False)(
    case['in_rgb_pred'], case['in_rgb_gt']
  )
  # The reference is float32: 1e-5 relative is its rounding.
  np.testing.assert_allclose(found['psnr'], case['out_psnr'], rtol=1e-5)
  np.testing.assert_allclose(found['ssim'], case['out_ssim'], rtol=1e-5)


def test_ssim_equals_the_reference_on_a_smooth_image(golden):
  case = golden('image').case('ssim', 'smooth')
  found = metrics.ssim(case['in_a'], case['in_b'])
  # float32 variances of a smooth image cancel: 1e-4 is what remains of them.
  np.testing.assert_allclose(found, case['out'], rtol=1e-4)


@pytest.mark.parametrize('seed', range(3))
def test_ssim_equals_brute_force(seed):
  a, b = random_image(seed), random_image(seed + 10)
  b = 0.5 * a + 0.5 * b
  # Same sums in another order, float64.
  np.testing.assert_allclose(metrics.ssim(a, b), slow_ssim(a, b), rtol=1e-10)


def test_ssim_of_equal_images_is_one_and_is_symmetric():
  a, b = random_image(0), random_image(1)
  np.testing.assert_allclose(metrics.ssim(a, a), 1.0, rtol=1e-12)
  np.testing.assert_allclose(metrics.ssim(a, b), metrics.ssim(b, a), rtol=1e-12)
  assert metrics.ssim(a, b) < 0.5


def test_ssim_of_too_small_images_is_an_error_that_names_the_size():
  small = random_image(0, (10, 30, 3))
  with pytest.raises(errors.DataError, match='11x11.*30x10'):
    metrics.ssim(small, small)


def test_psnr_of_a_constant_error_is_closed_form():
  gt = random_image(0) * 0.5
  np.testing.assert_allclose(metrics.psnr(gt + 0.1, gt), 20.0, rtol=1e-9)
  assert metrics.psnr(gt, gt) == math.inf
  np.testing.assert_allclose(metrics.mae(gt - 0.1, gt), 0.1, rtol=1e-9)


def test_quantised_metrics_are_those_of_the_png_file(tmp_path):
  pred, gt = random_image(0) * 1.02 - 0.01, random_image(1)
  images.write_png(tmp_path / 'a.png', pred)
  stored = images.read_image(tmp_path / 'a.png').astype(np.float64) / 255
  np.testing.assert_array_equal(metrics.quantize(pred), stored)
  from_file = metrics.Metrics(quantize=False)(stored, gt)
  assert metrics.Metrics(quantize=True)(pred, gt) == from_file
  assert metrics.Metrics(quantize=False)(pred, gt) != from_file


def test_cropping_ignores_what_happens_at_the_border():
  gt = random_image(0, (20, 21, 3))
  pred = gt.copy()
  pred[:2], pred[:, -2:] = 0.0, 1.0
  measure = metrics.Metrics(quantize=False, crop_borders=2)
  assert measure(pred, gt)['mae'] == 0.0
  assert metrics.crop(gt, 0).shape == gt.shape
  for borders in (10, -1):
    with pytest.raises(errors.ConfigError, match='eval_crop_borders'):
      metrics.crop(gt, borders)


def test_one_nan_pixel_makes_every_metric_nan():
  pred, gt = random_image(0), random_image(1)
  pred[3, 4, 1] = np.nan
  for quantize in (True, False):
    found = metrics.Metrics(quantize=quantize)(pred, gt)
    assert set(found) == {'psnr', 'ssim', 'mae'}
    assert all(math.isnan(v) for v in found.values())


def test_a_perceptual_metric_is_measured_on_the_same_pixels():
  seen = []
  measure = metrics.Metrics(
    crop_borders=1, lpips=lambda a, b: seen.append((a, b)) or 0.25
  )
  pred, gt = random_image(0), random_image(1)
  assert measure(pred, gt)['lpips'] == 0.25
  np.testing.assert_array_equal(seen[0][0], metrics.quantize(pred)[1:-1, 1:-1])
  np.testing.assert_array_equal(seen[0][1], gt[1:-1, 1:-1])


def test_normals_error_is_the_weighted_angle():
  rotate = np.deg2rad(np.array([0.0, 30.0, 60.0, 90.0]))
  gt = np.tile([0.0, 0.0, 2.0], (4, 1))
  pred = 5 * np.stack([np.sin(rotate), 0 * rotate, np.cos(rotate)], axis=-1)
  weights = np.array([1.0, 1.0, 2.0, 0.0])
  # (0 + 30 + 2 * 60) / 4; arccos near 1 loses half the digits of float64.
  found = metrics.normals_mae(pred, gt, weights)
  np.testing.assert_allclose(found, 37.5, rtol=1e-7)
  assert math.isnan(metrics.normals_mae(pred, gt, 0 * weights))


def test_disparity_error_is_zero_at_the_true_distance():
  distance = 1.0 + 4.0 * random_image(0, (5, 6))
  disps = 1 / (1 + distance)
  assert metrics.disparity_mse(distance, disps) == 0.0
  np.testing.assert_allclose(
    metrics.disparity_mse(distance, disps + 0.1), 0.01, rtol=1e-9
  )


def test_affine_correction_undoes_an_affine_map_per_channel():
  gt = random_image(0)
  pred = gt * [0.5, 2.0, 1.5] + [0.1, -0.2, 0.3]
  np.testing.assert_allclose(metrics.affine_correct(pred, gt), gt, atol=1e-12)


def test_affine_correction_is_the_least_squares_fit():
  pred, gt = random_image(0), random_image(1)
  for c in range(3):
    design = np.stack([gt[..., c].ravel(), np.ones(gt[..., c].size)], -1)
    (a, b), *_ = np.linalg.lstsq(design, pred[..., c].ravel(), rcond=None)
    np.testing.assert_allclose(
      metrics.affine_correct(pred, gt)[..., c],
      (pred[..., c] - b) / a,
      rtol=1e-9,
    )


@pytest.mark.parametrize('kind', ['affine', 'quadratic'])
def test_masked_pixels_take_no_part_in_the_colour_fit(kind):
  correct = getattr(metrics, f'{kind}_correct')
  gen = np.random.default_rng(5)
  gt = gen.uniform(0.1, 0.9, (16, 20, 3))
  pred = 0.8 * gt + 0.05
  mask = np.ones((16, 20), np.uint8)
  want = correct(pred, gt)
  np.testing.assert_allclose(want, gt, atol=1e-6)  # 5 rounds of least squares
  # The same sums in another order.
  np.testing.assert_allclose(correct(pred, gt, mask), want, atol=1e-9)
  mask[:, 12:] = 0
  spoilt = pred.copy()
  spoilt[:, 12:] = gen.uniform(0.1, 0.9, (16, 8, 3))
  found = correct(spoilt, gt, mask)
  np.testing.assert_allclose(found[:, :12], gt[:, :12], atol=1e-6)
  assert np.abs(correct(spoilt, gt)[:, :12] - gt[:, :12]).max() > 0.05
  # No pixel to fit to: no exception, no warning.
  assert correct(pred, gt, 0 * mask).shape == gt.shape


def test_masked_pixels_are_not_measured():
  generator = np.random.default_rng(0)
  gt = generator.uniform(0, 1, (16, 20, 3))
  pred = np.clip(gt + generator.normal(0, 0.05, gt.shape), 0, 1)
  mask = np.ones((16, 20), np.uint8)
  measure = metrics.Metrics(quantize=False)
  assert measure(pred, gt, mask) == pytest.approx(measure(pred, gt))
  mask[:, 12:] = 0
  spoilt = pred.copy()
  spoilt[:, 12:] = 1 - gt[:, 12:]
  found = measure(spoilt, gt, mask)
  assert found == measure(pred, gt, mask)
  assert found['psnr'] == metrics.psnr(pred[:, :12], gt[:, :12])
  assert found['ssim'] > measure(spoilt, gt)['ssim']
  nothing = measure(pred, gt, np.zeros_like(mask))
  assert all(np.isnan(value) for value in nothing.values())
