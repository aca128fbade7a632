"""camp_zipnerf's camera_utils and utils."""

import types

import camera_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import errors
from multinerf.compat.camp_zipnerf import camera_utils, utils
from multinerf.compat.multinerf import camera_utils as multinerf_cameras
from multinerf.compat.multinerf import utils as multinerf_utils

POSES = camera_util.ring(6)
PIXTOCAM = multinerf_cameras.get_pixtocam(30.0, 24, 20)


def pixels(xnp=np):
  gen = np.random.default_rng(0)
  shape = (2, 5)
  x, y = gen.integers(0, 20, (2, *shape))
  cam = gen.integers(0, 6, (*shape, 1))
  near = np.full((*shape, 1), 0.1)
  rays = utils.Rays(
    pixels=xnp.asarray(np.stack([x, y], -1)),
    cam_idx=xnp.asarray(cam),
    near=xnp.asarray(near),
    far=xnp.asarray(100 * near),
  )
  old = multinerf_utils.Pixels(x, y, None, near, 100 * near, cam)
  return rays, old


@pytest.mark.parametrize(
  'distortion', [None, {'k1': 0.1, 'k2': np.linspace(0, 0.01, 6)}]
)
def test_rays_are_those_of_multinerf(distortion):
  rays, old = pixels()
  cast = camera_utils.cast_ray_batch(
    (PIXTOCAM, POSES, distortion, None, None), rays
  )
  want = multinerf_cameras.cast_ray_batch(
    (PIXTOCAM, POSES, distortion, None), old
  )
  for name in 'origins directions viewdirs radii imageplane near far'.split():
    np.testing.assert_array_equal(getattr(cast, name), getattr(want, name))
  assert cast.lossmult is None and cast.exposure_idx is None
  np.testing.assert_array_equal(cast.pixels, rays.pixels)


@pytest.mark.parametrize('xnp', [np, pytest.param(jnp, marks=pytest.mark.slow)])
def test_rays_are_cropped_to_planes_and_boxes(xnp):
  rays, _ = pixels(xnp)
  matrices = xnp.asarray(PIXTOCAM), xnp.asarray(POSES)
  plain = camera_utils.cast_ray_batch(
    (*matrices, None, None, None), rays, xnp=xnp
  )
  between = camera_utils.cast_ray_batch(
    (*matrices, None, None, (-0.2, 0.3)), rays, xnp=xnp
  )
  ends = np.asarray(between.origins + between.directions)[..., 2]
  starts = np.asarray(between.origins)[..., 2]
  # The cameras are above and look down.
  np.testing.assert_allclose(starts, 0.3, atol=1e-5)
  np.testing.assert_allclose(ends, -0.2, atol=1e-5)
  np.testing.assert_array_equal(between.viewdirs, plain.viewdirs)
  box = np.array([[0.1, -0.6, -0.3], [0.7, 0.0, 0.3]])
  inside = camera_utils.cast_ray_batch(
    (*matrices, None, None, None), rays, scene_bbox=box, xnp=xnp
  )
  hit = np.asarray(inside.lossmult)[..., 0] == 1
  assert hit.any() and not hit.all()
  for t in (inside.near, inside.far):
    points = np.asarray(inside.origins + t * inside.directions)[hit]
    assert (points >= box[0] - 1e-4).all() and (points <= box[1] + 1e-4).all()
    assert (np.asarray(t)[~hit] == 0).all()
  mid = np.asarray(plain.origins + 2.0 * plain.directions)
  within = ((mid >= box[0]) & (mid <= box[1])).all(-1)
  assert hit[within].all()
  t_min, t_max = camera_utils.ray_box_intersection(
    plain.origins, plain.directions, box, xnp=xnp
  )
  np.testing.assert_array_equal(hit, t_min <= t_max)
  z = camera_utils.rays_planes_intersection(
    -0.2, 0.3, plain.origins, plain.directions, xnp=xnp
  )
  assert (z[0] < z[1]).all()
  _, _, found = camera_utils.ray_sphere_intersection(
    plain.origins, plain.directions, plain.origins[0, 0], 0.5, xnp=xnp
  )
  assert found[0, 0]


