"""Names of `internal/camera_utils.py`.

A camera tuple is (pixtocams, camtoworlds, distortion_params, pixtocam_ndc):
[3, 3] shared or [n, 3, 3], [n, 3, 4], a dict of numbers (or of [n] arrays) or
None, and [3, 3] or None. Inside the package `cameras.camera.Cameras` takes its place.
"""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from multinerf import errors, types
from multinerf.cameras import camera, paths, projection
from multinerf.cameras import poses as poses_lib
from multinerf.compat.multinerf import utils

ProjectionType = camera.ProjectionType

convert_to_ndc = projection.convert_to_ndc
pad_poses = poses_lib.pad_poses
unpad_poses = poses_lib.unpad_poses
recenter_poses = poses_lib.recenter_poses
normalize = poses_lib.normalize
transform_poses_pca = poses_lib.transform_poses_pca
generate_spiral_path = paths.generate_spiral_path
generate_interpolated_path = paths.generate_interpolated_path
interpolate_1d = paths.interpolate_1d
intrinsic_matrix = projection.intrinsic_matrix
get_pixtocam = projection.get_pixtocam
pixel_coordinates = projection.pixel_coordinates


def focus_point_fn(poses: np.ndarray) -> np.ndarray:
  """The point [3] nearest to all optical axes."""
  return poses_lib.focus_point(poses)


def average_pose(poses: np.ndarray) -> np.ndarray:
  """Mean position [3, 4], looking along the mean axis with the mean up."""
  return poses_lib.average_pose(poses)


def viewmatrix(
  lookdir: np.ndarray, up: np.ndarray, position: np.ndarray
) -> np.ndarray:
  """The pose [3, 4] at `position` whose back axis is `lookdir`."""
  return poses_lib.viewmatrix(lookdir, up, position)


def generate_ellipse_path(
  poses: np.ndarray,
  n_frames: int = 120,
  const_speed: bool = True,
  z_variation: float = 0.0,
  z_phase: float = 0.0,
) -> np.ndarray:
  """Ellipse [n_frames, 3, 4] around the focus point; z must be up."""
  return paths.generate_ellipse_path(
    poses, n_frames, const_speed, z_variation, z_phase
  )


def create_render_spline_path(
  config: Any,
  image_names: Sequence[str],
  poses: np.ndarray,
  exposures: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
  """B-spline through the key frames that the config names.

  Args:
    config: `render_spline_keyframes` and the other options of that prefix.
    image_names: Names of all images.
    poses: Their poses [n, 3, 4].
    exposures: Their exposures [n], or None.

  Returns:
    Indices of the key frames, poses along the path, and exposures along it
    (None unless `render_spline_interpolate_exposure`).

  Raises:
    DataError: A key frame is missing, or exposures are asked for and unknown.
  """
  keys = paths.keyframe_indices(config.render_spline_keyframes, image_names)
  path = paths.generate_interpolated_path(
    poses[keys],
    config.render_spline_n_interp,
    spline_degree=config.render_spline_degree,
    smoothness=config.render_spline_smoothness,
  )
  if not config.render_spline_interpolate_exposure:
    return keys, path, None
  if exposures is None:
    raise errors.DataError(
      'Config.render_spline_interpolate_exposure needs exposures, and the '
      'images have none.'
    )
  return (
    keys,
    path,
    paths.interpolate_exposures(
      np.asarray(exposures)[keys], config.render_spline_n_interp
    ),
  )


def pixels_to_rays(
  pix_x_int: Any,
  pix_y_int: Any,
  pixtocams: Any,
  camtoworlds: Any,
  distortion_params: Mapping[str, float] | None = None,
  pixtocam_ndc: Any = None,
  camtype: ProjectionType = ProjectionType.PERSPECTIVE,
  xnp: ModuleType = np,
) -> tuple[Any, Any, Any, Any, Any]:
  """(origins, directions, viewdirs, radii, imageplane) of pixels.

  Arguments as of `cameras.projection.pixels_to_rays`; leading axes broadcast.
  """
  found = projection.pixels_to_rays(
    pix_x_int,
    pix_y_int,
    pixtocams,
    camtoworlds,
    distortion=distortion_params,
    pixtocam_ndc=pixtocam_ndc,
    camtype=camtype,
    xnp=xnp,
  )
  return (
    found.origins,
    found.directions,
    found.viewdirs,
    found.radii,
    found.imageplane,
  )


def cast_ray_batch(
  cameras: tuple[Any, Any, Any, Any],
  pixels: types.Pixels,
  camtype: ProjectionType = ProjectionType.PERSPECTIVE,
  xnp: ModuleType = np,
) -> utils.Rays:
  """Rays of a batch of pixels of any leading shape.

  Args:
    cameras: A camera tuple, see above; its matrices are looked up by cam_idx
      where they have a leading axis.
    pixels: Which pixels; everything else in it is handed on.
    camtype: Projection type of all cameras.
    xnp: numpy or jax.numpy.
  """
  pixtocams, camtoworlds, distortion_params, pixtocam_ndc = cameras
  cam_idx = pixels.cam_idx[..., 0]
  pick = lambda x: x if x.ndim == 2 else x[cam_idx]
  if distortion_params is not None:
    distortion_params = {
      k: v if np.ndim(v) == 0 else v[cam_idx]
      for k, v in distortion_params.items()
    }
  origins, directions, viewdirs, radii, imageplane = pixels_to_rays(
    pixels.pix_x_int,
    pixels.pix_y_int,
    pick(pixtocams),
    pick(camtoworlds),
    distortion_params=distortion_params,
    pixtocam_ndc=pixtocam_ndc,
    camtype=camtype,
    xnp=xnp,
  )
  return utils.Rays(
    origins=origins,
    directions=directions,
    viewdirs=viewdirs,
    radii=radii,
    imageplane=imageplane,
    lossmult=pixels.lossmult,
    near=pixels.near,
    far=pixels.far,
    cam_idx=pixels.cam_idx,
    exposure_idx=pixels.exposure_idx,
    exposure_values=pixels.exposure_values,
  )


def cast_pinhole_rays(
  camtoworld: Any,
  height: int,
  width: int,
  focal: float,
  near: float,
  far: float,
  xnp: ModuleType,
) -> utils.Rays:
  """Rays [height, width] of an ideal pinhole image."""
  rays = projection.cast_pinhole_rays(
    camtoworld, height, width, focal, near, far, xnp=xnp
  )
  return utils.Rays(**vars(rays))


def cast_spherical_rays(
  camtoworld: Any,
  height: int,
  width: int,
  near: float,
  far: float,
  xnp: ModuleType,
) -> utils.Rays:
  """Rays [height, width] of a panorama, through the pixels' corners."""
  rays = projection.cast_spherical_rays(
    camtoworld, height, width, near, far, xnp=xnp
  )
  return utils.Rays(**vars(rays))
