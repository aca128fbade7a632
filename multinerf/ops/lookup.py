"""Finding values in sorted knots, and interpolating between them.

One binary search serves all: on a CPU, 193 knots and 64 queries for 2048 rays
take 4 ms, against 75 for counting by comparison and 260 for MultiNeRF's masked
minima and maxima. A loop, not unrolled: the same speed, less to compile.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from multinerf.ops import numerics
from multinerf.types import Array, Float, Int, Num


def count_at_most(
  a: Num[Array, '*#batch n'], v: Num[Array, '*#batch m']
) -> Int[Array, '... m']:
  """How many knots of `a` are <= each query: 0 to n.

  Args:
    a: Knots, non-decreasing, n >= 1; may repeat and be infinite, not NaN.
    v: Queries in any order; NaN counts 0.

  Returns:
    Counts; equal to a sum of comparisons, and without gradient.
  """
  batch = jnp.broadcast_shapes(a.shape[:-1], v.shape[:-1])
  n = a.shape[-1]
  a = jnp.broadcast_to(jax.lax.stop_gradient(a), (*batch, n))
  v = jnp.broadcast_to(jax.lax.stop_gradient(v), (*batch, v.shape[-1]))

  def halve(i, count):
    # Bits of the answer from the highest: take one if its knot is still <= v.
    candidate = count + (jnp.int32(1 << (n.bit_length() - 1)) >> i)
    knot = take(a, jnp.minimum(candidate, n) - 1)
    return jnp.where((candidate <= n) & (knot <= v), candidate, count)

  start = jnp.zeros(v.shape, jnp.int32)
  return jax.lax.fori_loop(0, n.bit_length(), halve, start)


@jax.custom_jvp
def sort(x: Float[Array, '*batch n']) -> Float[Array, '*batch n']:
  """Sorts the last axis: `jnp.sort` for numbers that are not NaN.

  As whole numbers of the same order, which XLA's CPU backend compares in a
  fifth of the time.
  """
  whole = jnp.dtype(f'int{8 * x.dtype.itemsize}')
  sorted_bits = jnp.sort(_ordered_bits(x.view(whole)), axis=-1)
  return _ordered_bits(sorted_bits).view(x.dtype)


def _ordered_bits(bits: Array) -> Array:
  """A float's bits <-> whole numbers in the same order; its own inverse."""
  # Larger bits are larger magnitudes: of negative numbers, all bits but the
  # sign are flipped.
  top = bits.dtype.itemsize * 8 - 1
  return bits ^ ((bits >> top) & jnp.iinfo(bits.dtype).max)


@sort.defjvp
def _sort_jvp(primals, tangents):
  order = jnp.argsort(primals[0], axis=-1)
  return take(primals[0], order), take(tangents[0], order)


def take(a: Array, idx: Int[Array, '... m']) -> Array:
  """a[..., idx] row by row, for indices known to lie in range."""
  return jnp.take_along_axis(a, idx, axis=-1, mode='promise_in_bounds')


def sorted_lookup(
  x: Num[Array, '*#batch m'],
  xp: Num[Array, '*#batch n'],
  fps: tuple[Num[Array, '*#batch n'], ...] = (),
) -> tuple[
  tuple[Int[Array, '... m'], Int[Array, '... m']],
  tuple[tuple[Num[Array, '... m'], Num[Array, '... m']], ...],
]:
  """The knots on either side of each query, and values stored at them.

  lo is the last knot <= x and hi the next one, so xp[lo] <= x < xp[hi]; below
  all knots both are the first, from the last knot on both are the last.

  Args:
    x: Queries.
    xp: Knots, non-decreasing.
    fps: Arrays of values at the knots.

  Returns:
    (lo, hi), and for every array of `fps` its values at (lo, hi).
  """
  n = xp.shape[-1]
  count = count_at_most(xp, x)
  lo, hi = jnp.maximum(count - 1, 0), jnp.minimum(count, n - 1)
  values = []
  for fp in fps:
    fp = jnp.broadcast_to(fp, (*lo.shape[:-1], n))
    values.append((take(fp, lo), take(fp, hi)))
  return (lo, hi), tuple(values)


def sorted_interp(
  x: Num[Array, '*#batch m'],
  xp: Num[Array, '*#batch n'],
  fp: Num[Array, '*#batch n'],
) -> Num[Array, '... m']:
  """Linear interpolation through (xp, fp); constant outside.

  At a repeated knot the last of its values counts (`interp` differs there at
  the end of the range only). Gradients reach x, xp and fp and are finite even
  for knots that almost coincide.

  Args:
    x: Queries.
    xp: Knots, non-decreasing.
    fp: Values at the knots; need not be sorted.

  Returns:
    Interpolated values, in [min fp, max fp].
  """
  (_, _), ((x0, x1), (f0, f1)) = sorted_lookup(x, xp, (xp, fp))
  offset = jnp.clip(numerics.safe_div(x - x0, x1 - x0), 0, 1)
  return f0 + offset * (f1 - f0)


def interp(
  x: Num[Array, '*#batch m'],
  xp: Num[Array, '*#batch n'],
  fp: Num[Array, '*#batch n'],
  left: ArrayLike | None = None,
  right: ArrayLike | None = None,
) -> Num[Array, '... m']:
  """`jnp.interp` along the last axis, for any leading shape.

  Args:
    x, xp, fp: As in `sorted_interp`.
    left, right: Values below and above all knots; None repeats the ends.

  Returns:
    Interpolated values.
  """
  row = lambda x, xp, fp: jnp.interp(x, xp, fp, left=left, right=right)
  return jnp.vectorize(row, signature='(m),(n),(n)->(m)')(x, xp, fp)
