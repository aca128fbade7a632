"""A reader of 16-bit PNG files, whose low bytes Pillow throws away.

Written from the PNG specification (W3C Recommendation, third edition,
sections 5, 9 and 11). Only what photographs and renderings use: 16 bits per
sample, grey, grey + alpha, RGB or RGBA, not interlaced.
"""

import pathlib
import struct
import zlib

import numpy as np
from jaxtyping import UInt16

_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # colour type -> samples per pixel


def is_png16(path: pathlib.Path) -> bool:
  """Whether the file starts as a PNG of 16 bits per sample does."""
  with open(path, 'rb') as f:
    head = f.read(25)
  return head.startswith(_SIGNATURE) and len(head) == 25 and head[24] == 16


def header(data: bytes) -> tuple[int, int, int]:
  """Width, height and samples per pixel, from the first 29 bytes of a file.

  Raises:
    ValueError: Not a PNG of a kind this module reads.
  """
  if len(data) < 29 or data[:8] != _SIGNATURE or data[12:16] != b'IHDR':
    raise ValueError('no PNG header')
  width, height, depth, colour, _, _, interlace = struct.unpack(
    '>IIBBBBB', data[16:29]
  )
  if depth != 16 or colour not in _CHANNELS or not width or not height:
    raise ValueError(f'bad header: {depth} bits, colour type {colour}')
  if interlace:
    raise ValueError('interlaced 16-bit PNG; save it without interlacing')
  return width, height, _CHANNELS[colour]


def decode(data: bytes) -> UInt16[np.ndarray, 'h w c']:
  """Decodes a whole 16-bit PNG file.

  Raises:
    ValueError: The file is damaged, truncated or of another kind.
  """
  width, height, channels = header(data)
  bytes_per_pixel = 2 * channels
  want = height * (1 + width * bytes_per_pixel)
  inflate = zlib.decompressobj()
  try:
    # The limit keeps a small hostile file from filling the memory.
    raw = inflate.decompress(_image_data(data), want)
  except zlib.error as e:
    raise ValueError(f'damaged image data ({e})') from e
  if len(raw) < want:
    raise ValueError(f'truncated: {len(raw)} of {want} bytes of image data')
  rows = np.frombuffer(raw, np.uint8).reshape(height, -1)
  pixels = _unfilter(
    rows[:, 0], rows[:, 1:].reshape(height, width, bytes_per_pixel)
  )
  return pixels.view('>u2').astype(np.uint16)


def _image_data(data: bytes) -> bytes:
  """Joins the IDAT chunks, checking lengths and checksums."""
  parts = []
  at = len(_SIGNATURE)
  while at + 12 <= len(data):
    length, kind = struct.unpack('>I4s', data[at : at + 8])
    body = data[at + 8 : at + 8 + length]
    check = data[at + 8 + length : at + 12 + length]
    if (
      len(check) < 4 or zlib.crc32(kind + body) != struct.unpack('>I', check)[0]
    ):
      raise ValueError(f'damaged or truncated chunk {kind!r}')
    if kind == b'IDAT':
      parts.append(body)
    if kind == b'IEND':
      break
    at += 12 + length
  return b''.join(parts)


def _unfilter(filters: np.ndarray, residual: np.ndarray) -> np.ndarray:
  """Adds each byte's prediction from its left, upper and diagonal neighbour.

  A pixel depends on three neighbours, so all pixels of one anti-diagonal can be
  done at once: H + W vectorised steps instead of H * W scalar ones.
  """
  height, width, depth = residual.shape
  if filters.max() > 4:
    raise ValueError(f'unknown row filter {filters.max()}')
  out = np.zeros((height + 1, width + 1, depth), np.int32)  # zero border
  for k in range(height + width - 1):
    row = np.arange(max(0, k - width + 1), min(height, k + 1))
    col = k - row
    left, up, diag = out[row + 1, col], out[row, col + 1], out[row, col]
    kind = filters[row, None]
    guess = left + up - diag
    to_left, to_up = np.abs(guess - left), np.abs(guess - up)
    to_diag = np.abs(guess - diag)
    paeth = np.where(
      (to_left <= to_up) & (to_left <= to_diag),
      left,
      np.where(to_up <= to_diag, up, diag),
    )
    predicted = np.choose(
      kind, (np.zeros_like(left), left, up, (left + up) // 2, paeth)
    )
    out[row + 1, col + 1] = (residual[row, col] + predicted) & 255
  return np.ascontiguousarray(out[1:, 1:].astype(np.uint8))
