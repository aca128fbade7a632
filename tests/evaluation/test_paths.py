"""Camera paths for every kind of scene, and their lenses."""

import dataclasses

import numpy as np
import pytest

from multinerf import errors
from multinerf.cameras import camera, poses, projection, spline_path
from multinerf.evaluation import paths


def centres(cameras):
  return np.asarray(cameras.camtoworlds)[:, :, 3]


def test_a_blender_scene_gets_an_orbit_at_the_height_of_its_cameras(make_scene):
  cfg = paths.RenderConfig(dataset_loader='blender', render_path_frames=12)
  cameras = paths.render_path_cameras(cfg, make_scene(8))
  assert len(cameras) == 12
  position = centres(cameras)
  np.testing.assert_allclose(position[:, 2], 2.0, atol=1e-5)
  # Eight cameras on a ring: the 90th percentile of |x| is the radius.
  np.testing.assert_allclose(np.linalg.norm(position[:, :2], axis=1), 4.0,
                             rtol=1e-5)  # fmt: skip
  # The ring's cameras look at the origin: so does the orbit.
  back = np.asarray(cameras.camtoworlds)[:, :, 2]
  unit = position / np.linalg.norm(position, axis=1, keepdims=True)
  np.testing.assert_allclose(back, unit, atol=1e-5)


def test_a_centred_scene_gets_an_ellipse_at_height_zero(make_scene):
  cfg = paths.RenderConfig(dataset_loader='llff', render_path_frames=6)
  cameras = paths.render_path_cameras(cfg, make_scene(8))
  np.testing.assert_allclose(centres(cameras)[:, 2], 0.0, atol=1e-6)


def test_height_variation_moves_the_orbit_around_its_height(make_scene):
  scene = make_scene(8)
  raised = np.array(scene.cameras.camtoworlds)
  raised[:, 2, 3] += np.linspace(-1, 1, 8)
  scene = dataclasses.replace(
    scene, cameras=scene.cameras.replace(camtoworlds=raised)
  )
  cfg = paths.RenderConfig(dataset_loader='blender', z_variation=1.0)
  height = centres(paths.render_path_cameras(cfg, scene))[:, 2]
  low, high = np.percentile(raised[:, 2, 3], [10, 90])
  # 120 frames meet the turning points to 1e-3 of the range.
  np.testing.assert_allclose([height.min(), height.max()], [low, high],
                             atol=2e-3)  # fmt: skip
  # Highest where theta + 2 pi z_phase is a full turn (behaviour.md, section 14).
  for phase, highest in ((0.0, (1, 0)), (0.25, (0, -1))):
    cfg = dataclasses.replace(cfg, z_phase=phase)
    position = centres(paths.render_path_cameras(cfg, scene))
    top = position[np.argmax(position[:, 2]), :2]
    # Frames are 3 degrees apart.
    np.testing.assert_allclose(top / np.linalg.norm(top), highest, atol=0.06)


def test_a_forward_facing_scene_gets_a_spiral_and_keeps_its_ndc(make_scene):
  scene = make_scene(4)
  ndc = projection.get_pixtocam(25.0, 20, 16)
  cameras = scene.cameras.replace(pixtocam_ndc=ndc.astype(np.float32))
  scene = dataclasses.replace(scene, cameras=cameras)
  cfg = paths.RenderConfig(forward_facing=True, render_path_frames=7)
  assert paths.path_kind(cfg) == 'spiral'
  found = paths.render_path_cameras(cfg, scene)
  assert len(found) == 7
  np.testing.assert_array_equal(found.pixtocam_ndc, cameras.pixtocam_ndc)
  pano = dataclasses.replace(cfg, render_camtype='pano')
  with pytest.raises(errors.ConfigError, match='NDC'):
    paths.render_path_cameras(pano, scene)


def test_a_path_file_comes_first_and_is_followed_exactly(make_scene, tmp_path):
  along = np.asarray(make_scene(5).cameras.camtoworlds)[::-1]
  np.save(tmp_path / 'path.npy', along)
  cfg = paths.RenderConfig(
    render_path_file=str(tmp_path / 'path.npy'),
    render_spline_keyframes='ignored',
    forward_facing=True,
  )
  cameras = paths.render_path_cameras(cfg, make_scene(3))
  np.testing.assert_array_equal(cameras.camtoworlds, along)


