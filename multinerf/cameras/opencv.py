"""Cameras as a handful of numbers each: for optimising and comparing them.

A pytree with the parameters that one moves (focal length, principal point,
orientation, position, distortion), in OpenCV axes, with the attributes of
`jaxcam.Camera`, on which CamP is built. `camera.Cameras` is what renders.
"""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from multinerf import errors
from multinerf.cameras import camera
from multinerf.ops import directional, numerics, rigid_body
from multinerf.ops import geometry as geometry_lib

_FLIP = (1.0, -1.0, -1.0)  # OpenGL's axes from OpenCV's, and back
_RADIAL, _TANGENTIAL = ('k1', 'k2', 'k3', 'k4'), ('p1', 'p2')


@flax.struct.dataclass
class Camera:
  """One camera, or cameras with any leading shape.

  Attributes:
    orientation: [..., 3, 3] world-to-camera rotation; rows are the camera's
      right, down and forward axes.
    position: [..., 3] centre, world units.
    focal_length: [...] along x, pixels.
    principal_point: [..., 2] pixels.
    image_size: [..., 2] width and height, pixels.
    skew: [...] pixels.
    pixel_aspect_ratio: [...] focal length along y over that along x.
    radial_distortion: [..., k] k1, ..., k4, or None.
    tangential_distortion: [..., 2] p1 and p2, or None.
    is_fisheye: Equidistant instead of perspective.
  """

  orientation: Any
  position: Any
  focal_length: Any
  principal_point: Any
  image_size: Any
  skew: Any
  pixel_aspect_ratio: Any
  radial_distortion: Any = None
  tangential_distortion: Any = None
  is_fisheye: bool = flax.struct.field(pytree_node=False, default=False)

  @property
  def shape(self) -> tuple[int, ...]:
    """The leading shape."""
    return jnp.shape(self.focal_length)

  @property
  def translation(self) -> Float[Array, '*batch 3']:
    """Where the world's origin is, in the camera's axes: -R position."""
    moved = numerics.matmul(self.orientation, self.position[..., None])
    return -moved[..., 0]

  @property
  def optical_axis(self) -> Float[Array, '*batch 3']:
    """Unit viewing direction in the world."""
    return self.orientation[..., 2, :]

  @property
  def has_radial_distortion(self) -> bool:
    """Whether there are k1, ..."""
    return self.radial_distortion is not None

  @property
  def has_tangential_distortion(self) -> bool:
    """Whether there are p1 and p2."""
    return self.tangential_distortion is not None

  @property
  def has_distortion(self) -> bool:
    """Whether there is any distortion."""
    return self.has_radial_distortion or self.has_tangential_distortion


def from_matrices(
  pixtocam: Float[Array, '*batch 3 3'],
  camtoworld: Float[Array, '*batch 3 4'],
  distortion: dict[str, Any] | None,
  *,
  image_size: Any,
  camtype: camera.ProjectionType,
) -> Camera:
  """Reads the numbers off the matrices that render.

  Args:
    pixtocam, camtoworld: Inverse intrinsics and pose (OpenGL axes).
    distortion: Any of k1 .. k4, p1, p2, or None.
    image_size: [..., 2] width and height.
    camtype: Perspective or fisheye.

  Raises:
    DataError: A panorama has no focal length.
  """
  if camtype is camera.ProjectionType.PANORAMIC:
    raise errors.DataError(
      'A panoramic camera has no focal length; only perspective and fisheye '
      'cameras can be taken apart.'
    )
  camtopix = jnp.linalg.inv(pixtocam)
  flipped = camtoworld[..., :3, :3] * jnp.array(_FLIP, camtoworld.dtype)
  focal = camtopix[..., 0, 0]
  return Camera(
    orientation=jnp.swapaxes(flipped, -1, -2),
    position=camtoworld[..., :3, 3],
    focal_length=focal,
    principal_point=camtopix[..., :2, 2],
    image_size=jnp.asarray(image_size),
    skew=camtopix[..., 0, 1],
    pixel_aspect_ratio=camtopix[..., 1, 1] / focal,
    radial_distortion=_stack(distortion, _RADIAL, focal),
    tangential_distortion=_stack(distortion, _TANGENTIAL, focal),
    is_fisheye=camtype is camera.ProjectionType.FISHEYE,
  )


def _stack(distortion, names, like) -> Array | None:
  """[..., k] of the coefficients up to the last one that is given."""
  given = [i for i, name in enumerate(names) if name in (distortion or {})]
  if not given:
    return None
  # Both tangential ones, or all radial ones up to the last.
  count = len(names) if names is _TANGENTIAL else given[-1] + 1
  zero = jnp.zeros_like(like)
  return jnp.stack([zero + distortion.get(k, 0) for k in names[:count]], -1)


