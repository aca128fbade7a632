"""The scene frame of posed photographs, and what is measured in it."""

import dataclasses

import numpy as np
from jaxtyping import Float

from multinerf import errors
from multinerf.cameras import camera, poses, projection
from multinerf.data import base, photo_set

# LLFF's rule: the nearest depth of a forward-facing scene becomes 1 / 0.75.
_BOUND_SCALE = 0.75
# LLFF's bounds: the depths that all but this share of the points exceed.
_BOUND_PERCENTILES = (0.1, 99.9)


@dataclasses.dataclass(frozen=True)
class SceneFrame:
  """Cameras and points after normalisation.

  Attributes:
    camtoworlds: [n, 3, 4] in the scene's frame.
    world_transform: [4, 4] similarity from the input's frame to the scene's.
    bounds: Nearest and farthest depth of what is seen, scene units, or None.
    ndc: Whether rays are cast in normalised device coordinates.
  """

  camtoworlds: Float[np.ndarray, 'n 3 4']
  world_transform: Float[np.ndarray, '4 4']
  bounds: tuple[float, float] | None
  ndc: bool

  @property
  def scale(self) -> float:
    """Scene units per input unit."""
    return float(np.cbrt(np.linalg.det(self.world_transform[:3, :3])))


def normalize(
  cfg: base.DataConfig, photos: photo_set.Photographs
) -> SceneFrame:
  """Moves all cameras, of both splits, into the scene's frame.

  Raises:
    ConfigError: `forward_facing` with cameras that NDC cannot serve.
    DataError: `forward_facing` without any depth bounds.
  """
  camtoworlds = np.asarray(photos.camtoworlds, np.float64)
  bounds = _bounds(photos)
  if cfg.forward_facing:
    return _forward_facing(photos, camtoworlds, bounds)
  moved, transform = _normalized(cfg, camtoworlds)
  frame = SceneFrame(moved, transform, None, ndc=False)
  if bounds is not None:
    near, far = bounds.min() * frame.scale, bounds.max() * frame.scale
    frame = dataclasses.replace(frame, bounds=(float(near), float(far)))
  return frame


def _normalized(cfg, camtoworlds):
  """The moved cameras [n, 3, 4], and the transform [4, 4] that moved them."""
  if cfg.transform_poses_fn is not None:
    moved, transform = cfg.transform_poses_fn(camtoworlds)
    if (np.shape(moved), np.shape(transform)) != (camtoworlds.shape, (4, 4)):
      raise errors.ConfigError(
        'Config.transform_poses_fn must return poses of the shape '
        f'{camtoworlds.shape} and a transform of (4, 4); got '
        f'{np.shape(moved)} and {np.shape(transform)}.'
      )
    return np.asarray(moved), np.asarray(transform)
  known = {
    'pca': poses.transform_poses_pca,
    'focus': poses.transform_poses_focus,
    'none': lambda camtoworlds: (camtoworlds, np.eye(4)),
  }
  if cfg.normalize_poses not in known:
    raise errors.ConfigError(
      f'Unknown Config.normalize_poses {cfg.normalize_poses!r}; known: '
      f'{", ".join(known)}.'
    )
  return known[cfg.normalize_poses](camtoworlds)


def move_points(frame: SceneFrame, points: base.Points) -> base.Points:
  """Scene points in the scene's frame."""
  matrix = frame.world_transform
  xyz = points.xyz @ matrix[:3, :3].T + matrix[:3, 3]
  return dataclasses.replace(points, xyz=xyz)


def ndc_t(
  points: Float[np.ndarray, '*n 3'],
) -> Float[np.ndarray, '*n']:
  """Ray parameter t of points before forward-facing cameras, under NDC.

  In [0, 1] from the near plane z = -1 to infinity, whatever the ray; negative
  before the near plane, not finite or above 1 behind the cameras.
  """
  with np.errstate(divide='ignore'):
    return 1.0 + 1.0 / points[..., 2]


def _forward_facing(photos, camtoworlds, bounds) -> SceneFrame:
  """Scaled so that the nearest depth is 1 / 0.75, and recentred."""
  if photos.camtype is not camera.ProjectionType.PERSPECTIVE:
    raise errors.ConfigError(
      f'Config.forward_facing needs perspective cameras; {photos.folder} has '
      f'{photos.camtype.value} ones.'
    )
  if bounds is None:
    raise errors.DataError(
      f'{photos.folder} says nothing about depths, which '
      'Config.forward_facing needs: add poses_bounds.npy or the points3D of '
      'COLMAP.'
    )
  if not 0 < bounds.min() <= bounds.max() < np.inf:
    raise errors.DataError(
      f'{photos.folder}: depth bounds from {bounds.min():g} to '
      f'{bounds.max():g} are not positive (poses_bounds.npy).'
    )
  scale = 1.0 / (_BOUND_SCALE * bounds.min())
  scaled = camtoworlds.copy()
  scaled[:, :, 3] *= scale
  moved, recentre = poses.recenter_poses(scaled)
  transform = recentre @ np.diag([scale, scale, scale, 1.0])
  near, far = float(bounds.min() * scale), float(bounds.max() * scale)
  return SceneFrame(moved, transform, (near, far), ndc=True)


