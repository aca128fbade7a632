"""Point clouds in PLY files (Stanford triangle format), read with suspicion."""

import dataclasses
import pathlib

import numpy as np

from multinerf import errors
from multinerf.data import base

_MAX_BYTES = 2**30
_MAX_HEADER_LINES = 200
_TYPES = {
  **dict.fromkeys(('char', 'int8'), 'i1'),
  **dict.fromkeys(('uchar', 'uint8'), 'u1'),
  **dict.fromkeys(('short', 'int16'), 'i2'),
  **dict.fromkeys(('ushort', 'uint16'), 'u2'),
  **dict.fromkeys(('int', 'int32'), 'i4'),
  **dict.fromkeys(('uint', 'uint32'), 'u4'),
  **dict.fromkeys(('float', 'float32'), 'f4'),
  **dict.fromkeys(('double', 'float64'), 'f8'),
}
_ORDERS = {
  'ascii': None,
  'binary_little_endian': '<',
  'binary_big_endian': '>',
}


@dataclasses.dataclass(frozen=True)
class _Header:
  """What a PLY file says it holds.

  Attributes:
    order: Byte order, '<' or '>'; None for text.
    num: Number of vertices.
    properties: Their names, with numpy type codes without byte order.
    size: Bytes of the header.
  """

  order: str | None
  num: int
  properties: tuple[tuple[str, str], ...]
  size: int


def read_points(path: pathlib.Path) -> base.Points:
  """Reads the vertices of a PLY file, text or binary.

  Vertices must be its first element, with x, y and z; red, green and blue are
  kept if they are bytes. Vertices that are not finite are dropped. The errors
  of the points, which PLY does not know, are 1.

  Raises:
    DataError: The file is missing, or is none of this.
  """
  try:
    if path.stat().st_size > _MAX_BYTES:
      raise ValueError(f'it has more than {_MAX_BYTES} bytes')
    content = path.read_bytes()
    header = _read_header(content)
    columns = _read_vertices(content, header)
    missing = {'x', 'y', 'z'} - set(columns)
    if missing:
      raise ValueError(f'its vertices have no {", ".join(sorted(missing))}')
  except FileNotFoundError as e:
    raise errors.DataError(f'Point file {path} does not exist.') from e
  except (OSError, ValueError) as e:
    reason = ' '.join(str(e).split())[:200]
    raise errors.DataError(
      f'Cannot read points from {path}: {reason}. Replace the file.'
    ) from e
  xyz = np.stack([columns[k].astype(np.float64) for k in 'xyz'], -1)
  keep = np.isfinite(xyz).all(-1)
  rgb = None
  colours = [columns.get(k) for k in ('red', 'green', 'blue')]
  if all(c is not None and c.dtype == np.uint8 for c in colours):
    rgb = np.stack(colours, -1)[keep]
  return base.Points(xyz[keep], np.ones(int(keep.sum())), rgb)


def _read_header(content: bytes) -> _Header:
  """Format, number and properties of the vertices; ValueError if odd."""
  end = content.find(b'end_header')
  newline = content.find(b'\n', end)
  if not content.startswith(b'ply') or end < 0 or newline < 0:
    raise ValueError('it is no PLY file')
  lines = content[:end].decode('ascii').split('\n')
  if len(lines) > _MAX_HEADER_LINES:
    raise ValueError('its header is too long')
  order, num, properties = '', None, []
  for words in (line.split() for line in lines):
    match words:
      case ['format', kind, _] if kind in _ORDERS:
        order = _ORDERS[kind]
      case ['element', 'vertex', count]:
        num = int(count)
      case ['element', *_] if num is None:
        raise ValueError('its first element is not vertex')
      case ['element', *_]:
        break
      case ['property', kind, name] if kind in _TYPES:
        properties.append((name, _TYPES[kind]))
      case ['property', *_]:
        raise ValueError(f'a vertex has {" ".join(words)!r}')
  if order == '' or num is None or num < 0:
    raise ValueError('its header lacks a format or a number of vertices')
  return _Header(order, num, tuple(properties), newline + 1)


def _read_vertices(content: bytes, header: _Header) -> dict[str, np.ndarray]:
  """Columns by name; ValueError if the file is too short."""
  if header.order is not None:
    row = np.dtype([(n, header.order + t) for n, t in header.properties])
    if len(content) - header.size < header.num * row.itemsize:
      raise ValueError(f'it ends before its {header.num} vertices')
    table = np.frombuffer(content, row, header.num, header.size)
    return {name: table[name] for name, _ in header.properties}
  width = len(header.properties)
  count = header.num * width
  words = []
  if count <= len(content):  # or there cannot be as many words
    words = content[header.size :].split(maxsplit=count)[:count]
  if len(words) < count:
    raise ValueError(f'it ends before its {header.num} vertices')
  numbers = np.array(words, np.float64).reshape(header.num, width)
  columns = {}
  for i, (name, kind) in enumerate(header.properties):
    column = numbers[:, i]
    if kind[0] != 'f':
      limits = np.iinfo(kind)
      if not ((column >= limits.min) & (column <= limits.max)).all():
        raise ValueError(f'a vertex has a {name} out of range')
    columns[name] = column.astype(kind)
  return columns
