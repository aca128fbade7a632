"""Inputs that the tests of `multinerf.ops` share."""

import jax
import jax.numpy as jnp
import numpy as np

from multinerf.ops import frustum

TINY, MAX = np.finfo(np.float32).tiny, np.finfo(np.float32).max
BATCHES = [(), (2,), (2, 3)]


def all_magnitudes(n: int = 400) -> np.ndarray:
  """Sorted float32 of every magnitude and both signs, zero and +-1 included."""
  exponents = np.linspace(np.log(TINY), np.log(MAX), n)
  positive = np.exp(exponents[1:-1]).astype(np.float32)
  positive = np.concatenate([[TINY], positive, [MAX]])
  near_one = np.float32([1, np.nextafter(np.float32(1), 0), 1 + 2e-7])
  positive = np.concatenate([positive, near_one])
  return np.sort(np.concatenate([-positive, np.zeros(1, np.float32), positive]))


def sample_points(points, scale=0.0) -> frustum.Samples:
  """Samples at points of one's own, round Gaussians of deviation `scale`."""
  directions = jnp.zeros_like(points[..., 0, :]).at[..., 2].set(1)
  var = jnp.full_like(points[..., 0], scale**2)
  return frustum.Samples(points, directions, t_var=var, r_var=var)


def value_and_slope(fn, x):
  """fn and its elementwise derivative at the elements of x, compiled."""
  value, slope = jax.jit(jax.vmap(jax.value_and_grad(fn)))(jnp.asarray(x))
  return np.asarray(value), np.asarray(slope)


def step_function(seed, n=8, batch=(), empty=False):
  """Random endpoints in [0, 1] and weights that sum to 1.

  Args:
    seed: Of the generator.
    n: Number of intervals.
    batch: Leading shape.
    empty: Whether two intervals have no width and no weight.

  Returns:
    float32 arrays t [*batch, n+1], w [*batch, n].
  """
  gen = np.random.default_rng(seed)
  t = np.sort(gen.random((*batch, n + 1)), axis=-1)
  w = gen.random((*batch, n)) ** 3
  if empty:
    t[..., 1] = t[..., 0]
    t[..., n // 2 + 1] = t[..., n // 2]
    w[..., 0] = w[..., n // 2] = 0
  w /= w.sum(-1, keepdims=True)
  return jnp.asarray(t, jnp.float32), jnp.asarray(w, jnp.float32)


def assert_batch_law(fn, *args, rtol=1e-6, atol=1e-7):
  """fn on a batch, and on a batch of batches, equals fn on its rows.

  Args:
    fn: Takes the arrays of `args`, with one batch dimension, or rows of them.
    *args: Arrays [b, ...].
    rtol, atol: float32 rounding: loops may sum in another order.
  """
  fn = jax.jit(fn)
  whole, deep = fn(*args), fn(*(a[None] for a in args))
  for i in range(args[0].shape[0]):
    row = fn(*(a[i] for a in args))
    for one, all_, nested in zip(
      *map(jax.tree.leaves, (row, whole, deep)), strict=True
    ):
      assert one.dtype == all_.dtype
      for other in (all_[i], nested[0, i]):
        np.testing.assert_allclose(other, one, rtol=rtol, atol=atol)


def assert_same_without_jit(fn, *args, rtol=1e-6, atol=1e-7):
  """fn(*args), operation by operation, equals its compiled form."""
  outs = map(jax.tree.leaves, (fn(*args), jax.jit(fn)(*args)))
  for plain, compiled in zip(*outs, strict=True):
    np.testing.assert_allclose(plain, compiled, rtol=rtol, atol=atol)


def random_rays(seed, batch, n=6, far=8.0):
  """(tdist, origins, directions, radii)."""
  gen = np.random.default_rng(seed)
  tdist = np.sort(gen.uniform(0.1, far, size=(*batch, n + 1)), axis=-1)
  arrays = (
    tdist,
    gen.normal(size=(*batch, 3)),
    gen.normal(size=(*batch, 3)),
    gen.uniform(1e-3, 0.1, size=(*batch, 1)),
  )
  return tuple(jnp.asarray(x, jnp.float32) for x in arrays)
