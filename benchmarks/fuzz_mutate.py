"""Structure-aware mutations of files, for fuzz.py.

Most flipped bits of a PNG end at its first checksum, and of a JSON file at its
syntax. So files are taken apart, changed in the middle and put together again:
checksums are made to fit, trees stay trees, headers stay headers.
"""

import copy
import io
import json
import re
import struct
import zlib
from typing import Any

import msgpack
import numpy as np

_NUMBERS = (
  *(0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 32767, 65535, 65536, 10**6),
  *(2**27, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**60, 2**63 - 1),
  *(2**63, 2**64 - 1, -(2**31), -(2**63)),
)
_WORDS = (
  *('0', '-1', '1e308', '1e-308', '-1e999', 'nan', 'inf', '1' * 5000, '1/0'),
  *('1e999999999', '18446744073709551616', '-9223372036854775809', '', 'x'),
  *('1_0', '0x10', '٣', '\0', '..', '/', '[' * 500, '-' * 900 + '1', '%N'),
  *('@jnp.exp', "'" * 3, '{', ')', '\\', '#', '\n\n', ' ' * 1000),
)
_VALUES: tuple[Any, ...] = (
  *(None, True, False, 0, -1, 1.5, 1e308, float('nan'), float('inf'), 10**400),
  *('', 'x', 'x' * 3000, '..', '/etc/passwd', '\0', '\ud800', '1/0'),
  *('1e999999999', [], {}, [[]], [[1, 2], [3]], [None] * 4, {'a': 1}),
)
_NOT_TAKEN_APART = (
  *(ValueError, TypeError, OverflowError, RecursionError),
  *(msgpack.UnpackException, zlib.error),
)


def mutate(data: bytes, kind: str, random: np.random.Generator) -> bytes:
  """One mutated input.

  Args:
    data: A sound input.
    kind: 'bytes', 'png', 'npy', 'msgpack', 'json' or 'text'.
    random: Chooses everything.
  """
  how = {
    'png': _png,
    'npy': _npy,
    'msgpack': _msgpack,
    'json': _json,
    'text': _text,
  }.get(kind)
  # Also plainly, for what comes before the structure.
  if how is None or random.random() < 0.3:
    return _bytes(data, random)
  for _ in range(1 + random.integers(3)):
    try:
      data = how(data, random)
    except _NOT_TAKEN_APART:  # the second time it is no longer sound
      return _bytes(data, random)
  return data


def _pick(random, choices):
  return choices[int(random.integers(len(choices)))]


def _bytes(data: bytes, random) -> bytes:
  """A few changes of bytes anywhere."""
  out = bytearray(data)
  for _ in range(1 + int(random.geometric(0.4))):
    at = int(random.integers(len(out) + 1))
    length = int(random.geometric(0.1))
    match int(random.integers(7)):
      case 0 if at < len(out):
        out[at] ^= 1 << int(random.integers(8))
      case 1 if at < len(out):
        out[at] = int(random.integers(256))
      case 2:
        del out[at:]
      case 3:
        del out[at : at + length]
      case 4:
        out[at:at] = random.bytes(length)
      case 5:
        other = int(random.integers(len(out) + 1))
        out[at:at] = out[other : other + length]
      case _:
        size, order = _pick(random, 'BHIQ'), _pick(random, '<>')
        number = _pick(random, _NUMBERS) % (1 << 8 * struct.calcsize(size))
        packed = struct.pack(order + size, number)
        out[at : at + len(packed)] = packed
  return bytes(out)


def _png(data: bytes, random) -> bytes:
  """Changes one chunk of a PNG, or its pixels, under right checksums."""
  chunks, at = [], 8
  while at + 12 <= len(data):
    size = struct.unpack('>I', data[at : at + 4])[0]
    chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
    at += 12 + size
  if not chunks:
    return _bytes(data, random)
  i = int(random.integers(len(chunks)))
  kind, body = chunks[i]
  choice = random.random()
  if kind == b'IHDR' and len(body) == 13 and choice < 0.5:
    fields = list(struct.unpack('>IIBBBBB', body))
    k = int(random.integers(len(fields)))
    fields[k] = _pick(random, _NUMBERS) % (2**32 if k < 2 else 256)
    body = struct.pack('>IIBBBBB', *fields)
  elif kind == b'IDAT' and choice < 0.7:
    pixels = zlib.decompress(body)
    if choice < 0.1:  # a bomb: a megabyte from a kilobyte
      pixels += bytes(2**20)
    body = zlib.compress(_bytes(pixels, random))
  elif choice < 0.8:
    body = _bytes(body, random)
  elif choice < 0.9:
    chunks.insert(int(random.integers(len(chunks))), (kind, body))
  else:
    kind = _pick(random, [b'IDAT', b'tRNS', b'PLTE', b'iCCP', b'zTXt', b'acTL'])
  chunks[i] = kind, body
  return data[:8] + b''.join(
    struct.pack('>I', len(d)) + k + d + struct.pack('>I', zlib.crc32(k + d))
    for k, d in chunks
  )


