"""Darkening towards the corners of an image."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float


def compute_vignette(
  coords: Float[Array, '*batch 2'],
  weights: Float[Array, 'k c'],
  powers: Sequence[int] = (1, 2, 3),
) -> Float[Array, '*batch c']:
  """exp(-sum_k |w_k| r^(2 p_k)), r the distance from the image's centre.

  Args:
    coords: Positions on the image plane, as `Rays.imageplane`.
    weights: One row per power, one column per channel.
    powers: The p_k.

  Returns:
    Factors in (0, 1], 1 in the centre.
  """
  square = jnp.sum(coords**2, axis=-1)
  features = jnp.stack([square**p for p in powers], axis=-1)
  strength = jnp.sum(features[..., None] * jnp.abs(weights), axis=-2)
  return jnp.exp(-strength)
