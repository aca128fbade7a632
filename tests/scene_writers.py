"""Tiny scenes in the layouts of tat_nerfpp, tat_fvs and dtu.

All show the embedded scene, so that there is something to learn; each writer
returns the projection matrices it wrote, as an independent truth: world points
to pixels whose top left corner is (0, 0).
"""

import pathlib

import numpy as np

from multinerf.cameras import poses
from multinerf.data import images, synthetic

RESOLUTION = 16
FLIP = np.diag([1.0, -1.0, -1.0])


def look_at_scene(num, spread=2 * np.pi):
  """OpenGL poses around the embedded scene, over an arc of `spread`."""
  azimuth = spread * (np.arange(num) + 0.5) / num
  height = 0.3 + 0.4 * (np.arange(num) % 3) / 2
  ring = np.sqrt(1 - height**2)
  back = np.stack([ring * np.cos(azimuth), ring * np.sin(azimuth), height], -1)
  up = np.array([0.0, 0.0, 1.0])
  return np.stack(
    [poses.viewmatrix(b, up, synthetic.CAMERA_DISTANCE * b) for b in back]
  )


def intrinsics(resolution=RESOLUTION):
  """Camera-to-pixel matrix of the pictures that `picture` renders."""
  focal = 0.5 * resolution / np.tan(0.5 * synthetic.CAMERA_ANGLE_X)
  half = 0.5 * resolution
  return np.array([[focal, 0, half], [0, focal, half], [0, 0, 1.0]])


def picture(pose, resolution=RESOLUTION):
  """RGB over white, float."""
  rgba = synthetic.render_view(pose, resolution)['rgba']
  return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]


def world_to_camera(pose):
  """[R | t] with OpenCV axes, [3, 4]."""
  rotation = (pose[:, :3] @ FLIP).T
  return np.concatenate([rotation, -rotation @ pose[:, 3:]], -1)


def padded(matrix, size=4):
  """The matrix in the corner of an identity."""
  out = np.eye(size)
  out[: matrix.shape[0], : matrix.shape[1]] = matrix
  return out


def write_tat_nerfpp(folder: pathlib.Path, num_train=5, num_test=2, frames=3):
  """Writes a scene; returns {split: [n, 3, 4] projections}."""
  all_poses = look_at_scene(num_train + num_test + frames)
  written, start = {}, 0
  for split, num in (
    ('train', num_train),
    ('test', num_test),
    ('camera_path', frames),
  ):
    kinds = ('pose', 'intrinsics', *(['rgb'] if split != 'camera_path' else []))
    for kind in kinds:
      (folder / split / kind).mkdir(parents=True)
    projections = []
    for i, pose in enumerate(all_poses[start : start + num]):
      name = f'{i:06d}'
      opencv = padded(pose) @ padded(FLIP)
      # In one line, as NeRF++ has it.
      (folder / split / 'pose' / f'{name}.txt').write_text(
        ' '.join(map(repr, opencv.ravel().tolist())) + '\n'
      )
      np.savetxt(
        folder / split / 'intrinsics' / f'{name}.txt', padded(intrinsics())
      )
      if 'rgb' in kinds:
        images.write_png(folder / split / 'rgb' / f'{name}.png', picture(pose))
      projections.append(intrinsics() @ world_to_camera(pose))
    written[split] = np.stack(projections)
    start += num
  return written


def write_tat_fvs(folder: pathlib.Path, num=9, sizes=('0.50', '1.00')):
  """Writes a scene in several resolutions; returns those of the largest.

  The images of size '0.50' have half of RESOLUTION.
  """
  all_poses = look_at_scene(num)
  matrices = np.stack([world_to_camera(pose) for pose in all_poses])
  for size in sizes:
    resolution = round(float(size) * RESOLUTION)
    below = folder / 'dense' / f'ibr3d_pw_{size}'
    below.mkdir(parents=True)
    np.save(below / 'Ks.npy', np.tile(intrinsics(resolution), (num, 1, 1)))
    np.save(below / 'Rs.npy', matrices[:, :, :3])
    np.save(below / 'ts.npy', matrices[:, :, 3])
    for i, pose in enumerate(all_poses):
      images.write_png(below / f'im_{i:08d}.png', picture(pose, resolution))
  return intrinsics() @ matrices


def write_dtu(folder: pathlib.Path, num=9, lights=('3_r5000', 'max')):
  """Writes <folder>/Rectified/scan1 and <folder>/cal18.

  Returns:
    The scan's folder and [num, 3, 4] projections, of any scale and sign.
  """
  scan, calibration = folder / 'Rectified' / 'scan1', folder / 'cal18'
  scan.mkdir(parents=True)
  calibration.mkdir()
  written = []
  for i, pose in enumerate(look_at_scene(num, spread=1.0), start=1):
    # Real ones are in pixels times millimetres; a matrix means the same at
    # any scale and sign.
    projection = (-1) ** i * 100.0 * i * intrinsics() @ world_to_camera(pose)
    np.savetxt(calibration / f'pos_{i:03d}.txt', projection)
    written.append(projection)
    for light in lights:
      shade = 1.0 if light == 'max' else 0.5
      images.write_png(
        scan / f'rect_{i:03d}_{light}.png', shade * picture(pose)
      )
  return scan, np.stack(written)