def to_matrices(
  cam: Camera,
) -> tuple[
  Float[Array, '*batch 3 3'],
  Float[Array, '*batch 3 4'],
  dict[str, Any] | None,
]:
  """(pixtocam, camtoworld, distortion or None); inverse of `from_matrices`."""
  zero, one = jnp.zeros_like(cam.focal_length), jnp.ones_like(cam.focal_length)
  rows = [
    [cam.focal_length, cam.skew, cam.principal_point[..., 0]],
    [
      zero,
      cam.focal_length * cam.pixel_aspect_ratio,
      cam.principal_point[..., 1],
    ],
    [zero, zero, one],
  ]
  camtopix = jnp.stack([jnp.stack(row, -1) for row in rows], axis=-2)
  axes = jnp.swapaxes(cam.orientation, -1, -2) * jnp.array(_FLIP)
  pose = jnp.concatenate([axes, cam.position[..., None]], axis=-1)
  distortion = {}
  for names, values in (
    (_RADIAL, cam.radial_distortion),
    (_TANGENTIAL, cam.tangential_distortion),
  ):
    if values is not None:
      distortion |= {names[i]: values[..., i] for i in range(values.shape[-1])}
  return jnp.linalg.inv(camtopix), pose, distortion or None


def differences(truth: Camera, found: Camera) -> dict[str, Float[Array, '...']]:
  """How far cameras are from the truth, by quantity, each [...] and >= 0.

  Returns:
    focal_length, principal_points (pixels), position, translation_x, _y, _z
    (world units), orientation (degrees), and radial_distortion_i and
    tangential_distortion_i where `found` has them (a truth without them has
    zeros).
  """
  moved = jnp.abs(found.translation - truth.translation)
  length = lambda x: numerics.safe_sqrt(jnp.sum(x * x, axis=-1))
  out = {
    'focal_length': jnp.abs(found.focal_length - truth.focal_length),
    'position': length(found.position - truth.position),
    'translation_x': moved[..., 0],
    'translation_y': moved[..., 1],
    'translation_z': moved[..., 2],
    'orientation': rigid_body.rotation_distance(
      found.orientation, truth.orientation
    ),
    'principal_points': length(found.principal_point - truth.principal_point),
  }
  for name in ('radial_distortion', 'tangential_distortion'):
    values, wanted = getattr(found, name), getattr(truth, name)
    if values is None:
      continue
    for i in range(values.shape[-1]):
      known = wanted is not None and i < wanted.shape[-1]
      out[f'{name}_{i}'] = jnp.abs(
        values[..., i] - (wanted[..., i] if known else 0.0)
      )
  return out


def look_at(
  cam: Camera,
  eye: Float[Array, '*batch 3'],
  center: Float[Array, '*batch 3'],
  world_up: Float[Array, '*batch 3'],
) -> Camera:
  """The camera at `eye` that has `center` in front and `world_up` above.

  Args:
    cam: Everything else is its own.
    eye: New position.
    center: A point other than eye.
    world_up: Roughly up; not parallel to the view.
  """
  forward = directional.l2_normalize_exact(center - eye)
  right = directional.l2_normalize_exact(jnp.cross(forward, world_up))
  down = jnp.cross(forward, right)
  rows = jnp.stack([right, down, forward], axis=-2)
  return cam.replace(orientation=rows, position=eye)


@dataclasses.dataclass(frozen=True)
class Noise:
  """How strongly to perturb cameras.

  Attributes:
    look_at: Length of the offset of the point looked at, world units.
    position: Length of the offset of the position, world units.
    focal_length: Relative standard deviation of the focal length.
    dolly_z: The same of depth and focal length together (a dolly zoom).
    single_dolly: One dolly factor for all cameras.
    dolly_use_average: Give all cameras the mean depth, instead of noise.
  """

  look_at: float = 0.0
  position: float = 0.0
  focal_length: float = 0.0
  dolly_z: float = 0.0
  single_dolly: bool = True
  dolly_use_average: bool = False


def perturb(key: Array, cams: Camera, noise: Noise) -> Camera:
  """Moves cameras [n] at random (CamP, arXiv:2308.10902, Sec. 6).

  In this order: dolly zoom, focal length, position, and the point looked at,
  which is the one on the optical axis that is nearest to the world's origin.
  Relative noise is exp(N(0, 1) log(1 + sigma)).
  """
  dolly_key, focal_key, position_key, target_key = jax.random.split(key, 4)
  if noise.dolly_z > 0 or noise.dolly_use_average:
    cams = _dolly(dolly_key, cams, noise)
  spread = jax.random.normal(focal_key, cams.shape)
  factor = jnp.exp(spread * jnp.log1p(noise.focal_length))
  cams = cams.replace(focal_length=cams.focal_length * factor)
  target = geometry_lib.line_closest_point(
    cams.position, cams.optical_axis, jnp.zeros_like(cams.position)
  )
  unit = lambda k: directional.l2_normalize_exact(
    jax.random.normal(k, cams.position.shape)
  )
  return look_at(
    cams,
    cams.position + noise.position * unit(position_key),
    target + noise.look_at * unit(target_key),
    -cams.orientation[..., 1, :],
  )


def _dolly(key: Array, cams: Camera, noise: Noise) -> Camera:
  """Scales the depth of the origin and the focal length alike."""
  translation = cams.translation
  depth = translation[..., 2]
  if noise.dolly_use_average:
    new_depth = jnp.broadcast_to(jnp.mean(depth), depth.shape)
  else:
    shape = (1,) if noise.single_dolly else depth.shape
    spread = jax.random.normal(key, shape) * jnp.log1p(noise.dolly_z)
    new_depth = depth * jnp.exp(spread)
  translation = translation.at[..., 2].set(new_depth)
  back = numerics.matmul(
    jnp.swapaxes(cams.orientation, -1, -2), translation[..., None]
  )
  return cams.replace(
    position=-back[..., 0],
    focal_length=cams.focal_length * new_depth / depth,
  )
