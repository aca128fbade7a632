"""Losses on where the weight along a ray sits, and on normals."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from multinerf import errors
from multinerf.losses import base
from multinerf.ops import directional, stepfun


@base.register_regularizer(
  'interlevel',
  # `spline_interlevel` takes its place.
  lambda cfg: (
    cfg.interlevel_loss_mult > 0 and cfg.spline_interlevel_params is None
  ),
)
@base.per_ray
def interlevel(
  inputs: base.LossInputs, cfg: base.LossConfig
) -> Float[Array, '']:
  """Proposals must cover the last level's weights.

  mip-NeRF 360 (arXiv:2111.12077, Eq. 13); gradients reach the proposals only.
  """
  *proposals, last = inputs.levels
  s = jax.lax.stop_gradient(last.sdist)
  w = jax.lax.stop_gradient(last.weights)
  total = sum(
    jnp.mean(stepfun.lossfun_outer(s, w, level.sdist, level.weights))
    for level in proposals
  )
  return cfg.interlevel_loss_mult * jnp.asarray(total)


@base.register_regularizer(
  'distortion', lambda cfg: cfg.distortion_loss_mult > 0
)
@base.per_ray
def distortion(
  inputs: base.LossInputs, cfg: base.LossConfig
) -> Float[Array, '']:
  """Weight gathers in few, short intervals (mip-NeRF 360, Eq. 15).

  Lengths are those of `distortion_loss_target` after
  `distortion_loss_curve_fn`, an increasing function, was applied.
  """
  last = inputs.levels[-1]
  ends = getattr(last, cfg.distortion_loss_target)
  if cfg.distortion_loss_curve_fn is not None:
    curve_fn, kwargs = cfg.distortion_loss_curve_fn
    ends = curve_fn(ends, **kwargs)
  loss = stepfun.lossfun_distortion(ends, last.weights)
  return cfg.distortion_loss_mult * jnp.mean(loss)


def _per_level(inputs, coarse_mult, mult):
  """(level, weight) of all levels whose weight is not 0."""
  last = len(inputs.levels) - 1
  for i, level in enumerate(inputs.levels):
    weight = mult if i == last else coarse_mult
    if weight > 0:
      yield level, weight


@base.register_regularizer(
  'orientation',
  lambda cfg: (
    cfg.orientation_loss_mult > 0 or cfg.orientation_coarse_loss_mult > 0
  ),
)
@base.per_ray
def orientation(
  inputs: base.LossInputs, cfg: base.LossConfig
) -> Float[Array, '']:
  """Visible normals must face the camera (Ref-NeRF, arXiv:2112.03907, Eq. 11).

  Raises:
    ConfigError: The field has no such normals.
  """
  view = -inputs.rays.viewdirs[..., None, :]  # from the surface to the eye
  total = 0.0
  for level, weight in _per_level(
    inputs, cfg.orientation_coarse_loss_mult, cfg.orientation_loss_mult
  ):
    normals = getattr(level.field, cfg.orientation_loss_target)
    if normals is None:
      raise errors.ConfigError(
        'Config.orientation_loss_mult > 0 needs '
        f'{cfg.orientation_loss_target!r}, which the field does not make; '
        'set NerfMLP.enable_pred_normals (or disable_density_normals = False).'
      )
    facing_away = jnp.minimum(0.0, jnp.sum(normals * view, axis=-1))
    per_ray = jnp.sum(level.weights * facing_away**2, axis=-1)
    total += weight * jnp.mean(per_ray)
  return jnp.asarray(total)


@base.register_regularizer(
  'predicted_normals',
  lambda cfg: (
    cfg.predicted_normal_loss_mult > 0
    or cfg.predicted_normal_coarse_loss_mult > 0
  ),
)
@base.per_ray
def predicted_normals(
  inputs: base.LossInputs, cfg: base.LossConfig
) -> Float[Array, '']:
  """Ties predicted to density normals (Ref-NeRF, Eq. 12); both get gradients.

  Raises:
    ConfigError: The field makes only one kind of normals, or none.
  """
  total = 0.0
  for level, weight in _per_level(
    inputs,
    cfg.predicted_normal_coarse_loss_mult,
    cfg.predicted_normal_loss_mult,
  ):
    normals, predicted = level.field.normals, level.field.normals_pred
    if normals is None or predicted is None:
      raise errors.ConfigError(
        'Config.predicted_normal_loss_mult > 0 needs both normals: set '
        'NerfMLP.enable_pred_normals = True and disable_density_normals = '
        'False.'
      )
    mismatch = 1.0 - jnp.sum(normals * predicted, axis=-1)
    total += weight * jnp.mean(jnp.sum(level.weights * mismatch, axis=-1))
  return jnp.asarray(total)


@base.register_regularizer(
  'eikonal',
  lambda cfg: cfg.eikonal_loss_mult > 0 or cfg.eikonal_coarse_loss_mult > 0,
)
@base.per_ray
def eikonal(inputs: base.LossInputs, cfg: base.LossConfig) -> Float[Array, '']:
  """(|gradient of the raw density| - 1)^2, mean over samples.

  Makes the raw density a distance (IGR, arXiv:2002.10099, Eq. 3).

  Raises:
    ConfigError: The field makes no density gradients.
  """
  total = 0.0
  for level, weight in _per_level(
    inputs, cfg.eikonal_coarse_loss_mult, cfg.eikonal_loss_mult
  ):
    gradient = level.field.raw_grad_density
    if gradient is None:
      raise errors.ConfigError(
        'Config.eikonal_loss_mult > 0 needs the gradient of the density: set '
        'NerfMLP.disable_density_normals = False (and PropMLP.'
        'disable_density_normals for Config.eikonal_coarse_loss_mult).'
      )
    # The slope of sqrt at 0 is infinite, and times 0 it would be NaN.
    tiny = jnp.finfo(jnp.float32).tiny
    norm = jnp.sqrt(jnp.maximum(tiny, jnp.sum(gradient**2, axis=-1)))
    total += weight * jnp.mean((norm - 1) ** 2)
  return jnp.asarray(total)


def geometry_stats(
  inputs: base.LossInputs, cfg: base.LossConfig
) -> dict[str, Float[Array, ' levels']]:
  """Errors of geometry, reported and not trained on.

  Args:
    inputs: Rendered with `compute_extras`.
    cfg: `compute_disp_metrics`, `compute_normal_metrics`.

  Returns:
    `disparity_mses`: squared error of 1 / (1 + distance_mean), and
    `normal_maes`: mean angular error in degrees (nan without normals), each
    [levels], as far as asked for.
  """
  stats = {}
  if cfg.compute_disp_metrics:
    stats['disparity_mses'] = jnp.stack(
      [
        jnp.mean((1 / (1 + r.distance_mean) - inputs.disps) ** 2)
        for r in inputs.renderings
      ]
    )
  if cfg.compute_normal_metrics:
    stats['normal_maes'] = jnp.stack(
      [_normal_mae(r, inputs) for r in inputs.renderings]
    )
  return stats


def _normal_mae(rendering, inputs):
  if rendering.normals is None:
    return jnp.asarray(jnp.nan)
  return directional.compute_weighted_mae(
    rendering.acc * inputs.alphas,
    directional.l2_normalize(rendering.normals),
    directional.l2_normalize(inputs.normals),
  )
