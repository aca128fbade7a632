"""The record of an evaluation on disk."""

import dataclasses
import json
import math

import pytest

from multinerf.evaluation import results


def make_results(values=(20.0, 30.0), **changes):
  images = tuple(
    results.ImageResult(
      index=i,
      name=f'r_{i}.png',
      metrics={'psnr': v, 'ssim': 0.5},
      metrics_cc={'psnr': v + 1},
      nonfinite={'rgb': 3} if math.isnan(v) else {},
      num_rays=100,
      render_seconds=0.5 * (i + 1),
    )
    for i, v in enumerate(values)
  )
  fields = dict(
    step=250,
    images=images,
    protocol={'scene': 'toy', 'factor': 4},
    test_names=tuple(i.name for i in images),
    lpips_reason='no weights',
    wall_seconds=1.5,
    device='2 x cpu',
  )
  return results.Results(**(fields | changes))


def test_means_are_over_images():
  found = make_results((20.0, 30.0, 40.0))
  assert found.mean == {'psnr': 30.0, 'ssim': 0.5}
  assert found.mean_cc == {'psnr': 31.0}
  assert found.rays_per_sec == 100.0  # median of 200, 100 and 66.7
  assert found.median_render_seconds == 1.0


def test_means_are_over_the_images_of_each_scale_too():
  found = make_results((20.0, 30.0, 40.0, 60.0))
  assert found.mean_by_scale == {} == found.mean_cc_by_scale
  images = tuple(
    dataclasses.replace(image, scale=scale)
    for image, scale in zip(found.images, (1, 1, 8, 8), strict=True)
  )
  found = dataclasses.replace(found, images=images)
  assert found.mean == {'psnr': 37.5, 'ssim': 0.5}
  assert found.mean_by_scale == {
    1: {'psnr': 25.0, 'ssim': 0.5},
    8: {'psnr': 50.0, 'ssim': 0.5},
  }
  assert found.mean_cc_by_scale == {1: {'psnr': 26.0}, 8: {'psnr': 51.0}}
  data = found.to_json()
  assert data['mean_by_scale']['8'] == {'psnr': 50.0, 'ssim': 0.5}
  assert data['images'][3]['scale'] == 8


def test_a_nan_image_makes_the_mean_nan_and_is_counted():
  found = make_results((20.0, math.nan))
  assert math.isnan(found.mean['psnr'])
  assert found.mean['ssim'] == 0.5
  assert found.nonfinite == 3


def test_results_json_is_strict_json_with_null_for_what_is_undefined(tmp_path):
  path = tmp_path / 'sub' / 'results.json'
  results.write_results(path, make_results((20.0, math.nan)))

  def refuse(constant):
    raise AssertionError(f'{constant} is not JSON')

  data = json.loads(path.read_text(), parse_constant=refuse)
  assert data['step'] == 250
  assert data['mean'] == {'psnr': None, 'ssim': 0.5}
  assert data['nonfinite_pixels'] == 3
  assert data['lpips'] is None and data['lpips_reason'] == 'no weights'
  assert data['test_names'] == ['r_0.png', 'r_1.png']
  assert data['images'][1]['nonfinite'] == {'rgb': 3}
  assert data['images'][0]['metrics']['psnr'] == 20.0
  assert data['protocol'] == {'scene': 'toy', 'factor': 4}
  assert set(data['versions']) >= {'multinerf', 'jax', 'numpy', 'python'}
  assert data['device'] == '2 x cpu'
  assert [p.name for p in path.parent.iterdir()] == ['results.json']


def test_metric_files_have_the_names_and_form_of_multinerf(tmp_path):
  results.write_metric_files(tmp_path, make_results((20.0, 30.0)))
  texts = {p.name: p.read_text() for p in tmp_path.iterdir()}
  assert texts == {
    'metric_psnr_250.txt': '20.0 30.0',
    'metric_ssim_250.txt': '0.5 0.5',
    'metric_cc_psnr_250.txt': '21.0 31.0',
    'render_times_250.txt': '0.5 1.0',
  }


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
  path = tmp_path / 'a.txt'
  results.write_text(path, 'old')

  def fail(*_):
    raise OSError('disk full')

  monkeypatch.setattr(results.os, 'replace', fail)
  with pytest.raises(OSError, match='disk full'):
    results.write_text(path, 'new')
  assert path.read_text() == 'old'
  assert list(tmp_path.iterdir()) == [path]


def test_only_the_lead_process_writes(tmp_path, monkeypatch):
  monkeypatch.setattr(results.parallel, 'is_lead', lambda: False)
  results.write_text(tmp_path / 'a.txt', 'x')
  assert not list(tmp_path.iterdir())
