"""What the hardware can do: matrix products and copies of memory.

Both are measured on all devices of the process at once, because that is what
training uses, and in the same process, because on a shared machine a peak of
another moment says little. Every time is taken twice: by the clock, and as the
processor time that this process used, which other processes hardly change.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from multinerf import parallel

# The side of the matrices that utilisation refers to. Smaller ones can be
# faster, where they fit a cache: the survey shows them.
_CPU_SIZE, _ACCELERATOR_SIZE = 1024, 8192
SURVEY = {True: (128, 256, 512, 1024), False: (1024, 2048, 4096, 8192)}
# Work of one program, so that starting it costs nothing in comparison.
_CPU_FLOP, _ACCELERATOR_FLOP = 2e9, 4e12
_MAX_CHAIN = 32
_CPU_COPY, _ACCELERATOR_COPY = 2**24, 2**28  # floats, over all devices


class Seconds(NamedTuple):
  """Two measures of one interval.

  Attributes:
    clock: Wall time.
    busy: Processor time of all threads of this process.
  """

  clock: float
  busy: float


class MatmulPeak:
  """Measures products of square matrices as often as it is asked.

  Args:
    kind: 'float32'; 'tensorfloat32', float32 numbers at the precision that
      JAX chooses by itself; or 'bfloat16'.
    size: Side of the matrices; 0: 1024 on the CPU, 8192 elsewhere.
  """

  def __init__(self, kind: str = 'float32', size: int = 0):
    cpu = parallel.is_cpu()
    size = size or (_CPU_SIZE if cpu else _ACCELERATOR_SIZE)
    # Where virtual devices share a processor, one program that uses all cores
    # may be faster than one for each: the faster one counts.
    shared = cpu and parallel.local_device_count() > 1
    candidates = [
      _prepare(kind, size, spread)
      for spread in ((True, False) if shared else (True,))
    ]
    rates = [_best(*candidate, 3).clock for candidate in candidates]
    self._chosen = candidates[int(np.argmax(rates))]
    self.samples: list[Seconds] = []

  @property
  def best(self) -> float:
    """The best sample so far, GFLOP/s by the clock over all devices."""
    return max(rate.clock for rate in self.samples)

  def sample(self, repeats: int = 3) -> Seconds:
    """Measures now, the best of `repeats`.

    Returns:
      GFLOP per second by the clock, over all devices, and per second of
      processor time, which is the rate of one core on a CPU.
    """
    rate = _best(*self._chosen, repeats)
    self.samples.append(rate)
    return rate


def _best(run: Callable[[], Any], flop: float, repeats: int) -> Seconds:
  """GFLOP by second of either kind."""
  found = [seconds(run) for _ in range(repeats)]
  return Seconds(
    *(flop / 1e9 / max(min(x), 1e-9) for x in zip(*found, strict=True))
  )


def _prepare(kind: str, n: int, spread: bool):
  """A compiled chain of products of n x n matrices, and its FLOP."""
  dtype = jnp.bfloat16 if kind == 'bfloat16' else jnp.float32
  precision = 'highest' if kind == 'float32' else None
  wanted = _CPU_FLOP if parallel.is_cpu() else _ACCELERATOR_FLOP
  length = min(_MAX_CHAIN, max(1, round(wanted / (2 * n**3))))

  def chain(x, y):
    product = lambda _, x: jnp.matmul(x, y, precision=precision)
    return jax.lax.fori_loop(0, length, product, x)

  values = np.random.default_rng(0).standard_normal((n, n), np.float32)
  one = jnp.asarray(values / n**0.5, dtype)
  args, count, program = (one, one), 1, jax.jit(chain)
  if spread:
    args, count = parallel.replicate(args), parallel.local_device_count()
    program = parallel.pmap_step(chain, donate_state=False)
  run = functools.partial(program, *args)
  parallel.wait(run())
  return run, 2.0 * n**3 * length * count


def survey() -> dict[str, float]:
  """GFLOP/s by side of the matrices, float32, over all devices."""
  sizes = SURVEY[parallel.is_cpu()]
  return {str(n): MatmulPeak('float32', n).sample().clock for n in sizes}


def copy_gb_per_s(num_floats: int | None = None, repeats: int = 5) -> float:
  """Bytes read and written per second by y = -x, 1e9, the best of `repeats`.

  Args:
    num_floats: Length of x over all devices; None: well beyond any cache.
    repeats: How often.
  """
  if num_floats is None:
    num_floats = _CPU_COPY if parallel.is_cpu() else _ACCELERATOR_COPY
  count = parallel.local_device_count()
  x = parallel.replicate(np.ones(num_floats // count, np.float32))
  negate = parallel.pmap_step(jnp.negative, donate_state=False)
  run = functools.partial(negate, x)
  parallel.wait(run())
  best = min(seconds(run).clock for _ in range(repeats))
  return 2 * x.nbytes / best / 1e9


def seconds(run: Callable[[], Any]) -> Seconds:
  """How long a function takes until its arrays are computed."""
  clock, busy = time.perf_counter(), time.process_time()
  parallel.wait(run())
  return Seconds(time.perf_counter() - clock, time.process_time() - busy)