def test_key_frames_make_a_spline_through_them(make_scene, tmp_path):
  names = tmp_path / 'keys.txt'
  names.write_text('view_4.png\nview_5.png\nview_6.png\n')
  scene = make_scene(16)
  cfg = paths.RenderConfig(
    render_spline_keyframes=str(names),
    render_spline_n_interp=5,
    render_spline_smoothness=0.0,
  )
  cameras = paths.render_path_cameras(cfg, scene)
  assert len(cameras) == 10
  np.testing.assert_allclose(
    cameras.camtoworlds[0], scene.cameras.camtoworlds[4], atol=1e-5
  )


def test_the_lens_is_that_of_the_data_without_distortion(make_scene):
  scene = make_scene(3)
  bent = scene.cameras.replace(distortion={'k1': np.full(3, 0.1, np.float32)})
  scene = dataclasses.replace(scene, cameras=bent)
  cameras = paths.render_path_cameras(paths.RenderConfig(), scene)
  assert cameras.distortion is None
  # The focal length went through float32 and back.
  np.testing.assert_allclose(cameras.pixtocams[0], bent.pixtocams[0], rtol=1e-6)
  assert (cameras.widths[0], cameras.heights[0]) == (20, 16)
  np.testing.assert_array_equal(cameras.near, bent.near)


def test_resolution_focal_length_and_camera_type_can_be_chosen(make_scene):
  cfg = paths.RenderConfig(
    render_resolution=(40, 30), render_focal=33.0, render_camtype='fisheye'
  )
  cameras = paths.render_path_cameras(cfg, make_scene(3))
  assert cameras.camtype is camera.ProjectionType.FISHEYE
  assert (cameras.widths[0], cameras.heights[0]) == (40, 30)
  np.testing.assert_allclose(
    cameras.pixtocams[0], projection.get_pixtocam(33.0, 40, 30), rtol=1e-6
  )
  pano = dataclasses.replace(cfg, render_camtype='pano')
  cameras = paths.render_path_cameras(pano, make_scene(3))
  np.testing.assert_allclose(
    cameras.pixtocams[0], projection.get_pano_pixtocam(40, 30), rtol=1e-6
  )


@pytest.mark.parametrize(
  'kind,changes,message',
  [
    ('circle', {}, "'circle'; known"),
    ('auto', {'render_camtype': 'cubemap'}, "'cubemap'; known"),
    ('file', {}, 'render_path_file is not set'),
    ('spline', {}, 'render_spline_keyframes is not set'),
  ],
)
def test_wrong_choices_are_errors(make_scene, kind, changes, message):
  cfg = paths.RenderConfig(**changes)
  with pytest.raises(errors.ConfigError, match=message):
    paths.render_path_cameras(cfg, make_scene(3), kind)


def test_a_path_scene_has_names_and_no_truth(make_scene):
  cfg = paths.RenderConfig(render_path_frames=4)
  scene = paths.render_path_scene(cfg, make_scene(3))
  assert scene.image_names == tuple(f'frame_00{i}' for i in range(4))
  assert len(scene) == len(scene.cameras) == 4
  for kind in ('images', 'disps', 'normals', 'alphas'):
    assert getattr(scene, kind) is None


def facing_scene(make_scene, **changes):
  """A scene under NDC, as the LLFF loader makes it."""
  scene = make_scene(4)
  ndc = projection.get_pixtocam(25.0, 20, 16).astype(np.float32)
  cameras = scene.cameras.replace(pixtocam_ndc=ndc, near=0.0, far=1.0)
  return dataclasses.replace(scene, cameras=cameras, **changes)


def test_a_spiral_looks_at_the_depths_that_the_scene_knows(make_scene):
  cfg = paths.RenderConfig(forward_facing=True, render_path_frames=9)

  def looks_at(bounds):
    scene = facing_scene(make_scene, depth_bounds=bounds)
    found = np.asarray(paths.render_path_cameras(cfg, scene).camtoworlds)
    return poses.focus_point(found.astype(np.float64))

  scene = facing_scene(make_scene)
  average = poses.average_pose(np.asarray(scene.cameras.camtoworlds))
  for near, far in ((4 / 3, 3.0), (2.0, 50.0)):
    # Behaviour.md, section 14.
    depth = 1 / (0.25 / (0.9 * near) + 0.75 / (5 * far))
    want = average @ [0, 0, -depth, 1]
    # float32 poses.
    np.testing.assert_allclose(looks_at((near, far)), want, atol=1e-4 * depth)


