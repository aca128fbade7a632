"""Pixels to rays and back.

The same code serves the host and the device: every function takes `xnp`, the
module to compute with, numpy or jax.numpy. Leading axes broadcast, so that
one intrinsic matrix or one pose may serve a whole image.

Pixel (x, y), x to the right and y downwards, has its centre at
(x + 1/2, y + 1/2). Facts: behaviour.md section 2, and MultiNeRF
internal/camera_utils.py@5b4d4f6, where the numbers of the tests come from.
"""

import dataclasses
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from multinerf.cameras import bounds, camera, lens
from multinerf.types import Pixels, Rays

AnyArray = lens.AnyArray
Number = float | np.number | Array | np.ndarray  # one number, of any kind
ProjectionType = camera.ProjectionType

# A uniform distribution of width a has the standard deviation a / sqrt(12);
# a cone of radius r has r / 2 (mip-NeRF, arXiv:2103.13415, section 3.1).
_RADIUS_PER_PIXEL = 2 / np.sqrt(12)


@flax.struct.dataclass
class RayGeometry:
  """What geometry alone says about a ray; fields as in `types.Rays`."""

  origins: Any
  directions: Any
  viewdirs: Any
  radii: Any
  imageplane: Any


def intrinsic_matrix(
  fx: Number, fy: Number, cx: Number, cy: Number, xnp: ModuleType = np
) -> Float[AnyArray, '3 3']:
  """Pinhole camera-to-pixel matrix; all arguments in pixels."""
  return xnp.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def get_pixtocam(
  focal: Number, width: Number, height: Number, xnp: ModuleType = np
) -> Float[AnyArray, '3 3']:
  """Inverse intrinsics of a pinhole with a centred principal point."""
  return xnp.array(
    [
      [1.0 / focal, 0.0, -0.5 * width / focal],
      [0.0, 1.0 / focal, -0.5 * height / focal],
      [0.0, 0.0, 1.0],
    ]
  )


def get_pano_pixtocam(
  width: Number, height: Number, *, corners: bool = False
) -> Float[np.ndarray, '3 3']:
  """Pixel-to-angle matrix of a full panorama, for `ProjectionType.PANORAMIC`.

  The image spans azimuths [0, 2 pi] and polar angles [0, pi]; the centre of
  the image looks along the camera's -z.

  Args:
    width, height: Size of the panorama in pixels.
    corners: Whether a pixel looks where its top left corner is, as
      MultiNeRF's panoramas do; by default it looks through its centre, as
      everywhere else.
  """
  step_x, step_y = 2 * np.pi / width, np.pi / height
  shift = 0.5 if corners else 0.0
  return np.array(
    [
      [step_x, 0.0, -shift * step_x],
      [0.0, step_y, -shift * step_y],
      [0.0, 0.0, 1.0],
    ]
  )


def pixel_coordinates(
  width: int, height: int, xnp: ModuleType = np
) -> tuple[Num[AnyArray, 'h w'], Num[AnyArray, 'h w']]:
  """Integer columns and rows (x, y) of every pixel of an image."""
  x, y = xnp.meshgrid(xnp.arange(width), xnp.arange(height), indexing='xy')
  return x, y


