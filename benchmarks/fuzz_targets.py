"""Every parser of the package with sound inputs to begin from, for fuzz.py.

A target writes the bytes it gets where the parser looks for them and calls it.
"""

import dataclasses
import json
import pathlib
import struct
from collections.abc import Callable, Sequence

import fuzz_seeds
import numpy as np
from flax import serialization

from multinerf.app import table
from multinerf.cameras import keyframes, paths
from multinerf.config import gin_setup
from multinerf.data import (
  base,
  blender,
  colmap,
  exif,
  files,
  images,
  llff,
  multicam,
  ply,
  raw_files,
  snapshot,
  transforms,
)
from multinerf.evaluation import lpips
from multinerf.training import checkpoints

_STATE = {
  'step': np.int32(3),
  'params': {
    'a': np.ones((2, 3), np.float32),
    'b': np.zeros(4, np.float32).astype('bfloat16'),
  },
}


@dataclasses.dataclass(frozen=True)
class Target:
  """One parser.

  Attributes:
    name: For the report.
    kind: How inputs are built, which chooses their mutations (fuzz.py).
    seeds: Sound inputs.
    run: Parses an input.
    weight: Its share of the inputs; small where parsing is slow.
  """

  name: str
  kind: str
  seeds: Sequence[bytes]
  run: Callable[[bytes], object]
  weight: float = 1.0


def make(root: pathlib.Path) -> list[Target]:
  """All targets, which write below `root`."""
  return [
    *_checkpoint_targets(root / 'run'),
    *_image_targets(root),
    *_array_targets(root),
    *_colmap_targets(root / 'colmap'),
    *_scene_targets(root),
    *_text_targets(root),
  ]


def _written(path: pathlib.Path, read: Callable[[pathlib.Path], object]):
  """Bytes -> read(path), after they are written there."""
  path.parent.mkdir(parents=True, exist_ok=True)

  def run(data: bytes) -> object:
    path.write_bytes(data)
    return read(path)

  return run


def _checkpoint_targets(folder: pathlib.Path) -> list[Target]:
  checkpoints.save(folder, _STATE, 3, keep=1, manifest={'train_seconds': 1.0})
  manifest = checkpoints.manifest_path(folder, 3).read_bytes()
  bare = folder.with_name('bare')
  restore = lambda place: checkpoints.restore(place, _STATE, warn=str)
  state = serialization.msgpack_serialize(dict(_STATE))
  # What flax makes of arrays that are too large for one msgpack entry.
  whole = np.ones(3, np.float32)
  parts = {'__msgpack_chunked_array__': True, 'shape': {'0': 3}}
  parts['chunks'] = {'0': whole[:2], '1': whole[2:]}
  chunked = serialization.msgpack_serialize({'step': np.int32(3), 'x': parts})
  return [
    Target(
      'checkpoint (msgpack)',
      'msgpack',
      [state, chunked],
      _written(bare / 'checkpoint_3', lambda p: restore(p.parent)),
    ),
    Target(
      'manifest.json',
      'json',
      [manifest],
      _written(folder / 'manifest_3.json', lambda p: restore(p.parent)),
    ),
  ]


def _image_targets(root: pathlib.Path) -> list[Target]:
  read = _written(root / 'picture', images.read_image)
  pngs = [
    fuzz_seeds.encoded(m, 'PNG') for m in ('RGB', 'RGBA', 'L', 'P', '1', 'LA')
  ]
  tiffs = [fuzz_seeds.encoded('RGB', 'TIFF', compression=c) for c in (
    'raw', 'tiff_lzw', 'tiff_adobe_deflate', 'packbits', 'jpeg')]  # fmt: skip
  jpegs = [
    fuzz_seeds.encoded('RGB', 'JPEG'),
    fuzz_seeds.encoded('RGB', 'JPEG', progressive=True),
  ]
  jpegs += [fuzz_seeds.encoded('L', 'JPEG'), fuzz_seeds.exif_jpeg()]
  webps = [
    fuzz_seeds.encoded('RGBA', 'WEBP', lossless=x) for x in (False, True)
  ]
  return [
    Target('image: PNG', 'png', pngs, read, 2),
    Target('image: 16-bit PNG', 'png', [fuzz_seeds.png16()], read, 2),
    Target('image: JPEG', 'bytes', jpegs, read, 2),
    Target('image: WebP', 'bytes', webps, read),
    Target('image: BMP', 'bytes', [fuzz_seeds.encoded('RGB', 'BMP')], read),
    Target('image: TIFF', 'bytes', tiffs, read, 2),
    Target(
      'image: float TIFF',
      'bytes',
      [fuzz_seeds.encoded('F', 'TIFF')],
      _written(root / 'depth.tiff', images.read_tiff),
    ),
    Target(
      'EXIF',
      'bytes',
      [fuzz_seeds.exif_jpeg()],
      _written(root / 'photo.jpg', exif.read_exposure),
    ),
  ]


