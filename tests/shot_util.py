"""Small captures of the embedded scene, with any lens, written by tests."""

import dataclasses

import numpy as np

from multinerf.cameras import camera, poses, projection
from multinerf.data import analytic, images
from multinerf.ops import color

PERSPECTIVE = camera.ProjectionType.PERSPECTIVE


@dataclasses.dataclass(frozen=True)
class Shot:
  """One camera, as a format would describe it.

  Attributes:
    pose: [3, 4] camera to world, OpenGL axes.
    size: Width and height.
    focal: In x and y, pixels.
    center: Principal point, pixels.
    distortion: By name.
    camtype: Projection type.
  """

  pose: np.ndarray
  size: tuple[int, int] = (20, 16)
  focal: tuple[float, float] = (22.0, 21.0)
  center: tuple[float, float] = (10.5, 7.5)
  distortion: dict | None = None
  camtype: camera.ProjectionType = PERSPECTIVE

  @property
  def pixtocam(self):
    if self.camtype is camera.ProjectionType.PANORAMIC:
      return projection.get_pano_pixtocam(*self.size)
    matrix = projection.intrinsic_matrix(*self.focal, *self.center)
    return np.linalg.inv(matrix)


def look_at_scene(num, distance=3.5):
  """Poses around the scene at various heights and tilts."""
  angle = 2 * np.pi * np.arange(num) / num + 0.3
  height = 0.35 + 0.2 * np.cos(2 * angle)
  back = np.stack([np.cos(angle), np.sin(angle), height], -1)
  back /= np.linalg.norm(back, axis=-1, keepdims=True)
  up = np.array([0.05, 0.0, 1.0])
  return np.stack([poses.viewmatrix(b, up, distance * b) for b in back])


def colours(rays):
  """sRGB over white, and t (inf: nothing), of rays in the scene's frame."""
  shape = rays.directions.shape
  origins = np.broadcast_to(rays.origins, shape).reshape(-1, 3)
  directions = rays.directions.reshape(-1, 3)
  hits = analytic.trace(origins, directions)
  rgb = color.linear_to_srgb(
    analytic.radiance(origins, directions, hits), xnp=np
  )
  rgb[~np.isfinite(hits.t)] = 1.0
  return rgb.reshape(shape), hits.t.reshape(shape[:-1])


def photograph(shot):
  """Colours and t of a shot, through pixel centres."""
  x, y = projection.pixel_coordinates(*shot.size)
  rays = projection.pixels_to_rays(
    x,
    y,
    shot.pixtocam,
    shot.pose,
    distortion=shot.distortion,
    camtype=shot.camtype,
  )
  return colours(rays)


def write(path, shot):
  """Writes the photograph as PNG."""
  rgb, _ = photograph(shot)
  images.write_png(path, rgb)


def reseen(scene, i):
  """What the loaded camera i sees of the embedded scene.

  Its rays are taken back to the frame of the input by `world_transform`, so
  this agrees with the image only if poses, intrinsics, distortion and the
  transform are all right.
  """
  cameras = scene.cameras.take(i)
  x, y = projection.pixel_coordinates(
    int(cameras.widths[0]), int(cameras.heights[0])
  )
  distortion = cameras.distortion
  rays = projection.pixels_to_rays(
    x,
    y,
    cameras.pixtocams[0].astype(np.float64),
    cameras.camtoworlds[0].astype(np.float64),
    distortion=distortion and {k: v[0] for k, v in distortion.items()},
    camtype=cameras.camtype,
  )
  back = np.linalg.inv(scene.world_transform)
  return colours(
    rays.replace(
      origins=rays.origins @ back[:3, :3].T + back[:3, 3],
      directions=rays.directions @ back[:3, :3].T,
    )
  )


def assert_images_are_what_cameras_see(scene):
  """Every loaded image is the embedded scene through its loaded camera."""
  for i in range(len(scene)):
    rgb, t = reseen(scene, i)
    picture = scene.images.image(i)[..., :3] / 255
    assert np.isfinite(t).mean() > 0.05  # the scene is in the picture
    # Half a step of 8 bits; cameras are float32, so that a pixel whose ray
    # touches an edge may fall on its other side.
    wrong = np.abs(rgb - picture).max(-1) > 0.5 / 255 + 1e-3
    assert wrong.mean() < 0.02, (scene.image_names[i], wrong.mean())