def convert_to_ndc(
  origins: Num[AnyArray, '*batch 3'],
  directions: Num[AnyArray, '*batch 3'],
  pixtocam: Num[AnyArray, '3 3'],
  near: float = 1.0,
  xnp: ModuleType = np,
) -> tuple[Num[AnyArray, '*batch 3'], Num[AnyArray, '*batch 3']]:
  """Rays in the normalised device coordinates of a forward-facing scene.

  t in [0, 1] of the new ray covers the near plane z = -near to infinity
  (NeRF, arXiv:2003.08934, appendix C). Directions must have z < 0: a ray that
  runs parallel to the near plane divides by zero, one that runs backwards
  gives a mirrored line.

  Args:
    origins, directions: Rays in a world whose cameras look along -z.
    pixtocam: Inverse intrinsics with the principal point at the centre.
    near: Distance of the near plane, > 0.
    xnp: numpy or jax.numpy.

  Returns:
    Origins on the near plane of NDC (z = -1) and directions.
  """
  to_near = -(near + origins[..., 2:]) / directions[..., 2:]
  origins = origins + to_near * directions
  # -2 f / width and -2 f / height: the principal point is half of the size.
  scale = xnp.stack([1.0 / pixtocam[0, 2], 1.0 / pixtocam[1, 2]])
  start = scale * origins[..., :2] / origins[..., 2:]
  end = scale * directions[..., :2] / directions[..., 2:]
  ones = xnp.ones_like(start[..., :1])
  return (
    xnp.concatenate([start, -ones], -1),
    xnp.concatenate([end - start, 2.0 * ones], -1),
  )


def pixels_to_rays(
  pix_x_int: Num[AnyArray, '*pix'],
  pix_y_int: Num[AnyArray, '*pix'],
  pixtocams: Num[AnyArray, '*k 3 3'],
  camtoworlds: Num[AnyArray, '*p 3 4'],
  *,
  distortion: Mapping[str, Any] | None = None,
  pixtocam_ndc: Num[AnyArray, '3 3'] | None = None,
  camtype: ProjectionType = ProjectionType.PERSPECTIVE,
  xnp: ModuleType = np,
) -> RayGeometry:
  """Casts a ray through the centre of each pixel.

  Args:
    pix_x_int, pix_y_int: Columns and rows.
    pixtocams: Inverse intrinsics; leading axes broadcast with the pixels'.
    camtoworlds: Poses; leading axes broadcast with the pixels'.
    distortion: See `lens.distort`; arrays broadcast with the pixels. None skips it.
    pixtocam_ndc: Makes NDC rays of that camera; None stays in the world.
    camtype: Projection type.
    xnp: numpy or jax.numpy.

  Returns:
    Origins, directions, viewdirs [..., 3], radii [..., 1] and imageplane
    [..., 2]. Directions of a perspective camera have depth 1 along its axis,
    of the others unit length; viewdirs are unit vectors in the world, also
    under NDC. imageplane is the direction's x, y in the camera's OpenGL axes
    (for a perspective camera the point on the plane z = -1). A radius
    is 2 / sqrt(12) times the mean distance to the rays of the right and the
    lower neighbour: between directions, or between origins under NDC.
  """
  # The pixel, its right and its lower neighbour, along a new leading axis.
  x = xnp.stack([pix_x_int + 0.5, pix_x_int + 1.5, pix_x_int + 0.5])
  y = xnp.stack([pix_y_int + 0.5, pix_y_int + 0.5, pix_y_int + 1.5])
  x, y, z = _transform(pixtocams, (x, y, xnp.ones_like(x)))
  if distortion is not None:
    x, y = lens.undistort(x, y, distortion, xnp)
    z = xnp.ones_like(x)
  x, y, z = lens.plane_to_camera(x, y, z, camtype, xnp)
  imageplane = xnp.stack([x[0], -y[0]], -1)
  # OpenCV to OpenGL axes, then to the world.
  rays = xnp.stack(_transform(camtoworlds[..., :3], (x, -y, -z)), -1)
  origins = xnp.broadcast_to(camtoworlds[..., 3], rays.shape[1:])
  directions = rays[0]
  viewdirs = directions / xnp.linalg.norm(directions, axis=-1, keepdims=True)
  if pixtocam_ndc is None:
    gap_x, gap_y = rays[1] - rays[0], rays[2] - rays[0]
  else:
    ndc, ndc_directions = convert_to_ndc(
      xnp.broadcast_to(origins, rays.shape), rays, pixtocam_ndc, xnp=xnp
    )
    origins, directions = ndc[0], ndc_directions[0]
    gap_x, gap_y = ndc[1] - ndc[0], ndc[2] - ndc[0]
  mean_gap = 0.5 * (
    xnp.linalg.norm(gap_x, axis=-1, keepdims=True)
    + xnp.linalg.norm(gap_y, axis=-1, keepdims=True)
  )
  return RayGeometry(
    origins=origins,
    directions=directions,
    viewdirs=viewdirs,
    radii=mean_gap * float(_RADIUS_PER_PIXEL),
    imageplane=imageplane,
  )


