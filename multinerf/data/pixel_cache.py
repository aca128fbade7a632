"""Pixels that do not fit into memory: decoded once, into files that are mapped.

A folder `<cache>/<key>` holds one file per kind of image, raw numbers in the
order of a `PixelBuffer`, and `index.json`. The key is a hash of all that the
pixels follow from: source files with sizes and times of change, options,
shapes. So the next start finds them, another option does not, and a folder may
be deleted whenever nobody trains on it. It appears complete or not at all, and
is written image by image, by one process while others wait for it.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from multinerf import errors
from multinerf.data import files as files_lib
from multinerf.data import host_memory, pixel_buffer

DEFAULT_FOLDER = '~/.cache/multinerf/pixels'
# Share of the available memory that the pixels of one call of `build` may take
# if nobody says otherwise: a scene has two splits and several kinds of images.
MEMORY_SHARE = 0.4
_VERSION = 1  # to be raised when loaders make other pixels of the same files
_INDEX = 'index.json'
_log = logging.getLogger(__name__)

# (number of the image, [h, w, c] to be filled by kind); called from threads.
Load = Callable[[int, Mapping[str, np.ndarray]], None]


@dataclasses.dataclass(frozen=True)
class Kind:
  """One kind of image, such as colours or depths.

  Attributes:
    channels: How many numbers a pixel has.
    dtype: Their type.
  """

  channels: int
  dtype: np.typing.DTypeLike


def build(
  sizes: tuple[Sequence[int] | np.ndarray, Sequence[int] | np.ndarray],
  kinds: Mapping[str, Kind],
  load: Load,
  *,
  folder: str | None,
  origin: Sequence[Any] | None,
) -> dict[str, pixel_buffer.PixelBuffer]:
  """Pixel buffers filled by `load`, in memory or in the cache.

  Args:
    sizes: Widths and heights of the n images, [n] each.
    kinds: What there is of each image, by name.
    load: Fills the arrays of one image.
    folder: The cache (gin: Config.pixel_cache_dir); None: pixels are in memory,
      but in `DEFAULT_FOLDER` if they take more than `MEMORY_SHARE` of what is
      available.
    origin: All that the pixels follow from: paths of files, numbers, strings,
      arrays, None, and tuples or mappings of these. None: not known, which
      keeps them in memory.

  Returns:
    A buffer by kind.

  Raises:
    DataError: The cache cannot be written, or lacks the space; or `load` says.
  """
  widths, heights = (np.asarray(s, np.int64) for s in sizes)
  num_pixels = int(np.sum(widths * heights))
  pixel_bytes = sum(_row_bytes(kind) for kind in kinds.values())
  if folder is None and num_pixels * pixel_bytes > (
    MEMORY_SHARE * host_memory.available()
  ):
    folder = DEFAULT_FOLDER
  if folder is None or origin is None or num_pixels == 0:
    return _in_memory(widths, heights, kinds, load)
  index = {
    'version': _VERSION,
    'num_pixels': num_pixels,
    'kinds': {
      name: [kind.channels, np.dtype(kind.dtype).name]
      for name, kind in kinds.items()
    },
    'origin': fingerprint((*origin, widths, heights)),
  }
  key = hashlib.sha256(json.dumps(index).encode()).hexdigest()[:24]
  home = pathlib.Path(folder).expanduser() / key
  try:
    with _alone(home):
      if not _is_complete(home, index):
        _log.info('Decoding %d images into %s', len(widths), home)
        _write(home, index, widths, heights, kinds, load)
    return {
      name: _open(home / name, key, widths, heights, kind)
      for name, kind in kinds.items()
    }
  except OSError as e:
    raise errors.DataError(
      f'Cannot keep {num_pixels * pixel_bytes / 2**30:.1f} GiB of pixels in '
      f'{home}: {e}; name another folder (gin: Config.pixel_cache_dir).'
    ) from e


def derived(
  buffer: pixel_buffer.PixelBuffer, *how: Any
) -> tuple[Any, ...] | None:
  """The `origin` of pixels made from those of a buffer; None if it has none."""
  return None if buffer.file is None else (buffer.file.key, *how)


def fingerprint(origin: Sequence[Any]) -> str:
  """A hash of paths (with size and time of change), arrays and plain values."""
  digest = hashlib.sha256()
  for text in _described(origin):
    digest.update(text.encode() + b'\0')
  return digest.hexdigest()


def _described(value: Any) -> Iterator[str]:
  """Texts that differ where the values do."""
  if isinstance(value, tuple | list):
    yield f'{len(value)} values'
    for part in value:
      yield from _described(part)
  elif isinstance(value, Mapping):
    yield from _described(sorted(value.items()))
  elif isinstance(value, pathlib.Path):
    path = value.resolve()
    try:
      status = path.stat()
      yield f'{path} {status.st_size} {status.st_mtime_ns}'
    except OSError:  # whoever reads it will say so
      yield f'{path} missing'
  elif isinstance(value, np.ndarray):
    values = hashlib.sha256(np.ascontiguousarray(value)).hexdigest()
    yield f'{value.dtype} {value.shape} {values}'
  else:
    yield repr(value)


def _in_memory(widths, heights, kinds, load):
  """Buffers that are filled where they are."""
  buffers = {
    name: pixel_buffer.PixelBuffer.allocate(
      widths, heights, kind.channels, kind.dtype
    )
    for name, kind in kinds.items()
  }
  files_lib.fill(
    len(widths),
    lambda i: load(i, {name: b.image(i) for name, b in buffers.items()}),
  )
  return buffers


def _row_bytes(kind: Kind) -> int:
  """Bytes of a pixel."""
  return kind.channels * np.dtype(kind.dtype).itemsize


@contextlib.contextmanager
def _alone(home: pathlib.Path) -> Iterator[None]:
  """Waits until no other process builds this folder.

  The lock ends with the process that holds it, however that ends.
  """
  home.parent.mkdir(parents=True, exist_ok=True)
  with open(home.with_name(f'{home.name}.lock'), 'w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def _is_complete(home: pathlib.Path, index: Mapping[str, Any]) -> bool:
  """Whether the folder holds these pixels."""
  try:
    found = json.loads((home / _INDEX).read_text())
    sizes = {name: (home / name).stat().st_size for name in index['kinds']}
  except (OSError, ValueError):
    return False
  return found == index and all(
    sizes[name] == index['num_pixels'] * channels * np.dtype(dtype).itemsize
    for name, (channels, dtype) in index['kinds'].items()
  )


def _write(home, index, widths, heights, kinds, load) -> None:
  """Makes the folder beside its place, then moves it there.

  Only for the process that holds the lock: what lies there is left over from
  one that was killed, or damaged.
  """
  temp = home.with_name(f'{home.name}.tmp')
  for path in (temp, home):
    if path.exists():
      shutil.rmtree(path)
  temp.mkdir()
  offsets = np.concatenate([[0], np.cumsum(widths * heights)])
  with contextlib.ExitStack() as stack:
    stack.callback(shutil.rmtree, temp, ignore_errors=True)
    opened = {}
    for name, kind in kinds.items():
      file = stack.enter_context(open(temp / name, 'wb'))
      # Fails now rather than in the middle if the disk is too small.
      num_bytes = int(offsets[-1]) * _row_bytes(kind)
      if hasattr(os, 'posix_fallocate'):  # not on macOS
        os.posix_fallocate(file.fileno(), 0, num_bytes)
      opened[name] = file.fileno()

    def one(i: int):
      shape = (int(heights[i]), int(widths[i]))
      targets = {
        name: np.empty((*shape, kind.channels), kind.dtype)
        for name, kind in kinds.items()
      }
      load(i, targets)
      for name, pixels in targets.items():
        start = int(offsets[i]) * _row_bytes(kinds[name])
        _write_at(opened[name], pixels, start)

    files_lib.fill(len(widths), one)
    for descriptor in opened.values():
      os.fsync(descriptor)
    (temp / _INDEX).write_text(json.dumps(index))
    os.rename(temp, home)


def _write_at(descriptor: int, pixels: np.ndarray, start: int) -> None:
  """Writes all bytes of an array; a call may write a part only."""
  data = memoryview(np.ascontiguousarray(pixels)).cast('B')
  while data:
    written = os.pwrite(descriptor, data, start)
    data, start = data[written:], start + written


def _open(
  path: pathlib.Path,
  key: str,
  widths: Int[np.ndarray, ' n'],
  heights: Int[np.ndarray, ' n'],
  kind: Kind,
) -> pixel_buffer.PixelBuffer:
  """A buffer whose values are those of a file."""
  file = pixel_buffer.MappedFile(path, key=f'{key}/{path.name}')
  offsets = np.concatenate([[0], np.cumsum(widths * heights)])
  return pixel_buffer.PixelBuffer(
    file.array(kind.channels, kind.dtype),
    widths,
    heights,
    offsets.astype(np.int64),
    file=file,
  )
