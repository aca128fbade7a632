"""Small COLMAP scenes of the embedded still life, with exact points.

`write_llff_scene` renders the analytic scene of `multinerf.data.analytic`,
moves the world by a similarity (photographs know no scale and no north) and
writes what COLMAP would have: `images/`, `sparse/0`, on request
`images_<factor>/`, `masks/` and `poses_bounds.npy`.
"""

import dataclasses
import pathlib
import struct

import numpy as np
from PIL import Image

from multinerf.cameras import poses as poses_lib
from multinerf.cameras import projection
from multinerf.data import analytic, images, resize, shapes, synthetic
from multinerf.data import colmap_model as model_lib

# From the still life's frame to the one the files are written in.
SIMILARITY = np.eye(4)
SIMILARITY[:3, :3] = 2.5 * shapes.rotation(33.0, 71.0)
SIMILARITY[:3, 3] = (11.0, -4.0, 7.0)

_OPENCV = np.diag([1.0, -1.0, -1.0])  # OpenGL axes to COLMAP's and back


@dataclasses.dataclass(frozen=True)
class Truth:
  """What a written scene shows, in the frame of its files.

  Attributes:
    names: Image names, sorted.
    camtoworlds: [n, 3, 4] OpenGL poses in the order of the names.
    focal: Pixels.
    size: Side of the images, pixels.
    points: [m, 3] points on surfaces.
    seen: [n, m] whether an image sees a point.
  """

  names: tuple[str, ...]
  camtoworlds: np.ndarray
  focal: float
  size: int
  points: np.ndarray
  seen: np.ndarray


