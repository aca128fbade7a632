"""Names of `camp_zipnerf/internal/stepfun.py`."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from multinerf.compat.multinerf import stepfun as multinerf_stepfun
from multinerf.ops import numerics, resampling
from multinerf.ops import stepfun as ops
from multinerf.types import Array

pdf_to_weight = ops.pdf_to_weight
integrate_weights = ops.integrate_weights
invert_cdf = ops.invert_cdf
lossfun_distortion = ops.lossfun_distortion
weighted_percentile = ops.weighted_percentile
blur_and_resample_weights = resampling.blur_and_resample_weights


def query(
  tq: Array,
  t: Array,
  y: Array,
  left: ArrayLike | None = None,
  right: ArrayLike | None = None,
) -> Array:
  """Value of the step function (t, y) at tq.

  Args:
    tq, t, y: Queries, endpoints, values.
    left, right: Values before the first and from the last endpoint on; None
      repeats the first or last value.
  """
  return ops.query(tq, t, y, None, left=left, right=right)


def weight_to_pdf(t: Array, w: Array) -> Array:
  """Density w / width; 0 for intervals without any width."""
  ops.check(t, w)
  return numerics.safe_div(w, jnp.diff(t))


def sample(
  rng: Array | None,
  t: Array,
  w_logits: Array,
  num_samples: int,
  single_jitter: bool = False,
  deterministic_center: bool = False,
  eps: float = jnp.finfo(jnp.float32).eps,
) -> Array:
  """Stratified samples of a step function; see `compat.multinerf.stepfun`.

  Args:
    rng: A key for all rays together; None is deterministic.
    t, w_logits, num_samples, single_jitter, deterministic_center: As there.
    eps: How far the fractions of the weight stay below 1.
  """
  return ops.sample(
    t,
    w_logits,
    num_samples,
    jitter=multinerf_stepfun.draw_jitter(rng, t, num_samples, single_jitter),
    deterministic_center=deterministic_center,
    eps=float(eps),
  )


def sample_intervals(
  rng: Array | None,
  t: Array,
  w_logits: Array,
  num_samples: int,
  single_jitter: bool = False,
  domain: tuple[ArrayLike, ArrayLike] = (-jnp.inf, jnp.inf),
) -> Array:
  """Endpoints [..., num_samples + 1] of intervals around `sample`'s samples.

  Raises:
    ValueError: num_samples < 2.
  """
  return multinerf_stepfun.sample_intervals(
    rng, t, w_logits, num_samples, single_jitter, domain
  )


def resample(t: Array, tp: Array, vp: Array, use_avg: bool = False) -> Array:
  """Sums, or averages, the step function (tp, vp) over the intervals of t."""
  return resampling.resample(t, tp, vp, use_avg, eps=numerics.TINY)
