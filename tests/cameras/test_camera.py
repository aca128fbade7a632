import jax
import numpy as np
import pytest

from multinerf import errors
from multinerf.cameras import camera


def make(n=4, **overrides):
  gen = np.random.default_rng(n)
  args = dict(
    pixtocams=np.eye(3),
    camtoworlds=gen.normal(size=(n, 3, 4)),
    widths=8,
    heights=np.arange(1, n + 1),
    near=2,
    far=np.arange(3, 3 + n),
    distortion={'k1': 0.1, 'p1': np.arange(n) / 10, 'k2': None},
  )
  poses = args['camtoworlds']
  return camera.make_cameras(
    **{
      **args,
      **overrides,
      'camtoworlds': overrides.get('camtoworlds', poses),
    }
  )


def test_shared_values_become_one_per_camera():
  cameras = make(4)
  assert len(cameras) == 4
  assert cameras.pixtocams.shape == (4, 3, 3)
  assert cameras.widths.tolist() == [8] * 4
  assert cameras.widths.dtype == np.int32
  assert cameras.pixtocams.dtype == np.float32
  assert cameras.near.shape == () and cameras.far.shape == (4,)
  assert set(cameras.distortion) == {'k1', 'p1'}
  np.testing.assert_array_equal(cameras.distortion['k1'], np.float32(0.1))


@pytest.mark.parametrize('given', [None, {}, {'k1': None}])
def test_no_distortion_is_none_so_that_no_undistortion_is_compiled(given):
  assert make(distortion=given).distortion is None


def test_four_by_four_poses_lose_their_last_row():
  poses = np.random.default_rng(0).normal(size=(2, 4, 4)).astype(np.float32)
  cameras = make(2, camtoworlds=poses)
  np.testing.assert_array_equal(cameras.camtoworlds, poses[:, :3])


@pytest.mark.parametrize(
  ('index', 'want'),
  [
    (2, [2]),
    (-1, [3]),
    (np.int64(1), [1]),
    (slice(1, 3), [1, 2]),
    (np.array([3, 0]), [3, 0]),
  ],
)
def test_take_selects_every_per_camera_entry(index, want):
  cameras = make(4)
  taken = cameras.take(index)
  assert len(taken) == len(want)
  np.testing.assert_array_equal(taken.camtoworlds, cameras.camtoworlds[want])
  np.testing.assert_array_equal(taken.heights, cameras.heights[want])
  np.testing.assert_array_equal(taken.far, cameras.far[want])
  np.testing.assert_array_equal(
    taken.distortion['p1'], cameras.distortion['p1'][want]
  )
  assert taken.near.shape == ()


def test_take_refuses_an_index_outside():
  with pytest.raises(IndexError):
    make(4).take(4)


def test_cameras_are_a_pytree_with_a_static_projection_type():
  cameras = make(2, camtype=camera.ProjectionType.FISHEYE)
  leaves, tree = jax.tree.flatten(cameras)
  assert all(isinstance(leaf, np.ndarray) for leaf in leaves)
  again = jax.tree.unflatten(tree, leaves)
  assert again.camtype is camera.ProjectionType.FISHEYE
  assert len(jax.tree.map(lambda x: x, cameras)) == 2


@pytest.mark.parametrize(
  ('overrides', 'message'),
  [
    (dict(camtoworlds=np.zeros((3, 4))), 'n, 3, 4'),
    (dict(camtoworlds=np.zeros((0, 3, 4))), 'at least one'),
    (dict(camtoworlds=np.full((4, 3, 4), np.nan)), 'nan at index'),
    (dict(pixtocams=np.zeros((3, 3, 3))), 'pixtocams have shape'),
    (dict(distortion={'k9': 1.0}), 'k9'),
    (dict(distortion={'k1': np.zeros(3)}), 'k1 have shape'),
    (dict(widths=0), 'positive'),
    (dict(near=6.0, far=2.0), 'Config.near'),
    (dict(far=np.inf), 'inf'),
  ],
)
def test_malformed_cameras_are_refused_with_the_reason(overrides, message):
  with pytest.raises(errors.DataError, match=message):
    make(4, **overrides)
