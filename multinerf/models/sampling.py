"""Where a level puts its intervals, given the level before it."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from multinerf.models import keys
from multinerf.ops import stepfun


def schlick_bias(
  train_frac: Float[Array, ''] | float, slope: float
) -> Float[Array, ''] | float:
  """Exponent in [0, 1] that flattens weights early in training.

  mip-NeRF 360 (arXiv:2111.12077, supplement, "Annealing"): Schlick's bias
  function of the training progress.

  Args:
    train_frac: Progress in [0, 1].
    slope: Steepness; 0 switches annealing off.

  Returns:
    slope * f / ((slope - 1) * f + 1), or 1 without annealing.
  """
  if slope <= 0:
    return 1.0
  return slope * train_frac / ((slope - 1) * train_frac + 1)


def resample(
  ray_keys: Key[Array, '*batch'] | None,
  sdist: Float[Array, '*batch m'],
  weights: Float[Array, '*batch n'],
  num_samples: int,
  *,
  dilation: Float[Array, ''] | float | None,
  anneal: Float[Array, ''] | float,
  padding: float,
  single_jitter: bool,
  domain: tuple,
) -> Float[Array, '*batch k']:
  """Draws new interval endpoints where the weights of a level are.

  Args:
    ray_keys: One key per ray; None: deterministic.
    sdist: Endpoints of the level before, in [0, 1].
    weights: Its weights.
    num_samples: Intervals to make.
    dilation: Half width to widen the histogram by; None: as it is.
    anneal: Exponent on the weights, see `schlick_bias`.
    padding: Added to the weights before the logarithm.
    single_jitter: One random offset per ray.
    domain: Bounds of the new endpoints.

  Returns:
    num_samples + 1 endpoints, non-decreasing.
  """
  if dilation is not None:
    sdist, weights = stepfun.max_dilate_weights(
      sdist, weights, dilation, domain=domain, renormalize=True
    )
    sdist, weights = sdist[..., 1:-1], weights[..., 1:-1]
  # Empty intervals get no samples. The inner `where` keeps log(0) and its
  # gradient out of the graph; a ray that saw nothing (all weights 0), or an
  # exponent of 0, makes all occupied intervals equal.
  occupied = sdist[..., 1:] > sdist[..., :-1]
  padded = weights + padding
  positive = occupied & (padded > 0)
  flat = ~jnp.any(positive, axis=-1, keepdims=True) | (jnp.asarray(anneal) == 0)
  logs = anneal * jnp.log(jnp.where(positive, padded, 1.0))
  logits = jnp.where(flat, 0.0, jnp.where(positive, logs, -jnp.inf))
  logits = jnp.where(occupied, logits, -jnp.inf)
  jitter = None
  if ray_keys is not None:
    jitter = keys.uniform(ray_keys, (1 if single_jitter else num_samples,))
  return stepfun.sample_intervals(
    sdist, logits, num_samples, jitter=jitter, domain=domain
  )