def _bounds(photos: photo_set.Photographs) -> np.ndarray | None:
  """[k, 2] depth bounds in input units: the format's, or the points'."""
  if photos.bounds is not None:
    return np.asarray(photos.bounds, np.float64)
  seen = photos.observations
  if seen is None or photos.points is None or not len(seen.cam_idx):
    return None
  pose = np.asarray(photos.camtoworlds, np.float64)[seen.cam_idx]
  offset = photos.points.xyz[seen.point_idx] - pose[:, :, 3]
  depth = -np.einsum('ni,ni->n', offset, pose[:, :, 2])
  by_camera = np.argsort(seen.cam_idx, kind='stable')
  parts = np.split(
    depth[by_camera],
    np.flatnonzero(np.diff(seen.cam_idx[by_camera])) + 1,
  )
  bounds = [
    np.percentile(part[part > 0], _BOUND_PERCENTILES)
    for part in parts
    if np.any(part > 0)
  ]
  return np.stack(bounds) if bounds else None


def keypoints(
  photos: photo_set.Photographs,
  frame: SceneFrame,
  cameras: camera.Cameras,
  index: np.ndarray,
  masks: base.PixelBuffer | None,
) -> base.Keypoints:
  """Pixels at which scene points were seen, with the t of the points.

  Weights are exp(-(e / mean e)^2) of the point's reprojection error e, the
  mean over the points (DS-NeRF, arXiv:2107.02791, section 3.3).

  Args:
    photos: The photographs.
    frame: Their frame.
    cameras: Of the split, at the resolution that is used.
    index: [k] which photographs these are.
    masks: Of the split; masked pixels are left out.

  Raises:
    DataError: There are no points, or it is not known who sees them.
  """
  seen, points = photos.observations, photos.points
  if points is None or seen is None:
    raise errors.DataError(
      f'{photos.folder} has no points that its images see; set '
      "Config.depth_source = 'maps' or Config.depth_loss_mult = 0."
    )
  place = np.full(len(photos), -1)
  place[index] = np.arange(len(index))
  cam = place[seen.cam_idx]
  here = cam >= 0
  cam, point = cam[here], seen.point_idx[here]
  source = index[cam]
  widths = np.asarray(cameras.widths)[cam]
  heights = np.asarray(cameras.heights)[cam]
  full = np.stack([photos.widths[source], photos.heights[source]], -1)
  xy = seen.xy[here] * np.stack([widths, heights], -1) / full
  x, y = np.floor(xy).astype(np.int64).T
  t = _ray_parameter(
    move_points(frame, points).xyz[point],
    frame.camtoworlds[source],
    photos.camtype,
    frame.ndc,
  )
  keep = (x >= 0) & (y >= 0) & (x < widths) & (y < heights)
  keep &= np.isfinite(t) & (t > 0)
  if masks is not None:
    inside = np.flatnonzero(keep)
    keep[inside] = masks.at(cam[inside], x[inside], y[inside])[:, 0] > 0
  return base.Keypoints(
    cam_idx=cam[keep],
    x=x[keep],
    y=y[keep],
    depths=t[keep].astype(np.float32),
    weights=_trust(points.errors)[point[keep]],
  )


def _ray_parameter(points, camtoworlds, camtype, ndc) -> np.ndarray:
  """t of scene points [m, 3] as seen by cameras [m, 3, 4]; <= 0 is behind."""
  if ndc:
    return np.where(points[:, 2] < 0, ndc_t(points), -1.0)
  _, t = projection.points_to_pixels(
    points, np.eye(3), camtoworlds, camtype=camtype
  )
  return np.asarray(t)


def _trust(reprojection_errors: np.ndarray) -> np.ndarray:
  """Weights in (0, 1]; an unknown error (negative, NaN) counts as the mean."""
  known = np.isfinite(reprojection_errors) & (reprojection_errors >= 0)
  mean = reprojection_errors[known].mean() if known.any() else 0.0
  if mean == 0:
    return np.ones(len(known), np.float32)
  relative = np.where(known, reprojection_errors / mean, 1.0)
  # Above about 10 the weight is no longer a positive float32.
  return np.exp(-(np.minimum(relative, 9.0) ** 2)).astype(np.float32)
