"""Names of `internal/robustnerf.py`."""

from typing import Any

import jax.numpy as jnp

from multinerf import losses
from multinerf.compat.multinerf import _options
from multinerf.losses import robustnerf as ours
from multinerf.types import Array


def robustnerf_mask(
  errors: Array, loss_threshold: Any, config: Any
) -> tuple[Array, dict[str, Array]]:
  """Which pixels of a batch of patches count.

  Args:
    errors: [P, p, p, c] squared errors.
    loss_threshold: Of the step before; errors below it are small.
    config: `robustnerf_*` and `enable_robustnerf_loss`; off: all count.

  Returns:
    [P, p, p, 1] of 0 and 1, and statistics; `loss_threshold` among them, the
    quantile of these errors (of this device only, as upstream), is for the
    next step.
  """
  cfg = _options.part(config, losses.LossConfig)
  error = ours.pixel_errors(errors)
  quantile = jnp.quantile(error, cfg.robustnerf_inlier_quantile)
  stats = {'loss_threshold': quantile}
  mask = jnp.ones_like(error)
  if cfg.enable_robustnerf_loss:
    found = ours.inlier_mask(error, loss_threshold, cfg)
    mask = found.mask.astype(errors.dtype)
    stats |= {
      'is_inlier_loss': jnp.mean(found.small_error),
      'has_inlier_neighbors': jnp.mean(found.near_inliers),
      'is_inlier_patch': jnp.mean(found.in_inlier_patch),
    }
  return mask, stats | {'mask': jnp.mean(mask)}
