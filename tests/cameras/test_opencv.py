"""Cameras taken apart, put together, compared and perturbed."""

import camera_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import errors
from multinerf.cameras import camera, opencv, projection

PERSPECTIVE = camera.ProjectionType.PERSPECTIVE
POSES = jnp.asarray(camera_util.ring(6), jnp.float32)


def make(**distortion):
  pixtocam = np.linalg.inv(
    projection.intrinsic_matrix(50.0, 55.0, 21.0, 17.0)
  ).astype(np.float32)
  fn = lambda poses: opencv.from_matrices(
    jnp.broadcast_to(pixtocam, (6, 3, 3)),
    poses,
    distortion or None,
    image_size=jnp.array([40, 32]),
    camtype=PERSPECTIVE,
  )
  return jax.jit(fn)(POSES), pixtocam


def test_matrices_come_back():
  cams, pixtocam = make(k1=0.1, k3=-0.02, p1=0.01)
  assert cams.shape == (6,) and cams.has_distortion
  np.testing.assert_allclose(cams.focal_length, 50, rtol=1e-5)
  np.testing.assert_allclose(cams.principal_point, [[21, 17]] * 6, rtol=1e-5)
  back, poses, distortion = jax.jit(opencv.to_matrices)(cams)
  np.testing.assert_allclose(back, np.tile(pixtocam, (6, 1, 1)), atol=1e-6)
  np.testing.assert_allclose(poses, POSES, atol=1e-6)
  want = {'k1': 0.1, 'k2': 0.0, 'k3': -0.02, 'p1': 0.01, 'p2': 0.0}
  assert set(distortion) == set(want)
  for name, value in want.items():
    np.testing.assert_allclose(distortion[name], value, rtol=1e-6)


@pytest.mark.slow
def test_a_point_ahead_is_seen_at_the_principal_point():
  cams, pixtocam = make()
  ahead = np.asarray(cams.position + 2.5 * cams.optical_axis)
  pixel, depth = projection.points_to_pixels(ahead, pixtocam, np.asarray(POSES))
  np.testing.assert_allclose(pixel + 0.5, [[21, 17]] * 6, atol=1e-4)
  np.testing.assert_allclose(depth, 2.5, rtol=1e-5)
  # The world's origin, in the camera's axes, is at depth -t of the pose.
  x = np.asarray(cams.translation)
  back = np.swapaxes(cams.orientation, -1, -2) @ -x[..., None]
  np.testing.assert_allclose(back[..., 0], cams.position, atol=1e-5)


@pytest.mark.slow
def test_panoramas_cannot_be_taken_apart():
  with pytest.raises(errors.DataError, match='no focal length'):
    opencv.from_matrices(
      jnp.eye(3),
      jnp.eye(3, 4),
      None,
      image_size=(4, 2),
      camtype=camera.ProjectionType.PANORAMIC,
    )


@pytest.mark.slow
def test_differences_are_those_put_in():
  cams, _ = make(k1=0.1, p1=0.01)
  plain, _ = make()
  angle = np.radians(7.0)
  turn = jnp.float32(
    [
      [np.cos(angle), -np.sin(angle), 0],
      [np.sin(angle), np.cos(angle), 0],
      [0, 0, 1],
    ]
  )
  moved = cams.replace(
    focal_length=cams.focal_length + 3.0,
    position=cams.position + jnp.float32([0.3, 0, 0.4]),
    orientation=turn @ cams.orientation,
    principal_point=cams.principal_point + jnp.float32([3.0, -4.0]),
  )
  found = jax.jit(opencv.differences)(cams, moved)
  want = {
    'focal_length': 3.0,
    'position': 0.5,
    'orientation': 7.0,
    'principal_points': 5.0,
    'radial_distortion_0': 0.0,
    'tangential_distortion_0': 0.0,
  }
  for name, value in want.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5)
  # A truth without distortion has none.
  absent = opencv.differences(plain, cams)
  np.testing.assert_allclose(absent['radial_distortion_0'], 0.1, rtol=1e-5)
  assert 'radial_distortion_0' not in opencv.differences(cams, plain)


@pytest.mark.slow
def test_without_noise_cameras_stay():
  cams, _ = make()
  same = opencv.perturb(jax.random.key(0), cams, opencv.Noise())
  for name, value in opencv.differences(cams, same).items():
    np.testing.assert_allclose(value, 0, atol=2e-2, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize('single', [True, False])
def test_perturbation_has_the_lengths_asked_for(single):
  cams, _ = make()
  noise = opencv.Noise(
    look_at=0.2, position=0.3, focal_length=0.1, single_dolly=single
  )
  moved = opencv.perturb(jax.random.key(1), cams, noise)
  offset = np.linalg.norm(moved.position - cams.position, axis=-1)
  np.testing.assert_allclose(offset, 0.3, rtol=1e-4)
  # The new axes pass within 0.2 of the old closest points.
  old = np.asarray(cams.position), np.asarray(cams.optical_axis)
  target = old[0] - np.sum(old[0] * old[1], -1, keepdims=True) * old[1]
  to_target = target - np.asarray(moved.position)
  axis = np.asarray(moved.optical_axis)
  miss = np.linalg.norm(np.cross(to_target, axis), axis=-1)
  assert (miss < 0.2 + 1e-5).all() and (miss > 1e-3).all()
  assert np.std(np.log(moved.focal_length)) > 0.02
  dolly = opencv.Noise(dolly_z=0.2, single_dolly=single)
  zoomed = opencv.perturb(jax.random.key(2), cams, dolly)
  ratio = np.asarray(zoomed.focal_length / cams.focal_length)
  depth = np.asarray(zoomed.translation / cams.translation)[..., 2]
  # The image of what is at the origin keeps its size.
  np.testing.assert_allclose(depth, ratio, rtol=1e-3)
  assert np.ptp(ratio) < 1e-5 if single else np.ptp(ratio) > 1e-2
