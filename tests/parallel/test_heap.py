"""Memory that is freed is used again, but for what compiling left in pieces."""

import pathlib
import resource
import subprocess
import sys

import pytest

from multinerf import parallel
from multinerf.parallel import heap

# Large blocks, again and again, by a thread that began after the call: page
# faults of all but the first round, and the pages of one round.
PROGRAM = """
import resource, threading
from multinerf.parallel import heap
{call}
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
counts = []
def work():
  for _ in range(10):
    counts.append(faults())
    blocks = [bytearray(b'x') * 2**24 for _ in range(4)]
    del blocks
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(counts[-1] - counts[1], 4 * 2**24 // resource.getpagesize())
"""


# Something is compiled: pieces of all sizes are freed, between others that stay.
# How many of the same sizes are then taken from where they were, before and
# while the next thing is compiled; how many there are; the pages given back.
COMPILER = """
import ctypes, pathlib
from multinerf.parallel import heap
{call}
libc = heap._glibc()
sizes = range(2**15, 2**20, 2**11)
def pages():
  return int(pathlib.Path('/proc/self/statm').read_text().split()[1])
def num_below(end):
  pieces = [libc.malloc(size) for size in sizes]
  for piece in pieces:
    libc.free(piece)
  return sum(piece < end for piece in pieces)
with heap.compiling():
  pieces = []
  for size in sizes:
    pieces.append(libc.malloc(size))
    ctypes.memset(pieces[-1], 1, size)
    libc.malloc(2**14)
  end = pieces[-1]
  full = pages()
  for piece in pieces:
    libc.free(piece)
given_back = full - pages()
after = num_below(end)
with heap.compiling():
  inside = num_below(end)
print(after, inside, len(sizes), given_back)
"""
# What Zip-NeRF's tables take, allocated and freed but never touched: how much of
# the heap is left of it.
LARGE = """
from multinerf.parallel import heap
{call}
libc = heap._glibc()
start = libc.sbrk(0)
libc.free(libc.malloc(3 * 2**30))
print(libc.sbrk(0) - start)
"""
needs_glibc = pytest.mark.skipif(
  heap._glibc() is None, reason='other heaps have no such options'
)


def run(program, call):
  done = subprocess.run(
    [sys.executable, '-c', program.format(call=call)],
    cwd=pathlib.Path(parallel.__file__).parents[2],
    capture_output=True,
    text=True,
    check=True,
  )
  return map(int, done.stdout.split())


@needs_glibc
def test_freed_memory_is_not_given_back():
  faults, pages = run(PROGRAM, 'heap.keep_freed_memory()')
  assert faults < pages


@needs_glibc
def test_without_it_every_round_has_new_pages():
  faults, pages = run(PROGRAM, '')
  assert faults > 4 * pages


@needs_glibc
def test_more_than_two_gigabytes_are_kept_too():
  (kept,) = run(LARGE, 'heap.keep_freed_memory()')
  assert kept > 2.5 * 2**30


@needs_glibc
def test_what_compiling_left_is_not_used_until_it_compiles_again():
  after, inside, num_pieces, pages = run(COMPILER, 'heap.keep_freed_memory()')
  assert after == 0
  assert inside > num_pieces / 2
  # Their mean size is half a megabyte.
  assert pages > 0.8 * num_pieces * 2**19 / resource.getpagesize()


@needs_glibc
def test_without_it_what_compiling_left_is_used():
  after, _, num_pieces, _ = run(COMPILER, '')
  assert after > num_pieces / 2
