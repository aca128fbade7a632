import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from multinerf import errors
from multinerf.cameras import poses as poses_lib

CASES = ['ring', 'rand']


def look_at_cameras(n=12, seed=0, target=(0.3, -0.2, 0.1)):
  """Cameras scattered around a point, all looking at it."""
  gen = np.random.default_rng(seed)
  centers = gen.normal(size=(n, 3)) * [3.0, 2.0, 0.5] + [0, 0, 1.5]
  return np.stack(
    [
      poses_lib.viewmatrix(c - np.array(target), np.array([0.0, 0, 1]), c)
      for c in centers
    ]
  )


def assert_rigid(poses):
  rotations = poses[..., :3, :3]
  np.testing.assert_allclose(
    np.swapaxes(rotations, -1, -2) @ rotations,
    np.broadcast_to(np.eye(3), rotations.shape),
    atol=1e-9,  # float64 rounding of a few products
  )
  np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-9)


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize(
  ('name', 'ours'),
  [
    ('pad_poses', poses_lib.pad_poses),
    ('unpad_poses', poses_lib.unpad_poses),
    ('recenter_poses', poses_lib.recenter_poses),
    ('average_pose', poses_lib.average_pose),
    ('transform_poses_pca', poses_lib.transform_poses_pca),
    ('focus_point_fn', poses_lib.focus_point),
  ],
)
def test_matches_the_reference(golden, name, ours, case):
  data = golden('camera_utils').case(name, case)
  (argument,) = (v for k, v in data.items() if k.startswith('in_'))
  got = ours(argument)
  got = got if isinstance(got, tuple) else (got,)
  wants = [v for k, v in data.items() if k.startswith('out')]
  assert len(got) == len(wants) > 0
  for g, want in zip(got, wants, strict=True):
    np.testing.assert_allclose(g, want, rtol=1e-9, atol=1e-9)  # float64


