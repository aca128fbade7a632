"""A textured room and its renderings, for tests of the capture pipeline."""

import numpy as np
from PIL import Image

from multinerf.capture import model as model_lib


def make_model(num=8, num_points=200, seed=0):
  """Cameras on a circle that look at points around the origin."""
  gen = np.random.default_rng(seed)
  angle = np.linspace(0, 2 * np.pi, num, endpoint=False)
  poses = np.stack([look_at(_on_circle(a), np.zeros(3)) for a in angle])
  return model_lib.Model(
    names=tuple(f'{i:03d}.jpg' for i in range(num)),
    camtoworlds=poses,
    tangents=np.full((num, 2), 0.5),
    num_observations=gen.integers(50, 100, num),
    xyz=gen.normal(size=(num_points, 3)) * 0.3,
    rgb=gen.integers(0, 200, (num_points, 3)).astype(np.uint8),
    reprojection=gen.random(num_points),
    track_lengths=gen.integers(2, 6, num_points),
    lenses=(model_lib.Lens('PINHOLE', 64, 48, {'fx': 64.0, 'fy': 64.0}, num),),
  )


def _on_circle(angle):
  return np.array([3 * np.cos(angle), 3 * np.sin(angle), 1.0])


def look_at(position, target):
  """[3, 4] pose with OpenCV axes; the world's z is up."""
  forward = target - position
  forward = forward / np.linalg.norm(forward)
  right = np.cross(forward, [0.0, 0.0, 1.0])
  right = right / np.linalg.norm(right)
  down = np.cross(forward, right)
  return np.stack([right, down, forward, position], axis=1)


def texture(seed, side=1024):
  """Noise of many scales in colour, [side, side, 3] in 0 .. 255."""
  gen = np.random.default_rng(seed)
  total = np.zeros((side, side, 3), np.float32)
  for cells in (8, 32, 128, 256):
    coarse = gen.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((side, side))
    total += np.asarray(picture, np.float32) - 128
  return np.clip(128 + 0.8 * total, 0, 255)


def render_room(pose, textures, *, width=320, height=240, focal=300.0):
  """A pinhole picture of the inside of the cube [-2, 2]^3.

  Args:
    pose: [3, 4], OpenCV axes, inside of the cube.
    textures: One for each of the six walls.
    width, height, focal: In pixels.
  """
  x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
  local = np.stack(
    [(x - width / 2) / focal, (y - height / 2) / focal, np.ones_like(x)], -1
  )
  d, o = local @ pose[:, :3].T, pose[:, 3]
  with np.errstate(divide='ignore'):
    t = (2.0 * np.sign(d) - o) / d
  axis = np.argmin(np.where(np.isfinite(t), t, np.inf), axis=-1)
  hit = o + d * np.take_along_axis(t, axis[..., None], -1)
  image = np.zeros((height, width, 3))
  for wall in range(6):
    mine = (axis == wall % 3) & ((hit[..., wall % 3] > 0) == (wall < 3))
    u, v = (hit[mine][:, k] for k in range(3) if k != wall % 3)
    image[mine] = _bilinear(textures[wall], (u + 2) / 4, (v + 2) / 4)
  return np.round(image).astype(np.uint8)


def _bilinear(picture, u, v):
  side = len(picture) - 1
  x, y = (np.clip(c * side, 0, side - 1e-3) for c in (u, v))
  i, j = x.astype(int), y.astype(int)
  a, b = (x - i)[:, None], (y - j)[:, None]
  top = picture[j, i] * (1 - a) + picture[j, i + 1] * a
  low = picture[j + 1, i] * (1 - a) + picture[j + 1, i + 1] * a
  return top * (1 - b) + low * b


def similarity(source, target):
  """Scale, rotation and shift that carry points to points (Umeyama 1991)."""
  a, b = source - source.mean(0), target - target.mean(0)
  u, spread, vt = np.linalg.svd(b.T @ a)
  flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
  rotation = u @ flip @ vt
  scale = (spread * np.diag(flip)).sum() / (a**2).sum()
  shift = target.mean(0) - scale * rotation @ source.mean(0)
  return scale, rotation, shift
