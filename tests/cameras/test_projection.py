import functools
import json

import golden_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import errors
from multinerf.cameras import camera, projection
from multinerf.cameras import poses as poses_lib
from multinerf.types import Pixels

ProjectionType = camera.ProjectionType
FIELDS = ('origins', 'directions', 'viewdirs', 'radii', 'imageplane')
FULL = {'k1': 0.1, 'k2': -0.02, 'k3': 0.003, 'p1': 0.001, 'p2': -0.002}
SIZE = (40, 30)  # width, height of the cameras below


def intrinsics(camtype):
  width, height = SIZE
  if camtype is ProjectionType.PANORAMIC:
    return projection.get_pano_pixtocam(width, height)
  # Off-centre, and not square.
  matrix = projection.intrinsic_matrix(30.0, 33.0, 19.0, 16.0)
  return np.linalg.inv(matrix)


def random_poses(n, seed=0):
  gen = np.random.default_rng(seed)
  return np.stack(
    [poses_lib.viewmatrix(*gen.normal(size=(3, 3))) for _ in range(n)]
  )


def make_cameras(n, camtype=ProjectionType.PERSPECTIVE, **kwargs):
  args = dict(widths=SIZE[0], heights=SIZE[1], near=2.0, far=6.0)
  return camera.make_cameras(
    intrinsics(camtype), random_poses(n), camtype=camtype, **{**args, **kwargs}
  )


def some_pixels(n, batch=(5,), seed=1):
  gen = np.random.default_rng(seed)
  return Pixels(
    pix_x_int=gen.integers(0, SIZE[0], batch).astype(np.int32),
    pix_y_int=gen.integers(0, SIZE[1], batch).astype(np.int32),
    cam_idx=gen.integers(0, n, (*batch, 1)).astype(np.int32),
  )


