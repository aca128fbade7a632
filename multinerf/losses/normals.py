"""Losses between composited and measured normals.

A normal loss is `(pred, target, LossConfig) -> [...]`, chosen by
`Config.normal_loss_type` and multiplied by `Config.normal_loss_mult`. `pred` are
the last level's normals [..., 3], composited and so at most of length 1,
`target` unit vectors in world space. To add one, register it in a new file
(`@losses.NORMAL_LOSSES.register('name')`) and import that from gin.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from multinerf import errors, registry
from multinerf.losses import base
from multinerf.ops import directional

NormalLoss = Callable[[Any, Any, base.LossConfig], Any]
NORMAL_LOSSES: registry.Registry[NormalLoss] = registry.Registry(
  'normal loss', 'Config.normal_loss_type'
)

_MAKES_THEM = {
  'normals': 'NerfMLP.disable_density_normals = False',
  'normals_pred': 'NerfMLP.enable_pred_normals = True',
}


def _is_active(cfg: base.LossConfig) -> bool:
  """Whether the loss is on; an unknown name fails here, not in a step."""
  return cfg.normal_loss_mult > 0 and bool(
    NORMAL_LOSSES.get(cfg.normal_loss_type)
  )


@base.register_regularizer('normal', _is_active)
def normal(inputs: base.LossInputs, cfg: base.LossConfig) -> Float[Array, '']:
  """The loss that `Config.normal_loss_type` names, on the last level.

  Rays count by their true opacity; without it, where a normal is known.

  Raises:
    ConfigError: The batch has no normals, or the field makes none.
  """
  last = inputs.levels[-1]
  normals = getattr(last.field, cfg.normal_loss_target)
  if normals is None:
    raise errors.ConfigError(
      f'Config.normal_loss_mult = {cfg.normal_loss_mult} needs '
      f'{cfg.normal_loss_target!r}, which the field does not make; set '
      f'{_MAKES_THEM[cfg.normal_loss_target]} '
      '(gin: Config.normal_loss_target).'
    )
  if inputs.normals is None:
    raise errors.ConfigError(
      f'Config.normal_loss_mult = {cfg.normal_loss_mult}, but the batch has no '
      'normals (Batch.normals); set it to 0, or load them.'
    )
  weights = jnp.any(inputs.normals != 0, axis=-1).astype(inputs.normals.dtype)
  if inputs.alphas is not None:
    weights *= inputs.alphas
  pred = jnp.sum(last.weights[..., None] * normals, axis=-2)
  target = directional.l2_normalize(
    jnp.where(weights[..., None] > 0, inputs.normals, 0.0)
  )
  error = NORMAL_LOSSES.get(cfg.normal_loss_type)(pred, target, cfg)
  return cfg.normal_loss_mult * jnp.mean(
    base.normalize_weights(weights) * error
  )


@NORMAL_LOSSES.register('l1_cosine')
def l1_cosine(
  pred: Float[Array, '*batch 3'],
  target: Float[Array, '*batch 3'],
  cfg: base.LossConfig,
) -> Float[Array, '*batch']:
  """|N - N'|_1 + |1 - N . N'| (MonoSDF, arXiv:2206.00665)."""
  del cfg
  difference = jnp.sum(jnp.abs(pred - target), axis=-1)
  return difference + jnp.abs(1 - jnp.sum(pred * target, axis=-1))


@NORMAL_LOSSES.register('cosine')
def cosine(
  pred: Float[Array, '*batch 3'],
  target: Float[Array, '*batch 3'],
  cfg: base.LossConfig,
) -> Float[Array, '*batch']:
  """1 - cos of the angle: the direction alone, not how opaque the ray is."""
  del cfg
  return 1 - jnp.sum(directional.l2_normalize(pred) * target, axis=-1)


@NORMAL_LOSSES.register('l2')
def l2(
  pred: Float[Array, '*batch 3'],
  target: Float[Array, '*batch 3'],
  cfg: base.LossConfig,
) -> Float[Array, '*batch']:
  """|N - N'|^2, smooth where they agree; also asks for an opaque ray."""
  del cfg
  return jnp.sum((pred - target) ** 2, axis=-1)