def points_to_pixels(
  points: Num[AnyArray, '*batch 3'],
  pixtocams: Num[AnyArray, '*k 3 3'],
  camtoworlds: Num[AnyArray, '*p 3 4'],
  *,
  distortion: Mapping[str, Any] | None = None,
  camtype: ProjectionType = ProjectionType.PERSPECTIVE,
  xnp: ModuleType = np,
) -> tuple[Num[AnyArray, '*out 2'], Num[AnyArray, '*out']]:
  """Projects world points; the inverse of `pixels_to_rays` without NDC.

  Args:
    points: World points.
    pixtocams, camtoworlds, distortion, camtype, xnp: See `pixels_to_rays`;
      leading axes broadcast with the points'.

  Returns:
    Pixel coordinates (x, y), whole numbers at pixel centres, and the t at
    which the ray of that pixel meets the point: depth along the optical axis
    for a perspective camera (negative behind it, where the pixel is that of
    the mirrored point; 0 on its plane, where the pixel is not finite),
    distance for a fisheye and a panorama.
  """
  offset = points - camtoworlds[..., 3]
  world_to_cam = xnp.linalg.inv(camtoworlds[..., :3])
  x, y, z = _transform(world_to_cam, tuple(xnp.moveaxis(offset, -1, 0)))
  x, y, t = lens.camera_to_plane(x, -y, -z, camtype, xnp)
  if distortion is not None:
    x, y = lens.distort(x, y, distortion)
  u, v, w = _transform(xnp.linalg.inv(pixtocams), (x, y, xnp.ones_like(x)))
  return xnp.stack([u / w - 0.5, v / w - 0.5], -1), t


def cast_ray_batch(cameras: camera.Cameras, pixels: Pixels) -> Rays:
  """Rays of a batch of pixels, on the device; made to run inside of jit.

  Args:
    cameras: Of n cameras. With n = 1 cam_idx is not looked at and nothing is
      gathered.
    pixels: Of any leading shape; cam_idx in [0, n). An index outside gives
      NaN rays instead of another camera's.

  Returns:
    float32 rays. near, far, lossmult and the exposures are the pixels' if
    given, else the cameras'; then they are cropped to the cameras' bounds.
  """
  cam_idx = jnp.asarray(pixels.cam_idx)[..., 0]
  single = len(cameras) == 1

  def per_ray(x):
    x = jnp.asarray(x)
    if single:
      return x[0]
    # Outside: NaN for floats, the least number for integers.
    return jnp.take(x, cam_idx, axis=0, mode='fill')

  def own(given, x):
    if given is not None or x is None:
      return given
    x = jnp.asarray(x)
    x = (x if x.ndim == 0 else per_ray(x))[..., None]
    return jnp.broadcast_to(x, (*cam_idx.shape, 1))

  distortion, ndc = cameras.distortion, cameras.pixtocam_ndc
  geometry = pixels_to_rays(
    jnp.asarray(pixels.pix_x_int),
    jnp.asarray(pixels.pix_y_int),
    per_ray(cameras.pixtocams),
    per_ray(cameras.camtoworlds),
    distortion=None
    if distortion is None
    else jax.tree.map(per_ray, distortion),
    pixtocam_ndc=None if ndc is None else jnp.asarray(ndc),
    camtype=cameras.camtype,
    xnp=jnp,
  )
  rays = Rays(
    **_fields(geometry),
    near=own(pixels.near, cameras.near),
    far=own(pixels.far, cameras.far),
    cam_idx=pixels.cam_idx,
    lossmult=own(pixels.lossmult, cameras.lossmult),
    exposure_idx=own(pixels.exposure_idx, cameras.exposure_idx),
    exposure_values=own(pixels.exposure_values, cameras.exposure_values),
  )
  return bounds.crop(rays, cameras, jnp)


