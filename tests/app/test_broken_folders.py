"""Broken captures: train.py names the one cause and trains on none of them.

Every case damages one thing in a sound folder. The sound folders load
(`test_the_sound_folders_load`), so the cause found is the damage.
"""

import json
import shutil

import colmap_util
import numpy as np
import pytest
import run_util
from PIL import Image

from multinerf.app import train
from multinerf.data import base, images
from multinerf.data import colmap_model as model_lib

SIZE, NUM = 20, 5
OPTIONS = {
  'colmap': dict(dataset_loader='llff', near=0.1, far=10.0),
  'blender': dict(dataset_loader='blender', near=2.0, far=6.0),
  'transforms': dict(dataset_loader='transforms', near=0.1, far=10.0),
}


@pytest.fixture(scope='module')
def pristine(tmp_path_factory):
  root = tmp_path_factory.mktemp('sound')
  colmap_util.write_llff_scene(
    root / 'colmap', NUM, SIZE, factors=(2,), masks=True
  )
  run_util.render_scene(root / 'blender')
  shutil.copytree(root / 'colmap' / 'images', root / 'transforms' / 'images')
  truth = colmap_util.make_truth(NUM, SIZE)
  frames = [
    {
      'file_path': f'images/{name}',
      'transform_matrix': [*pose.tolist(), [0, 0, 0, 1]],
    }
    for name, pose in zip(truth.names, truth.camtoworlds, strict=True)
  ]
  meta = dict(fl_x=truth.focal, w=SIZE, h=SIZE, frames=frames)
  (root / 'transforms' / 'transforms.json').write_text(json.dumps(meta))
  return root


def rewrite_colmap(folder, change_camera=None, change_shots=None):
  """Writes the COLMAP model again with something changed."""
  camera, shots, points = colmap_util.colmap_parts(
    colmap_util.make_truth(NUM, SIZE)
  )
  cameras = {1: camera}
  if change_camera:
    cameras = {1: change_camera(camera)}
  if change_shots:
    shots = change_shots(list(shots))
  colmap_util.write_binary(folder / 'sparse' / '0', cameras, shots, points)


def camera(**changes):
  def apply(folder):
    rewrite_colmap(
      folder,
      lambda c: model_lib.ColmapCamera(
        **(
          {n: getattr(c, n) for n in ('model', 'width', 'height', 'params')}
          | changes
        )
      ),
    )

  return apply


def shot(**changes):
  """Changes the image listed second."""

  def change(shots):
    names = ('name', 'camera_id', 'qvec', 'tvec', 'xy', 'point_ids')
    old = {n: getattr(shots[1], n) for n in names}
    shots[1] = model_lib.ColmapImage(**(old | changes))
    return shots

  return lambda folder: rewrite_colmap(folder, change_shots=change)


def truncate(path, keep=0.6):
  def apply(folder):
    data = (folder / path).read_bytes()
    (folder / path).write_bytes(data[: int(len(data) * keep)])

  return apply


def remove(path):
  return lambda folder: (folder / path).unlink()


def picture(path, make):
  """Replaces an image by make(old PIL image), saved in the same format."""

  def apply(folder):
    with Image.open(folder / path) as old:
      new = make(old.copy())
    new.save(folder / path)

  return apply


def cmyk(folder):
  path = folder / 'images' / 'view_01.png'
  with Image.open(path) as old:
    old.convert('CMYK').save(path, format='JPEG')


def rotated_by_exif(folder):
  """A portrait photograph that a viewer shows upright and COLMAP does not."""
  path = folder / 'images' / 'view_01.png'
  with Image.open(path) as old:
    turned = old.resize((SIZE + 4, SIZE)).transpose(Image.Transpose.ROTATE_90)
  exif = turned.getexif()
  exif[0x0112] = 6
  turned.save(path, exif=exif)


def frame(**changes):
  """Changes frame 1 of transforms.json."""

  def apply(folder):
    path = folder / 'transforms.json'
    meta = json.loads(path.read_text())
    meta['frames'][1] |= changes
    path.write_text(json.dumps(meta))

  return apply


def blender_pose(matrix):
  def apply(folder):
    path = folder / 'transforms_train.json'
    meta = json.loads(path.read_text())
    meta['frames'][1]['transform_matrix'] = np.array(matrix).tolist()
    path.write_text(json.dumps(meta))

  return apply


def empty_masks(folder):
  for path in (folder / 'masks').iterdir():
    images.write_png(path, np.zeros((SIZE, SIZE), np.uint8))


def pixels_of(width, height, bits=8):
  kind = np.uint8 if bits == 8 else np.uint16
  generator = np.random.default_rng(0)
  return generator.integers(0, 2**bits, (height, width, 3)).astype(kind)


def other_size(path):
  return lambda folder: images.write_png(folder / path, pixels_of(SIZE, 31))


def garbage(path):
  return lambda folder: (folder / path).write_bytes(b'not an image at all')


