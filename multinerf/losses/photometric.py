"""Losses between rendered and true colours."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from multinerf.losses import base
from multinerf.ops import robust


@base.DATA_LOSSES.register('mse')
@base.per_ray
def mse(
  pred: Float[Array, '*batch 3'],
  target: Float[Array, '*batch 3'],
  cfg: base.LossConfig,
) -> Float[Array, '*batch 3']:
  """Squared error."""
  del cfg
  return (pred - target) ** 2


@base.DATA_LOSSES.register('charb')
@base.per_ray
def charb(
  pred: Float[Array, '*batch 3'],
  target: Float[Array, '*batch 3'],
  cfg: base.LossConfig,
) -> Float[Array, '*batch 3']:
  """Charbonnier: sqrt(error^2 + charb_padding^2) (mip-NeRF 360, Sec. 4)."""
  return jnp.sqrt((pred - target) ** 2 + cfg.charb_padding**2)


@base.DATA_LOSSES.register('cauchy')
@base.per_ray
def cauchy(
  pred: Float[Array, '*batch 3'],
  target: Float[Array, '*batch 3'],
  cfg: base.LossConfig,
) -> Float[Array, '*batch 3']:
  """log(1 + e^4 / (2 c^2)) of the error e, c = robust_loss_scale.

  As in camp_zipnerf, the robust loss (arXiv:1701.03077) of the *squared* error.
  """
  return robust.general_lossfun((pred - target) ** 2, 0, cfg.robust_loss_scale)


@base.DATA_LOSSES.register('geman-mcclure')
@base.per_ray
def geman_mcclure(
  pred: Float[Array, '*batch 3'],
  target: Float[Array, '*batch 3'],
  cfg: base.LossConfig,
) -> Float[Array, '*batch 3']:
  """2 e^4 / (e^4 + 4 c^2) of the error e, c = robust_loss_scale; at most 2.

  Of the squared error, as `cauchy`.
  """
  return robust.general_lossfun((pred - target) ** 2, -2, cfg.robust_loss_scale)


@base.DATA_LOSSES.register('rawnerf')
@base.per_ray
def rawnerf(
  pred: Float[Array, '*batch 3'],
  target: Float[Array, '*batch 3'],
  cfg: base.LossConfig,
) -> Float[Array, '*batch 3']:
  """Squared error in a linearised log space (RawNeRF, arXiv:2111.13679, Eq. 4).

  Predictions are clipped at 1, the sensor's white level: beyond it nothing is
  known.
  """
  del cfg
  clipped = jnp.minimum(1.0, pred)
  scale = 1.0 / (1e-3 + jax.lax.stop_gradient(clipped))
  return ((clipped - target) * scale) ** 2


def data_loss(
  inputs: base.LossInputs,
  cfg: base.LossConfig,
  state: dict[str, Any] | None = None,
) -> tuple[Float[Array, ''], dict[str, Any], dict[str, Any]]:
  """Weighted colour loss over all levels, and what is reported with it.

  Args:
    inputs: One device's share of the batch.
    cfg: `data_loss_type` names the loss of a level.
    state: What the loss remembers (`base.init_data_loss_state`); None: {}.

  Returns:
    data_coarse_loss_mult * (sum over proposal levels) + data_loss_mult * last;
    what the loss remembers for the next step; and stats: `mses` [levels] and
    those of a stateful loss. Levels without colours (Zip-NeRF's proposals) count
    in neither. Loss and stats are this device's share of a mean over devices.
  """
  loss_fn = base.DATA_LOSSES.get(cfg.data_loss_type)
  state = state or {}
  weights, rgb = inputs.lossmult, inputs.rgb

  def level_loss(rendering):
    if isinstance(loss_fn, base.StatefulDataLoss):
      values, new_state, stats = loss_fn(rendering.rgb, rgb, cfg, state)
    else:
      values, new_state, stats = loss_fn(rendering.rgb, rgb, cfg), state, {}
    return jnp.mean(weights * values), new_state, stats

  colored = [r for r in inputs.renderings if r.rgb is not None]
  *coarse, last = colored
  loss, new_state, stats = level_loss(last)
  total = cfg.data_loss_mult * loss
  if cfg.data_coarse_loss_mult > 0 and coarse:
    coarse_losses = sum(level_loss(rendering)[0] for rendering in coarse)
    total += cfg.data_coarse_loss_mult * coarse_losses
  mses = [jnp.mean(weights * (r.rgb - rgb) ** 2) for r in colored]
  return total, new_state, stats | {'mses': jnp.stack(mses)}
