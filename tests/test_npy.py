"""Arrays of strangers: a header promises, the data decide."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from multinerf import npy


def encoded(array, **kwargs):
  out = io.BytesIO()
  np.save(out, array, **kwargs)
  return out.getvalue()


def with_header(header):
  """A .npy file with another header and two numbers."""
  header = header.encode('latin1')
  return (
    b'\x93NUMPY\x01\x00' + struct.pack('<H', len(header)) + header + bytes(16)
  )


def described(descr="'<f8'", shape='(2,)', order='False'):
  return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"


@pytest.mark.parametrize('dtype', ['<f8', '>f4', '<f2', 'u1', '>i8'])
@pytest.mark.parametrize('order', ['C', 'F'])
@pytest.mark.parametrize('shape', [(), (3,), (0, 4), (2, 3, 4)])
def test_what_numpy_wrote_comes_back(tmp_path, dtype, order, shape):
  values = np.arange(np.prod(shape, dtype=int)).reshape(shape)
  array = np.asarray(values, dtype, order=order)
  path = tmp_path / 'a.npy'
  path.write_bytes(encoded(array))
  got = npy.read(path)
  assert (got.dtype, got.shape) == (array.dtype, array.shape)
  np.testing.assert_array_equal(got, array)


# Found by benchmarks/fuzz.py, or what its mutations are made from.
BROKEN = {
  'empty': b'',
  'no magic': b'x' * 100,
  'pickle': encoded(np.array([{}], object), allow_pickle=True),
  'text': encoded(np.array(['x'])),
  'time': encoded(np.array(['2020'], 'M8[Y]')),
  'version': b'\x93NUMPY\x09\x00' + bytes(20),
  'unfinished': b'\x93NUMPY\x01\x00',
  'huge': with_header(described(shape='(1152921504606846976,)')),
  'overflowing': with_header(described(shape='(4294967296, 4294967296)')),
  'too large for numpy': with_header(described(shape=f'({2**64},)')),
  'negative': with_header(described(shape='(-2,)')),
  'negative twice': with_header(described(shape='(-1, -2)')),
  'a bool': with_header(described(shape='(True, 2)')),
  'a little more': with_header(described(shape='(3,)')),
  'a little less': with_header(described(shape='(1,)')),
  'records': with_header(described("[('a', '<f8')]")),
  'no size': with_header(described("'|V0'")),
  'no type': with_header(described("'nosuch'")),
  'tokens': with_header('(' * 400),
  'minus signs': with_header('-' * 9000 + '1'),
  'nulls': with_header('\0' * 50),
  'string': with_header("'''"),
  'long': with_header(described() + ' ' * 20000),
  'other keys': with_header("{1: 2, 'a': 3}"),
}


@pytest.mark.parametrize('name', BROKEN)
def test_everything_else_is_one_line_and_takes_no_memory(name, tmp_path):
  path = tmp_path / 'a.npy'
  path.write_bytes(BROKEN[name])
  tracemalloc.start()
  try:
    with pytest.raises(ValueError) as info:
      npy.read(path)
    assert tracemalloc.get_traced_memory()[1] < 2e7
  finally:
    tracemalloc.stop()
  assert str(info.value) and '\n' not in str(info.value)
  assert len(str(info.value)) < 500


def test_archives_are_read_by_name(tmp_path):
  path = tmp_path / 'a.npz'
  np.savez_compressed(path, x=np.ones(3), kind=np.array('vgg'))
  found = npy.read_archive(path, kinds='fU')
  assert sorted(found) == ['kind', 'x'] and str(found['kind']) == 'vgg'
  with pytest.raises(ValueError, match='U3'):
    npy.read_archive(path)


@pytest.mark.parametrize('damage', ['not zip', 'bomb', 'huge', 'cut', 'locked'])
def test_archives_that_are_none_are_one_line(damage, tmp_path, monkeypatch):
  monkeypatch.setattr(npy, '_ARCHIVE_BYTES', 10**6)
  path = tmp_path / 'a.npz'
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr('x.npy', BROKEN['huge'] if damage == 'huge' else b'')
    if damage == 'bomb':
      archive.writestr('y.npy', bytes(2**20))
  data = bytearray(path.read_bytes())
  if damage == 'not zip':
    data = bytearray(b'x' * 50)
  elif damage == 'cut':
    del data[-10:]
  elif damage == 'locked':  # the flag of encryption, in the directory
    data[data.index(b'PK\x01\x02') + 8] |= 1
  path.write_bytes(data)
  with pytest.raises(ValueError) as info:
    npy.read_archive(path)
  assert '\n' not in str(info.value)
