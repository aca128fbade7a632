"""Volume rendering: from densities along rays to weights and pixel values."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from multinerf import types
from multinerf.ops import stepfun

_EPS = np.finfo(np.float32).eps
# Densities are capped here, so that no optical depth overflows to inf and
# 0 * inf = nan cannot arise at intervals of length 0, nor in any gradient. One
# such density makes every interval longer than 1e-16 opaque.
_MAX_DENSITY = 1e18


def optical_depth(
  density: Float[Array, '*batch n'],
  tdist: Float[Array, '*batch m'],
  directions: Float[Array, '*batch 3'],
) -> Float[Array, '*batch n']:
  """sigma_i delta_i |d|, the optical depth of each interval.

  Args:
    density: Volume density sigma >= 0, 1 / world unit; may be inf.
    tdist: Interval endpoints, non-decreasing, in units of |directions|.
    directions: Ray directions, not normalised.

  Raises:
    ValueError: tdist does not have one more entry than density.
  """
  if tdist.shape[-1] != density.shape[-1] + 1:
    raise ValueError(
      f'tdist must have one entry more than density along the ray, got '
      f'{tdist.shape} and {density.shape}.'
    )
  # |d|^2 from the squares of a vector scaled to a largest component of 1; a
  # zero direction (padding) has length 0 and no gradient, rather than nan.
  peak = jnp.max(jnp.abs(directions), axis=-1, keepdims=True)
  scale = jnp.where(peak > 0, peak, 1)
  square = jnp.sum((directions / scale) ** 2, axis=-1, keepdims=True)
  length = scale * jnp.sqrt(jnp.where(square > 0, square, 1)) * (square > 0)
  delta = jnp.diff(tdist) * length
  return jnp.minimum(density, _MAX_DENSITY) * delta


def composite(
  depth: Float[Array, '*batch n'], *, opaque_background: bool = False
) -> tuple[
  Float[Array, '*batch n'], Float[Array, '*batch n'], Float[Array, '*batch n']
]:
  """Weights, opacities and transmittances of a row of intervals.

  alpha_i = 1 - exp(-tau_i), T_i = exp(-sum_{j<i} tau_j), w_i = T_i alpha_i.

  Args:
    depth: Optical depths tau >= 0.
    opaque_background: Whether the last interval absorbs all that is left.

  Returns:
    (weights, alpha, transmittance), each in [0, 1].
  """
  alpha = -jnp.expm1(-depth)
  if opaque_background:
    alpha = jnp.concatenate(
      [alpha[..., :-1], jnp.ones_like(alpha[..., -1:])], axis=-1
    )
  before = jnp.concatenate(
    [jnp.zeros_like(depth[..., :1]), jnp.cumsum(depth[..., :-1], axis=-1)],
    axis=-1,
  )
  transmittance = jnp.exp(-before)
  return alpha * transmittance, alpha, transmittance


def alpha_weights(
  density: Float[Array, '*batch n'],
  tdist: Float[Array, '*batch m'],
  directions: Float[Array, '*batch 3'],
  *,
  opaque_background: bool = False,
) -> Float[Array, '*batch n']:
  """Probability that a ray terminates in each interval.

  w_i = T_i (1 - exp(-sigma_i delta_i)),  T_i = exp(-sum_{j<i} sigma_j delta_j)
  (Max 1995; NeRF, arXiv:2003.08934, Eq. 3).

  Args:
    density: Volume density sigma >= 0, in 1 / world unit; inf is opaque.
    tdist: Interval endpoints, non-decreasing, in units of |directions|.
    directions: Ray directions, not normalised; |d| converts t to world units.
    opaque_background: Whether the last interval absorbs all that is left, so
      that the weights sum to 1 and no background shows.

  Returns:
    Weights in [0, 1] with sum <= 1; the rest is the background. Values and
    gradients are finite for any density.

  Raises:
    ValueError: tdist does not have one more entry than density.
  """
  depth = optical_depth(density, tdist, directions)
  return composite(depth, opaque_background=opaque_background)[0]


def _expectation(weights: Array, values: Array) -> Float[Array, '*batch c']:
  """Sum over the samples of [..., n] weights times [..., n, c] values."""
  return jnp.sum(weights[..., None] * values, axis=-2)


def _distance_mean(weights: Array, acc: Array, tdist: Array) -> Array:
  """exp of the mean of log t, clipped to the ray."""
  mids = 0.5 * (tdist[..., :-1] + tdist[..., 1:])
  # log 0 = -inf would give 0 * inf = nan where the weight is 0.
  logs = jnp.log(jnp.maximum(mids, jnp.finfo(mids.dtype).tiny))
  mean = jnp.exp(jnp.sum(weights * logs, axis=-1) / jnp.maximum(_EPS, acc))
  return jnp.clip(
    jnp.nan_to_num(mean, nan=jnp.inf), tdist[..., 0], tdist[..., -1]
  )


def volumetric_rendering(
  rgbs: Float[Array, '*batch n c'] | None,
  weights: Float[Array, '*batch n'],
  tdist: Float[Array, '*batch m'],
  bg_rgbs: Num[Array, '*#batch #c'] | Num[Array, ''] | float,
  t_far: Float[Array, '*batch 1'] | None,
  *,
  compute_extras: bool = False,
  extras: Mapping[str, Float[Array, '*batch n _'] | None] | None = None,
) -> types.Rendering:
  """Composites the samples of each ray.

  Args:
    rgbs: Colours; None means black (a proposal that has none).
    weights: Termination probabilities (`alpha_weights`).
    tdist: Interval endpoints.
    bg_rgbs: Background colour, broadcastable against [..., c].
    t_far: Far plane. The percentiles count the weight that reaches the
      background as ending there. None: they describe only what was hit, weights
      divided by their sum (Zip-NeRF).
    compute_extras: Whether to fill in more than rgb.
    extras: Further values per sample, by the name of the field of
      `types.Rendering` they go to; None entries are left out.

  Returns:
    rgb = sum w c + (1 - sum w) bg. If compute_extras, acc = sum w, the extras
    composited without renormalisation, the geometric mean distance
    exp(sum w log t / sum w), and the 5th, 50th and 95th percentile of the
    distance at which the ray ends, all within [first, last (or far)] distance.
    Rays with all weights 0 have finite values and gradients.
  """
  acc = jnp.sum(weights, axis=-1)
  # Rounding can lift the sum slightly above 1.
  bg_weights = jnp.maximum(0, 1 - acc)[..., None]
  background = bg_weights * jnp.asarray(bg_rgbs, weights.dtype)
  if rgbs is None:
    rgb = jnp.broadcast_to(background, acc.shape + (3,))
  else:
    rgb = _expectation(weights, rgbs) + background
  if not compute_extras:
    return types.Rendering(rgb=rgb)

  composited = {
    name: _expectation(weights, value)
    for name, value in (extras or {}).items()
    if value is not None
  }
  if t_far is None:
    total = jnp.maximum(_EPS, acc)[..., None]
    t, w = tdist, weights / total
  else:
    t = jnp.concatenate([tdist, t_far], axis=-1)
    w = jnp.concatenate([weights, bg_weights], axis=-1)
  percentiles = stepfun.weighted_percentile(t, w, (5, 50, 95))
  return types.Rendering(
    rgb=rgb,
    acc=acc,
    distance_mean=_distance_mean(weights, acc, tdist),
    distance_percentile_5=percentiles[..., 0],
    distance_median=percentiles[..., 1],
    distance_percentile_95=percentiles[..., 2],
    **composited,
  )
