"""A COLMAP model as plain arrays, for the report."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from multinerf.capture import files


@dataclasses.dataclass(frozen=True)
class Lens:
  """Intrinsics of one camera.

  Attributes:
    model: COLMAP's name of the lens model.
    width, height: In pixels.
    params: By name, in COLMAP's order, e.g. {'fx': 1200.0, ...}.
    num_images: How many placed images are by this camera.
  """

  model: str
  width: int
  height: int
  params: dict[str, float]
  num_images: int


@dataclasses.dataclass(frozen=True)
class Model:
  """Cameras and points, in COLMAP's frame.

  Attributes:
    names: The n placed images, sorted by name.
    camtoworlds: [n, 3, 4] poses; axes right, down, forward (OpenCV).
    tangents: [n, 2] tangent of half the field of view, across and down.
    num_observations: [n] points seen by each image.
    xyz: [m, 3] points.
    rgb: [m, 3] their colours.
    reprojection: [m] mean reprojection error of each point, pixels of the
      images as they are in images/.
    track_lengths: [m] how many images see each point.
    lenses: One per camera.
  """

  names: tuple[str, ...]
  camtoworlds: Float[np.ndarray, 'n 3 4']
  tangents: Float[np.ndarray, 'n 2']
  num_observations: Int[np.ndarray, ' n']
  xyz: Float[np.ndarray, 'm 3']
  rgb: UInt8[np.ndarray, 'm 3']
  reprojection: Float[np.ndarray, ' m']
  track_lengths: Int[np.ndarray, ' m']
  lenses: tuple[Lens, ...]

  @property
  def mean_track_length(self) -> float:
    """Images per point; 0 without points."""
    return float(self.track_lengths.mean()) if len(self.xyz) else 0.0

  @property
  def mean_reprojection(self) -> float:
    """Mean over points of their error, in pixels; 0 without points."""
    return float(self.reprojection.mean()) if len(self.xyz) else 0.0


def from_pycolmap(reconstruction: Any) -> Model:
  """Reads a pycolmap.Reconstruction."""
  placed = sorted(
    (reconstruction.image(i) for i in reconstruction.reg_image_ids()),
    key=lambda image: image.name,
  )
  points = list(reconstruction.points3D.values())
  used = [image.camera_id for image in placed]
  return Model(
    names=tuple(image.name for image in placed),
    camtoworlds=_stack([_pose(image) for image in placed], (3, 4)),
    tangents=_stack([_tangent(image.camera) for image in placed], (2,)),
    num_observations=np.array([i.num_points3D for i in placed], np.int64),
    xyz=_stack([p.xyz for p in points], (3,)),
    rgb=_stack([p.color for p in points], (3,), np.uint8),
    reprojection=np.array([p.error for p in points], np.float64),
    track_lengths=np.array([p.track.length() for p in points], np.int64),
    lenses=tuple(
      _lens(reconstruction.camera(i), used.count(i)) for i in sorted(set(used))
    ),
  )


def write(reconstructions: Sequence[Any], scene: pathlib.Path) -> None:
  """Writes sparse/0, sparse/1, ... in COLMAP's binary format, in this order."""
  for i, reconstruction in enumerate(reconstructions):
    folder = scene / 'sparse' / str(i)
    folder.mkdir(parents=True)
    with files.explained(scene):
      reconstruction.write_binary(str(folder))


def _stack(
  rows: Sequence[Any],
  shape: tuple[int, ...],
  dtype: np.typing.DTypeLike = np.float64,
) -> np.ndarray:
  return np.array(rows, dtype).reshape(len(rows), *shape)


def _pose(image: Any) -> np.ndarray:
  """Camera to world, [3, 4]."""
  world_from_cam = image.cam_from_world().inverse()
  return np.asarray(world_from_cam.matrix())


def _tangent(camera: Any) -> np.ndarray:
  """Half the field of view; distortion is left out of account."""
  return np.array(
    [
      camera.width / (2 * camera.focal_length_x),
      camera.height / (2 * camera.focal_length_y),
    ]
  )


def _lens(camera: Any, num_images: int) -> Lens:
  names = [name.strip() for name in camera.params_info.split(',')]
  return Lens(
    model=str(camera.model_name),
    width=int(camera.width),
    height=int(camera.height),
    params=dict(zip(names, map(float, camera.params), strict=True)),
    num_images=num_images,
  )
