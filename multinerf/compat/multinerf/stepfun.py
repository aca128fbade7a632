"""Names of `internal/stepfun.py`.

Where upstream chooses between two resampling kernels, ours is one: the keyword
`use_gpu_resampling` is accepted and changes nothing.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from multinerf.ops import resampling
from multinerf.ops import stepfun as ops
from multinerf.types import Array

searchsorted = ops.searchsorted
inner_outer = ops.inner_outer
lossfun_outer = ops.lossfun_outer
weight_to_pdf = ops.weight_to_pdf
pdf_to_weight = ops.pdf_to_weight
max_dilate = ops.max_dilate
max_dilate_weights = ops.max_dilate_weights
integrate_weights = ops.integrate_weights
lossfun_distortion = ops.lossfun_distortion
interval_distortion = ops.interval_distortion
weighted_percentile = ops.weighted_percentile
resample = resampling.resample


def query(tq: Array, t: Array, y: Array, outside_value: ArrayLike = 0) -> Array:
  """Value of the step function (t, y) at tq; `outside_value` beyond its ends."""
  return ops.query(tq, t, y, outside_value)


def invert_cdf(
  u: Array, t: Array, w_logits: Array, use_gpu_resampling: bool = False
) -> Array:
  """Where the cumulative weight of softmax(w_logits) over t is u."""
  del use_gpu_resampling
  return ops.invert_cdf(u, t, w_logits)


def sample(
  rng: Array | None,
  t: Array,
  w_logits: Array,
  num_samples: int,
  single_jitter: bool = False,
  deterministic_center: bool = False,
  use_gpu_resampling: bool = False,
) -> Array:
  """Stratified samples of a step function.

  Args:
    rng: A key of either kind, for all rays together; None is deterministic.
    t, w_logits: Endpoints and logits of the weights.
    num_samples: How many per ray.
    single_jitter: One random offset per ray instead of one per sample.
    deterministic_center: Without rng, centres of the strata instead of 0 to 1.
    use_gpu_resampling: Without effect.

  Returns:
    [..., num_samples], non-decreasing.
  """
  del use_gpu_resampling
  return ops.sample(
    t,
    w_logits,
    num_samples,
    jitter=draw_jitter(rng, t, num_samples, single_jitter),
    deterministic_center=deterministic_center,
  )


def sample_intervals(
  rng: Array | None,
  t: Array,
  w_logits: Array,
  num_samples: int,
  single_jitter: bool = False,
  domain: tuple[ArrayLike, ArrayLike] = (-jnp.inf, jnp.inf),
  use_gpu_resampling: bool = False,
) -> Array:
  """Endpoints [..., num_samples + 1] of intervals around `sample`'s samples.

  Args:
    rng, t, w_logits, num_samples, single_jitter: See `sample`.
    domain: Range that the endpoints are clipped to.
    use_gpu_resampling: Without effect.

  Raises:
    ValueError: num_samples < 2.
  """
  del use_gpu_resampling
  return ops.sample_intervals(
    t,
    w_logits,
    num_samples,
    jitter=draw_jitter(rng, t, num_samples, single_jitter),
    domain=domain,
  )


def draw_jitter(rng, t, num_samples, single_jitter) -> Array | None:
  """Upstream's random numbers from its key: the same draws, in [0, 1)."""
  if rng is None:
    return None
  width = 1 if single_jitter else num_samples
  return jax.random.uniform(rng, (*t.shape[:-1], width))
