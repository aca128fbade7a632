"""Float RGB images as TIFF files, which Pillow cannot write.

TIFF 6.0 (1992), section 19 for float samples: one uncompressed strip,
little-endian, as most other programs read.
"""

import struct

import numpy as np
from jaxtyping import Float

_SHORT, _LONG = 3, 4


def encode(image: Float[np.ndarray, 'h w 3']) -> bytes:
  """The bytes of a TIFF file of 32-bit floats; any values, NaN too."""
  height, width, channels = image.shape
  pixels = np.ascontiguousarray(image, '<f4').tobytes()
  start = 8 + len(pixels)
  fields = [
    (256, _LONG, [width]),
    (257, _LONG, [height]),
    (258, _SHORT, [32] * channels),  # bits per sample
    (259, _SHORT, [1]),  # not compressed
    (262, _SHORT, [2]),  # RGB
    (273, _LONG, [8]),  # the pixels follow the header
    (277, _SHORT, [channels]),
    (278, _LONG, [height]),  # rows per strip
    (279, _LONG, [len(pixels)]),
    (284, _SHORT, [1]),  # channels interleaved
    (339, _SHORT, [3] * channels),  # samples are floats
  ]
  directory = struct.pack('<H', len(fields))
  extra, extra_start = b'', start + 2 + 12 * len(fields) + 4
  for tag, kind, values in fields:
    code = 'H' if kind == _SHORT else 'I'
    data = struct.pack(f'<{len(values)}{code}', *values)
    if len(data) > 4:
      extra, data = extra + data, struct.pack('<I', extra_start + len(extra))
    directory += struct.pack('<HHI', tag, kind, len(values))
    directory += data.ljust(4, b'\0')
  header = struct.pack('<2sHI', b'II', 42, start)
  return header + pixels + directory + struct.pack('<I', 0) + extra