def _npy(data: bytes, random) -> bytes:
  """Changes the header of a .npy file under the right length."""
  if not data.startswith(b'\x93NUMPY') or len(data) < 10:
    return _bytes(data, random)
  size = struct.unpack('<H', data[8:10])[0]
  header, body = data[10 : 10 + size], data[10 + size :]
  choice = random.random()
  if choice < 0.4:
    shape = tuple(
      int(_pick(random, _NUMBERS)) for _ in range(int(random.integers(5)))
    )
    header = re.sub(rb"'shape': \(.*?\)", b"'shape': %r" % (shape,), header)
  elif choice < 0.7:
    kinds = ('<f8', '>f2', '|O', '<M8[ns]', '|V0', '<U9', 'f4,(3,)i8', '|S0')
    kind = _pick(random, kinds).encode()
    header = re.sub(rb"'descr': '.*?'", b"'descr': '%s'" % kind, header)
  elif choice < 0.8:
    header = (_pick(random, _WORDS) * int(random.integers(1, 9))).encode()
  else:
    header = _bytes(header, random)
  header = header[:60000]
  return data[:8] + struct.pack('<H', len(header)) + header + body


def _msgpack(data: bytes, random) -> bytes:
  """Changes a node of the tree, or shape, type or bytes of an array."""
  tree = msgpack.unpackb(data, raw=False, strict_map_key=False)
  return msgpack.packb(_changed_node(tree, random), strict_types=True)


def _changed_ext(node, random):
  """An array of flax: a packed (shape, dtype name, bytes)."""
  shape, dtype, body = msgpack.unpackb(node.data, raw=True)
  match int(random.integers(4)):
    case 0:
      shape = [_pick(random, _NUMBERS) for _ in range(int(random.integers(4)))]
    case 1:
      names = ('float64', 'O', 'V0', 'S0', 'bfloat16', 'f4,f8', 'x', 'U3', 'm8')
      dtype = _pick(random, (*names, '(9999999999)f4', 'complex64')).encode()
    case 2:
      body = _bytes(body, random)
    case _:
      return msgpack.ExtType(int(random.integers(128)), node.data)
  return msgpack.ExtType(node.code, msgpack.packb([shape, dtype, body]))


def _json(data: bytes, random) -> bytes:
  """Changes a node of the tree."""
  text = json.dumps(_changed_node(json.loads(data), random))
  if random.random() < 0.02:
    text = '[' * 100_000 + text
  return text.encode('utf-8', 'surrogatepass')


def _changed_node(tree, random):
  """A copy of a tree with one node replaced, dropped, repeated or moved."""
  tree = copy.deepcopy(tree)
  nodes = []

  def walk(holder):
    items = holder.items() if isinstance(holder, dict) else enumerate(holder)
    for key, value in list(items):
      nodes.append((holder, key))
      if isinstance(value, dict | list):
        walk(value)

  if not isinstance(tree, dict | list) or not tree or random.random() < 0.01:
    return _pick(random, _VALUES)
  walk(tree)
  holder, key = _pick(random, nodes)
  if isinstance(holder[key], msgpack.ExtType) and random.random() < 0.7:
    holder[key] = _changed_ext(holder[key], random)
    return tree
  choice = random.random()
  if choice < 0.6:
    holder[key] = _pick(random, _VALUES)
  elif choice < 0.7:
    del holder[key]
  elif choice < 0.8 and isinstance(holder, list):
    holder.append(copy.deepcopy(holder[key]))
  elif choice < 0.9:
    other, place = _pick(random, nodes)
    holder[key] = copy.deepcopy(other[place])
  elif isinstance(holder[key], int | float):
    holder[key] = _pick(random, _NUMBERS)
  else:
    holder[key] = [holder[key]] * int(random.integers(50))
  return tree


def _text(data: bytes, random) -> bytes:
  """Changes one word, or drops, repeats or moves a line."""
  lines = io.BytesIO(data).readlines()
  if not lines:
    return _bytes(data, random)
  i = int(random.integers(len(lines)))
  choice = random.random()
  if choice < 0.1:
    del lines[i]
  elif choice < 0.2:
    lines.insert(int(random.integers(len(lines))), lines[i])
  elif choice < 0.3:
    lines[i] = lines[i] * int(random.integers(200))
  else:
    words = re.split(rb'(\s+)', lines[i])
    k = int(random.integers(len(words)))
    words[k] = (
      _pick(random, _WORDS).encode()
      if random.random() < 0.5
      else str(_pick(random, _NUMBERS)).encode()
    )
    lines[i] = b''.join(words)
  return b''.join(lines)