def _array_targets(root: pathlib.Path) -> list[Target]:
  poses = np.tile(np.array(fuzz_seeds.POSE)[None], (2, 1, 1))
  seeds = [
    fuzz_seeds.npy(poses),
    fuzz_seeds.npy(poses[:, :3].astype('>f4')),
    fuzz_seeds.npz(a=poses),
  ]
  bounds = np.ones((3, 17))
  bounds[:, [4, 9, 14]] = 8.0
  return [
    Target(
      '.npy: cameras',
      'npy',
      [
        fuzz_seeds.npy(poses[:, :3, :3]),
        fuzz_seeds.npy(np.ones((2, 3, 3), np.int16)),
      ],
      _written(root / 'Ks.npy', lambda p: files.read_npy(p, (None, 3, 3))),
    ),
    Target(
      '.npy: camera path',
      'npy',
      seeds,
      _written(root / 'path.npy', paths.load_poses),
    ),
    Target(
      'poses_bounds.npy',
      'npy',
      [fuzz_seeds.npy(bounds)],
      _written(root / 'poses_bounds.npy', llff.read_poses_bounds),
    ),
    Target(
      '.npz: LPIPS weights',
      'npy',
      [fuzz_seeds.npz(backbone=np.array('vgg'), x=np.ones(3))],
      _written(root / 'vgg.npz', lpips.load),
      0.5,
    ),
  ]


def _colmap_targets(root: pathlib.Path) -> list[Target]:
  targets = []
  for suffix, kind, model in (
    ('.bin', 'bytes', fuzz_seeds.colmap_binary()),
    ('.txt', 'text', fuzz_seeds.COLMAP_TEXT),
  ):
    for name, seed in model.items():
      folder = root / f'{name}{suffix}'
      folder.mkdir(parents=True)
      for other, data in model.items():
        (folder / f'{other}{suffix}').write_bytes(data)

      def read(path: pathlib.Path) -> object:
        model = colmap.read_model(path.parent)
        return colmap.to_photographs(model, path.parent)

      run = _written(folder / f'{name}{suffix}', read)
      targets.append(Target(f'COLMAP {name}{suffix}', kind, [seed], run, 2))
  return targets


def _scene_targets(root: pathlib.Path) -> list[Target]:
  """Whole folders, of which one JSON file is mutated."""
  folder = root / 'scene'
  folder.mkdir()
  (folder / 'p.png').write_bytes(fuzz_seeds.encoded('RGBA', 'PNG'))
  cfg = base.DataConfig(data_dir=str(folder), dataset_loader='blender')
  sound = fuzz_seeds.json_files()
  return [
    Target(
      'transforms.json',
      'json',
      [fuzz_seeds.transforms()],
      _written(
        folder / 'transforms.json', lambda p: transforms.read_photographs(cfg)
      ),
    ),
    Target(
      'transforms_train.json',
      'json',
      [sound['transforms_train.json']],
      _written(
        folder / 'transforms_train.json',
        lambda p: blender.load_blender(cfg, 'train'),
      ),
      0.5,
    ),
    Target(
      'metadata.json',
      'json',
      [sound['metadata.json']],
      _written(
        folder / 'metadata.json', lambda p: multicam.load_multicam(cfg, 'train')
      ),
      0.5,
    ),
    Target(
      'cameras.json',
      'json',
      [sound['cameras.json']],
      _written(root / 'cameras.json', snapshot.read),
    ),
    Target(
      'results.json',
      'json',
      [sound['results.json']],
      _written(root / 'results.json', lambda p: table.read_run(p.parent)),
      0.5,
    ),
  ]


def _text_targets(root: pathlib.Path) -> list[Target]:
  header = b'ply\nformat %s 1.0\nelement vertex 2\nproperty float x\n'
  header += b'property float y\nproperty float z\nproperty uchar red\n'
  header += b'property uchar green\nproperty uchar blue\nend_header\n'
  packed = struct.pack('<3f3B', 1, 2, 3, 4, 5, 6) * 2
  plys = [
    header % b'ascii' + b'1 2 3 4 5 6\n' * 2,
    header % b'binary_little_endian' + packed,
    header % b'binary_big_endian' + packed,
  ]
  shot = {'BlackLevel': '528 528 528 528', 'WhiteLevel': 4095, 'ISO': 100}
  shot |= {'AsShotNeutral': '0.5 1 0.625', 'ShutterSpeed': '1/100'}
  shot |= {'ColorMatrix2': ' '.join(['0.5'] * 9)}
  gin = (
    b"include 'blender_256.gin'\nN = 3\nConfig.factor = %N\n"
    b"Config.weight_decay_mults = {'NerfMLP_0': (0.1)}\n"
    b'math.power_ladder.p = -1.5\nNerfMLP.warp_fn = @math.power_ladder\n'
    b'eval/Config.near = 1e-3\nModel:\n  num_levels = 2\n'
  )
  load = lambda path: gin_setup.load([str(path)], safe=True)
  matrix = b'1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n'
  return [
    Target('PLY', 'text', plys, _written(root / 'x.ply', ply.read_points), 2),
    Target(
      'matrix.txt',
      'text',
      [matrix],
      _written(root / 'm.txt', lambda p: files.read_matrix(p, (4, 4))),
    ),
    Target(
      'exiftool JSON',
      'json',
      [json.dumps([shot]).encode()],
      _written(root / 'shot.json', lambda p: raw_files.read_exif([p])),
    ),
    Target(
      'key frames',
      'text',
      [b'a.png\nb.png\n'],
      _written(
        root / 'keys.txt',
        lambda p: (
          keyframes.listed_names(p),
          paths.keyframe_indices(p, ('a.png', 'b.png', 'c.png')),
        ),
      ),
      0.5,
    ),
    Target('gin, safe', 'text', [gin], _written(root / 'x.gin', load), 0.3),
  ]
