"""Losses between rendered and true colours."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from multinerf.losses import base


@base.DATA_LOSSES.register('mse')
def mse(
  pred: Float[Array, '*batch 3'],
  target: Float[Array, '*batch 3'],
  cfg: base.LossConfig,
) -> Float[Array, '*batch 3']:
  """Squared error."""
  del cfg
  return (pred - target) ** 2


@base.DATA_LOSSES.register('charb')
def charb(
  pred: Float[Array, '*batch 3'],
  target: Float[Array, '*batch 3'],
  cfg: base.LossConfig,
) -> Float[Array, '*batch 3']:
  """Charbonnier: sqrt(error^2 + charb_padding^2) (mip-NeRF 360, Sec. 4)."""
  return jnp.sqrt((pred - target) ** 2 + cfg.charb_padding**2)


@base.DATA_LOSSES.register('rawnerf')
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
  inputs: base.LossInputs, cfg: base.LossConfig
) -> tuple[Float[Array, ''], dict[str, Any]]:
  """Weighted colour loss over all levels, and what is reported with it.

  Args:
    inputs: One device's share of the batch.
    cfg: `data_loss_type` names the loss of a level.

  Returns:
    data_coarse_loss_mult * (sum over proposal levels) + data_loss_mult * last,
    and stats: `mses` [levels]. Each is this device's share of a mean over
    devices.
  """
  level_loss = base.DATA_LOSSES.get(cfg.data_loss_type)
  weights = inputs.lossmult
  losses, mses = [], []
  for rendering in inputs.renderings:
    mses.append(jnp.mean(weights * (rendering.rgb - inputs.rgb) ** 2))
    losses.append(
      jnp.mean(weights * level_loss(rendering.rgb, inputs.rgb, cfg))
    )
  total = cfg.data_loss_mult * losses[-1]
  if cfg.data_coarse_loss_mult > 0 and len(losses) > 1:
    total += cfg.data_coarse_loss_mult * sum(losses[:-1])
  return total, {'mses': jnp.stack(mses)}