def test_frames_have_the_exposure_of_the_first_camera(make_scene):
  scene = make_scene(3)
  plain = paths.render_path_cameras(paths.RenderConfig(), scene)
  assert plain.exposure_idx is None and plain.exposure_values is None
  cameras = scene.cameras.replace(
    exposure_idx=np.array([2, 0, 1], np.int32),
    exposure_values=np.array([0.25, 1.0, 0.5], np.float32),
  )
  scene = dataclasses.replace(scene, cameras=cameras)
  found = paths.render_path_cameras(
    paths.RenderConfig(render_path_frames=5), scene
  )
  assert found.exposure_idx.tolist() == [2] * 5
  assert found.exposure_values.tolist() == [0.25] * 5


def test_exposures_are_interpolated_between_key_frames(make_scene, tmp_path):
  names = tmp_path / 'keys.txt'
  names.write_text('view_1.png\nview_3.png\nview_5.png\n')
  cfg = paths.RenderConfig(
    render_spline_keyframes=str(names),
    render_spline_n_interp=4,
    render_spline_interpolate_exposure=True,
  )
  scene = make_scene(8)
  with pytest.raises(errors.ConfigError, match='interpolate_exposure'):
    paths.render_path_cameras(cfg, scene)
  # Geometric: a straight line in log space, which any spline keeps.
  values = 2.0 ** np.arange(8)
  scene = dataclasses.replace(
    scene, cameras=scene.cameras.replace(exposure_values=values)
  )
  found = paths.render_path_cameras(cfg, scene).exposure_values
  want = np.exp2(np.linspace(1, 5, 8, endpoint=False))
  np.testing.assert_allclose(found, want, rtol=1e-5)


def test_the_options_of_an_ellipse_reach_it(make_scene):
  plain = paths.RenderConfig(dataset_loader='blender', render_path_frames=12)
  breathing = dataclasses.replace(plain, rad_mult_min=0.5, rad_mult_max=1.5)
  found = centres(paths.render_path_cameras(breathing, make_scene(8)))
  radius = np.linalg.norm(found[:, :2], axis=-1)
  assert radius.min() == pytest.approx(2.0, rel=0.05)
  assert radius.max() == pytest.approx(6.0, rel=0.05)
  upright = dataclasses.replace(plain, lock_up=True)
  found = paths.render_path_cameras(upright, make_scene(8)).camtoworlds
  np.testing.assert_allclose(found[:, :, 1], [[0, 0, 1]] * 12, atol=1e-6)
  turned = dataclasses.replace(upright, render_rotate_xaxis=15.0)
  tilted = paths.render_path_cameras(turned, make_scene(8)).camtoworlds
  np.testing.assert_allclose(
    tilted[:, 2, 2], -np.sin(np.radians(15)), atol=1e-6
  )
  aside = dataclasses.replace(upright, render_rotate_yaxis=20.0)
  turned = paths.render_path_cameras(aside, make_scene(8)).camtoworlds
  angle = np.radians(20)
  # To the right: -z, the view, moves towards +x.
  np.testing.assert_allclose(
    -turned[:, :, 2],
    -np.cos(angle) * found[:, :, 2] + np.sin(angle) * found[:, :, 0],
    atol=1e-6,
  )


def spline(make_scene, tmp_path, **options):
  names = tmp_path / 'keys.txt'
  names.write_text(''.join(f'view_{i}.png\n' for i in (1, 2, 3, 4, 9)))
  cfg = paths.RenderConfig(
    render_spline_keyframes=str(names),
    **{f'render_spline_{k}': v for k, v in options.items()},
  )
  return paths.render_path_cameras(cfg, make_scene(16))


def steps(cameras):
  return np.linalg.norm(np.diff(centres(cameras), axis=0), axis=-1)


