"""Names of `camp_zipnerf/internal/camera_utils.py`.

A camera tuple is (pixtocams, camtoworlds, distortion_params, pixtocam_ndc,
z_range): [3, 3] shared or [n, 3, 3]; [3, 4] or [n, 3, 4]; a dict of numbers or
[n] arrays, or None; [3, 3] or None; (z_min, z_max) or None. In place of
jaxcam's, a "jax camera" is a `cameras.opencv.Camera`, with the same attributes.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np

from multinerf.cameras import bounds, camera, opencv, paths, projection
from multinerf.cameras import poses as poses_lib
from multinerf.compat.camp_zipnerf import _camera_paths, utils
from multinerf.compat.multinerf import camera_utils as multinerf_cameras
from multinerf.ops import rigid_body
from multinerf.types import Array

ProjectionType = camera.ProjectionType

convert_to_ndc = projection.convert_to_ndc
pad_poses = poses_lib.pad_poses
unpad_poses = poses_lib.unpad_poses
recenter_poses = poses_lib.recenter_poses
rotation_about_axis = poses_lib.rotation_about_axis
normalize = poses_lib.normalize
transform_poses_pca = poses_lib.transform_poses_pca
transform_poses_focus = poses_lib.transform_poses_focus
generate_spiral_path = paths.generate_spiral_path
generate_ellipse_path = _camera_paths.generate_ellipse_path
generate_interpolated_path = _camera_paths.generate_interpolated_path
safe_interpolate_1d = _camera_paths.safe_interpolate_1d
identify_file_names = _camera_paths.identify_file_names
identify_file_indices = _camera_paths.identify_file_indices
get_meters_per_colmap_from_calibration_images = (
  _camera_paths.get_meters_per_colmap_from_calibration_images
)
calibrate_spline_speed = _camera_paths.calibrate_spline_speed
create_render_spline_path = _camera_paths.create_render_spline_path
intrinsic_matrix = projection.intrinsic_matrix
get_pixtocam = projection.get_pixtocam
pixel_coordinates = projection.pixel_coordinates
pixels_to_rays = multinerf_cameras.pixels_to_rays
rotation_distance = rigid_body.rotation_distance

# Pixels lead with any shape; a ray has all that is known of it.
_Found = tuple[Any, Any]


def average_pose(poses: np.ndarray, lock_up: bool = False) -> np.ndarray:
  """Mean position [3, 4], looking along the mean axis with the mean up.

  Args:
    poses: [n, 3, 4].
    lock_up: Keep the mean up exactly, instead of the mean axis.
  """
  return poses_lib.average_pose(poses, lock_up=lock_up)


def viewmatrix(
  lookdir: np.ndarray,
  up: np.ndarray,
  position: np.ndarray,
  lock_up: bool = False,
) -> np.ndarray:
  """The pose [3, 4] at `position` whose back axis is `lookdir`.

  Args:
    lookdir, up, position: [3].
    lock_up: Keep `up` exactly, and bend `lookdir`.
  """
  return poses_lib.viewmatrix(lookdir, up, position, lock_up=lock_up)


def focus_point_fn(poses: Any, xnp: ModuleType = np) -> Any:
  """The point [3] nearest to all optical axes of poses [n, 3, 4]."""
  return poses_lib.focus_point(poses, xnp=xnp)


def points_to_pixels(
  points: Any,
  pixtocams: Any,
  camtoworlds: Any,
  distortion_params: Mapping[str, Any] | None = None,
  camtype: ProjectionType = ProjectionType.PERSPECTIVE,
  xnp: ModuleType = np,
) -> _Found:
  """(pixel coordinates [..., 2], depth [...]) of world points.

  Arguments as of `cameras.projection.points_to_pixels`; it knows all types of
  cameras, upstream perspective only.
  """
  return projection.points_to_pixels(
    points,
    pixtocams,
    camtoworlds,
    distortion=distortion_params,
    camtype=camtype,
    xnp=xnp,
  )


def rays_planes_intersection(
  z_min: Any, z_max: Any, origins: Any, directions: Any, xnp: ModuleType = np
) -> _Found:
  """(t_min >= 0, t_max) of rays between two heights; crossed if never."""
  return bounds.rays_planes_intersection(z_min, z_max, origins, directions, xnp)


def ray_box_intersection(
  ray_o: Any, ray_d: Any, corners: Any, xnp: ModuleType = np
) -> _Found:
  """(t_min, t_max) at which lines are in a box; crossed if never."""
  return bounds.ray_box_intersection(ray_o, ray_d, xnp.asarray(corners), xnp)


def modify_rays_with_bbox(rays: Any, corners: Any, xnp: ModuleType = np) -> Any:
  """Rays with near, far and lossmult as of the box with these corners."""
  return bounds.crop_to_box(rays, xnp.asarray(corners), xnp)


def ray_sphere_intersection(
  ray_o: Any, ray_d: Any, center: Any, radius: Any, xnp: ModuleType = np
) -> tuple[Any, Any, Any]:
  """(t_min, t_max, hit) of lines in a sphere; 0, 0, False if never."""
  return bounds.ray_sphere_intersection(ray_o, ray_d, center, radius, xnp)


def gather_cameras(
  cameras: tuple[Any, ...], cam_idx: Any, xnp: ModuleType = np
) -> tuple[Any, Any, Mapping[str, Any] | None]:
  """(pixtocams, camtoworlds, distortion_params) of every ray.

  Args:
    cameras: A camera tuple, see above.
    cam_idx: [...] which camera; what all cameras share is not looked up.
    xnp: numpy or jax.numpy.
  """
  pixtocams, camtoworlds, distortion_params = cameras[:3]
  pick = lambda x, ndim: x[cam_idx] if xnp.ndim(x) > ndim else x
  if distortion_params is not None:
    distortion_params = {k: pick(v, 0) for k, v in distortion_params.items()}
  return pick(pixtocams, 2), pick(camtoworlds, 2), distortion_params


def cast_ray_batch(
  cameras: tuple[Any, ...],
  rays: utils.Rays,
  camtype: ProjectionType = ProjectionType.PERSPECTIVE,
  scene_bbox: Any = None,
  xnp: ModuleType = np,
) -> utils.Rays:
  """Fills in the geometry of rays that hold pixels and cameras.

  Args:
    cameras: A camera tuple, see above.
    rays: `pixels` and `cam_idx` of any leading shape; everything else in it is
      handed on.
    camtype: Projection type of all cameras.
    scene_bbox: Corners [2, 3] of a box, or None. near and far, which must be
      given, are cropped to it, and rays that miss it have lossmult 0.
    xnp: numpy or jax.numpy.
  """
  pixtocams, camtoworlds, distortion_params = gather_cameras(
    cameras, rays.cam_idx[..., 0], xnp
  )
  pixtocam_ndc, z_range = (*cameras[3:5], None, None)[:2]
  origins, directions, viewdirs, radii, imageplane = pixels_to_rays(
    rays.pixels[..., 0],
    rays.pixels[..., 1],
    pixtocams,
    camtoworlds,
    distortion_params=distortion_params,
    pixtocam_ndc=pixtocam_ndc,
    camtype=camtype,
    xnp=xnp,
  )
  if z_range is not None:
    origins, directions = bounds.crop_to_heights(
      origins, directions, tuple(z_range), xnp
    )
  rays = rays.replace(
    origins=origins,
    directions=directions,
    viewdirs=viewdirs,
    radii=radii,
    imageplane=imageplane,
  )
  if scene_bbox is None:
    return rays
  return modify_rays_with_bbox(rays, scene_bbox, xnp)


def cast_general_rays(
  camtoworld: Any,
  pixtocam: Any,
  height: int,
  width: int,
  near: float,
  far: float,
  distortion_params: Mapping[str, Any] | None = None,
  pixtocam_ndc: Any = None,
  camtype: ProjectionType = ProjectionType.PERSPECTIVE,
  xnp: ModuleType = np,
) -> utils.Rays:
  """Rays [height, width] of a whole image, through the pixels' centres.

  Args:
    camtoworld, pixtocam: Pose and inverse intrinsics.
    height, width: In pixels.
    near, far: Bounds of t for every ray.
    distortion_params, pixtocam_ndc, camtype, xnp: See `pixels_to_rays`.
  """
  x, y = pixel_coordinates(width, height, xnp)
  fill = lambda value: xnp.broadcast_to(value, (*x.shape, 1))
  rays = utils.Rays(
    pixels=xnp.stack([x, y], axis=-1),
    near=fill(near),
    far=fill(far),
    cam_idx=fill(0),
  )
  tuple_ = (pixtocam, camtoworld, distortion_params, pixtocam_ndc, None)
  return cast_ray_batch(tuple_, rays, camtype, xnp=xnp)


def cast_pinhole_rays(
  camtoworld: Any,
  height: int,
  width: int,
  focal: float,
  near: float,
  far: float,
  xnp: ModuleType = np,
) -> utils.Rays:
  """Rays [height, width] of an ideal pinhole image."""
  pixtocam = get_pixtocam(focal, width, height, xnp)
  return cast_general_rays(
    camtoworld, pixtocam, height, width, near, far, xnp=xnp
  )


def cast_spherical_rays(
  camtoworld: Any,
  height: int,
  width: int,
  near: float,
  far: float,
  xnp: ModuleType,
) -> utils.Rays:
  """Rays [height, width] of a panorama."""
  return cast_general_rays(
    camtoworld,
    xnp.asarray(projection.get_pano_pixtocam(width, height)),
    height,
    width,
    near,
    far,
    camtype=ProjectionType.PANORAMIC,
    xnp=xnp,
  )


def jax_camera_from_tuple(
  camera_tuple: tuple[Any, ...],
  image_size: Any,
  projection_type: ProjectionType,
) -> opencv.Camera:
  """The numbers of a camera, out of its matrices.

  Args:
    camera_tuple: (pixtocam, camtoworld, distortion_params, ...).
    image_size: (width, height).
    projection_type: Perspective or fisheye.

  Raises:
    DataError: A panorama.
  """
  pixtocam, camtoworld, distortion_params = camera_tuple[:3]
  return opencv.from_matrices(
    jnp.asarray(pixtocam),
    jnp.asarray(camtoworld)[..., :3, :],
    distortion_params,
    image_size=image_size,
    camtype=projection_type,
  )


def tuple_from_jax_camera(
  jax_camera: opencv.Camera,
) -> tuple[Array, Array, dict[str, Array] | None]:
  """(pixtocam, camtoworld, distortion_params); see `jax_camera_from_tuple`."""
  return opencv.to_matrices(jax_camera)


def compute_camera_metrics(
  cameras_gt: opencv.Camera, cameras_pred: opencv.Camera
) -> dict[str, Array]:
  """Errors of cameras by name, see `cameras.opencv.differences`."""
  return opencv.differences(cameras_gt, cameras_pred)


def perturb_cameras(
  rng: Array,
  cameras: opencv.Camera,
  sigma_look_at: float,
  sigma_position: float,
  sigma_focal_length: float = 0.0,
  sigma_dolly_z: float = 0.0,
  single_dolly: bool = True,
  dolly_use_average: bool = False,
) -> opencv.Camera:
  """Cameras [n] moved at random, see `cameras.opencv.perturb`."""
  noise = opencv.Noise(
    look_at=sigma_look_at,
    position=sigma_position,
    focal_length=sigma_focal_length,
    dolly_z=sigma_dolly_z,
    single_dolly=single_dolly,
    dolly_use_average=dolly_use_average,
  )
  return opencv.perturb(rng, cameras, noise)
