"""The cameras of a scene: what the device needs to turn pixels into rays."""

import enum
from collections.abc import Mapping
from typing import Any

import flax.struct
import numpy as np

from multinerf import errors

DISTORTION_KEYS = ('k1', 'k2', 'k3', 'k4', 'p1', 'p2')


class ProjectionType(enum.Enum):
  """How a point on the image plane becomes a direction.

  The values are what gin's `Config.render_camtype` accepts.
  """

  PERSPECTIVE = 'perspective'
  FISHEYE = 'fisheye'  # equidistant: image radius = angle to the optical axis
  PANORAMIC = 'pano'  # equirectangular: x = azimuth, y = angle from world up


@flax.struct.dataclass
class Cameras:
  """n cameras, all of one projection type; a pytree without Python state.

  Build it with `make_cameras`, which checks and broadcasts.

  Attributes:
    pixtocams: [n, 3, 3] float32 inverse intrinsics, OpenCV axes.
    camtoworlds: [n, 3, 4] float32 poses, OpenGL axes.
    widths, heights: [n] int32 image sizes in pixels.
    near, far: [] or [n] float32 bounds of the ray parameter t.
    distortion: [n] float32 by name, a subset of `DISTORTION_KEYS`; None skips
      the undistortion altogether.
    pixtocam_ndc: [3, 3] float32 intrinsics of the NDC space, None = no NDC.
    lossmult: [n] float32 weight of each camera's rays in the loss, or None.
    exposure_idx: [n] int32 index of each camera's exposure setting, or None.
    exposure_values: [n] float32 relative exposures > 0, or None.
    scene_bbox: [2, 3] float32 corners of a box outside of which there is
      nothing to see, or None; crops near and far, see `bounds.crop_to_box`.
    z_range: [2] float32 heights between which the scene lies, or None; rays
      begin and end there, see `bounds.crop_to_heights`.
    camtype: Projection type (static under jit).
  """

  pixtocams: Any
  camtoworlds: Any
  widths: Any
  heights: Any
  near: Any
  far: Any
  distortion: dict[str, Any] | None = None
  pixtocam_ndc: Any = None
  lossmult: Any = None
  exposure_idx: Any = None
  exposure_values: Any = None
  scene_bbox: Any = None
  z_range: Any = None
  camtype: ProjectionType = flax.struct.field(
    pytree_node=False, default=ProjectionType.PERSPECTIVE
  )

  def __len__(self) -> int:
    return self.pixtocams.shape[0]

  def take(self, index: int | np.integer | slice | np.ndarray) -> 'Cameras':
    """The cameras at `index`, in that order; an int gives length 1.

    Raises:
      IndexError: An index is outside of [-n, n).
    """
    if isinstance(index, int | np.integer):
      index = np.array([index])

    def pick(x):
      return x if x is None or np.ndim(x) == 0 else x[index]

    distortion = self.distortion
    if distortion is not None:
      distortion = {k: pick(v) for k, v in distortion.items()}
    return self.replace(
      pixtocams=pick(self.pixtocams),
      camtoworlds=pick(self.camtoworlds),
      widths=pick(self.widths),
      heights=pick(self.heights),
      near=pick(self.near),
      far=pick(self.far),
      distortion=distortion,
      lossmult=pick(self.lossmult),
      exposure_idx=pick(self.exposure_idx),
      exposure_values=pick(self.exposure_values),
    )


