"""Points come out of PLY files as they went in, or not at all."""

import numpy as np
import pytest

from multinerf import errors
from multinerf.data import ply

GENERATOR = np.random.default_rng(0)
XYZ = GENERATOR.normal(size=(5, 3)).astype(np.float32)
RGB = GENERATOR.integers(0, 256, (5, 3), dtype=np.uint8)


def header(kind, num=5, extra='', last=''):
  return (
    f'ply\nformat {kind} 1.0\ncomment a test\nelement vertex {num}\n{extra}'
    'property float x\nproperty float y\nproperty float z\n'
    'property uint8 red\nproperty uint8 green\nproperty uint8 blue\n'
    f'{last}end_header\n'
  ).encode()


def text(rows=5):
  """As nerfstudio's colmap_utils writes sparse_pc.ply."""
  lines = [
    ' '.join(map(str, [*map(float, p), *map(int, c)]))
    for p, c in zip(XYZ[:rows], RGB[:rows], strict=True)
  ]
  return header('ascii') + '\n'.join(lines).encode()


def binary(order, extra=()):
  names = [*extra, *((n, 'f4') for n in 'xyz')]
  names += [(n, 'u1') for n in ('red', 'green', 'blue')]
  table = np.zeros(5, [(n, order + t) for n, t in names])
  for i, (axis, colour) in enumerate(
    zip('xyz', ('red', 'green', 'blue'), strict=True)
  ):
    table[axis], table[colour] = XYZ[:, i], RGB[:, i]
  return table.tobytes()


FILES = {
  'text': text(),
  'little': header('binary_little_endian') + binary('<'),
  'big': header('binary_big_endian') + binary('>'),
  'with more columns and faces': header(
    'binary_little_endian',
    extra='property double quality\n',
    last='element face 1\nproperty list uchar int vertex_indices\n',
  )
  + binary('<', [('quality', 'f8')])
  + b'\x03\0\0\0',
}


@pytest.mark.parametrize('kind', FILES)
def test_positions_and_colours_are_read(tmp_path, kind):
  path = tmp_path / 'p.ply'
  path.write_bytes(FILES[kind])
  points = ply.read_points(path)
  np.testing.assert_array_equal(points.xyz, XYZ.astype(np.float64))
  np.testing.assert_array_equal(points.rgb, RGB)
  assert (points.errors == 1).all()


def test_points_that_are_not_finite_are_dropped(tmp_path):
  lines = FILES['text'].split(b'\n')
  lines[-2] = b'nan 0 0 1 2 3'
  (tmp_path / 'p.ply').write_bytes(b'\n'.join(lines))
  points = ply.read_points(tmp_path / 'p.ply')
  np.testing.assert_array_equal(points.rgb, RGB[[0, 1, 2, 4]])


FAULTS = {
  'no ply': (b'hello', 'it is no PLY file'),
  'no end': (b'ply\nformat ascii 1.0\n', 'it is no PLY file'),
  'short text': (text(4), 'ends before its 5 vertices'),
  'short binary': (FILES['little'][:-1], 'ends before its 5 vertices'),
  'huge': (header('ascii', 10**25) + b'1 2 3', 'ends before its 1000'),
  'huge binary': (header('binary_big_endian', 10**25), 'ends before its 1000'),
  'negative': (header('ascii', -1), 'lacks a format or a number'),
  'format': (header('zip'), 'lacks a format'),
  'words': (header('ascii', 1) + b'a b c d e f', 'could not convert'),
  'colour': (header('ascii', 1) + b'0 0 0 300 0 0', 'a red out of range'),
  'list': (
    header('ascii', extra='property list uchar int v\n'),
    "a vertex has 'property list",
  ),
  'faces first': (
    b'ply\nformat ascii 1.0\nelement face 1\nend_header\n',
    'first element is not vertex',
  ),
  'no z': (
    FILES['text'].replace(b'float z', b'float w'),
    'its vertices have no z',
  ),
  'binary header': (b'ply\nformat \xff 1.0\nend_header\n', "can't decode"),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_each_fault_is_one_line_that_names_the_file(tmp_path, fault):
  content, message = FAULTS[fault]
  path = tmp_path / 'p.ply'
  path.write_bytes(content)
  with pytest.raises(errors.DataError, match=message) as info:
    ply.read_points(path)
  assert '\n' not in str(info.value) and str(path) in str(info.value)


def test_a_missing_file_is_said(tmp_path):
  with pytest.raises(errors.DataError, match='none.ply does not exist'):
    ply.read_points(tmp_path / 'none.ply')
