"""Memory that is freed is used again, whichever thread asks for it."""

import pathlib
import subprocess
import sys

import pytest

from multinerf import parallel

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


def faults_and_pages(call):
  done = subprocess.run(
    [sys.executable, '-c', PROGRAM.format(call=call)],
    cwd=pathlib.Path(parallel.__file__).parents[2],
    capture_output=True,
    text=True,
    check=True,
  )
  return map(int, done.stdout.split())


@pytest.mark.skipif(sys.platform != 'linux', reason='glibc has the options')
def test_freed_memory_is_not_given_back():
  faults, pages = faults_and_pages('heap.keep_freed_memory()')
  assert faults < pages


@pytest.mark.skipif(sys.platform != 'linux', reason='glibc has the options')
def test_without_it_every_round_has_new_pages():
  faults, pages = faults_and_pages('')
  assert faults > 4 * pages