def write_llff_scene(
  folder,
  num_images=9,
  size=20,
  *,
  forward_facing=False,
  binary=True,
  new_format=False,
  exif=False,
  factors=(),
  masks=False,
  poses_bounds=False,
  num_points=60,
  similarity=SIMILARITY,
  model='PINHOLE',
  seed=0,
):
  """Writes a scene; returns its folder as a Path.

  Args:
    folder: Made if it does not exist.
    num_images: `view_00.png`, ... (.jpg with exif).
    size: Side of the full-size images, pixels.
    forward_facing: Cameras side by side, instead of all around.
    binary: .bin instead of .txt.
    new_format: Adds the rigs and frames files of COLMAP 3.12.
    exif: JPEG files with exposure times and ISO (image i: (i + 1) / 100 s at
      ISO 200).
    factors: Also writes images_<factor> for each.
    masks: Writes masks/<image>.png that drop the left quarter of each image.
    poses_bounds: Also writes poses_bounds.npy.
    num_points: Points in points3D.
    similarity: Still life to file frame.
    model: 'SIMPLE_PINHOLE' or 'PINHOLE'.
    seed: Places cameras and points.
  """
  folder = pathlib.Path(folder)
  truth = make_truth(
    num_images, size, forward_facing, exif, num_points, similarity, seed
  )
  poses = _scene_poses(num_images, forward_facing, seed)
  for i, name in enumerate(truth.names):
    picture = _photograph(poses[i], size)
    _write_picture(folder / 'images' / name, picture, i if exif else None)
    for factor in factors:
      small = resize.area_average(picture, size // factor, size // factor)
      images.write_png(
        (folder / f'images_{factor}' / name).with_suffix('.png'), small
      )
    if masks:
      mask = np.full((size, size), 255, np.uint8)
      mask[:, : size // 4] = 0
      images.write_png(folder / 'masks' / f'{name}.png', mask)
  sparse = folder / 'sparse' / '0'
  camera, shots, points = colmap_parts(truth, model)
  write = write_binary if binary else write_text
  write(sparse, {1: camera}, shots, points)
  if new_format:
    for kind in ('rigs', 'frames'):
      (sparse / f'{kind}{".bin" if binary else ".txt"}').write_bytes(
        struct.pack('<Q', 1) + bytes(range(64))
      )
  if poses_bounds:
    np.save(folder / 'poses_bounds.npy', poses_bounds_rows(truth))
  return folder


def make_truth(
  num_images=9,
  size=20,
  forward_facing=False,
  exif=False,
  num_points=60,
  similarity=SIMILARITY,
  seed=0,
):
  """The `Truth` of the scene that the same arguments write."""
  poses = _scene_poses(num_images, forward_facing, seed)
  focal = 0.5 * size / np.tan(0.5 * synthetic.CAMERA_ANGLE_X)
  points = _surface_points(poses, size, num_points, seed)
  seen = np.stack([_sees(p, points, size, focal) for p in poses])
  scale = np.cbrt(np.linalg.det(similarity[:3, :3]))
  moved = poses_lib.unpad_poses(similarity @ poses_lib.pad_poses(poses))
  moved[:, :, :3] /= scale
  suffix = 'jpg' if exif else 'png'
  return Truth(
    names=tuple(f'view_{i:02d}.{suffix}' for i in range(num_images)),
    camtoworlds=moved,
    focal=focal,
    size=size,
    points=points @ similarity[:3, :3].T + similarity[:3, 3],
    seen=seen,
  )


def colmap_parts(truth, model='PINHOLE'):
  """A COLMAP camera, images (not in the order of names) and points."""
  f, c = truth.focal, truth.size / 2
  params = [f, c, c] if model == 'SIMPLE_PINHOLE' else [f, f, c, c]
  camera = model_lib.ColmapCamera(
    model, truth.size, truth.size, np.array(params)
  )
  ids = 10 + 3 * np.arange(len(truth.points))  # not consecutive
  pixtocam = projection.get_pixtocam(f, truth.size, truth.size)
  shots = []
  for i in reversed(range(len(truth.names))):
    rotation = _OPENCV @ truth.camtoworlds[i, :, :3].T
    xy, _ = projection.points_to_pixels(
      truth.points[truth.seen[i]], pixtocam, truth.camtoworlds[i]
    )
    # One more feature that belongs to no point.
    xy = np.concatenate([xy + 0.5, [[1.25, 2.5]]])
    shots.append(
      model_lib.ColmapImage(
        truth.names[i],
        1,
        quaternion(rotation),
        -rotation @ truth.camtoworlds[i, :, 3],
        xy,
        np.concatenate([ids[truth.seen[i]], [-1]]),
      )
    )
  points = model_lib.ColmapPoints(
    ids,
    truth.points,
    np.tile(np.array([200, 100, 50], np.uint8), (len(ids), 1)),
    np.linspace(0.5, 1.5, len(ids)),
  )
  return camera, shots, points


def poses_bounds_rows(truth):
  """[n, 17] rows of LLFF's poses_bounds.npy, in the order of the names."""
  rows = []
  for pose, seen in zip(truth.camtoworlds, truth.seen, strict=True):
    right, up, back = pose[:, 0], pose[:, 1], pose[:, 2]
    depth = (pose[:, 3] - truth.points[seen]) @ back
    hwf = np.array([truth.size, truth.size, truth.focal])
    matrix = np.stack([-up, right, back, pose[:, 3], hwf], 1)
    rows.append([*matrix.ravel(), depth.min(), depth.max()])
  return np.array(rows)


def write_binary(folder, cameras, shots, points):
  """Writes {cameras,images,points3D}.bin; `cameras` by id."""
  folder.mkdir(parents=True, exist_ok=True)
  out = [struct.pack('<Q', len(cameras))]
  for key, cam in cameras.items():
    number = model_lib.MODEL_IDS[cam.model]
    out.append(struct.pack('<iiQQ', key, number, cam.width, cam.height))
    out.append(np.asarray(cam.params, '<f8').tobytes())
  (folder / 'cameras.bin').write_bytes(b''.join(out))
  out = [struct.pack('<Q', len(shots))]
  for i, shot in enumerate(shots):
    pose = (*shot.qvec, *shot.tvec)
    out.append(struct.pack('<I7dI', i + 1, *pose, shot.camera_id))
    out.append(shot.name.encode() + b'\0')
    out.append(struct.pack('<Q', len(shot.xy)))
    for (x, y), point in zip(shot.xy, shot.point_ids, strict=True):
      out.append(struct.pack('<ddq', x, y, point))
  (folder / 'images.bin').write_bytes(b''.join(out))
  out = [struct.pack('<Q', len(points.ids))]
  for i, key in enumerate(points.ids):
    out.append(struct.pack('<Q3d', key, *points.xyz[i]))
    out.append(bytes(points.rgb[i]) + struct.pack('<d', points.errors[i]))
    track = _track(shots, key)
    out.append(struct.pack('<Q', len(track)))
    out += [struct.pack('<II', *element) for element in track]
  (folder / 'points3D.bin').write_bytes(b''.join(out))


def write_text(folder, cameras, shots, points):
  """Writes {cameras,images,points3D}.txt with COLMAP's comments."""
  folder.mkdir(parents=True, exist_ok=True)
  lines = ['# Camera list with one line of data per camera:']
  for key, cam in cameras.items():
    params = ' '.join(repr(float(p)) for p in cam.params)
    lines.append(f'{key} {cam.model} {cam.width} {cam.height} {params}')
  (folder / 'cameras.txt').write_text('\n'.join(lines) + '\n')
  lines = ['# Image list with two lines of data per image:']
  for i, shot in enumerate(shots):
    pose = ' '.join(repr(float(p)) for p in (*shot.qvec, *shot.tvec))
    lines.append(f'{i + 1} {pose} {shot.camera_id} {shot.name}')
    lines.append(
      ' '.join(
        f'{float(x)!r} {float(y)!r} {p}'
        for (x, y), p in zip(shot.xy, shot.point_ids, strict=True)
      )
    )
  (folder / 'images.txt').write_text('\n'.join(lines) + '\n')
  lines = ['# 3D point list with one line of data per point:']
  for i, key in enumerate(points.ids):
    xyz = ' '.join(repr(float(v)) for v in points.xyz[i])
    rgb = ' '.join(str(int(v)) for v in points.rgb[i])
    track = ' '.join(f'{a} {b}' for a, b in _track(shots, key))
    lines.append(f'{key} {xyz} {rgb} {float(points.errors[i])!r} {track}')
  (folder / 'points3D.txt').write_text('\n'.join(lines) + '\n')


def quaternion(rotation):
  """[w, x, y, z] of a rotation matrix, from its largest component."""
  m = rotation
  w = np.sqrt(max(0, 1 + m[0, 0] + m[1, 1] + m[2, 2])) / 2
  x = np.sqrt(max(0, 1 + m[0, 0] - m[1, 1] - m[2, 2])) / 2
  y = np.sqrt(max(0, 1 - m[0, 0] + m[1, 1] - m[2, 2])) / 2
  z = np.sqrt(max(0, 1 - m[0, 0] - m[1, 1] + m[2, 2])) / 2
  products = np.array(
    [
      [w * w, m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
      [m[2, 1] - m[1, 2], x * x, m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]],
      [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], y * y, m[1, 2] + m[2, 1]],
      [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], z * z],
    ]
  )
  products[~np.eye(4, dtype=bool)] /= 4  # now entry (a, b) is q_a q_b
  row = products[np.argmax(np.diag(products))]
  return row / np.linalg.norm(row)


