import json
import pathlib

import camera_util
import golden_util
import numpy as np
import pytest

from multinerf import errors
from multinerf.cameras import paths
from multinerf.cameras import poses as poses_lib


@pytest.mark.parametrize(
  ('name', 'case'),
  [
    ('generate_spiral_path', 'c0'),
    ('generate_spiral_path', 'rots'),
    ('generate_ellipse_path', 'c0'),
    ('generate_ellipse_path', 'c1'),
    ('generate_ellipse_path', 'c2'),
    ('generate_interpolated_path', 'c0'),
    ('generate_interpolated_path', 'c1'),
    ('generate_interpolated_path', 'c2'),
    ('interpolate_1d', 'c0'),
    ('interpolate_1d', 's0'),
  ],
)
def test_matches_the_reference(golden, name, case):
  data = golden('camera_utils').case(name, case)
  inputs = [data[f'in_{k}'] for k in golden_util.case_args(data)]
  got = getattr(paths, name)(*inputs, **golden_util.case_params(data))
  assert json.loads(str(data['params']))  # the case is not an empty call
  # Upstream resamples the ellipse in float32; splines agree to 1e-9.
  np.testing.assert_allclose(got, data['out'], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  'make',
  [
    lambda p: paths.generate_spiral_path(p, np.array([1.0, 10.0]), 7),
    lambda p: paths.generate_ellipse_path(p, 7),
    lambda p: paths.generate_ellipse_path(p, 7, False, 0.7, 0.2),
    lambda p: paths.generate_interpolated_path(p[:8], 1),
    lambda p: paths.generate_interpolated_path(p[:2], 7),
  ],
)
def test_every_path_is_made_of_rigid_poses(make):
  path = make(camera_util.ring())
  assert path.shape == (7, 3, 4)
  camera_util.assert_rigid(path)


def test_ellipse_encloses_the_focus_point_and_looks_at_it():
  poses = camera_util.ring(40)
  path = paths.generate_ellipse_path(poses, 36)
  focus = poses_lib.focus_point(poses)
  offset = path[:, :, 3] - focus
  # Angles around the focus make one full turn.
  angle = np.unwrap(np.arctan2(offset[:, 1], offset[:, 0]))
  assert np.all(np.diff(angle) > 0)
  assert angle[-1] - angle[0] == pytest.approx(2 * np.pi * 35 / 36, abs=0.1)
  back = poses_lib.normalize(offset)
  np.testing.assert_allclose(path[:, :, 2], back, atol=1e-12)
  assert np.all(path[:, 2, 1] > 0)  # upright
  # Semi-axes are between the smallest and the largest camera distance.
  assert 1.0 < np.abs(offset[:, 1]).max() < np.abs(offset[:, 0]).max() < 2.3


def test_ellipse_with_constant_speed_has_equal_steps():
  def spread(const_speed):
    path = paths.generate_ellipse_path(camera_util.ring(), 200, const_speed)[
      :, :, 3
    ]
    steps = np.linalg.norm(path - np.roll(path, 1, axis=0), axis=-1)
    return steps.max() / steps.min()

  # Piecewise linear resampling of 200 chords leaves below 1%.
  assert spread(True) < 1.01
  assert spread(False) > 1.2


def test_ellipse_height_is_zero_unless_it_varies():
  poses = camera_util.ring()
  assert np.all(paths.generate_ellipse_path(poses, 9)[:, 2, 3] == 0)
  z = paths.generate_ellipse_path(poses, 64, False, 1.0)[:, 2, 3]
  low, high = np.percentile(poses[:, 2, 3], [10, 90])
  np.testing.assert_allclose([z.min(), z.max()], [low, high])
  shifted = paths.generate_ellipse_path(poses, 64, False, 1.0, 0.25)[:, 2, 3]
  np.testing.assert_allclose(shifted, np.roll(z, -16))


