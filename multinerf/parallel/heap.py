"""The C library's heap, which XLA's CPU backend takes its memory from."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

# Of glibc's mallopt(): (option, value).
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_LARGEST_PIECE, _LEAST_PIECE = 2**26, 2**14

# Whether this process keeps what it frees, and the pieces it does not use.
_keeping = False
_set_aside: list[int] = []


def keep_freed_memory() -> None:
  """Lets glibc reuse the memory of large arrays; no effect with another libc.

  By default an array above 32 MiB, and less in a young process, is mapped
  afresh and unmapped when it is freed. XLA asks for all of a step's memory at
  every step: without this a fifth of a grid field's step is page faults
  (docs/performance.md). The price is that the process keeps its peak.

  It must come before there are threads: each that allocates gets a heap of its
  own, which does give memory back. Connecting to other processes starts some.
  """
  global _keeping
  libc = _glibc()
  if libc is None:
    return
  for option, value in (
    (_M_MMAP_MAX, 0),
    (_M_TRIM_THRESHOLD, -1),  # never; as large as it can be said is 2 GiB
    (_M_ARENA_MAX, 1),
  ):
    libc.mallopt(option, value)
  _keeping = True


@contextlib.contextmanager
def compiling() -> Iterator[None]:
  """Keeps what the compiler leaves behind out of the way of what it made.

  Compiling frees hundreds of megabytes in tens of thousands of pieces of all
  sizes. glibc lists the large ones by size and walks along these lists at every
  allocation, while all other threads wait for the one heap: a fifth of the time
  of a training step on two devices, and more (docs/performance.md). So their
  memory is given back to the system, and the pieces themselves, which are mere
  addresses then, are taken out of the lists until something is compiled again.
  Nothing happens without `keep_freed_memory`.
  """
  if not _keeping:
    yield
    return
  libc = _glibc()
  while _set_aside:
    libc.free(_set_aside.pop())
  try:
    yield
  finally:
    libc.malloc_trim(0)
    end = libc.sbrk(0)
    size = _LARGEST_PIECE
    while size >= _LEAST_PIECE:
      piece = libc.malloc(size)
      if piece and piece + size <= end:
        _set_aside.append(piece)
      else:  # It came from behind what there was: no free piece is as large.
        libc.free(piece)
        size //= 2


def _glibc() -> ctypes.CDLL | None:
  """The C library, if it is glibc."""
  libc = ctypes.CDLL(None) if sys.platform == 'linux' else None
  if not hasattr(libc, 'gnu_get_libc_version'):
    return None
  libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
  libc.malloc.argtypes = libc.malloc_trim.argtypes = [ctypes.c_size_t]
  libc.free.argtypes = [ctypes.c_void_p]
  libc.sbrk.argtypes = [ctypes.c_ssize_t]
  return libc