def test_images_of_rays_look_through_the_centres_of_pixels():
  rays = camera_utils.cast_pinhole_rays(POSES[0], 4, 6, 5.0, 1.0, 2.0)
  assert rays.origins.shape == (4, 6, 3)
  at, depth = camera_utils.points_to_pixels(
    rays.origins + 3.0 * rays.directions,
    camera_utils.get_pixtocam(5.0, 6, 4),
    POSES[0],
  )
  np.testing.assert_allclose(at, rays.pixels, atol=1e-9)
  np.testing.assert_allclose(depth, 3.0)
  assert rays.near.shape == rays.cam_idx.shape == (4, 6, 1)
  pano = camera_utils.cast_spherical_rays(np.eye(3, 4), 4, 8, 1.0, 2.0, np)
  lengths = np.linalg.norm(pano.directions, axis=-1)
  np.testing.assert_allclose(lengths, 1, rtol=1e-9)
  # Symmetric about the horizon, and about the middle, which looks along -z.
  np.testing.assert_allclose(
    pano.directions[::-1, :, 1], -pano.directions[..., 1], atol=1e-12
  )
  middle = pano.directions[1:3, 3:5].mean((0, 1))
  np.testing.assert_allclose(middle[:2], 0, atol=1e-12)
  assert middle[2] < -0.7


@pytest.mark.slow
def test_a_focus_point_is_found_on_both_sides():
  host = camera_utils.focus_point_fn(POSES)
  device = jax.jit(lambda p: camera_utils.focus_point_fn(p, xnp=jnp))(
    jnp.asarray(POSES, jnp.float32)
  )
  np.testing.assert_allclose(device, host, atol=1e-4)


def test_ellipses_take_the_options_of_camp_zipnerf():
  def heights(**options):
    return camera_utils.generate_ellipse_path(POSES, 20, **options)[:, 2, 3]

  z = POSES[:, 2, 3]
  assert not heights().any()
  np.testing.assert_allclose(heights(use_avg_z_height=True), z.mean())
  np.testing.assert_allclose(heights(z_height_percentile=100), z.max())
  varied = heights(use_avg_z_height=True, z_variation=1.0, const_speed=False)
  low, high = np.percentile(z, [10, 90])
  np.testing.assert_allclose([varied.min(), varied.max()], [low, high])


@pytest.mark.parametrize(
  ('options', 'count'),
  [
    ({}, 5 * 10 - 1),
    ({'const_speed': True}, 5 * 10),
    ({'n_interp_as_total': True}, 10),
    ({'periodic': True}, 6 * 10 - 1),
    ({'frames_per_colmap': 4.0}, None),
  ],
)
def test_spline_paths_have_as_many_frames_as_upstream(options, count):
  path, times, keys = camera_utils.generate_interpolated_path(
    POSES, 10, smoothness=0.0, **options
  )
  camera_util.assert_rigid(path)
  assert len(path) == len(times) and keys[0] == 0 and keys[-1] == 1
  np.testing.assert_allclose(path[0], POSES[0], atol=1e-9)
  if count is None:
    length = np.linalg.norm(np.diff(path[:, :, 3], axis=0), axis=-1).sum()
    assert len(path) == pytest.approx(4 * length, abs=2)
  else:
    assert len(path) == count


def test_spline_paths_with_buffers_start_and_end_at_the_key_frames():
  path, times, keys = camera_utils.generate_interpolated_path(
    POSES, 40, smoothness=0.0, n_buffer=2
  )
  assert len(keys) == 6 and 0 < keys[0] and keys[-1] < 1
  assert keys[0] <= times[0] and times[-1] <= keys[-1]
  np.testing.assert_allclose(path[0, :, 3], POSES[0, :, 3], atol=0.1)
  np.testing.assert_allclose(path[-1, :, 3], POSES[-1, :, 3], atol=0.2)


def spline_config(tmp_path, **changes):
  names = tmp_path / 'keys.txt'
  names.write_text('c.jpg\nb.jpg\na.jpg\nlost.jpg\n')
  options = {
    'keyframes': str(names), 'n_interp': 4, 'degree': 5, 'smoothness': 0.0,
    'rot_weight': 0.1, 'lock_up': False, 'fixed_up': False,
    'lookahead_i': None, 'const_speed': False, 'n_buffer': None,
    'meters_per_sec': None, 'outlier_keyframe_quantile': None,
    'outlier_keyframe_multiplier': None, 'interpolate_exposure': False,
    'interpolate_exposure_smoothness': 0.0,
  } | changes  # fmt: skip
  named = {f'render_spline_{k}': v for k, v in options.items()}
  return types.SimpleNamespace(
    **named,
    render_video_fps=30,
    render_calibration_keyframes=None,
    render_calibration_distance=3.0,
  )


