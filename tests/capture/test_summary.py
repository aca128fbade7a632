"""The report: its numbers, its warnings, its files."""

import dataclasses
import json

import capture_util
import numpy as np
import pytest

from multinerf.capture import photos, settings, sfm, summary
from multinerf.data import images


def outcome(num_placed=8, num=8, **changes):
  """The report of a scene of `num` images, the first of them placed."""
  names = tuple(f'{i:03d}.jpg' for i in range(num))
  made = summary.Outcome(
    source='photos/desk',
    prepared=photos.Prepared(names, ('64x48',) * num, False, ('a note',)),
    matching=sfm.Matching('exhaustive', 28, 20),
    models=(capture_util.make_model(num_placed),),
    settings=settings.Settings(),
    seconds={'images': 1.25},
    versions={'pycolmap': '4.2.1'},
  )
  return dataclasses.replace(made, **changes)


def test_numbers_of_the_report_are_those_of_the_model():
  made = outcome(6, 8)
  model = made.models[0]
  got = summary.to_json(made, 'f00')
  assert (got['num_images'], got['num_registered']) == (8, 6)
  assert got['unregistered'] == ['006.jpg', '007.jpg']
  assert got['num_points'] == len(model.xyz)
  # Rounded to four decimals.
  assert abs(got['mean_track_length'] - np.mean(model.track_lengths)) < 1e-4
  assert (
    abs(got['mean_reprojection_error'] - np.mean(model.reprojection)) < 1e-4
  )
  assert sum(got['observations'].values()) == model.num_observations.sum()
  assert got['cameras'][0]['params']['fx'] == 64.0
  assert json.loads(json.dumps(got)) == got


def test_a_good_model_gives_no_warning():
  assert summary.warnings(outcome()) == []


def test_missing_images_are_named_and_few_placed_ones_get_advice():
  (mild,) = summary.warnings(outcome(7, 8))
  assert mild.startswith('7 of 8 images') and '007.jpg' in mild
  assert sfm.ADVICE not in mild
  (bad,) = summary.warnings(outcome(3, 8))
  assert bad.startswith('Only 3 of 8 images') and '003.jpg' in bad
  assert sfm.ADVICE in bad
  (many,) = summary.warnings(outcome(3, 60))
  assert 'and 37 more' in many


def test_a_second_model_and_a_large_error_are_warned_of():
  first = capture_util.make_model()
  first = dataclasses.replace(first, reprojection=first.reprojection + 5)
  found = summary.warnings(outcome(models=(first, capture_util.make_model(3))))
  assert len(found) == 2
  assert '3 images (000.jpg ..)' in found[0] and 'sparse/1' in found[0]
  assert '--camera_model' in found[1]


def test_report_files_are_written(tmp_path):
  made = outcome(7, 8)
  summary.write(made, tmp_path, 'f00')
  assert json.loads((tmp_path / 'report.json').read_text()) == summary.to_json(
    made, 'f00'
  )
  text = (tmp_path / 'report.md').read_text()
  for part in ('7 of 8 images placed', '007.jpg', 'a note', 'fx = 64'):
    assert part in text
  picture = images.read_image(tmp_path / 'report.png')
  assert picture.shape[1] > picture.shape[0] > 300
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    'report.json',
    'report.md',
    'report.png',
  ]


@pytest.mark.parametrize('num_points', [0, 1])
def test_a_model_without_points_has_no_nan(num_points):
  model = capture_util.make_model(3, num_points)
  got = summary.to_json(outcome(3, 3, models=(model,)), 'f00')
  assert np.isfinite(got['mean_track_length'])
  assert np.isfinite(got['mean_reprojection_error'])
