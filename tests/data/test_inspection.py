"""What is suspicious about a scene, found before training."""

import dataclasses

import numpy as np
import pytest

from multinerf.cameras import camera, projection
from multinerf.data import base, inspection, synthetic

SIZE = 16


def make_scene(n=4, **changes):
  """n views of textured noise from the embedded scene's cameras."""
  generator = np.random.default_rng(0)
  poses = synthetic.train_poses(n)
  pictures = [
    generator.integers(0, 256, (SIZE, SIZE, 3), np.uint8) for _ in range(n)
  ]
  # Points around the origin, which all the cameras look at.
  points = base.Points(generator.uniform(-0.3, 0.3, (50, 3)), np.full(50, 0.5))
  scene = base.Scene(
    name='s',
    split='train',
    cameras=camera.make_cameras(
      projection.get_pixtocam(20.0, SIZE, SIZE),
      poses,
      widths=SIZE,
      heights=SIZE,
      near=2.0,
      far=6.0,
    ),
    image_names=tuple(f'{i}.png' for i in range(n)),
    images=base.PixelBuffer.from_images(pictures),
    points=points,
  )
  return dataclasses.replace(scene, **changes)


def texts(scene, other=None):
  return [f.text for f in inspection.inspect(scene, other)]


def replace_cameras(scene, **changes):
  return dataclasses.replace(scene, cameras=scene.cameras.replace(**changes))


def test_a_sound_scene_gives_no_findings():
  assert texts(make_scene()) == []


def test_cameras_on_one_spot_are_found():
  scene = make_scene()
  poses = scene.cameras.camtoworlds.copy()
  poses[:, :, 3] = 1.0
  assert 'one spot' in texts(replace_cameras(scene, camtoworlds=poses))[0]


def test_scaled_axes_are_found_by_name():
  scene = make_scene()
  poses = scene.cameras.camtoworlds.copy()
  poses[2, :, :3] *= 1.1
  (found,) = texts(replace_cameras(scene, camtoworlds=poses))
  assert 'not pure rotations' in found
  assert '2.png' in found


def test_two_images_with_one_pose_are_found_unless_they_are_scales_of_one():
  scene = make_scene()
  poses = scene.cameras.camtoworlds.copy()
  poses[3] = poses[1]
  scene = replace_cameras(scene, camtoworlds=poses)
  (found,) = texts(scene)
  assert '1.png, 3.png' in found
  scales = replace_cameras(scene, lossmult=np.ones(4, np.float32))
  assert texts(scales) == []


@pytest.mark.parametrize('focal', [0.5, 5000.0])
def test_an_implausible_lens_is_found(focal):
  scene = make_scene(points=None)
  pixtocams = np.tile(projection.get_pixtocam(focal, SIZE, SIZE), (4, 1, 1))
  (found,) = texts(replace_cameras(scene, pixtocams=pixtocams))
  assert 'field of view' in found


def test_a_principal_point_of_another_image_size_is_found():
  scene = make_scene(points=None)
  pixtocams = np.tile(projection.get_pixtocam(20.0, SIZE, 4 * SIZE), (4, 1, 1))
  (found,) = texts(replace_cameras(scene, pixtocams=pixtocams))
  assert 'principal point' in found


def test_blank_and_repeated_images_are_found_by_name():
  scene = make_scene()
  scene.images.image(0)[...] = 7
  scene.images.image(3)[...] = scene.images.image(2)
  blank, twice = texts(scene)
  assert '0.png' in blank
  assert '2.png, 3.png' in twice


def test_masks_that_leave_little_are_found():
  masks = base.PixelBuffer.allocate([SIZE] * 4, [SIZE] * 4, 1, np.uint8)
  masks.values[...] = 255
  (finding,) = inspection.inspect(make_scene(masks=masks))
  assert (finding.severity, '100.0%' in finding.text) == ('note', True)
  masks.image(1)[...] = 0
  first = inspection.inspect(make_scene(masks=masks))[0]
  assert first.severity == 'warning'
  assert '1.png' in first.text
  masks.values[...] = 0
  masks.values[0] = 255
  assert any('mask_keeps' in t for t in texts(make_scene(masks=masks)))


def test_a_camera_that_sees_no_point_is_found():
  scene = make_scene()
  poses = scene.cameras.camtoworlds.copy()
  poses[1, :, :3] = -poses[1, :, :3] @ np.diag([1.0, -1.0, 1.0])
  (found,) = texts(replace_cameras(scene, camtoworlds=poses))
  assert 'see none of the 50 points: 1.png' in found


@pytest.mark.parametrize(
  'bounds, name', [((4.2, 6.0), 'near'), ((1.0, 3.8), 'far')]
)
def test_bounds_that_miss_the_points_are_found_with_better_ones(bounds, name):
  near, far = (np.float32(b) for b in bounds)
  (found,) = texts(replace_cameras(make_scene(), near=near, far=far))
  assert f'Config.{name}' in found
  assert 'would take them in' in found


def test_images_of_both_splits_are_found():
  train = make_scene(4, points=None)
  test = dataclasses.replace(make_scene(2, points=None), split='test')
  assert texts(train, test)[0].startswith('2 images are in both splits')
  renamed = dataclasses.replace(test, image_names=('a.png', 'b.png'))
  assert texts(train, renamed) == []


def test_points_are_sighted_where_they_were_seen():
  scene = make_scene()
  direction = np.asarray(
    projection.pixels_to_rays(
      np.array([3]),
      np.array([9]),
      scene.cameras.pixtocams[1],
      scene.cameras.camtoworlds[1],
    ).directions
  )
  origin = scene.cameras.camtoworlds[1, :, 3]
  behind = origin - direction
  points = np.concatenate([origin + 3.5 * direction, behind]).astype(np.float64)
  seen = inspection.sightings(scene, 1, points)
  np.testing.assert_array_equal(seen.index, [0])
  np.testing.assert_allclose([seen.x[0], seen.y[0]], [3, 9], atol=1e-4)
  np.testing.assert_allclose(seen.t, 3.5, rtol=1e-5)


def test_memory_counts_all_kinds_of_pixels():
  scene = make_scene()
  assert inspection.num_bytes(scene) == 4 * SIZE**2 * 3
  masks = base.PixelBuffer.allocate([SIZE] * 4, [SIZE] * 4, 1, np.uint8)
  with_masks = dataclasses.replace(scene, masks=masks)
  assert inspection.num_bytes(with_masks) == 4 * SIZE**2 * 4
