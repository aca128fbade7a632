"""What is computed once, and what again by each of its readers."""

import jax
from jax.experimental import xla_metadata
from jaxtyping import Array

from multinerf.parallel import devices


@jax.custom_jvp
def stored(x: Array) -> Array:
  """x, computed before whatever reads it; on accelerators just x.

  XLA's CPU compiler computes what is elementwise anew in every loop that reads
  it, however many do and however long that takes: octaves of a coordinate, the
  corners of a cell. It drops `jax.lax.optimization_barrier` before it fuses, but
  leaves calls of functions alone that are marked as not to be inlined. Where a
  version of XLA does not, this is slow instead of wrong.
  """
  if not devices.is_cpu():
    return x
  with xla_metadata.set_xla_metadata(inlineable='false'):
    return _identity(x)


@stored.defjvp
def _(primals, tangents):
  return stored(*primals), *tangents


@jax.jit
def _identity(x):
  return x
