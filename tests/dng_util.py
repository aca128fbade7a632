"""A writer of minimal DNG files, so that tests need no photographs.

Adobe's DNG 1.4 on top of TIFF 6: one uncompressed 16-bit mosaic with the tags
that LibRaw and exiftool look for.
"""

import json
import pathlib
import struct

import numpy as np

# TIFF field types: code and struct format of one value.
_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _SRATIONAL = 1, 2, 3, 4, 5, 10
_FORMATS = {_BYTE: 'B', _ASCII: 'B', _SHORT: 'H', _LONG: 'I'}
_DENOMINATOR = 10000

COLOR_MATRIX = np.array([
  [0.8489, -0.2583, -0.1036],
  [-0.8051, 1.5583, 0.2643],
  [-0.1307, 0.1407, 0.7354],
])  # fmt: skip
NEUTRAL = np.array([0.5, 1.0, 0.625])


def write(
  path: pathlib.Path,
  mosaic: np.ndarray,
  *,
  black: int = 528,
  white: int = 4095,
  pattern: str = 'RGGB',
  shutter: str = '1/100',
  iso: int = 100,
) -> None:
  """Writes `<path>` and, as exiftool would, the .json beside it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(encode(mosaic, black=black, white=white, pattern=pattern))
  write_exif(
    path.with_suffix('.json'),
    black=black,
    white=white,
    shutter=shutter,
    iso=iso,
  )


def write_exif(
  path: pathlib.Path,
  *,
  black: int = 528,
  white: int = 4095,
  shutter: str = '1/100',
  iso: int = 100,
) -> None:
  """Writes what `exiftool -json` says about such a DNG file."""
  entry = {
    'SourceFile': path.with_suffix('.dng').name,
    'BlackLevel': black,
    'WhiteLevel': white,
    'AsShotNeutral': ' '.join(f'{v:g}' for v in NEUTRAL),
    'ColorMatrix2': ' '.join(f'{v:g}' for v in COLOR_MATRIX.ravel()),
    'NoiseProfile': '0.01 0.0002',
    'ShutterSpeed': shutter,
    'ISO': iso,
  }
  path.write_text(json.dumps([entry]))


def encode(
  mosaic: np.ndarray, *, black: int, white: int, pattern: str = 'RGGB'
) -> bytes:
  """The bytes of a DNG file of one mosaic [H, W] uint16."""
  height, width = mosaic.shape
  pixels = np.ascontiguousarray(mosaic, '<u2').tobytes()
  model = b'Tester Synthetic\0'
  tags = {
    254: (_LONG, [0]),  # full-resolution image
    256: (_LONG, [width]),
    257: (_LONG, [height]),
    258: (_SHORT, [16]),
    259: (_SHORT, [1]),  # not compressed
    262: (_SHORT, [32803]),  # colour filter array
    271: (_ASCII, b'Tester\0'),
    272: (_ASCII, b'Synthetic\0'),
    273: (_LONG, [8]),  # the pixels follow the header
    274: (_SHORT, [1]),
    277: (_SHORT, [1]),
    278: (_LONG, [height]),
    279: (_LONG, [len(pixels)]),
    284: (_SHORT, [1]),
    33421: (_SHORT, [2, 2]),  # size of the filters' pattern
    33422: (_BYTE, ['RGB'.index(c) for c in pattern]),
    50706: (_BYTE, [1, 4, 0, 0]),  # DNG version
    50707: (_BYTE, [1, 1, 0, 0]),
    50708: (_ASCII, model),
    50714: (_SHORT, [black]),
    50717: (_LONG, [white]),
    50721: (_SRATIONAL, COLOR_MATRIX.ravel()),
    50722: (_SRATIONAL, COLOR_MATRIX.ravel()),
    50728: (_RATIONAL, NEUTRAL),
    50778: (_SHORT, [17]),  # standard light A
    50779: (_SHORT, [21]),  # D65
  }
  start = 8 + len(pixels) + len(pixels) % 2
  fields, extra = b'', b''
  extra_start = start + 2 + 12 * len(tags) + 4
  for tag, (kind, values) in sorted(tags.items()):
    data = _field(kind, values)
    count = len(values)
    if len(data) <= 4:
      inline = data.ljust(4, b'\0')
    else:
      inline = struct.pack('<I', extra_start + len(extra))
      extra += data + b'\0' * (len(data) % 2)
    fields += struct.pack('<HHI', tag, kind, count) + inline
  header = struct.pack('<2sHI', b'II', 42, start)
  directory = struct.pack('<H', len(tags)) + fields + struct.pack('<I', 0)
  return header + pixels.ljust(start - 8, b'\0') + directory + extra


def _field(kind: int, values) -> bytes:
  """Values of a TIFF field."""
  if kind in (_RATIONAL, _SRATIONAL):
    code = 'i' if kind == _SRATIONAL else 'I'
    pairs = [n for v in values for n in (round(v * _DENOMINATOR), _DENOMINATOR)]
    return struct.pack(f'<{len(pairs)}{code}', *pairs)
  return struct.pack(f'<{len(values)}{_FORMATS[kind]}', *values)
