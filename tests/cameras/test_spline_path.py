"""Flights through key frames: speed, ends, loops and where they look."""

import numpy as np
import pytest
from camera_util import assert_rigid, ring

from multinerf import errors
from multinerf.cameras import keyframes, spline_path
from multinerf.cameras import poses as poses_lib


def row(positions):
  """Cameras in a row that look along -z."""
  keys = np.tile(np.eye(3, 4), (len(positions), 1, 1))
  keys[:, 0, 3] = positions
  return keys


def steps(path):
  return np.linalg.norm(np.diff(path[:, :, 3], axis=0), axis=-1)


def test_key_frames_are_met_at_their_times():
  keys = ring(7)
  curve = spline_path.fit(keys, smoothness=0.0)
  np.testing.assert_allclose(curve.poses(curve.key_times), keys, atol=1e-9)
  assert curve.key_times[0] == 0 and curve.key_times[-1] == 1


def test_constant_speed_makes_equal_steps_and_keeps_the_ends():
  # Cameras that turn in the middle of their way take their time there.
  keys = row([0, 1, 2, 3, 4])
  keys[2:] = keys[2:] @ poses_lib.rotation_about_axis(-90.0, 1)
  curve = spline_path.fit(keys, smoothness=0.0, rot_weight=1.0)
  plain = curve.poses(curve.times(40))
  even = curve.poses(curve.times(40, const_speed=True))
  assert len(plain) == len(even) == 41
  # 8 chords a frame; without it, speeds differ by the curve's wiggles.
  assert steps(even).max() / steps(even).min() < 1.02
  assert steps(plain).max() / steps(plain).min() > 1.2
  np.testing.assert_allclose(even[[0, -1]], plain[[0, -1]], atol=1e-9)
  np.testing.assert_allclose(steps(even).sum(), curve.length(), rtol=1e-3)


def test_a_loop_comes_back_smoothly_to_where_it_began():
  keys = ring(9)
  curve = spline_path.fit(keys, smoothness=0.0, periodic=True)
  path = curve.poses(curve.times(180))
  assert_rigid(path)
  np.testing.assert_allclose(path[0], path[-1], atol=1e-9)
  # Leaving and arriving in the same direction.
  velocity = np.diff(path[:, :, 3], axis=0)
  np.testing.assert_allclose(velocity[0], velocity[-1], atol=0.01)
  closed = spline_path.fit(
    np.concatenate([keys, keys[:1]]), smoothness=0.0, periodic=True
  )
  np.testing.assert_allclose(closed.poses(closed.times(180)), path, atol=1e-9)


def test_buffers_straighten_the_ends_and_are_not_flown():
  # Three cameras around a corner that look where they go.
  positions = np.array([[0, 0, 0], [0, 0, -1], [-1, 0, -1.2], [-2, 0, -1.2]])
  looks = np.array([[0, 0, 1], [0.3, 0, 1], [1, 0, 0.1], [1.0, 0, 0]])
  keys = np.stack(
    [
      poses_lib.viewmatrix(z, np.array([0, 1.0, 0]), p)
      for z, p in zip(looks, positions, strict=True)
    ]
  )
  curve = spline_path.fit(keys, smoothness=0.0, num_buffer=2)
  path = curve.poses(curve.times(50))
  np.testing.assert_allclose(path[[0, -1]], keys[[0, -1]], atol=1e-9)
  start = path[1, :, 3] - path[0, :, 3]
  end = path[-1, :, 3] - path[-2, :, 3]
  for velocity, key in ((start, keys[0]), (end, keys[-1])):
    cosine = -velocity @ key[:, 2] / np.linalg.norm(velocity)
    assert cosine > 0.97
  with pytest.raises(errors.ConfigError, match='no ends to buffer'):
    spline_path.fit(keys, num_buffer=1, periodic=True)


def test_looking_ahead_looks_at_a_later_position():
  curve = spline_path.fit(ring(8), smoothness=0.0, lookahead=3)
  path = curve.poses(curve.times(30))
  toward = path[3:, :, 3] - path[:-3, :, 3]
  toward /= np.linalg.norm(toward, axis=-1, keepdims=True)
  np.testing.assert_allclose(path[:-3, :, 2], -toward, atol=1e-9)
  np.testing.assert_allclose(path[-3:, :, 2], path[[-4] * 3, :, 2], atol=1e-9)


def test_up_can_be_fixed_and_locked():
  up = np.array([0.0, 0.6, 0.8])
  free = spline_path.fit(ring(8), smoothness=0.0, fixed_up=up)
  path = free.poses(free.times(12))
  # Up stays in the plane of the view and the fixed direction.
  right = path[:, :, 0]
  np.testing.assert_allclose(right @ up, 0, atol=1e-9)
  locked = spline_path.fit(ring(8), smoothness=0.0, fixed_up=up, lock_up=True)
  path = locked.poses(locked.times(12))
  np.testing.assert_allclose(path[:, :, 1], np.tile(up, (13, 1)), atol=1e-9)
  assert_rigid(path)


def test_names_come_from_lines_or_from_a_folder(tmp_path):
  text = tmp_path / 'names.txt'
  text.write_text('b.jpg\n\n a.jpg \n')
  assert keyframes.listed_names(text) == ['b.jpg', 'a.jpg']
  (tmp_path / 'x.png').touch()
  assert keyframes.listed_names(tmp_path) == ['names.txt', 'x.png']
  with pytest.raises(errors.DataError, match='No file or folder'):
    keyframes.listed_names(tmp_path / 'none')


def test_key_frames_before_a_jump_are_dropped():
  poses = row([0, 1, 2, 9, 10, 11])
  keys = np.arange(6)
  got = keyframes.drop_outliers(poses, keys, quantile=0.5, multiplier=2.0)
  assert got.tolist() == [0, 1, 3, 4, 5]


def test_pairs_of_images_say_how_long_a_metre_is(tmp_path):
  poses, names = row([0.0, 1.0, 5.0, 5.5]), ['a', 'b', 'c', 'd']
  pairs = tmp_path / 'pairs.txt'
  pairs.write_text('a\nb\nc\nd\na\nlost\n')
  got = keyframes.meters_per_unit(poses, names, pairs, 3.0)
  assert got == pytest.approx(3.0 / 0.75)
  assert keyframes.meters_per_unit(poses, names, None, 3.0) == 8.0
  pairs.write_text('a\n')
  with pytest.raises(errors.DataError, match='pairs of image names'):
    keyframes.meters_per_unit(poses, names, pairs, 3.0)