def test_spiral_looks_at_one_point_between_the_bounds():
  poses = np.tile(np.eye(3, 4), (5, 1, 1))
  poses[:, :, 3] = np.random.default_rng(0).normal(size=(5, 3)) * 0.1
  poses, _ = poses_lib.recenter_poses(poses)
  path = paths.generate_spiral_path(poses, np.array([2.0, 20.0]), 16)
  focus = poses_lib.focus_point(path)
  depth = 1 / (0.25 / 1.8 + 0.75 / 100.0)
  np.testing.assert_allclose(focus, [0, 0, -depth], atol=1e-9)


@pytest.mark.parametrize('num_keys', [2, 3, 8])
def test_spline_without_smoothing_passes_through_the_key_frames(num_keys):
  # Equally spaced key frames, so that the spline's own parameter is uniform.
  keys = np.tile(np.eye(3, 4), (num_keys, 1, 1))
  keys[:, 0, 3] = np.arange(num_keys)
  path = paths.generate_interpolated_path(keys, 5, smoothness=0.0)
  assert len(path) == 5 * (num_keys - 1)
  np.testing.assert_allclose(path[::5], keys[:-1], atol=1e-9)


def test_spline_needs_two_key_frames():
  with pytest.raises(errors.DataError, match='at least 2 key frames; found 1'):
    paths.generate_interpolated_path(camera_util.ring()[:1], 5)


def test_interpolation_without_smoothing_passes_through_the_values():
  x = np.random.default_rng(0).normal(size=6)
  got = paths.interpolate_1d(x, 4, 5, 0.0)
  assert got.shape == (20,)
  np.testing.assert_allclose(got[::4], x[:-1], atol=1e-9)


def test_exposures_stay_positive_and_constant_ones_stay_constant():
  got = paths.interpolate_exposures(np.full(4, 0.02), 3)
  np.testing.assert_allclose(got, np.full(9, 0.02))
  wild = paths.interpolate_exposures(np.array([1e-3, 1.0, 1e-3]), 9, 0.0)
  assert np.all(wild > 0)


def save(path: pathlib.Path, array):
  np.save(path, array, allow_pickle=True)
  return path


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_a_saved_path_is_read_back(tmp_path, dtype):
  poses = camera_util.ring().astype(dtype)
  got = paths.load_poses(save(tmp_path / 'path.npy', poses))
  np.testing.assert_array_equal(got, poses)
  assert got.dtype == np.float64
  padded = save(tmp_path / 'padded.npy', poses_lib.pad_poses(poses))
  np.testing.assert_array_equal(paths.load_poses(str(padded)), poses)


@pytest.mark.parametrize(
  ('array', 'message'),
  [
    (np.zeros((3, 4)), r'shape \(3, 4\)'),
    (np.zeros((2, 3, 5)), r'shape \(2, 3, 5\)'),
    (np.zeros((0, 3, 4)), r'shape \(0, 3, 4\)'),
    (np.zeros((2, 4, 4)), 'last rows'),
    (np.full((2, 3, 4), np.nan), 'Pose 0 .* not finite'),
    (np.full((2, 3, 4), 'x'), 'type <U1'),
    (np.array([{'a': 1}], dtype=object), 'Cannot read'),
  ],
)
def test_a_malformed_path_file_is_refused_with_the_reason(
  tmp_path, array, message
):
  path = save(tmp_path / 'path.npy', array)
  with pytest.raises(errors.DataError, match=message) as e:
    paths.load_poses(path)
  assert 'Config.render_path_file' in str(e.value)
  assert 'path.npy' in str(e.value)


@pytest.mark.parametrize('content', [b'', b'garbage', b'PK\x03\x04 no zip'])
def test_a_file_that_is_no_npy_is_refused(tmp_path, content):
  path = tmp_path / 'path.npy'
  path.write_bytes(content)
  with pytest.raises(errors.DataError, match='Cannot read'):
    paths.load_poses(path)


def test_missing_files_archives_and_folders_are_refused(tmp_path):
  with pytest.raises(errors.DataError, match='No camera path'):
    paths.load_poses(tmp_path / 'none.npy')
  with pytest.raises(errors.DataError, match='Cannot read'):
    paths.load_poses(tmp_path)
  np.savez(tmp_path / 'a.npz', poses=camera_util.ring())
  with pytest.raises(errors.DataError, match='archive'):
    paths.load_poses(tmp_path / 'a.npz')


