"""Sound files, which fuzz_targets.py begins from."""

import io
import json
import struct
import zlib

import numpy as np
from PIL import Image

from multinerf.cameras import camera
from multinerf.data import base, snapshot

POSE = [[1, 0, 0, 0.5], [0, 1, 0, 0.25], [0, 0, 1, 2.0], [0, 0, 0, 1]]


def encoded(mode: str, kind: str, **options) -> bytes:
  """A small picture of a mode in a format."""
  gen = np.random.default_rng(0)
  shape = {'RGB': (7, 5, 3), 'RGBA': (7, 5, 4), 'F': (7, 5)}.get(mode, (7, 5))
  dtype = np.float32 if mode == 'F' else np.uint8
  picture = Image.fromarray(gen.integers(0, 255, shape).astype(dtype))
  picture = picture if picture.mode == mode else picture.convert(mode)
  out = io.BytesIO()
  picture.save(out, kind, **options)
  return out.getvalue()


def png16() -> bytes:
  """A 16-bit RGB PNG of 4x3 pixels, all row filters."""
  rows = b''.join(bytes([f]) + bytes(range(24)) for f in (0, 1, 4))
  chunks = [
    (b'IHDR', struct.pack('>IIBBBBB', 4, 3, 16, 2, 0, 0, 0)),
    (b'IDAT', zlib.compress(rows)),
    (b'IEND', b''),
  ]
  return b'\x89PNG\r\n\x1a\n' + b''.join(
    struct.pack('>I', len(d)) + k + d + struct.pack('>I', zlib.crc32(k + d))
    for k, d in chunks
  )


def exif_jpeg() -> bytes:
  """A JPEG with an exposure time and an ISO."""
  tags = Image.Exif()
  tags.get_ifd(0x8769).update({0x829A: 0.01, 0x8827: 200})
  return encoded('RGB', 'JPEG', exif=tags)


def npy(array: np.ndarray) -> bytes:
  """A .npy file."""
  out = io.BytesIO()
  np.save(out, array)
  return out.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
  """A .npz file."""
  out = io.BytesIO()
  np.savez_compressed(out, **arrays)
  return out.getvalue()


def colmap_binary() -> dict[str, bytes]:
  """cameras.bin, images.bin and points3D.bin of two images."""
  cams = struct.pack('<QiiQQ', 1, 7, 1, 8, 6) + struct.pack('<4d', 9, 9, 4, 3)
  shots = struct.pack('<Q', 2)
  for i in range(2):
    shots += struct.pack('<I7dI', i, 1, 0, 0, 0, i, 0, 0, 7) + b'a%d.png\0' % i
    shots += struct.pack('<Qddq', 1, 2.5, 1.5, 5)
  points = struct.pack('<QQ3d3Bd', 1, 5, 0, 0, 3, 1, 2, 3, 0.5)
  points += struct.pack('<QIIII', 2, 0, 0, 1, 0)
  return {'cameras': cams, 'images': shots, 'points3D': points}


COLMAP_TEXT = {
  'cameras': b'# a comment\n7 PINHOLE 8 6 9.0 9.0 4.0 3.0\n',
  'images': (
    b'0 1 0 0 0 0 0 0 7 a0.png\n2.5 1.5 5 1 1 -1\n'
    b'1 1 0 0 0 1 0 0 7 a 1.png\n2.5 1.5 5\n'
  ),
  'points3D': b'5 0 0 3 1 2 3 0.5 0 0 1 0\n',
}


def transforms() -> bytes:
  """A transforms.json of two frames, with all that is read."""
  frame = {'file_path': 'p.png', 'transform_matrix': POSE}
  full = frame | {'w': 5, 'h': 7, 'fl_x': 9, 'k1': 0.1, 'mask_path': 'p.png'}
  return json.dumps(
    {
      'camera_angle_x': 0.8,
      'cx': 2.5,
      'camera_model': 'OPENCV',
      'frames': [frame, full],
      'applied_transform': POSE[:3],
      'applied_scale': 0.5,
      'integer_depth_scale': 0.001,
      'train_filenames': ['p.png'],
      'ply_file_path': 'x.ply',
    }
  ).encode()


def json_files() -> dict[str, bytes]:
  """A file of each format, by name."""
  split = {
    'camera_angle_x': 0.8,
    'frames': [{'file_path': './p', 'transform_matrix': POSE}] * 2,
  }
  meta = {
    'file_path': ['p.png'],
    'cam2world': [POSE],
    'pix2cam': [[[0.1, 0, -0.2], [0, -0.1, 0.3], [0, 0, -1]]],
    'width': [5],
    'height': [7],
    'near': [2],
    'far': [6],
    'lossmult': [1],
  }
  table_of = {'format_version': 1, 'protocol': {'factor': 1}, 'step': 3}
  table_of |= {'mean': {'psnr': 1.0}, 'mean_cc': {}, 'test_names': ['a']}
  scene = base.Scene(
    'x',
    'test',
    camera.make_cameras(
      np.eye(3), np.array([POSE]), widths=4, heights=3, near=1, far=2,
      distortion={'k1': 0.1}, exposure_idx=0, exposure_values=1.0,
    ),
    ('a',),
    None,
    depth_bounds=(1.0, 2.0),
    raw=base.RawDisplay(np.eye(3), 0.5, {97: 0.5}, (1.0,)),
  )  # fmt: skip
  record = snapshot.to_text(snapshot.Snapshot('k', {'test': scene}))
  found = {
    'transforms_train.json': split,
    'metadata.json': {'train': meta},
    'results.json': table_of,
  }
  found = {name: json.dumps(tree).encode() for name, tree in found.items()}
  return found | {'cameras.json': record.encode()}
