"""Names of `internal/render.py`."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from multinerf.ops import frustum, volrend
from multinerf.types import Array

lift_gaussian = frustum.lift_gaussian
cylinder_to_gaussian = frustum.cylinder_to_gaussian
cast_rays = frustum.cast_rays


def conical_frustum_to_gaussian(
  d: Array,
  t0: Array,
  t1: Array,
  base_radius: Array,
  diag: bool,
  stable: bool = True,
) -> tuple[Array, Array]:
  """Means and covariances of conical frusta with their apex at the origin.

  Args:
    d: Axes [..., 3].
    t0, t1: Ends [..., n] in units of |d|.
    base_radius: Radius [..., 1] at t = 1.
    diag: Whether covariances are diagonals [..., n, 3].
    stable: Accepted; the stable formula always serves. Upstream's other one
      subtracts fifth powers, is equal in exact arithmetic, and is off by
      1.6e-3 in float32.
  """
  del stable
  return frustum.conical_frustum_to_gaussian(d, t0, t1, base_radius, diag)


def compute_alpha_weights(
  density: Array, tdist: Array, dirs: Array, opaque_background: bool = False
) -> tuple[Array, Array, Array]:
  """Termination probabilities, opacities and transmittances, each [..., n].

  Args:
    density: Volume density >= 0, 1 / world unit.
    tdist: Interval endpoints in units of |dirs|.
    dirs: Ray directions, not normalised.
    opaque_background: Whether the last interval absorbs all that is left.
  """
  depth = volrend.optical_depth(density, tdist, dirs)
  return volrend.composite(depth, opaque_background=opaque_background)


def volumetric_rendering(
  rgbs: Array,
  weights: Array,
  tdist: Array,
  bg_rgbs: Any,
  t_far: Array,
  compute_extras: bool,
  extras: Mapping[str, Array | None] | None = None,
) -> dict[str, Array]:
  """Composites samples; results by their upstream names.

  Args:
    rgbs, weights, tdist: Samples of the rays.
    bg_rgbs: Background colour.
    t_far: Far plane [..., 1].
    compute_extras: Whether to return more than `rgb`.
    extras: Values [..., n, c] per sample under any names; None is left out.

  Returns:
    `rgb`, and with compute_extras `acc`, `distance_mean`,
    `distance_percentile_5`, `distance_median`, `distance_percentile_95` and
    the composited extras.
  """
  rendering = volrend.volumetric_rendering(
    rgbs,
    weights,
    tdist,
    jnp.asarray(bg_rgbs),
    t_far,
    compute_extras=compute_extras,
  )
  found = {k: v for k, v in vars(rendering).items() if v is not None}
  if compute_extras:
    for name, value in (extras or {}).items():
      if value is not None:
        found[name] = jnp.sum(weights[..., None] * value, axis=-2)
  return found
