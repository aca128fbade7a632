"""Float RGB TIFF files, taken apart by hand: Pillow does not read them."""

import struct

import numpy as np
import pytest

from multinerf.data import images

_FORMATS = {3: 'H', 4: 'I'}


def read(path):
  """The image and the fields of a TIFF file, from the specification."""
  data = path.read_bytes()
  order, magic, start = struct.unpack_from('<2sHI', data)
  assert (order, magic) == (b'II', 42) and start % 2 == 0
  (count,) = struct.unpack_from('<H', data, start)
  fields = {}
  for k in range(count):
    at = start + 2 + 12 * k
    tag, kind, number = struct.unpack_from('<HHI', data, at)
    code = f'<{number}{_FORMATS[kind]}'
    at += 8
    if struct.calcsize(code) > 4:
      (at,) = struct.unpack_from('<I', data, at)
    fields[tag] = struct.unpack_from(code, data, at)
  assert list(fields) == sorted(fields)  # the order is prescribed
  (offset,), (size,) = fields[273], fields[279]
  shape = (*fields[257], *fields[256], *fields[277])
  pixels = np.frombuffer(data[offset : offset + size], '<f4')
  return pixels.reshape(shape), fields


@pytest.mark.parametrize('shape', [(5, 7, 3), (1, 1, 3), (4, 3, 3)])
def test_values_outside_of_zero_to_one_and_nan_are_kept(tmp_path, shape):
  image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  image[0, 0] = [np.nan, np.inf, -1e30]
  assert images.write_tiff(tmp_path / 'a.tiff', image) == 2
  stored, fields = read(tmp_path / 'a.tiff')
  np.testing.assert_array_equal(stored, image)
  assert fields[258] == (32, 32, 32)  # bits
  assert fields[339] == (3, 3, 3)  # float
  assert fields[262] == (2,) and fields[259] == (1,)  # RGB, not compressed