def test_viewmatrix_matches_the_reference(golden):
  data = golden('camera_utils').case('viewmatrix', 'c0')
  got = poses_lib.viewmatrix(
    data['in_lookdir'], data['in_up'], data['in_position']
  )
  np.testing.assert_allclose(got, data['out'], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('batch', [(), (2,), (2, 3)])
def test_unpad_undoes_pad_for_any_batch(batch):
  poses = np.random.default_rng(0).normal(size=(*batch, 3, 4))
  padded = poses_lib.pad_poses(poses)
  assert padded.shape == (*batch, 4, 4)
  np.testing.assert_array_equal(poses_lib.unpad_poses(padded), poses)
  np.testing.assert_array_equal(
    padded[..., 3, :], np.broadcast_to([0, 0, 0, 1], (*batch, 4))
  )


@pytest.mark.parametrize('lock_up', [False, True])
@pytest.mark.parametrize('parallel', [False, True])
def test_viewmatrix_is_rigid_and_keeps_the_promised_axis(lock_up, parallel):
  look = np.array([0.2, -3.0, 1.0])
  up = 2 * look if parallel else np.array([0.0, 0.1, 5.0])
  pose = poses_lib.viewmatrix(look, up, np.ones(3), lock_up=lock_up)
  assert_rigid(pose)
  np.testing.assert_array_equal(pose[:, 3], 1)
  kept, column = (up, 1) if lock_up else (look, 2)
  np.testing.assert_allclose(pose[:, column], poses_lib.normalize(kept))


@pytest.mark.parametrize('lock_up', [False, True])
def test_viewmatrix_refuses_a_direction_of_zero(lock_up):
  look, up = np.ones(3), np.array([0.0, 0, 1])
  if lock_up:
    up = np.zeros(3)
  else:
    look = np.zeros(3)
  with pytest.raises(errors.DataError, match='direction is zero'):
    poses_lib.viewmatrix(look, up, np.ones(3), lock_up=lock_up)


def test_normalize_keeps_zero_and_makes_units():
  x = np.array([[0.0, 0, 0], [3.0, 0, 4.0]])
  np.testing.assert_allclose(poses_lib.normalize(x), [[0, 0, 0], [0.6, 0, 0.8]])


def test_recentred_cameras_average_to_the_identity():
  moved, transform = poses_lib.recenter_poses(look_at_cameras())
  average = poses_lib.pad_poses(poses_lib.average_pose(moved))
  np.testing.assert_allclose(average, np.eye(4), atol=1e-12)
  assert_rigid(moved)
  assert_rigid(transform)


def test_focus_point_is_where_all_cameras_look():
  got = poses_lib.focus_point(look_at_cameras(target=(0.3, -0.2, 0.1)))
  np.testing.assert_allclose(got, [0.3, -0.2, 0.1], atol=1e-9)


def test_focus_point_of_parallel_axes_is_the_mean_camera():
  poses = np.tile(np.eye(3, 4), (4, 1, 1))
  poses[:, :, 3] = np.random.default_rng(0).normal(size=(4, 3))
  got = poses_lib.focus_point(poses)
  np.testing.assert_allclose(got, poses[:, :, 3].mean(0), atol=1e-9)


@pytest.mark.parametrize(
  'normalise',
  [poses_lib.transform_poses_pca, poses_lib.transform_poses_focus],
)
@pytest.mark.parametrize('seed', range(4))
def test_normalised_cameras_fill_the_unit_cube_in_a_rotated_world(
  normalise, seed
):
  poses = look_at_cameras(seed=seed)
  moved, transform = normalise(poses)
  assert np.abs(moved[:, :, 3]).max() == pytest.approx(1)
  assert_rigid(moved)
  scale = np.linalg.norm(transform[0, :3])
  assert_rigid(transform[:3] / scale)
  np.testing.assert_array_equal(transform[3], [0, 0, 0, 1])
  # The similarity moves camera centres as it moves any point.
  centers = poses[:, :, 3] @ transform[:3, :3].T + transform[:3, 3]
  np.testing.assert_allclose(centers, moved[:, :, 3], atol=1e-12)
  assert moved[:, 2, 1].mean() > 0  # z is up


def test_pca_puts_the_mean_at_the_origin_and_sorts_the_variances():
  moved, _ = poses_lib.transform_poses_pca(look_at_cameras(30))
  centers = moved[:, :, 3]
  np.testing.assert_allclose(centers.mean(0), 0, atol=1e-12)
  cov = centers.T @ centers
  np.testing.assert_allclose(cov, np.diag(np.diag(cov)), atol=1e-9)
  assert cov[0, 0] >= cov[1, 1] >= cov[2, 2]


@pytest.mark.parametrize('seed', range(4))
def test_pca_is_a_rotation_for_cameras_on_a_regular_circle(seed):
  # Two equal variances, in a plane of random orientation: eig alone may give
  # vectors that are not orthogonal.
  gen = np.random.default_rng(seed)
  rotation = np.linalg.qr(gen.normal(size=(3, 3)))[0]
  angle = np.arange(8) * np.pi / 4
  circle = np.stack([np.cos(angle), np.sin(angle), 0.2 + 0 * angle], -1)
  up = rotation @ np.array([0.0, 0, 1])
  poses = np.stack(
    [poses_lib.viewmatrix(c, up, c) for c in circle @ rotation.T]
  )
  moved, _ = poses_lib.transform_poses_pca(poses)
  assert_rigid(moved)


def test_pca_takes_eigenvectors_that_are_complex_by_type(monkeypatch):
  poses = look_at_cameras()
  want = poses_lib.transform_poses_pca(poses)
  eig = np.linalg.eig
  monkeypatch.setattr(
    poses_lib.np.linalg, 'eig', lambda a: [x + 0j for x in eig(a)]
  )
  got = poses_lib.transform_poses_pca(poses)
  for g, w in zip(got, want, strict=True):
    assert g.dtype == np.float64
    np.testing.assert_array_equal(g, w)


def test_pca_ignores_a_prior_translation_and_scale():
  poses = look_at_cameras()
  other = poses.copy()
  other[:, :, 3] = 7 * other[:, :, 3] + [10, -20, 30]
  got, _ = poses_lib.transform_poses_pca(other)
  want, _ = poses_lib.transform_poses_pca(poses)
  np.testing.assert_allclose(got, want, atol=1e-9)


def test_a_single_camera_is_moved_to_the_origin():
  pose = look_at_cameras(1)
  moved, transform = poses_lib.transform_poses_pca(pose)
  np.testing.assert_allclose(moved[:, :, 3], 0, atol=1e-12)
  assert_rigid(moved)
  assert np.isfinite(transform).all()


def test_focus_frame_has_the_focus_at_the_origin_and_looks_along_y():
  moved, transform = poses_lib.transform_poses_focus(look_at_cameras())
  np.testing.assert_allclose(
    transform @ [0.3, -0.2, 0.1, 1.0], [0, 0, 0, 1], atol=1e-9
  )
  # The average camera's right and forward are x and (bent level) y.
  average = poses_lib.average_pose(moved, lock_up=True)
  np.testing.assert_allclose(
    average[:, :3], np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]), atol=1e-9
  )


@pytest.mark.parametrize('axis', range(3))
def test_rotation_about_an_axis_is_that_of_scipy(axis):
  got = poses_lib.rotation_about_axis(33.0, axis)
  want = Rotation.from_rotvec(33.0 * np.eye(3)[axis], degrees=True)
  np.testing.assert_allclose(got[:3, :3], want.as_matrix(), atol=1e-12)
  np.testing.assert_array_equal(got[3], [0, 0, 0, 1])
  np.testing.assert_array_equal(got[:, 3], [0, 0, 0, 1])