VIEW = 'images/view_01.png'
# name -> (kind of folder, damage, words that the one line must hold).
CASES = {
  'truncated cameras.bin': (
    'colmap', truncate('sparse/0/cameras.bin'), ['cameras.bin']),
  'truncated images.bin': (
    'colmap', truncate('sparse/0/images.bin'), ['images.bin']),
  'truncated points3D.bin': (
    'colmap', truncate('sparse/0/points3D.bin'), ['points3D.bin']),
  'no images.bin': ('colmap', remove('sparse/0/images.bin'), ['sparse/0']),
  'camera model that bends rays otherwise': (
    'colmap',
    camera(model='FOV', params=np.array([20.0, 20, 10, 10, 0.5])),
    ['FOV', 'undistort']),
  'zero focal length': (
    'colmap', camera(params=np.array([0.0, 0, 10, 10])), ['focal']),
  'negative focal length': (
    'colmap', camera(params=np.array([-20.0, 20, 10, 10])), ['focal']),
  'focal length that is no number': (
    'colmap', camera(params=np.array([np.nan, 20, 10, 10])), ['camera']),
  'camera of another image size': (
    'colmap', camera(width=64, height=48), ['view_', '20x20', '64x48']),
  'image without a camera': ('colmap', shot(camera_id=7), ['7']),
  'pose that is no number': (
    'colmap', shot(tvec=np.array([np.nan, 0, 0])), ['view_03.png']),
  'rotation of length 0': ('colmap', shot(qvec=np.zeros(4)), ['view_03.png']),
  'two images of one name': (
    'colmap', shot(name='view_01.png'), ['view_01.png']),
  'name that leaves the folder': (
    'colmap', shot(name='../../etc/passwd'), ['passwd']),
  'posed image missing': ('colmap', remove(VIEW), ['view_01.png']),
  'image truncated': ('colmap', truncate(VIEW), ['view_01.png']),
  'image of garbage': ('colmap', garbage(VIEW), ['view_01.png']),
  'image of another size than its camera': (
    'colmap', other_size(VIEW), ['view_01.png', '20x31']),
  'CMYK image': ('colmap', cmyk, ['view_01.png', 'CMYK']),
  'image rotated by EXIF': (
    'colmap', rotated_by_exif, ['view_01.png', '20x24']),
  'masks that keep nothing': ('colmap', empty_masks, ['mask']),
  'mask of another size': (
    'colmap', other_size('masks/view_01.png.png'), ['view_01.png.png']),
  'mask of garbage': (
    'colmap', garbage('masks/view_02.png.png'), ['view_02.png.png']),
  'missing smaller image': (
    'colmap_2', remove('images_2/view_01.png'), ['images_2', 'view_01']),
  'smaller image of another size': (
    'colmap_2', other_size('images_2/view_01.png'), ['view_01.png']),
  'mirrored pose (transforms)': (
    'transforms',
    frame(transform_matrix=np.diag([-1.0, 1, 1, 1]).tolist()),
    ['view_01.png', 'mirrored']),
  'mirrored pose (blender)': (
    'blender', blender_pose(np.diag([1.0, 1, -1, 1])), ['r_1', 'mirrored']),
  'pose that is no number (blender)': (
    'blender', blender_pose(np.full((4, 4), np.inf)), ['train/r_1']),
  'singular pose (blender)': (
    'blender', blender_pose(np.zeros((4, 4))), ['r_1']),
  'mixed sizes (blender)': (
    'blender', other_size('train/r_1.png'), ['r_1.png', '20x31']),
  'image missing (blender)': (
    'blender', remove('train/r_1.png'), ['r_1.png']),
  'poses cut off': (
    'blender', truncate('transforms_train.json'), ['transforms_train.json']),
}  # fmt: skip


def load(kind, folder, split='train'):
  options = dict(OPTIONS[kind.removesuffix('_2')])
  if kind.endswith('_2'):
    options['factor'] = 2
  cfg = base.DataConfig(data_dir=str(folder), **options)
  return base.load_scene(cfg, split)


@pytest.mark.parametrize(
  'kind', ['colmap', 'colmap_2', 'blender', 'transforms']
)
def test_the_sound_folders_load(kind, pristine):
  scene = load(kind, pristine / kind.removesuffix('_2'))
  assert len(scene) == 4  # of five; the first is a test view


def test_there_are_25_cases():
  assert len(CASES) >= 25


@pytest.mark.parametrize('case', CASES)
def test_training_refuses_and_names_the_cause(case, pristine, tmp_path, capsys):
  kind, damage, words = CASES[case]
  source = kind.removesuffix('_2')
  folder = shutil.copytree(pristine / source, tmp_path / source)
  damage(folder)
  options = dict(OPTIONS[source], factor=2 if kind.endswith('_2') else 0)
  bindings = [f'Config.{k} = {v!r}' for k, v in options.items()]
  args = run_util.arguments(folder, tmp_path / 'run', *bindings)
  assert run_util.run(train.main, *args) == 1
  err = capsys.readouterr().err
  assert err.startswith('error: ')
  assert err.count('\n') == 1
  for word in words:
    assert word in err
  assert not (tmp_path / 'run').exists()


def test_16_bit_images_keep_their_16_bits(pristine, tmp_path):
  # Not broken, but commonly read as 8 bits or as white.
  folder = shutil.copytree(pristine / 'colmap', tmp_path / 'colmap')
  pixels = pixels_of(SIZE, SIZE, bits=16)
  for path in (folder / 'images').iterdir():
    images.write_png(path, np.zeros((SIZE, SIZE, 3), np.uint8))
    write_png16(path, pixels)
  found = load('colmap', folder).images
  assert found.values.dtype == np.uint16
  np.testing.assert_array_equal(found.image(0), pixels)


def write_png16(path, pixels):
  """A PNG of 16-bit RGB without any filter."""
  import struct
  import zlib

  def chunk(kind, data):
    body = kind + data
    size = struct.pack('>I', len(data))
    return size + body + struct.pack('>I', zlib.crc32(body))

  height, width = pixels.shape[:2]
  rows = pixels.astype('>u2').reshape(height, -1)
  raw = b''.join(b'\0' + row.tobytes() for row in rows)
  head = struct.pack('>IIBBBBB', width, height, 16, 2, 0, 0, 0)
  path.write_bytes(
    b'\x89PNG\r\n\x1a\n'
    + chunk(b'IHDR', head)
    + chunk(b'IDAT', zlib.compress(raw))
    + chunk(b'IEND', b'')
  )
