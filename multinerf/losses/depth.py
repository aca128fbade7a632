"""Losses between where rays end and measured depths.

A depth loss is `(level, depths, weights, LossConfig) -> scalar`, chosen by
`Config.depth_loss_type` and multiplied by `Config.depth_loss_mult`:

  level: The last sampling level; it has `tdist`, `weights` and the field.
  depths: [...] measured ray parameters t; 1 where nothing is known.
  weights: [...] how much each ray counts, 0 where nothing is known; their mean
    over all devices is 1, or 0 if the batch holds no depth at all.

It returns this device's share of a mean over devices: mostly
`jnp.mean(weights * loss_of_each_ray)`. Sums that the loss of a ray needs of the
whole batch are taken with `parallel.pmean`. Everything is in units of t, as the
rays have it (so under NDC in NDC). To add a loss, register it in a new file
(`@losses.DEPTH_LOSSES.register('name')`) and import that from gin.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from multinerf import errors, parallel, registry, types
from multinerf.losses import base

DepthLoss = Callable[[types.Level, Any, Any, base.LossConfig], Any]
DEPTH_LOSSES: registry.Registry[DepthLoss] = registry.Registry(
  'depth loss', 'Config.depth_loss_type'
)

# Added to a weight before its logarithm, as in the code of DS-NeRF: bounds the
# loss of a ray that misses, and the gradient where a weight is 0.
_LOG_EPS = 1e-5
# Smallest depth that has a logarithm.
_MIN_DEPTH = 1e-6
# Below this opacity a ray's mean depth fades to 0, as does what moves it.
_MIN_OPACITY = 1e-2
# Keeps the aligning scale finite while all predictions are (nearly) alike:
# added to their variance, in units of their mean square.
_RIDGE = 1e-6


def _is_active(cfg: base.LossConfig) -> bool:
  """Whether the loss is on; an unknown name fails here, not in a step."""
  return cfg.depth_loss_mult > 0 and bool(DEPTH_LOSSES.get(cfg.depth_loss_type))


@base.register_regularizer('depth', _is_active)
def depth(inputs: base.LossInputs, cfg: base.LossConfig) -> Float[Array, '']:
  """The loss that `Config.depth_loss_type` names, on the last level.

  Raises:
    ConfigError: The batch has no depths.
  """
  if inputs.depths is None or inputs.depth_weights is None:
    raise errors.ConfigError(
      f'Config.depth_loss_mult = {cfg.depth_loss_mult}, but the batch has no '
      'depths (Batch.depths, Batch.depth_weights); set it to 0, or load them '
      '(gin: Config.depth_source).'
    )
  known = inputs.depth_weights > 0
  # What a file holds where nothing is known may be inf or nan.
  depths = jnp.where(known, inputs.depths, 1.0)
  weights = jnp.where(known, inputs.depth_weights, 0.0)
  loss_fn = DEPTH_LOSSES.get(cfg.depth_loss_type)
  return cfg.depth_loss_mult * loss_fn(
    inputs.levels[-1], depths, base.normalize_weights(weights), cfg
  )


def expected_depth(level: types.Level) -> Float[Array, '*batch']:
  """sum_i w_i t_i over the intervals' midpoints; 0 for a ray through nothing."""
  mids = 0.5 * (level.tdist[..., :-1] + level.tdist[..., 1:])
  return jnp.sum(level.weights * mids, axis=-1)


def mean_depth(level: types.Level) -> Float[Array, '*batch']:
  """Expected depth of the light that is stopped, sum w_i t_i / sum w_i.

  A loss that forgives a factor must use it: `expected_depth` also changes with
  the opacity, and fog of the right thickness would be a solution.
  """
  opacity = jnp.sum(level.weights, axis=-1)
  return expected_depth(level) / jnp.maximum(opacity, _MIN_OPACITY)


def termination_target(
  tdist: Float[Array, '*batch m'], depths: Float[Array, '*batch'], sigma: float
) -> Float[Array, '*batch n']:
  """What a normal distribution N(depth, sigma^2) puts into each interval."""
  t = jax.lax.stop_gradient(tdist)
  cdf = 0.5 * jax.lax.erf((t - depths[..., None]) / (sigma * jnp.sqrt(2.0)))
  return jnp.diff(cdf)


@DEPTH_LOSSES.register('mse')
def mse(
  level: types.Level,
  depths: Float[Array, '*batch'],
  weights: Float[Array, '*batch'],
  cfg: base.LossConfig,
) -> Float[Array, '']:
  """Squared error of the expected depth, metric.

  The L2 term of Urban Radiance Fields (arXiv:2111.14643), and the baseline that
  DS-NeRF (arXiv:2107.02791) compares with.
  """
  del cfg
  return jnp.mean(weights * (expected_depth(level) - depths) ** 2)


@DEPTH_LOSSES.register('l1')
def l1(
  level: types.Level,
  depths: Float[Array, '*batch'],
  weights: Float[Array, '*batch'],
  cfg: base.LossConfig,
) -> Float[Array, '']:
  """Absolute error of the expected depth, metric (NICE-SLAM, arXiv:2112.12130).

  Wrong measurements pull less than with 'mse'.
  """
  del cfg
  return jnp.mean(weights * jnp.abs(expected_depth(level) - depths))


