"""The picture of a reconstruction."""

import dataclasses

import capture_util
import numpy as np
import pytest

from multinerf.capture import drawing


def turned(model, seed):
  """The same scene in another frame: turned, scaled and moved."""
  gen = np.random.default_rng(seed)
  q, _ = np.linalg.qr(gen.normal(size=(3, 3)))
  q = q * np.sign(np.linalg.det(q))
  scale, shift = 2.5, gen.normal(size=3)
  poses = model.camtoworlds.copy()
  poses[:, :, :3] = q @ poses[:, :, :3]
  poses[:, :, 3] = scale * poses[:, :, 3] @ q.T + shift
  return q, dataclasses.replace(
    model, camtoworlds=poses, xyz=scale * model.xyz @ q.T + shift
  )


def test_up_is_where_the_cameras_have_theirs():
  model = capture_util.make_model()
  axes = drawing.scene_axes(model.camtoworlds)
  # Exact geometry in float64.
  np.testing.assert_allclose(axes[2], [0, 0, 1], atol=1e-9)
  q, other = turned(model, 1)
  np.testing.assert_allclose(
    drawing.scene_axes(other.camtoworlds)[2], q[:, 2], atol=1e-9
  )


@pytest.mark.parametrize('num', [1, 2, 5])
@pytest.mark.parametrize('kind', ['circle', 'one place', 'pole'])
def test_axes_are_orthonormal_whatever_the_cameras(num, kind):
  poses = capture_util.make_model(num).camtoworlds
  if kind != 'circle':
    poses[:, :, 3] = 0.0
  if kind == 'pole':
    poses[:, 2, 3] = np.arange(num)
  axes = drawing.scene_axes(poses)
  np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-9)
  np.testing.assert_allclose(np.linalg.det(axes), 1, atol=1e-9)


def test_far_points_are_left_out_and_near_ones_kept():
  model = capture_util.make_model(num_points=500)
  far = np.array([[1e5, 0, 0], [0, -4000, 0], [0, 0, 80.0]])
  xyz = np.concatenate([model.xyz, far])
  keep = drawing.visible_points(xyz, model.camtoworlds[:, :, 3])
  assert not keep[-3:].any()
  assert keep[:-3].mean() > 0.9
  assert drawing.visible_points(xyz[:0], model.camtoworlds[:, :, 3]).shape == (
    0,
  )


def test_projection_keeps_distances_and_puts_up_up():
  view = drawing.View(
    np.array([1.0, 0, 0]), np.array([0, 0, 1.0]), np.ones(3), 10.0, 100
  )
  points = np.array([[1.0, 5, 1], [2.0, 5, 1], [1.0, 5, 2]])
  np.testing.assert_allclose(
    view.project(points), [[50, 50], [60, 50], [50, 40]]
  )


def test_picture_shows_points_in_their_colours_and_cameras_red_to_blue():
  model = capture_util.make_model()
  green = np.tile(np.uint8([10, 200, 10]), (len(model.xyz), 1))
  picture = drawing.draw(dataclasses.replace(model, rgb=green), 'caption')
  height, width = picture.shape[:2]
  left, right = picture[:, : width // 2], picture[:, width // 2 :]
  for panel in (left, right):
    r, g, b = (panel[40:-60, :, c].astype(int) for c in range(3))
    assert ((g - r > 80) & (g - b > 80)).sum() > 100
    assert ((r - b > 60) & (r - g > 60)).sum() > 20
    assert ((b - r > 60) & (b - g > 60)).sum() > 20


def test_picture_does_not_depend_on_the_frame_of_the_scene():
  # An ellipse: on a circle, no direction in the plane stands out.
  model = capture_util.make_model()
  model.camtoworlds[:, 0, 3] *= 2.0
  _, other = turned(model, 2)
  one, two = drawing.draw(model).astype(int), drawing.draw(other).astype(int)
  # The first axis is known up to its sign, and with it the second; turning
  # the view from above by half a turn mirrors the view from the side.
  panel = slice(40, 600), slice(16, 576)
  same = np.abs(one[panel] - two[panel]).mean()
  half_turn = np.abs(one[panel] - two[panel][::-1, ::-1]).mean()
  blank = np.abs(one[panel] - 255).mean()
  # Lines and dots may move by a pixel.
  assert min(same, half_turn) < 0.35 * blank


@pytest.mark.parametrize('num_points', [0, 1])
@pytest.mark.parametrize('num', [1, 2])
def test_tiny_models_are_drawn(num, num_points):
  picture = drawing.draw(capture_util.make_model(num, num_points))
  assert picture.dtype == np.uint8
  assert (picture != 255).any()