def test_key_frames_of_a_config_make_a_path(tmp_path, caplog):
  names = [f'{c}.jpg' for c in 'abcdef']
  make = lambda exposures=None, **changes: (
    camera_utils.create_render_spline_path(
      spline_config(tmp_path, **changes), names, POSES, exposures
    )
  )
  keys, path, exposures = make()
  assert keys.tolist() == [2, 1, 0] and exposures is None and len(path) == 7
  assert 'lost.jpg' in caplog.text
  np.testing.assert_allclose(path[0], POSES[2], atol=1e-9)
  _, bright, values = make(2.0 ** np.arange(6), interpolate_exposure=True)
  assert len(bright) == len(values)
  np.testing.assert_allclose(values[0], 4.0)
  assert (np.diff(values) < 0).all() and values[-1] > 1
  with pytest.raises(errors.DataError, match='needs exposures'):
    make(interpolate_exposure=True)
  # 8 m a unit, 2 m/s, 30 frames/s: 120 frames a unit.
  _, fast, _ = make(meters_per_sec=2.0)
  length = np.linalg.norm(np.diff(path[:, :, 3], axis=0), axis=-1).sum()
  assert len(fast) / 120 > length
  _, upright, _ = make(fixed_up=True, lock_up=True)
  up = POSES[:, :, 1].mean(0)
  np.testing.assert_allclose(
    upright[:, :, 1], np.tile(up / np.linalg.norm(up), (7, 1)), atol=1e-9
  )
  kept, _, _ = make(
    outlier_keyframe_quantile=0.0, outlier_keyframe_multiplier=1.0001
  )
  assert len(kept) == 2
  with pytest.raises(errors.DataError, match='none of the 1 images'):
    camera_utils.identify_file_indices(tmp_path / 'keys.txt', ['z'])


@pytest.mark.slow
def test_camera_tuples_become_cameras_and_back():
  tuple_ = (PIXTOCAM, POSES[1], {'k1': 0.1, 'k2': 0.0, 'k3': 0.01}, None, None)
  cam = camera_utils.jax_camera_from_tuple(
    tuple_, np.array([24, 20]), camera_utils.ProjectionType.FISHEYE
  )
  assert cam.is_fisheye
  pixtocam, pose, distortion = camera_utils.tuple_from_jax_camera(cam)
  np.testing.assert_allclose(pixtocam, PIXTOCAM, atol=1e-6)
  np.testing.assert_allclose(pose, POSES[1], atol=1e-6)
  assert distortion['k3'] == pytest.approx(0.01)
  many = jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * 3), cam)
  moved = camera_utils.perturb_cameras(jax.random.key(0), many, 0.0, 0.25)
  found = camera_utils.compute_camera_metrics(many, moved)
  np.testing.assert_allclose(found['position'], 0.25, rtol=1e-4)
  np.testing.assert_allclose(found['focal_length'], 0, atol=1e-4)


# --- utils --------------------------------------------------------------------


@pytest.mark.slow
def test_random_rays_lie_between_their_bounds():
  rays = utils.generate_random_rays(
    jax.random.key(0), 50, -1, 1, 0.1, 0.2, 1, 2, 5, 6,
    include_exposure_values=True,
  )  # fmt: skip
  for values, low, high in (
    (rays.origins, -1, 1), (rays.radii, 0.1, 0.2), (rays.near, 1, 2),
    (rays.far, 5, 6), (rays.exposure_values, 0, 1),
  ):  # fmt: skip
    assert values.shape[0] == 50
    assert low <= values.min() < values.max() <= high
  lengths = np.linalg.norm(rays.directions, axis=-1)
  np.testing.assert_allclose(lengths, 1, rtol=1e-5)
  assert rays.exposure_idx is None and rays.device_idx is None
  dummy = utils.dummy_rays(include_exposure_idx=True, include_device_idx=True)
  assert dummy.exposure_idx.shape == dummy.device_idx.shape == (10, 1)


def test_generators_run_ahead_in_a_thread_and_hand_on_their_errors():
  made = []

  @utils.iterate_in_separate_thread(queue_size=2)
  def count(stop, error=False):
    for i in range(stop):
      made.append(i)
      yield i
    if error:
      raise ValueError('the end')

  assert list(count(5)) == [0, 1, 2, 3, 4]
  items = count(2, error=True)
  assert [next(items), next(items)] == [0, 1]
  with pytest.raises(ValueError, match='the end'):
    next(items)
  assert list(count(0)) == [] and len(made) == 7


def test_arrays_are_read_and_splines_checked(tmp_path):
  np.save(tmp_path / 'a.npy', np.arange(6).reshape(2, 3))
  assert utils.load_npy(tmp_path / 'a.npy').tolist() == [[0, 1, 2], [3, 4, 5]]
  with pytest.raises(errors.DataError, match='none.npy'):
    utils.load_npy(tmp_path / 'none.npy')
  t = np.arange(4.0)
  utils.assert_valid_stepfun(t, t[:3])
  utils.assert_valid_linspline(t, t)
  with pytest.raises(ValueError, match='one more endpoint'):
    utils.assert_valid_stepfun(t, t)
  with pytest.raises(ValueError, match='4 knots has 3'):
    utils.assert_valid_linspline(t, t[:3])
  assert utils.device_is_tpu() is False