NAMES = ['a.jpg', 'b.jpg', 'c.jpg', 'd.jpg']


def test_key_frames_of_a_text_file_keep_the_listed_order(tmp_path):
  path = tmp_path / 'keys.txt'
  path.write_text('c.jpg\n\n a.jpg \nd.jpg')
  assert paths.keyframe_indices(path, NAMES).tolist() == [2, 0, 3]


def test_key_frames_of_a_folder_have_the_order_of_the_images(tmp_path):
  for name in ('d.jpg', 'b.jpg', '.DS_Store'):
    (tmp_path / name).touch()
  assert paths.keyframe_indices(tmp_path, NAMES).tolist() == [1, 3]


def test_key_frames_that_do_not_exist_are_refused(tmp_path):
  path = tmp_path / 'keys.txt'
  path.write_text('a.jpg\nz.jpg')
  with pytest.raises(errors.DataError, match="'z.jpg'"):
    paths.keyframe_indices(path, NAMES)
  path.write_text('a.jpg')
  with pytest.raises(errors.DataError, match='selects 1 of 4'):
    paths.keyframe_indices(path, NAMES)
  with pytest.raises(errors.DataError, match='No file or folder'):
    paths.keyframe_indices(tmp_path / 'none', NAMES)


def test_ellipse_has_a_base_height_and_breathes():
  poses = camera_util.ring(40)
  flat = paths.generate_ellipse_path(poses, 36, base_height=0.7)
  np.testing.assert_allclose(flat[:, 2, 3], 0.7)
  focus = poses_lib.focus_point(poses)

  def distance(path):
    return np.linalg.norm(path[:, :2, 3] - focus[:2], axis=-1)

  same = paths.generate_ellipse_path(poses, 36, const_speed=False)
  wide = paths.generate_ellipse_path(
    poses, 36, const_speed=False, radius_range=(0.5, 2.0)
  )
  ratio = distance(wide) / distance(same)
  angle = np.arange(36) * np.pi / 18
  np.testing.assert_allclose(ratio, 1.25 + 0.75 * np.sin(angle), rtol=1e-9)


def test_cameras_of_an_ellipse_can_be_turned_and_kept_upright():
  poses = camera_util.ring(40)
  plain = paths.generate_ellipse_path(poses, 12, base_height=1.0)
  up = paths.generate_ellipse_path(
    poses, 12, base_height=1.0, rotate=(10.0, 0.0)
  )
  right = paths.generate_ellipse_path(
    poses, 12, base_height=1.0, rotate=(0.0, 10.0)
  )
  for turned, axis, sign in ((up, 1, 1), (right, 0, 1)):
    camera_util.assert_rigid(turned)
    np.testing.assert_array_equal(turned[:, :, 3], plain[:, :, 3])
    view = -turned[:, :, 2]
    along = np.sum(view * plain[:, :, axis], axis=-1)
    np.testing.assert_allclose(along, sign * np.sin(np.radians(10)), rtol=1e-6)
  locked = paths.generate_ellipse_path(poses, 12, base_height=1.0, lock_up=True)
  np.testing.assert_allclose(locked[:, :, 1], np.tile([0, 0, 1], (12, 1)),
                             atol=1e-12)  # fmt: skip
  np.testing.assert_allclose(locked[:, 2, 2], 0, atol=1e-12)


def test_values_are_interpolated_at_any_times():
  t = np.array([0.0, 0.1, 0.5, 1.0])
  x = t**3 - t
  got = paths.interpolate_at(x, t, np.linspace(0, 1, 9), 3, 0.0)
  u = np.linspace(0, 1, 9)
  np.testing.assert_allclose(got, u**3 - u, atol=1e-12)  # a cubic is exact
  one = paths.interpolate_at(np.array([4.0]), np.array([0.0]), u, 5, 1.0)
  assert one.tolist() == [4.0] * 9
  none = paths.interpolate_at(np.zeros(0), np.zeros(0), u, 5, 1.0)
  assert none.tolist() == [0.0] * 9