def image_pixels(cameras: camera.Cameras, i: int) -> Pixels:
  """All pixels of camera i, [height, width] in numpy; cam_idx is i >= 0."""
  i = range(len(cameras))[i]
  x, y = pixel_coordinates(int(cameras.widths[i]), int(cameras.heights[i]))
  return Pixels(
    pix_x_int=x.astype(np.int32),
    pix_y_int=y.astype(np.int32),
    cam_idx=np.full((*x.shape, 1), i, np.int32),
  )


def cast_pinhole_rays(
  camtoworld: Num[AnyArray, '3 4'],
  height: int,
  width: int,
  focal: Number,
  near: Number,
  far: Number,
  *,
  xnp: ModuleType = np,
) -> Rays:
  """Rays of a whole ideal pinhole image, [height, width].

  Args:
    camtoworld: Pose.
    height, width, focal: In pixels; the principal point is centred.
    near, far: Bounds of t for every ray.
    xnp: numpy or jax.numpy.

  Returns:
    Rays with lossmult 1 and cam_idx 0.
  """
  pixtocam = get_pixtocam(focal, width, height, xnp)
  x, y = pixel_coordinates(width, height, xnp)
  geometry = pixels_to_rays(x, y, pixtocam, camtoworld, xnp=xnp)
  return _image_rays(geometry, near, far, xnp)


def cast_spherical_rays(
  camtoworld: Num[AnyArray, '3 4'],
  height: int,
  width: int,
  near: Number,
  far: Number,
  *,
  xnp: ModuleType = np,
) -> Rays:
  """Rays of a whole panorama as MultiNeRF casts them, [height, width].

  They look at the pixels' top left corners, see `get_pano_pixtocam`, and have
  an imageplane of 0. A camera of type PANORAMIC looks at pixel centres.

  Args:
    camtoworld: Pose.
    height, width: Pixels that span pi and 2 pi radians.
    near, far: Bounds of t = distance for every ray.
    xnp: numpy or jax.numpy.

  Returns:
    Rays with lossmult 1 and cam_idx 0.
  """
  x, y = pixel_coordinates(width, height, xnp)
  geometry = pixels_to_rays(
    x,
    y,
    xnp.asarray(get_pano_pixtocam(width, height, corners=True)),
    camtoworld,
    camtype=ProjectionType.PANORAMIC,
    xnp=xnp,
  )
  geometry = geometry.replace(imageplane=xnp.zeros_like(geometry.imageplane))
  return _image_rays(geometry, near, far, xnp)


def _image_rays(geometry, near, far, xnp) -> Rays:
  """Completes the rays of one image with constants."""
  ones = xnp.ones_like(geometry.radii)
  return Rays(
    **_fields(geometry),
    near=near * ones,
    far=far * ones,
    cam_idx=xnp.zeros_like(ones, dtype=int),
    lossmult=ones,
  )


def _fields(geometry: RayGeometry) -> dict[str, Any]:
  """The arrays by name, not copied (`dataclasses.asdict` copies)."""
  return {
    f.name: getattr(geometry, f.name) for f in dataclasses.fields(geometry)
  }


def _transform(matrix, vector):
  """[..., 3, 3] times a vector given as its three components.

  Written out instead of a matmul: exact float32 on every accelerator whatever
  the matmul precision (TF32, bfloat16), and it fuses with its neighbours.
  """
  x, y, z = vector
  return tuple(
    matrix[..., i, 0] * x + matrix[..., i, 1] * y + matrix[..., i, 2] * z
    for i in range(3)
  )