def test_the_options_of_a_spline_reach_it(make_scene, tmp_path):
  make = lambda **options: spline(make_scene, tmp_path, **options)
  plain = make(n_interp=10, smoothness=0.0)
  assert len(plain) == 40
  even = make(n_interp=10, smoothness=0.0, const_speed=True)
  assert np.ptp(steps(even)) < 0.05 * np.mean(steps(even))
  # 8 m a unit, 60 frames a second.
  speed = make(n_interp=10, smoothness=0.0, meters_per_sec=96.0)
  assert len(speed) == pytest.approx(5 * steps(plain).sum(), rel=0.05)
  without = make(
    n_interp=10, outlier_keyframe_quantile=0.5, outlier_keyframe_multiplier=2.0
  )
  assert len(without) == 30
  up = make(n_interp=10, fixed_up=True, lock_up=True).camtoworlds[:, :, 1]
  np.testing.assert_allclose(up, up[:1].repeat(40, 0), atol=1e-6)
  ahead = make(n_interp=10, smoothness=0.0, lookahead_i=2).camtoworlds
  toward = ahead[2:, :, 3] - ahead[:-2, :, 3]
  toward /= np.linalg.norm(toward, axis=-1, keepdims=True)
  np.testing.assert_allclose(ahead[:-2, :, 2], -toward, atol=1e-5)
  # One more key frame at either end: the flight still starts at the first of
  # the user's, but leaves it differently.
  buffered = make(n_interp=10, smoothness=0.0, n_buffer=1)
  np.testing.assert_allclose(
    buffered.camtoworlds[0], plain.camtoworlds[0], atol=1e-5
  )
  # float32 poses are within 1e-6.
  assert np.abs(centres(buffered)[5] - centres(plain)[5]).max() > 1e-3


@pytest.mark.parametrize(
  'option', [dict(spline_degree=1), dict(rot_weight=2.0), dict(num_buffer=2)]
)
def test_a_spline_is_fitted_with_the_options_given(
  make_scene, tmp_path, option
):
  # On a ring, distances and angles go together, and their weight is without
  # effect: turn every other camera about its view.
  scene = make_scene(16)
  poses_in = np.array(scene.cameras.camtoworlds, np.float64)
  poses_in[::2] = poses_in[::2] @ poses.rotation_about_axis(90.0, 2)
  cameras = scene.cameras.replace(camtoworlds=poses_in)
  turned = dataclasses.replace(scene, cameras=cameras)
  keys = poses_in[[1, 2, 3, 4, 9]]
  fitted = lambda **options: spline_path.fit(keys, smoothness=1.0, **options)
  frames = lambda curve: curve.poses(curve.times(40))[:-1]
  names = {'spline_degree': 'degree', 'num_buffer': 'n_buffer'}
  found = spline(
    lambda _: turned,
    tmp_path,
    n_interp=10,
    smoothness=1.0,
    **{names.get(k, k): v for k, v in option.items()},
  ).camtoworlds
  # float32 poses.
  np.testing.assert_allclose(found, frames(fitted(**option)), atol=1e-5)
  assert np.abs(found - frames(fitted())).max() > 0.01


def test_exposures_are_as_smooth_as_asked_for(make_scene, tmp_path):
  names = tmp_path / 'keys.txt'
  names.write_text(''.join(f'view_{i}.png\n' for i in range(8)))
  values = np.exp2([0, 3, 0, 3, 0, 3, 0, 3])
  scene = make_scene(8)
  scene = dataclasses.replace(
    scene, cameras=scene.cameras.replace(exposure_values=values)
  )

  def at_key_frames(smoothness):
    cfg = paths.RenderConfig(
      render_spline_keyframes=str(names),
      render_spline_n_interp=4,
      render_spline_interpolate_exposure=True,
      render_spline_interpolate_exposure_smoothness=smoothness,
    )
    found = paths.render_path_cameras(cfg, scene).exposure_values
    # They are at equal distances, hence at every fourth frame but the last.
    return np.log(found[::4])

  logs = np.log(values)[:-1]
  np.testing.assert_allclose(at_key_frames(0.0), logs, atol=1e-5)
  # A sum of squares below what is allowed, or there would be a nearer curve.
  some, much = (np.sum((at_key_frames(s) - logs) ** 2) for s in (1.0, 5.0))
  assert 0.5 < some <= 1.001 < 3 < much <= 5.005
