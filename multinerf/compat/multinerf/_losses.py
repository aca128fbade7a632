"""Losses and trees of `internal/train_utils.py`, see `train_utils`."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from multinerf import losses, types
from multinerf.compat.multinerf import _options, robustnerf
from multinerf.losses import geometric, photometric, weight_decay
from multinerf.training import optim

Levels = Sequence[Mapping[str, Any]]


def tree_sum(tree: Any) -> Any:
  """Sum of the leaves; 0 for none."""
  return sum(jax.tree.leaves(tree))


def tree_norm_sq(tree: Any) -> Any:
  """Sum of squares of all entries of all leaves."""
  return weight_decay.squared_norm(tree)


def tree_norm(tree: Any) -> Any:
  """L2 norm of all leaves together."""
  return optax.tree.norm(tree)


def tree_abs_max(tree: Any) -> Any:
  """Largest magnitude in all leaves; 0 for none."""
  leaves = [jnp.max(jnp.abs(x)) for x in jax.tree.leaves(tree)]
  return jnp.max(jnp.stack(leaves)) if leaves else 0


def tree_len(tree: Any) -> int:
  """Number of entries of all leaves."""
  return sum(int(jnp.size(x)) for x in jax.tree.leaves(tree))


def summarize_tree(
  tree: Mapping[str, Any],
  fn: Callable[[Any], Any],
  ancestry: tuple[str, ...] = (),
  max_depth: int = 3,
) -> dict[str, Any]:
  """`fn` of every subtree, by '/'-joined path.

  Args:
    tree: Nested dicts.
    fn: Subtree -> value.
    ancestry: Names above `tree`, which count as depth.
    max_depth: Longest path, in names.
  """
  depth = max(1, max_depth - len(ancestry))
  return {
    '/'.join((*ancestry, path)): fn(subtree)
    for path, subtree in weight_decay.subtrees(tree, depth).items()
  }


def compute_data_loss(
  batch: types.Batch,
  renderings: Levels,
  rays: types.Rays,
  loss_threshold: Any,
  config: Any,
) -> tuple[Any, dict[str, Any]]:
  """Colour loss over all levels, and its statistics.

  Args:
    batch: True colours, and geometry if metrics of it are asked for.
    renderings: Rendered with `compute_extras` for those.
    rays: Their `lossmult` weighs the colours.
    loss_threshold: RobustNeRF's, of the step before.
    config: Options of the losses.

  Returns:
    The loss and `mses`, `disparity_mses`, `normal_maes` [levels] as far as
    asked for, and those of `robustnerf_mask` for the last level.
  """
  cfg = _options.part(config, losses.LossConfig)
  rgb = batch.rgb[..., :3]
  weights = jnp.ones_like(rgb)
  if not cfg.disable_multiscale_loss:
    weights = jnp.broadcast_to(rays.lossmult, rgb.shape).astype(rgb.dtype)
    weights = weights / jnp.mean(weights)
  inputs = _inputs(
    rays=rays,
    rgb=rgb,
    lossmult=weights,
    renderings=tuple(_rendering(r) for r in renderings),
    disps=batch.disps,
    normals=batch.normals,
    alphas=batch.alphas,
  )
  if cfg.data_loss_type == 'robustnerf':
    loss, stats = _robust_loss(inputs, loss_threshold, cfg)
  else:
    loss, _, stats = photometric.data_loss(inputs, cfg)
  return loss, stats | geometric.geometry_stats(inputs, cfg)


def _robust_loss(inputs, threshold, cfg) -> tuple[Any, dict[str, Any]]:
  """Squared error of the inliers. The threshold is the caller's to keep."""
  totals, mses = [], []
  stats: dict[str, Any] = {}
  for rendering in inputs.renderings:
    squared = (rendering.rgb - inputs.rgb) ** 2
    mask, stats = robustnerf.robustnerf_mask(squared, threshold, cfg)
    totals.append(jnp.mean(inputs.lossmult * squared * mask))
    mses.append(jnp.mean(inputs.lossmult * squared))
  loss = cfg.data_loss_mult * totals[-1]
  loss += cfg.data_coarse_loss_mult * sum(totals[:-1])
  return loss, stats | {'mses': jnp.stack(mses)}


def interlevel_loss(ray_history: Levels, config: Any) -> Any:
  """Proposals must cover the last level (mip-NeRF 360, Eq. 13)."""
  return term(geometric.interlevel, ray_history, config)


def distortion_loss(ray_history: Levels, config: Any) -> Any:
  """Weight gathers in few, short intervals (mip-NeRF 360, Eq. 15)."""
  return term(geometric.distortion, ray_history, config)


def orientation_loss(
  rays: types.Rays, model: Any, ray_history: Levels, config: Any
) -> Any:
  """Visible normals must face the camera (Ref-NeRF, Eq. 11).

  Args:
    rays: Their view directions.
    model: Not looked at; the number of levels is that of `ray_history`.
    ray_history: The levels.
    config: Options of the losses.

  Raises:
    ConfigError: The levels have no such normals.
  """
  del model
  return term(geometric.orientation, ray_history, config, rays)


def predicted_normal_loss(model: Any, ray_history: Levels, config: Any) -> Any:
  """Ties predicted normals to those of the density (Ref-NeRF, Eq. 12).

  Args:
    model: Not looked at.
    ray_history: The levels.
    config: Options of the losses.

  Raises:
    ConfigError: The levels lack one kind of normals.
  """
  del model
  return term(geometric.predicted_normals, ray_history, config)


def weight_loss(params: Any, config: Any) -> Any:
  """Sum of squares of the subtrees that `weight_decay_mults` names."""
  cfg = _options.part(config, losses.LossConfig)
  return weight_decay.weight(_inputs(params=params), cfg)


def clip_gradients(grad: Any, config: Any) -> Any:
  """Clips each network's gradient by value, then by norm.

  Args:
    grad: {'params': {network: ...}}.
    config: `grad_max_val` and `grad_max_norm`; 0 is off.
  """
  clip = optim.clip_per_network(config.grad_max_norm, config.grad_max_val)
  return clip.update(grad, optax.EmptyState())[0]


def _inputs(**values: Any) -> losses.LossInputs:
  """Loss inputs of which only some are looked at."""
  names = [f.name for f in dataclasses.fields(types.Rays)]
  nothing = jnp.zeros((0, 3), jnp.float32)
  blank = {
    'rays': types.Rays(**dict.fromkeys(names)),
    'rgb': nothing,
    'lossmult': nothing,
    'renderings': (),
    'levels': (),
    'params': None,
  }
  return losses.LossInputs(**(blank | values))


def _rendering(values: Mapping[str, Any]) -> types.Rendering:
  """A dict as a rendering; other entries are not needed by any loss."""
  names = {f.name for f in dataclasses.fields(types.Rendering)}
  return types.Rendering(**{k: v for k, v in values.items() if k in names})


def as_level(values: Mapping[str, Any]) -> types.Level:
  """An entry of a ray history as a level."""
  names = {f.name for f in dataclasses.fields(types.FieldOutput)}
  field = {k: v for k, v in values.items() if k in names}
  return types.Level(
    sdist=values['sdist'],
    tdist=values.get('tdist'),
    weights=values['weights'],
    field=types.FieldOutput(**({'density': None} | field)),
  )


def term(fn, ray_history, config, rays=None) -> Any:
  """One regulariser of a ray history."""
  given = {} if rays is None else {'rays': rays}
  levels = tuple(as_level(values) for values in ray_history)
  inputs = _inputs(levels=levels, **given)
  return fn(inputs, _options.part(config, losses.LossConfig))