def _track(shots, key):
  """(image id, feature number) of the features that belong to a point."""
  return [
    (i + 1, int(k))
    for i, shot in enumerate(shots)
    for k in np.flatnonzero(shot.point_ids == key)
  ]


def _scene_poses(num_images, forward_facing, seed):
  """[n, 3, 4] in the still life's frame."""
  if not forward_facing:
    return synthetic.train_poses(num_images, seed)
  generator = np.random.default_rng(seed)
  offsets = generator.uniform(-0.5, 0.5, (num_images, 2))
  middle = synthetic.test_poses(1)[0]
  return np.stack(
    [
      np.concatenate(
        [middle[:, :3], (middle @ [*offset, 0.0, 1.0])[:, None]], 1
      )
      for offset in offsets
    ]
  )


def _photograph(pose, size):
  """uint8 RGB over white."""
  rgba = synthetic.render_view(pose, size)['rgba']
  return images.to_uint8(rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:])


def _write_picture(path, picture, exposed):
  """PNG, or JPEG with EXIF tags for image number `exposed`."""
  if exposed is None:
    images.write_png(path, picture)
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  picture = Image.fromarray(picture)
  tags = picture.getexif()
  tags.get_ifd(0x8769).update({0x829A: (exposed + 1) / 100, 0x8827: 200})
  picture.save(path, quality=95, exif=tags)


def _surface_points(poses, size, num_points, seed):
  """Points that random rays of the cameras hit, [m, 3]."""
  generator = np.random.default_rng(seed)
  found = []
  while sum(map(len, found)) < num_points:
    pose = poses[generator.integers(len(poses))]
    plane = generator.uniform(-0.9, 0.9, (num_points, 2))
    plane *= np.tan(0.5 * synthetic.CAMERA_ANGLE_X)
    local = np.concatenate([plane, -np.ones((num_points, 1))], -1)
    rays = local @ pose[:, :3].T
    hits = analytic.trace(pose[None, :, 3], rays)
    hit = np.isfinite(hits.t)
    points = pose[:, 3] + hits.t[hit, None] * rays[hit]
    found.append(points[: max(1, num_points // len(poses))])
  return np.concatenate(found)[:num_points]


def _sees(pose, points, size, focal):
  """Whether points are inside of a picture and nothing is before them."""
  pixtocam = projection.get_pixtocam(focal, size, size)
  xy, depth = projection.points_to_pixels(points, pixtocam, pose)
  inside = ((xy >= 0) & (xy <= size - 1)).all(-1) & (depth > 0)
  hits = analytic.trace(pose[None, :, 3], points - pose[:, 3])
  return inside & (hits.t > 1 - 1e-6)
