"""Names of `camp_zipnerf/internal/render.py`."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from multinerf.ops import frustum, stepfun, volrend
from multinerf.types import Array

lift_gaussian = frustum.lift_gaussian
gaussianize_frustum = frustum.frustum_moments
conical_frustum_to_gaussian = frustum.conical_frustum_to_gaussian
cylinder_to_gaussian = frustum.cylinder_to_gaussian
cast_rays = frustum.cast_rays


def compute_alpha_weights_helper(density_delta: Array) -> Array:
  """Weights [..., n] of intervals with these optical depths."""
  return volrend.composite(density_delta)[0]


def compute_alpha_weights(
  density: Array, tdist: Array, dirs: Array, **kwargs: Any
) -> Array:
  """Termination probabilities [..., n].

  Args:
    density: Volume density >= 0, 1 / world unit.
    tdist: Interval endpoints in units of |dirs|.
    dirs: Ray directions, not normalised.
    **kwargs: Passed to `compute_alpha_weights_helper`, which takes none.
  """
  depth = volrend.optical_depth(density, tdist, dirs)
  return compute_alpha_weights_helper(depth, **kwargs)


def volumetric_rendering(
  rgbs: Array | None,
  weights: Array,
  tdist: Array,
  bg_rgbs: Any,
  compute_extras: bool,
  extras: Mapping[str, Array | None] | None = None,
  percentiles: Sequence[float] = (5, 50, 95),
) -> dict[str, Array | None]:
  """Composites samples; results by their upstream names.

  Args:
    rgbs, weights, tdist: Samples of the rays.
    bg_rgbs: Background colour.
    compute_extras: Whether to return more than `rgb`.
    extras: Values [..., n, c] per sample under any names; None is left out.
    percentiles: Of the distance at which rays end, in percent.

  Returns:
    `rgb` (None without rgbs), and with compute_extras `acc`, `distance_mean`,
    `distance_percentile_<p>` (`distance_median` for 50), and the extras. The
    distances are those of what was hit, whatever its weight.
  """
  rendering = volrend.volumetric_rendering(
    rgbs,
    weights,
    tdist,
    jnp.asarray(bg_rgbs),
    None,
    compute_extras=compute_extras,
  )
  found = {'rgb': None if rgbs is None else rendering.rgb}
  if not compute_extras:
    return found
  found |= {'acc': rendering.acc, 'distance_mean': rendering.distance_mean}
  for name, value in (extras or {}).items():
    if value is not None:
      found[name] = jnp.sum(weights[..., None] * value, axis=-2)
  eps = float(jnp.finfo(jnp.float32).eps)
  share = weights / jnp.maximum(eps, rendering.acc)[..., None]
  distances = stepfun.weighted_percentile(tdist, share, tuple(percentiles))
  for i, p in enumerate(percentiles):
    name = 'median' if p == 50 else f'percentile_{p}'
    found[f'distance_{name}'] = distances[..., i]
  return found