def make_cameras(
  pixtocams: Any,
  camtoworlds: Any,
  *,
  widths: Any,
  heights: Any,
  near: Any,
  far: Any,
  distortion: Mapping[str, Any] | None = None,
  pixtocam_ndc: Any = None,
  lossmult: Any = None,
  exposure_idx: Any = None,
  exposure_values: Any = None,
  scene_bbox: Any = None,
  z_range: Any = None,
  camtype: ProjectionType = ProjectionType.PERSPECTIVE,
) -> Cameras:
  """Checks, broadcasts and casts the parts of `Cameras`.

  Args:
    pixtocams: [3, 3] shared or [n, 3, 3].
    camtoworlds: [n, 3, 4], or [n, 4, 4] whose last rows are dropped.
    widths, heights: One size for all or [n], pixels > 0.
    near, far: One number or [n], near < far.
    distortion: Numbers shared by all cameras or [n] arrays, by name; values
      of None count as absent, an empty mapping as None.
    pixtocam_ndc: [3, 3] or None.
    lossmult, exposure_idx, exposure_values: One number for all, [n] or None.
    scene_bbox, z_range: See `Cameras`.
    camtype: Projection type of all cameras.

  Returns:
    `Cameras` of numpy arrays, float32 and int32.

  Raises:
    DataError: A shape does not fit, a number is not finite, a distortion name
      is unknown, a size or an exposure is not positive, or near >= far.
  """
  poses = _checked_poses(camtoworlds)
  n = len(poses)
  given = {k: v for k, v in (distortion or {}).items() if v is not None}
  unknown = sorted(set(given) - set(DISTORTION_KEYS))
  if unknown:
    raise errors.DataError(
      f'Unknown distortion parameters {unknown}; known: {DISTORTION_KEYS}.'
    )
  cameras = Cameras(
    pixtocams=_fit('pixtocams', pixtocams, (n, 3, 3)),
    camtoworlds=_fit('camtoworlds', poses, (n, 3, 4)),
    widths=_fit('widths', widths, (n,), np.int32),
    heights=_fit('heights', heights, (n,), np.int32),
    near=_fit('near', near, (n,) if np.ndim(near) else ()),
    far=_fit('far', far, (n,) if np.ndim(far) else ()),
    distortion={k: _fit(k, v, (n,)) for k, v in given.items()} or None,
    pixtocam_ndc=None
    if pixtocam_ndc is None
    else _fit('pixtocam_ndc', pixtocam_ndc, (3, 3)),
    lossmult=_per_camera('lossmult', lossmult, n),
    exposure_idx=_per_camera('exposure_idx', exposure_idx, n, np.int32),
    exposure_values=_per_camera('exposure_values', exposure_values, n),
    scene_bbox=None
    if scene_bbox is None
    else _fit('scene_bbox', scene_bbox, (2, 3)),
    z_range=None if z_range is None else _fit('z_range', z_range, (2,)),
    camtype=camtype,
  )
  _check_numbers(cameras)
  return cameras


def _check_numbers(cameras: Cameras) -> None:
  """Raises DataError unless sizes, bounds and exposures make sense."""
  if min(cameras.widths.min(), cameras.heights.min()) <= 0:
    raise errors.DataError('Image widths and heights must be positive.')
  near, far = cameras.near, cameras.far
  if np.any(near >= far):
    raise errors.DataError(
      f'near = {near} must be smaller than far = {far} '
      '(gin: Config.near, Config.far).'
    )
  exposures = cameras.exposure_values
  if exposures is not None and exposures.min() <= 0:
    raise errors.DataError('Camera exposure_values must be positive.')


def _checked_poses(camtoworlds) -> np.ndarray:
  """[n, 3, 4] poses, n > 0."""
  poses = np.asarray(camtoworlds)
  if poses.ndim != 3 or poses.shape[1:] not in ((3, 4), (4, 4)):
    raise errors.DataError(
      f'Camera poses have shape {poses.shape}; need [n, 3, 4] or [n, 4, 4].'
    )
  if len(poses) == 0:
    raise errors.DataError('A scene needs at least one camera; found none.')
  return poses[:, :3]


def _per_camera(name, value, n, dtype=np.float32) -> np.ndarray | None:
  return None if value is None else _fit(name, value, (n,), dtype)


def _fit(name, value, shape, dtype=np.float32) -> np.ndarray:
  """A finite, contiguous copy of `value`, broadcast to `shape`."""
  array = np.asarray(value)
  try:
    array = np.array(np.broadcast_to(array, shape))
  except ValueError:
    raise errors.DataError(
      f'Camera {name} have shape {array.shape}; need {shape}.'
    ) from None
  if not np.isfinite(array).all():
    bad = np.argwhere(~np.isfinite(array))[0].tolist()
    raise errors.DataError(
      f'Camera {name} hold {array[tuple(bad)]} at index {bad}; '
      'all numbers must be finite.'
    )
  return array.astype(dtype)