@DEPTH_LOSSES.register('ds_nerf')
def ds_nerf(
  level: types.Level,
  depths: Float[Array, '*batch'],
  weights: Float[Array, '*batch'],
  cfg: base.LossConfig,
) -> Float[Array, '']:
  """The ray ends at the depth, give or take depth_sigma (DS-NeRF, Eq. 7).

  -sum_i log(w_i) int_i N(t; depth, depth_sigma^2) dt, arXiv:2107.02791: the
  divergence of where the ray ends from a normal distribution, but for a
  constant. Shapes the whole ray: fog in front of a surface costs even if the
  expected depth is right.
  """
  # Differs from Eq. 7: exp(-(t - D)^2 / (2 sigma^2)) dt is integrated exactly,
  # not by one sample per interval (which misses it altogether where intervals
  # are longer than sigma), and divided by its sum, sigma sqrt(2 pi), so that
  # depth_sigma does not change how much the loss weighs.
  target = termination_target(level.tdist, depths, cfg.depth_sigma)
  cross_entropy = -jnp.sum(target * jnp.log(level.weights + _LOG_EPS), axis=-1)
  return jnp.mean(weights * cross_entropy)


@DEPTH_LOSSES.register('urf')
def urf(
  level: types.Level,
  depths: Float[Array, '*batch'],
  weights: Float[Array, '*batch'],
  cfg: base.LossConfig,
) -> Float[Array, '']:
  """Free space before the depth, a surface at it (Urban Radiance Fields).

  The line-of-sight terms L_empty + L_near of arXiv:2111.14643 with
  epsilon = 3 depth_sigma: squared weights before depth - epsilon, and squared
  differences from N(depth, depth_sigma^2) up to depth + epsilon. What is behind
  is left alone. Its expected-depth term is 'mse'.
  """
  # Differs from the paper: squares of probabilities, not of densities, which
  # are divided by lengths of intervals that may be 0.
  target = termination_target(level.tdist, depths, cfg.depth_sigma)
  behind = depths[..., None] + 3 * cfg.depth_sigma
  seen = level.tdist[..., :-1] < behind
  error = jnp.where(seen, level.weights - target, 0.0)
  return jnp.mean(weights * jnp.sum(error**2, axis=-1))


@DEPTH_LOSSES.register('scale_invariant')
def scale_invariant(
  level: types.Level,
  depths: Float[Array, '*batch'],
  weights: Float[Array, '*batch'],
  cfg: base.LossConfig,
) -> Float[Array, '']:
  """Variance of log(mean depth / depth): right up to one factor.

  Eigen et al. 2014 (arXiv:1406.2283, Eq. 3; Eq. 4 with lambda = 1). The factor
  is one for the whole batch: with depths of another scale in each image use
  Config.batching = 'single_image'.
  """
  del cfg
  predicted = jnp.maximum(mean_depth(level), _MIN_DEPTH)
  ratio = jnp.log(predicted) - jnp.log(jnp.maximum(depths, _MIN_DEPTH))
  # The mean is the minimiser, so no gradient passes through it.
  mean = parallel.pmean(jnp.mean(weights * jax.lax.stop_gradient(ratio)))
  return jnp.mean(weights * (ratio - mean) ** 2)


@DEPTH_LOSSES.register('scale_shift')
def scale_shift(
  level: types.Level,
  depths: Float[Array, '*batch'],
  weights: Float[Array, '*batch'],
  cfg: base.LossConfig,
) -> Float[Array, '']:
  """Squared error after the best scale and shift of the mean depths.

  min over a >= 0 and b of the mean of (a mean depth + b - depth)^2: MiDaS'
  alignment (arXiv:1907.01341) as MonoSDF uses it (arXiv:2206.00665), for depths
  of a monocular network. In the units of `depths`, squared; one alignment for
  the whole batch, so depths of another scale in each image need
  Config.batching = 'single_image'.
  """
  # Differs from the papers: a >= 0. While predictions run against the depths,
  # they would be pulled to the best surface turned inside out. And theirs are
  # opaque, where the mean depth is the expected one.
  del cfg
  predicted = mean_depth(level)

  def mean(values):  # of the whole batch
    return parallel.pmean(jnp.mean(weights * values))

  # At the minimum a change of a and b changes nothing: no gradient is lost.
  fixed = jax.lax.stop_gradient(predicted)
  centre, target_centre = mean(fixed), mean(depths)
  spread, target_spread = fixed - centre, depths - target_centre
  variance = mean(spread**2) + _RIDGE * centre**2
  scale = mean(spread * target_spread) / jnp.maximum(
    variance, jnp.finfo(variance.dtype).tiny
  )
  scale = jnp.maximum(scale, 0.0)
  aligned = scale * (predicted - centre) + target_centre
  return jnp.mean(weights * (aligned - depths) ** 2)
