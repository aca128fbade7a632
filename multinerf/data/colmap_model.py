"""What a COLMAP reconstruction says, and its camera models.

Formats and models: https://colmap.github.io/format.html and COLMAP's
src/colmap/sensor/models.h; nothing of COLMAP is needed to read them.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int, UInt8

from multinerf import errors
from multinerf.cameras import camera, projection

MAX_SIDE = 2**20  # pixels; a camera larger than this is damage

# Number in the binary files -> name and parameters, in COLMAP's order.
# 'f' stands for both fx and fy.
MODELS: Mapping[int, tuple[str, str]] = {
  0: ('SIMPLE_PINHOLE', 'f cx cy'),
  1: ('PINHOLE', 'fx fy cx cy'),
  2: ('SIMPLE_RADIAL', 'f cx cy k1'),
  3: ('RADIAL', 'f cx cy k1 k2'),
  4: ('OPENCV', 'fx fy cx cy k1 k2 p1 p2'),
  5: ('OPENCV_FISHEYE', 'fx fy cx cy k1 k2 k3 k4'),
  6: ('FULL_OPENCV', 'fx fy cx cy k1 k2 p1 p2 k3 d1 d2 d3'),
  7: ('FOV', 'fx fy cx cy omega'),
  8: ('SIMPLE_RADIAL_FISHEYE', 'f cx cy k1'),
  9: ('RADIAL_FISHEYE', 'f cx cy k1 k2'),
  10: ('THIN_PRISM_FISHEYE', 'fx fy cx cy k1 k2 p1 p2 k3 k4 s1 s2'),
  11: (
    'RAD_TAN_THIN_PRISM_FISHEYE',
    'fx fy cx cy k1 k2 k3 k4 k5 k6 p1 p2 s1 s2 s3 s4',
  ),
  12: ('SIMPLE_DIVISION', 'f cx cy division'),
  13: ('DIVISION', 'fx fy cx cy division'),
  14: ('SIMPLE_FISHEYE', 'f cx cy'),
  15: ('FISHEYE', 'fx fy cx cy'),
  16: ('EUCM', 'fx fy cx cy alpha beta'),
  17: ('EQUIRECTANGULAR', 'w h'),
}
MODEL_IDS = {name: number for number, (name, _) in MODELS.items()}

# Models that our lens has no formula for, whatever their parameters.
_UNREPRESENTABLE = (
  *('FOV', 'RAD_TAN_THIN_PRISM_FISHEYE', 'SIMPLE_DIVISION', 'DIVISION'),
  'EUCM',
)
# The same unless they are 0: denominators, thin prisms.
_MUST_BE_ZERO = ('d1', 'd2', 'd3', 's1', 's2')


@dataclasses.dataclass(frozen=True)
class ColmapCamera:
  """One lens and sensor.

  Attributes:
    model: Name of the model, a key of `MODEL_IDS`.
    width, height: Pixels.
    params: In the model's order.
  """

  model: str
  width: int
  height: int
  params: Float[np.ndarray, ' k']


@dataclasses.dataclass(frozen=True)
class ColmapImage:
  """One registered image.

  Attributes:
    name: Path below the image folder.
    camera_id: Key of its camera.
    qvec: [4] world-to-camera rotation, quaternion w, x, y, z.
    tvec: [3] world-to-camera translation, OpenCV axes.
    xy: [m, 2] observed features, pixels; first pixel's centre at (0.5, 0.5).
    point_ids: [m] point seen by each feature, -1 for none.
  """

  name: str
  camera_id: int
  qvec: Float[np.ndarray, '4']
  tvec: Float[np.ndarray, '3']
  xy: Float[np.ndarray, 'm 2']
  point_ids: Int[np.ndarray, ' m']


@dataclasses.dataclass(frozen=True)
class ColmapPoints:
  """Triangulated points.

  Attributes:
    ids: [m] as `ColmapImage.point_ids` calls them.
    xyz: [m, 3] world positions.
    rgb: [m, 3] colours.
    errors: [m] mean reprojection error, pixels; negative if unknown.
  """

  ids: Int[np.ndarray, ' m']
  xyz: Float[np.ndarray, 'm 3']
  rgb: UInt8[np.ndarray, 'm 3']
  errors: Float[np.ndarray, ' m']


@dataclasses.dataclass(frozen=True)
class Intrinsics:
  """A camera as `cameras.camera` describes it.

  Attributes:
    pixtocam: [3, 3] inverse intrinsics.
    distortion: Non-zero parameters by name.
    camtype: Projection type.
  """

  pixtocam: Float[np.ndarray, '3 3']
  distortion: Mapping[str, float]
  camtype: camera.ProjectionType


def num_params(model: str) -> int:
  """How many parameters a model has."""
  return len(MODELS[MODEL_IDS[model]][1].split())


def intrinsics(cam: ColmapCamera, where: str) -> Intrinsics:
  """Translates a camera.

  Args:
    cam: With the number of parameters of its model.
    where: For the message.

  Raises:
    DataError: The model, with these parameters, cannot be represented.
  """
  names = MODELS[MODEL_IDS[cam.model]][1].split()
  params = dict(zip(names, map(float, cam.params), strict=True))
  odd = [k for k in _MUST_BE_ZERO if params.pop(k, 0.0) != 0]
  if cam.model in _UNREPRESENTABLE or odd:
    raise errors.DataError(
      f'{where} is of the COLMAP model {cam.model}, which cannot be '
      'represented'
      + (' with these parameters' if odd else '')
      + '; undistort the images (colmap image_undistorter) or reconstruct '
      'with OPENCV or OPENCV_FISHEYE.'
    )
  if cam.model == 'EQUIRECTANGULAR':
    pixtocam = projection.get_pano_pixtocam(cam.width, cam.height)
    return Intrinsics(pixtocam, {}, camera.ProjectionType.PANORAMIC)
  fx, fy = (params.pop(k, params.get('f', 0.0)) for k in ('fx', 'fy'))
  params.pop('f', None)
  cx, cy = params.pop('cx'), params.pop('cy')
  if not 0 < min(fx, fy) < np.inf:
    raise errors.DataError(
      f'{where} has a focal length of {fx:g}, {fy:g} pixels; it must be '
      'positive.'
    )
  with np.errstate(over='ignore', divide='ignore', invalid='ignore'):
    x, y = 1.0 / np.array([fx, fy])
    pixtocam = np.array([[x, 0, -cx * x], [0, y, -cy * y], [0, 0, 1.0]])
  fisheye = 'FISHEYE' in cam.model
  return Intrinsics(
    pixtocam,
    {k: v for k, v in params.items() if v != 0},
    camera.ProjectionType.FISHEYE
    if fisheye
    else camera.ProjectionType.PERSPECTIVE,
  )


def camtoworlds(
  qvecs: Float[np.ndarray, 'n 4'], tvecs: Float[np.ndarray, 'n 3']
) -> Float[np.ndarray, 'n 3 4']:
  """World-to-camera quaternions and translations to OpenGL poses.

  Quaternions are normalised; what is not finite, or 0, becomes NaN.
  """
  with np.errstate(all='ignore'):
    largest = np.abs(qvecs).max(-1, keepdims=True)
    q = qvecs / largest
    w, x, y, z = (q / np.linalg.norm(q, axis=-1, keepdims=True)).T
    rows = [
      [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
      [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
      [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    to_world = np.stack([np.stack(row, -1) for row in rows], -1)  # transposed
    centre = -np.einsum('nij,nj->ni', to_world, tvecs)
  # OpenCV to OpenGL: y and z of the camera turn round.
  flipped = to_world * np.array([1.0, -1.0, -1.0])
  return np.concatenate([flipped, centre[..., None]], -1)
