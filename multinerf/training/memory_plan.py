"""Programs that fit into the memory of a device, chosen before they run.

The compiler says what a program needs: its arguments, results and temporaries
on one device. Where that is too much, the program is compiled again for fewer
rays at once. The temporaries of a step that takes the gradient part by part
(`gradients`), or whose backward pass recomputes chunk by chunk
(`models.chunks`), grow with the chunk, so that one measurement says which
chunk fits, nearly; a compilation takes up to minutes, so there are three.

The losses see the whole batch whatever the chunk: it changes rounding alone.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import jax

from multinerf import errors
from multinerf.models import chunks

GIB = 2**30
# Share of the free memory that is used if nobody says otherwise: allocators
# leave gaps, and batches prepared ahead are there too.
_SHARE = 0.9
# A chunk is sized as if its rays took this much more than those of the first
# measurement: recomputing needs room besides what it recomputes (1.2 measured).
_GROWTH = 1.3
_MAX_COMPILATIONS = 3
# What the libraries that multiply take for themselves, beside what the compiler
# counts: 12 to 43 MiB measured on a CPU (docs/memory.md).
_LIBRARIES = 16 * 2**20
# What to try if the compiler itself ran out of memory, of all rays.
_UNKNOWN = 1 / 16
T = TypeVar('T')


@dataclasses.dataclass(frozen=True)
class Footprint:
  """Bytes that a program takes on one device.

  Attributes:
    arguments: Of what it is given.
    results: Of what it returns in memory of its own, not its arguments'.
    temporaries: Of everything in between.
    libraries: Of what the compiler does not count.
  """

  arguments: int
  results: int
  temporaries: int
  libraries: int = 0

  @property
  def total(self) -> int:
    """The most it takes at any time."""
    return self.fixed + self.temporaries

  @property
  def fixed(self) -> int:
    """What does not depend on how it goes through its rays."""
    return self.arguments + self.results + self.libraries


@dataclasses.dataclass(frozen=True)
class Fitted(Generic[T]):
  """A program that fits.

  Attributes:
    program: It.
    choice: How it goes through its rays.
    footprint: What it takes; None where the compiler does not say.
    refused: What it would have taken as it was configured, bytes; 0: that is
      not known but was too much. None: it is as it was configured.
  """

  program: Any
  choice: T
  footprint: Footprint | None
  refused: int | None = None


def footprint(program: Any) -> Footprint | None:
  """What a compiled program takes; None where the compiler does not say."""
  stats = program.memory_analysis()
  if stats is None:
    return None
  return Footprint(
    stats.argument_size_in_bytes,
    stats.output_size_in_bytes - stats.alias_size_in_bytes,
    stats.temp_size_in_bytes,
    _LIBRARIES,
  )


def budget(
  wanted_gib: float | None, on_device: int | None, on_host: int, sharing: int
) -> int:
  """Bytes that each device may be filled with.

  Args:
    wanted_gib: `Config.memory_budget_gib`; None: most of what is free.
    on_device: Bytes free on each device; None: devices use the host's memory.
    on_host: Bytes available there.
    sharing: How many devices share that.
  """
  if wanted_gib is not None:
    return int(wanted_gib * GIB)
  free = on_host // sharing if on_device is None else on_device
  return int(_SHARE * free)


def fit_step(
  compile_step: Callable[[chunks.ChunkConfig], Any],
  cfg: chunks.ChunkConfig,
  num_rays: int,
  limit: int,
  num_parts: int = 1,
) -> Fitted[chunks.ChunkConfig]:
  """Chooses how a train step goes through its rays.

  Args:
    compile_step: Compiles it for a choice.
    cfg: What the user wants, which is taken if it fits.
    num_rays: Rays of one device.
    limit: Bytes of one device, from `budget`.
    num_parts: Of how many parts of the rays, one after the other, the step as
      configured takes the gradient (`gradients.num_chunks`).

  Returns:
    The step as configured; or with chunks no larger than configured, of a power
    of two rays, that are recomputed if the gradient is not taken by parts.

  Raises:
    OutOfMemoryError: Not even one ray at once fits.
  """
  at_once = chunks.rays_at_once(num_rays, cfg.rays_at_once)
  # Without recomputation the residuals of all rays of a part are kept.
  counted = at_once if cfg.remat else num_rays // num_parts

  def compile_chunk(size):
    if size is None:
      return cfg, compile_step(cfg)
    choice = chunks.ChunkConfig(size, remat=True)
    return choice, compile_step(choice)

  return _fit(
    compile_chunk,
    counted,
    at_once,
    limit,
    'a training step',
    'Config.batch_size',
  )


def fit_chunk(
  compile_chunk: Callable[[int], Any], size: int, unit: int, limit: int
) -> Fitted[int]:
  """Chooses how many pixels are rendered at once.

  Args:
    compile_chunk: Compiles a program for so many pixels of all devices.
    size: What the user wants, which is taken if it fits.
    unit: Of which the number must be a multiple: the devices.
    limit: Bytes of one device, from `budget`.

  Raises:
    OutOfMemoryError: Not even one pixel per device fits.
  """
  return _fit(
    lambda n: (
      (size, compile_chunk(size))
      if n is None
      else (n * unit, compile_chunk(n * unit))
    ),
    size // unit,
    size // unit,
    limit,
    'rendering',
    'Config.render_chunk_size',
  )


def _fit(compile_at, counted, most, limit, what, option) -> Fitted:
  """Compiles for the user's choice (None), then for fewer and fewer rays.

  Args:
    compile_at: Rays at once -> (choice, program); None: as configured.
    counted: Rays whose temporaries the program as configured holds.
    most: Rays at once that it goes through.
    limit: Bytes.
    what, option: For the message.
  """
  choice, program, needs = _try(compile_at, None)
  if program is not None and (needs is None or needs.total <= limit):
    return Fitted(program, choice, needs)
  refused = 0 if needs is None else needs.total
  per_ray = 0.0
  if needs is None:
    size = power_of_two(min(most, counted * _UNKNOWN))
  else:
    per_ray = _GROWTH * needs.temporaries / counted
    room = limit - needs.fixed
    size = power_of_two(min(most, room / max(per_ray, 1e-9)))
  least = needs
  for _ in range(_MAX_COMPILATIONS - 1):
    size = max(size, 1)
    choice, program, needs = _try(compile_at, size)
    if program is not None and (needs is None or needs.total <= limit):
      return Fitted(program, choice, needs, refused)
    least = needs or least
    if size == 1:
      break
    if needs is None or not per_ray:
      size //= 8
    else:
      size = power_of_two(size - (needs.total - limit) / per_ray)
  taken = '' if least is None else f' ({_gib(least.total)} with {size} at once)'
  raise errors.OutOfMemoryError(
    f'The program of {what} does not fit into the {_gib(limit)} of a device'
    f'{taken}; lower {option}, use more devices or a smaller model, or raise '
    'Config.memory_budget_gib.'
  )


def _try(compile_at, size):
  """(choice, program, footprint); no program where compiling took too much."""
  try:
    choice, program = compile_at(size)
  except jax.errors.JaxRuntimeError as error:
    if not is_out_of_memory(error):
      raise
    return None, None, None
  return choice, program, footprint(program)


def power_of_two(number: float) -> int:
  """The largest power of two that is at most `number`; 0 below 1.

  Programs for a few sizes only: free memory differs from start to start, and
  another size is another compilation and other roundings.
  """
  return 0 if number < 1 else 1 << (int(number).bit_length() - 1)


def is_out_of_memory(error: BaseException) -> bool:
  """Whether JAX says with an error that a device's memory is exhausted."""
  return isinstance(error, jax.errors.JaxRuntimeError) and (
    'RESOURCE_EXHAUSTED' in str(error)
  )


@contextlib.contextmanager
def explained(advice: Callable[[], str]) -> Iterator[None]:
  """Turns JAX's error for exhausted memory into one line of ours.

  Args:
    advice: Says which setting would have helped; called if it happens.

  Raises:
    OutOfMemoryError: In place of JAX's error.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if not is_out_of_memory(error):
      raise
    # The allocator's account follows in further lines.
    first = str(error).splitlines()[0].rstrip('.')
    raise errors.OutOfMemoryError(f'{first}. {advice()}') from error


def _gib(num_bytes: int) -> str:
  return f'{num_bytes / GIB:.2f} GiB'
