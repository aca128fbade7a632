"""RobustNeRF: ignore what the other photographs do not confirm.

Sabour et al., "RobustNeRF: Ignoring Distractors with Robust Losses"
(arXiv:2302.00833), as google-research/multinerf @5b4d4f6 has it
(internal/robustnerf.py). Training goes by patches; a pixel counts only if its
error was small, or if it lies among pixels whose error was small.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from multinerf import parallel
from multinerf.losses import base


@flax.struct.dataclass
class Inliers:
  """Which pixels of some patches count, and why.

  Attributes:
    small_error: [P, p, p, 1] bool, the error is below the threshold.
    near_inliers: [P, p, p, 1] bool, so are most errors in the box around.
    in_inlier_patch: [P, p, p, 1] bool, in the middle of a patch most of which
      one of the other two holds for.
  """

  small_error: Any
  near_inliers: Any
  in_inlier_patch: Any

  @property
  def mask(self) -> Bool[Array, 'patches p p 1']:
    """Any of the three."""
    return self.small_error | self.near_inliers | self.in_inlier_patch


def pixel_errors(
  squared: Float[Array, '*patches c'],
) -> Float[Array, '*patches 1']:
  """Mean over the channels, without gradient."""
  return jax.lax.stop_gradient(jnp.mean(squared, axis=-1, keepdims=True))


def inlier_mask(
  errors: Float[Array, 'patches p p 1'],
  threshold: Float[Array, ''] | float,
  cfg: base.LossConfig,
) -> Inliers:
  """Sorts the pixels of patches by their errors (arXiv:2302.00833, Sec. 3.3).

  Args:
    errors: Per pixel, >= 0.
    threshold: Errors below it are small.
    cfg: `robustnerf_*`; the inner patch is no larger than the patch.
  """
  small = errors < threshold
  side = cfg.robustnerf_smoothed_filter_size
  # Outside of the patch nothing is known: it counts as an outlier.
  count = jax.lax.reduce_window(
    small.astype(jnp.float32),
    0.0,
    jax.lax.add,
    window_dimensions=(1, side, side, 1),
    window_strides=(1, 1, 1, 1),
    padding='SAME',
  )
  near = count / side**2 > 1 - cfg.robustnerf_smoothed_inlier_quantile
  share = jnp.mean(small | near, axis=(1, 2, 3), keepdims=True)
  good_patch = share > 1 - cfg.robustnerf_inner_patch_inlier_quantile
  inner = inner_patch(cfg.robustnerf_inner_patch_size, errors.shape[1])
  return Inliers(small, near, good_patch & inner)


def inner_patch(inner: int, patch: int) -> Bool[Array, '1 p p 1']:
  """The middle `inner` x `inner` pixels of a patch; an odd rest lies after."""
  first = (patch - inner) // 2
  at = jnp.arange(patch)
  inside = (at >= first) & (at < first + inner)
  return (inside[:, None] & inside[None, :])[None, :, :, None]


class RobustNerf:
  """The data loss 'robustnerf': squared error of the inliers.

  Outliers have loss 0 and stay in the denominator, as upstream. The threshold
  of a step is the `robustnerf_inlier_quantile` of the errors of the step
  before, over the whole batch. (Upstream averages the quantiles of the
  devices' shares, so that its result depends on their number; with one device
  it is the same.) Pixels of weight 0 take part in the quantile.

  With `enable_robustnerf_loss` off it is the plain squared error.
  """

  def init_state(self, cfg: base.LossConfig) -> dict[str, Any]:
    """A threshold that colours in [0, 1] do not exceed."""
    del cfg
    return {'threshold': jnp.ones((), jnp.float32)}

  def __call__(
    self,
    pred: Float[Array, '*patches 3'],
    target: Float[Array, '*patches 3'],
    cfg: base.LossConfig,
    state: dict[str, Any],
  ) -> tuple[Float[Array, '*patches 3'], dict[str, Any], dict[str, Any]]:
    """See `base.StatefulDataLoss`; patches are [P, p, p] if masks are on."""
    squared = (pred - target) ** 2
    errors = pixel_errors(squared)
    threshold = jnp.quantile(
      parallel.all_gather(errors), cfg.robustnerf_inlier_quantile
    )
    stats = {'loss_threshold': threshold}
    mask = jnp.ones_like(errors)
    if cfg.enable_robustnerf_loss:
      inliers = inlier_mask(errors, state['threshold'], cfg)
      mask = inliers.mask.astype(squared.dtype)
      stats |= {
        'is_inlier_loss': jnp.mean(inliers.small_error),
        'has_inlier_neighbors': jnp.mean(inliers.near_inliers),
        'is_inlier_patch': jnp.mean(inliers.in_inlier_patch),
      }
    stats['mask'] = jnp.mean(mask)
    # A NaN in a batch must not make outliers of the whole next one.
    kept = jnp.where(jnp.isnan(threshold), state['threshold'], threshold)
    return squared * mask, {'threshold': kept}, stats


base.DATA_LOSSES.register('robustnerf')(RobustNerf())
