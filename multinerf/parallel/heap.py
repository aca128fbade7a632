"""The C library's heap, which XLA's CPU backend takes its memory from."""

import ctypes
import sys

# Of glibc's mallopt(): (option, value).
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
  """Lets glibc reuse the memory of large arrays; no effect with another libc.

  By default an array above 32 MiB, and less in a young process, is mapped
  afresh and unmapped when it is freed. XLA asks for all of a step's memory at
  every step: without this a fifth of a grid field's step is page faults
  (docs/performance.md). The price is that the process keeps its peak.

  It must come before there are threads: each that allocates gets a heap of its
  own, which does give memory back. Connecting to other processes starts some.
  """
  if sys.platform != 'linux':
    return
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt is None:
    return
  for option, value in (
    (_M_MMAP_MAX, 0),
    (_M_TRIM_THRESHOLD, 2**31 - 1),
    (_M_ARENA_MAX, 1),
  ):
    mallopt(option, value)