@pytest.mark.parametrize('backend', ['np', 'jnp', 'percam'])
@pytest.mark.parametrize('distortion', ['none', 'k', 'full', 'k4'])
@pytest.mark.parametrize('camtype', ['perspective', 'fisheye'])
def test_pixels_to_rays_matches_the_reference(
  golden, camtype, distortion, backend
):
  name = f'{camtype}_{distortion}_{backend}'
  data = golden('camera_utils').case('pixels_to_rays', name)
  params = json.loads(json.loads(str(data['params']))['_distortion'])
  cast = functools.partial(
    projection.pixels_to_rays,
    distortion=params,
    camtype=ProjectionType(camtype),
    xnp=jnp if backend == 'jnp' else np,
  )
  if backend == 'jnp':
    cast = jax.jit(cast)
  got = cast(*(data[f'in_{k}'] for k in golden_util.case_args(data)))
  for i, field in enumerate(FIELDS):
    # How well float32 is known at all (shared/golden/README.md): radii are
    # differences of nearly equal numbers.
    np.testing.assert_allclose(
      getattr(got, field), data[f'out_{i}'], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize('distortion', ['none', 'k'])
def test_ndc_rays_match_the_reference(golden, distortion):
  data = golden('camera_utils').case('pixels_to_rays', f'ndc_{distortion}')
  params = json.loads(json.loads(str(data['params']))['_distortion'])
  *args, ndc = (data[f'in_{k}'] for k in golden_util.case_args(data))
  got = projection.pixels_to_rays(*args, distortion=params, pixtocam_ndc=ndc)
  for i, field in enumerate(FIELDS):
    np.testing.assert_allclose(
      getattr(got, field), data[f'out_{i}'], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
  ('function', 'case'),
  [
    ('get_pixtocam', 'c0'),
    ('get_pixtocam', 'c1'),
    ('intrinsic_matrix', 'c0'),
    ('pixel_coordinates', 'c0'),
    ('convert_to_ndc', 'near1.0'),
    ('convert_to_ndc', 'near0.5'),
  ],
)
def test_helpers_match_the_reference(golden, function, case):
  ours = functools.partial(getattr(projection, function), xnp=jnp)
  golden_util.check_case(golden('camera_utils'), function, case, ours)


def check_rays(got, data):
  stored = [k for k in data if k.startswith('out_')]
  assert len(stored) == 9
  for key in stored:
    np.testing.assert_allclose(
      getattr(got, key[len('out_') :]),
      data[key],
      rtol=1e-4,
      atol=1e-5,
      err_msg=key,
    )


@pytest.mark.parametrize(
  ('function', 'case'),
  [('cast_pinhole_rays', 'c0'), ('cast_spherical_rays', 'pano')],
)
@pytest.mark.parametrize('xnp', [np, jnp])
def test_whole_image_rays_match_the_reference(golden, function, case, xnp):
  data = golden('camera_utils').case(function, case)
  cast = functools.partial(
    getattr(projection, function), **golden_util.case_params(data), xnp=xnp
  )
  if xnp is jnp:
    cast = jax.jit(cast)
  check_rays(cast(data['in_camtoworld']), data)


def test_cast_ray_batch_matches_the_reference(golden):
  data = golden('camera_utils').case('cast_ray_batch', 'percam')
  cameras = camera.make_cameras(
    data['in_pixtocams'],
    data['in_camtoworlds'],
    widths=1,
    heights=1,
    near=2.0,
    far=6.0,
  )
  pixels = Pixels(
    data['in_pix_x_int'],
    data['in_pix_y_int'],
    data['in_cam_idx'],
    lossmult=np.ones(data['in_cam_idx'].shape, np.float32),
  )
  check_rays(jax.jit(projection.cast_ray_batch)(cameras, pixels), data)


@pytest.mark.parametrize('camtype', list(ProjectionType))
@pytest.mark.parametrize('xnp', [np, jnp])
def test_the_centre_of_the_image_looks_along_minus_z(camtype, xnp):
  width, height = 9, 5  # odd: a pixel's centre is the centre of the image
  pixtocam = projection.get_pixtocam(7.0, width, height)
  if camtype is ProjectionType.PANORAMIC:
    pixtocam = projection.get_pano_pixtocam(width, height)
  cast = functools.partial(projection.pixels_to_rays, camtype=camtype, xnp=xnp)
  if xnp is jnp:
    cast = jax.jit(cast)
  rays = cast(np.array(4), np.array(2), pixtocam, np.eye(3, 4))
  # Float32 rounding of the panorama's cos(pi / 2) and sin(pi).
  np.testing.assert_allclose(rays.directions, [0, 0, -1], atol=2e-7)
  np.testing.assert_allclose(rays.viewdirs, [0, 0, -1], atol=2e-7)


@pytest.mark.parametrize('camtype', list(ProjectionType))
def test_right_and_up_in_the_image_are_plus_x_and_plus_y(camtype):
  pose = np.eye(3, 4)
  x, y = np.array([20, 28, 20]), np.array([15, 15, 0])
  rays = projection.pixels_to_rays(
    x, y, intrinsics(camtype), pose, camtype=camtype
  )
  centre, right, top = rays.viewdirs
  assert right[0] > centre[0] + 0.1
  assert top[1] > centre[1] + 0.3


@pytest.mark.parametrize('camtype', list(ProjectionType))
@pytest.mark.parametrize('distortion', [None, FULL])
def test_projection_undoes_casting(camtype, distortion):
  if camtype is ProjectionType.PANORAMIC and distortion:
    distortion = {'k1': 1e-3, 'p1': 1e-4}  # angles reach 2 pi: keep it small
  x, y = projection.pixel_coordinates(*SIZE)
  pose, pixtocam = random_poses(1)[0], intrinsics(camtype)
  kwargs = dict(distortion=distortion, camtype=camtype)
  rays = projection.pixels_to_rays(x, y, pixtocam, pose, **kwargs)
  t = np.random.default_rng(0).uniform(0.5, 4.0, x.shape)
  points = rays.origins + t[..., None] * rays.directions
  pixels, depth = projection.points_to_pixels(points, pixtocam, pose, **kwargs)
  # Float64, but arctan2 near the poles of a panorama loses digits.
  np.testing.assert_allclose(pixels, np.stack([x, y], -1), atol=1e-6)
  np.testing.assert_allclose(depth, t, atol=1e-9)


def test_points_on_the_fisheye_axis_project_to_the_principal_point():
  pixtocam = intrinsics(ProjectionType.FISHEYE)
  pixels, t = projection.points_to_pixels(
    np.array([0.0, 0.0, -2.0]),
    pixtocam,
    np.eye(3, 4),
    camtype=ProjectionType.FISHEYE,
  )
  np.testing.assert_allclose(pixels, [18.5, 15.5], atol=1e-9)
  np.testing.assert_allclose(t, 2.0)


def test_points_behind_a_perspective_camera_have_negative_depth():
  _, depth = projection.points_to_pixels(
    np.array([[0.1, 0.1, -2.0], [0.1, 0.1, 2.0]]),
    intrinsics(ProjectionType.PERSPECTIVE),
    np.eye(3, 4),
  )
  np.testing.assert_allclose(depth, [2, -2])


@pytest.mark.parametrize('camtype', list(ProjectionType))
@pytest.mark.parametrize('distorted', [False, True])
def test_backends_agree_for_every_batch_shape(camtype, distorted):
  distortion = FULL if distorted else None
  if camtype is ProjectionType.PANORAMIC and distorted:
    distortion = {'k1': 1e-3}
  kwargs = dict(distortion=distortion, camtype=camtype)
  on_device = functools.partial(projection.pixels_to_rays, xnp=jnp, **kwargs)
  camera_args = intrinsics(camtype), random_poses(1)[0]
  for batch in ((), (2,), (2, 3)):
    pixels = some_pixels(1, batch)
    args = np.asarray(pixels.pix_x_int), np.asarray(pixels.pix_y_int)
    want = projection.pixels_to_rays(*args, *camera_args, **kwargs)
    traced = jax.eval_shape(on_device, *args, *camera_args)
    for field, last in zip(FIELDS, (3, 3, 3, 1, 2), strict=True):
      assert getattr(want, field).shape == (*batch, last)
      assert getattr(traced, field).shape == (*batch, last)
      assert getattr(traced, field).dtype == jnp.float32
    assert np.all(want.radii > 0)
    np.testing.assert_allclose(np.linalg.norm(want.viewdirs, axis=-1), 1)
  # Values, for the last batch only: compiling takes the time.
  got = jax.jit(on_device)(*args, *camera_args)
  for field in FIELDS:
    # Float32 against float64; radii are differences of numbers near 1 that
    # are themselves about 1 / 30.
    np.testing.assert_allclose(
      getattr(got, field), getattr(want, field), rtol=1e-4, atol=2e-6
    )


def test_radius_of_a_pinhole_on_its_axis_is_the_pixel_over_the_focal():
  pixtocam = projection.get_pixtocam(50.0, 9, 9)
  rays = projection.pixels_to_rays(
    np.array(4), np.array(4), pixtocam, random_poses(1)[0]
  )
  np.testing.assert_allclose(rays.radii, [2 / np.sqrt(12) / 50])


def test_a_perspective_ray_has_depth_one_per_t():
  pose = random_poses(1)[0]
  x, y = projection.pixel_coordinates(*SIZE)
  rays = projection.pixels_to_rays(
    x, y, intrinsics(ProjectionType.PERSPECTIVE), pose
  )
  np.testing.assert_allclose(rays.directions @ pose[:, 2], -1)
  np.testing.assert_array_equal(
    rays.origins, np.broadcast_to(pose[:, 3], rays.origins.shape)
  )


def to_ndc(points, pixtocam):
  """Brute-force twin: perspective division of points, near plane 1."""
  fx, fy = -1 / pixtocam[0, 2], -1 / pixtocam[1, 2]
  x, y, z = np.moveaxis(points, -1, 0)
  return np.stack([-fx * x / z, -fy * y / z, 1 + 2 / z], -1)


def test_ndc_maps_the_near_plane_to_0_and_infinity_to_1():
  pixtocam = projection.get_pixtocam(30.0, *SIZE)
  pose = np.eye(3, 4)
  pose[:, 3] = [0.1, -0.2, 0.3]
  x, y = projection.pixel_coordinates(*SIZE)
  world = projection.pixels_to_rays(x, y, pixtocam, pose)
  ndc = projection.pixels_to_rays(x, y, pixtocam, pose, pixtocam_ndc=pixtocam)

  def along(rays, t):
    return rays.origins + t * rays.directions

  near = along(world, 1.3)  # the camera is at 0.3, the plane at -1
  np.testing.assert_allclose(near[..., 2], -1)
  np.testing.assert_allclose(along(ndc, 0.0), to_ndc(near, pixtocam))
  far = along(world, 1e9)
  np.testing.assert_allclose(along(ndc, 1.0), to_ndc(far, pixtocam), atol=1e-8)
  # In between, z_ndc = -1 + 2 t and the points stay on the same line.
  middle = to_ndc(along(world, 2.3), pixtocam)
  t = (middle[..., 2:] + 1) / 2
  np.testing.assert_allclose(along(ndc, t), middle, atol=1e-12)
  np.testing.assert_allclose(ndc.viewdirs, world.viewdirs)
  assert np.all(ndc.radii > 0)


@pytest.mark.parametrize('n', [1, 4])
@pytest.mark.parametrize('distorted', [False, True])
@pytest.mark.parametrize('batch', [(6,), (2, 3)])
def test_cast_ray_batch_casts_each_pixel_from_its_own_camera(
  n, distorted, batch
):
  distortion = {'k1': np.linspace(-0.1, 0.1, n), 'p1': 1e-3}
  cameras = make_cameras(
    n,
    near=np.linspace(0.1, 0.2, n),
    far=5.0,
    distortion=distortion if distorted else None,
  )
  pixels = some_pixels(n, batch)
  rays = jax.jit(projection.cast_ray_batch)(cameras, pixels)
  assert rays.near.shape == rays.far.shape == rays.radii.shape == (*batch, 1)
  assert rays.lossmult is None and rays.exposure_idx is None
  for at in np.ndindex(*batch):
    i = int(pixels.cam_idx[at][0])
    one = cameras.take(i)
    want = projection.pixels_to_rays(
      pixels.pix_x_int[at][None],
      pixels.pix_y_int[at][None],
      one.pixtocams,
      one.camtoworlds,
      distortion=one.distortion,
    )
    for field in FIELDS:
      np.testing.assert_allclose(
        getattr(rays, field)[at],
        getattr(want, field)[0],
        rtol=1e-4,
        atol=2e-6,  # float32 against a mix with float64
      )
    np.testing.assert_array_equal(rays.near[at], one.near)
    np.testing.assert_array_equal(rays.far[at], np.float32(5.0))


def test_a_batch_of_one_camera_gathers_nothing_and_none_undistorts_without():
  cast = jax.make_jaxpr(projection.cast_ray_batch)
  one = str(cast(make_cameras(1), some_pixels(1)))
  assert 'gather' not in one and 'scan' not in one
  many = str(
    cast(make_cameras(2, distortion={'k1': 0.1}), some_pixels(2))
  )  # the two words do occur where they should
  assert 'gather' in many and 'scan' in many


def test_what_the_pixels_say_wins_over_the_cameras():
  pixels = some_pixels(2).replace(
    near=np.full((5, 1), 0.5, np.float32),
    far=np.full((5, 1), 0.7, np.float32),
    lossmult=np.full((5, 1), 3, np.float32),
    exposure_idx=np.arange(5, dtype=np.int32)[:, None],
    exposure_values=np.full((5, 1), 0.1, np.float32),
  )
  rays = jax.jit(projection.cast_ray_batch)(make_cameras(2), pixels)
  for field in ('near', 'far', 'lossmult', 'cam_idx', 'exposure_idx'):
    np.testing.assert_array_equal(getattr(rays, field), getattr(pixels, field))
  np.testing.assert_array_equal(rays.exposure_values, pixels.exposure_values)


def test_an_index_outside_gives_nan_and_not_another_camera():
  pixels = some_pixels(3)
  pixels.cam_idx[2] = 3
  rays = jax.jit(projection.cast_ray_batch)(make_cameras(3), pixels)
  assert np.isnan(rays.directions[2]).all()
  assert np.isfinite(np.delete(rays.directions, 2, axis=0)).all()


def test_rays_have_finite_gradients_with_respect_to_the_cameras():
  cameras = make_cameras(
    2, ProjectionType.FISHEYE, distortion={'k1': 0.1, 'p1': 0.01}
  )

  def total(pixtocams, camtoworlds, distortion):
    moved = cameras.replace(
      pixtocams=pixtocams, camtoworlds=camtoworlds, distortion=distortion
    )
    rays = projection.cast_ray_batch(moved, some_pixels(2))
    return sum(jnp.sum(getattr(rays, field)) for field in FIELDS)

  grads = jax.jit(jax.grad(total, (0, 1, 2)))(
    cameras.pixtocams, cameras.camtoworlds, cameras.distortion
  )
  for grad in jax.tree.leaves(grads):
    assert np.isfinite(grad).all() and np.any(grad != 0)


def test_image_pixels_covers_the_image_in_rows():
  cameras = make_cameras(3, widths=np.array([4, 5, 6]), heights=2)
  pixels = projection.image_pixels(cameras, 1)
  assert pixels.pix_x_int.shape == pixels.pix_y_int.shape == (2, 5)
  np.testing.assert_array_equal(pixels.pix_x_int, [[0, 1, 2, 3, 4]] * 2)
  np.testing.assert_array_equal(pixels.pix_y_int, [[0] * 5, [1] * 5])
  np.testing.assert_array_equal(pixels.cam_idx, np.ones((2, 5, 1)))
  assert projection.image_pixels(cameras, -1).cam_idx.max() == 2
  with pytest.raises(IndexError):
    projection.image_pixels(cameras, 3)


def test_panorama_with_corners_is_half_a_pixel_up_and_left():
  centres = projection.get_pano_pixtocam(12, 6)
  corners = projection.get_pano_pixtocam(12, 6, corners=True)
  at = np.array([3.5, 2.5, 1.0])
  np.testing.assert_allclose(corners @ at, centres @ [3.0, 2.0, 1.0])


def test_intrinsic_matrix_and_pixtocam_are_inverse():
  got = projection.get_pixtocam(50.0, 40, 30)
  want = np.linalg.inv(projection.intrinsic_matrix(50.0, 50.0, 20.0, 15.0))
  np.testing.assert_allclose(got, want, atol=1e-15)


def test_rays_carry_what_is_constant_for_their_camera():
  cameras = camera.make_cameras(
    intrinsics(ProjectionType.PERSPECTIVE),
    random_poses(3),
    widths=8,
    heights=8,
    near=1.0,
    far=2.0,
    lossmult=[1.0, 4.0, 16.0],
    exposure_idx=[0, 2, 1],
    exposure_values=[1.0, 0.25, 0.5],
  )
  pixels = Pixels(
    pix_x_int=np.zeros(3, np.int32),
    pix_y_int=np.zeros(3, np.int32),
    cam_idx=np.array([[2], [0], [1]], np.int32),
  )
  rays = projection.cast_ray_batch(cameras, pixels)
  np.testing.assert_array_equal(rays.lossmult, [[16], [1], [4]])
  np.testing.assert_array_equal(rays.exposure_idx, [[1], [0], [2]])
  np.testing.assert_array_equal(rays.exposure_values, [[0.5], [1], [0.25]])
  given = pixels.replace(lossmult=np.full((3, 3), 7.0, np.float32))
  rays = projection.cast_ray_batch(cameras.take(np.array([1, 2, 0])), given)
  np.testing.assert_array_equal(rays.lossmult, given.lossmult)
  np.testing.assert_array_equal(rays.exposure_idx, [[0], [2], [1]])


def test_an_exposure_that_is_not_positive_is_refused():
  with pytest.raises(errors.DataError, match='exposure_values'):
    camera.make_cameras(
      intrinsics(ProjectionType.PERSPECTIVE),
      random_poses(1),
      widths=8,
      heights=8,
      near=1.0,
      far=2.0,
      exposure_values=0.0,
    )


@pytest.mark.slow
def test_rays_are_cropped_to_the_bounds_of_their_cameras():
  pose = np.eye(3, 4)
  pose[:, 3] = [0, 0, 5.0]
  cameras = camera.make_cameras(
    projection.get_pixtocam(4.0, 8, 8), pose[None], widths=8, heights=8,
    near=0.5, far=20.0, scene_bbox=[[-1, -1, -1], [1, 1, 2]],
  )  # fmt: skip
  pixels = projection.image_pixels(cameras, 0)
  rays = projection.cast_ray_batch(cameras, pixels)
  hit = np.asarray(rays.lossmult)[..., 0] > 0
  assert hit[3:5, 3:5].all() and not hit[0, 0]
  np.testing.assert_allclose(rays.near[hit], 3.0, rtol=1e-5)  # z = 2
  flat = cameras.replace(
    scene_bbox=None, z_range=np.array([-1.0, 2.0], np.float32)
  )
  rays = projection.cast_ray_batch(flat, pixels)
  np.testing.assert_allclose(rays.origins[..., 2], 2.0, atol=1e-5)
  ends = rays.origins + rays.directions
  np.testing.assert_allclose(ends[..., 2], -1.0, atol=1e-5)
  assert flat.take(0).z_range is flat.z_range
