"""Random numbers per ray: functions of the ray's own key, nothing else.

One key per ray, folded with small constants for each use, makes a batch's
random numbers independent of how its rays are spread over devices, processes
and micro-batches.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def fold(keys: Key[Array, '*batch'] | None, data: int) -> Any:
  """Derives a fresh key per ray for one use; None stays None."""
  if keys is None:
    return None
  flat = jax.vmap(lambda k: jax.random.fold_in(k, data))(keys.reshape(-1))
  return flat.reshape(keys.shape)


def _draw(sample, keys, shape):
  flat = jax.vmap(lambda k: sample(k, shape))(keys.reshape(-1))
  return flat.reshape(keys.shape + tuple(shape))


def uniform(
  keys: Key[Array, '*batch'], shape: tuple[int, ...]
) -> Float[Array, '...']:
  """Uniform numbers in [0, 1), [*batch, *shape]."""
  return _draw(jax.random.uniform, keys, shape)


def normal(
  keys: Key[Array, '*batch'], shape: tuple[int, ...]
) -> Float[Array, '...']:
  """Standard normal numbers, [*batch, *shape]."""
  return _draw(jax.random.normal, keys, shape)


def perturb(
  keys: Key[Array, '*batch'] | None, x: Float[Array, '*shape'], std: float
) -> Float[Array, '*shape']:
  """Adds noise of standard deviation `std`; nothing without keys or std."""
  if keys is None or std <= 0:
    return x
  return x + std * normal(keys, x.shape[keys.ndim :]).astype(jnp.float32)
