"""The optimiser: non-finite guard, clipping per network, Adam."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from multinerf import errors
from multinerf.ops import numerics
from multinerf.training import schedules


@dataclasses.dataclass(frozen=True)
class OptimConfig(schedules.ScheduleConfig):
  """The options of the optimiser; names and defaults as in `Config`."""

  adam_beta1: float = 0.9
  adam_beta2: float = 0.999
  adam_eps: float = 1e-6
  grad_max_norm: float = 0.001
  grad_max_val: float = 0.0
  lr_init_grid: float | None = None
  lr_final_grid: float | None = None


def zero_nonfinite(grads: Any) -> tuple[Any, Int[Array, '']]:
  """Replaces non-finite gradients by 0 and counts them.

  # Differs from multinerf train_utils.py:326, which clips first: there one NaN
  # makes a network's norm NaN and silences all of it, without a word.
  """
  bad = sum(jnp.sum(~jnp.isfinite(g)) for g in jax.tree.leaves(grads))
  clean = jax.tree.map(lambda g: jnp.where(jnp.isfinite(g), g, 0), grads)
  return clean, jnp.asarray(bad, jnp.int32)


def clip_per_network(
  max_norm: float, max_val: float
) -> optax.GradientTransformation:
  """Clips each top-level network's gradient by value, then by its norm.

  Args:
    max_norm: Largest L2 norm of one network (NerfMLP_0, PropMLP_0, ...);
      0: off.
    max_val: Largest magnitude of one element, applied first; 0: off.
  """

  def clip(network):
    if max_val > 0:
      network = jax.tree.map(lambda g: jnp.clip(g, -max_val, max_val), network)
    if max_norm > 0:
      norm = optax.tree.norm(network)
      eps = jnp.finfo(jnp.float32).eps  # a zero gradient stays zero
      scale = jnp.minimum(1.0, max_norm / (eps + norm))
      network = jax.tree.map(lambda g: scale * g, network)
    return network

  def update(updates, state, params=None):
    del params
    clipped = {
      top: {name: clip(network) for name, network in networks.items()}
      for top, networks in updates.items()
    }
    return clipped, state

  def init(params):
    del params
    return optax.EmptyState()

  return optax.GradientTransformation(init, update)


def make_optimizer(cfg: OptimConfig) -> optax.GradientTransformation:
  """Clipping per network, then Adam with the schedule of `cfg`.

  The state is Adam's own, `{0: {count, mu, nu}, 1: {count}}`, as in upstream's
  checkpoints: clipping is stateless and wrapped around it. With
  `lr_init_grid` there are two such states, each `{inner_state: ...}`: 0 of all
  other parameters, 1 of the grids. Moments of parameters that are stored as
  float16 are float32: the squares of gradients would vanish, and Adam divide
  by 0.

  Raises:
    ConfigError: Only one of `lr_init_grid` and `lr_final_grid` is set, or the
      schedule cannot be made for both.
  """
  clip = clip_per_network(cfg.grad_max_norm, cfg.grad_max_val)
  adam = _adam(cfg, schedules.make_schedule(cfg))
  grid_schedule = _make_grid_schedule(cfg)
  if grid_schedule is not None:
    adam = optax.chain(
      optax.masked(adam, lambda tree: _grid_mask(tree, wanted=False)),
      optax.masked(
        _adam(cfg, grid_schedule), lambda tree: _grid_mask(tree, wanted=True)
      ),
    )

  def update(updates, state, params=None):
    clipped, _ = clip.update(numerics.widen(updates), optax.EmptyState())
    return adam.update(clipped, state, params)

  def init(params):
    return adam.init(numerics.widen(params))

  return optax.GradientTransformation(init, update)


def _adam(cfg, schedule):
  return optax.adam(
    schedule, b1=cfg.adam_beta1, b2=cfg.adam_beta2, eps=cfg.adam_eps
  )


def _make_grid_schedule(cfg):
  """The rate of the grids, of the same form as the others'; None: the same."""
  if cfg.lr_init_grid is None and cfg.lr_final_grid is None:
    return None
  if cfg.lr_init_grid is None or cfg.lr_final_grid is None:
    raise errors.ConfigError(
      'Config.lr_init_grid and Config.lr_final_grid belong together; got '
      f'{cfg.lr_init_grid} and {cfg.lr_final_grid}.'
    )
  if callable(cfg.lr_schedule):
    raise errors.ConfigError(
      'Config.lr_init_grid needs a named Config.lr_schedule, such as '
      "'log_lerp': a function has rates of its own."
    )
  return schedules.make_schedule(
    dataclasses.replace(
      cfg, lr_init=cfg.lr_init_grid, lr_final=cfg.lr_final_grid
    )
  )


def _grid_mask(tree, wanted):
  """A tree of bools: `wanted` where a grid is in the path.

  As in camp_zipnerf, whose hashed levels lie in grid_<i> as well; those of an
  encoder of MultiNeRF's networks do not: encoder/hash_128.
  """

  def is_grid(path):
    names = jax.tree_util.keystr(path)
    return 'grid' in names or 'hash_' in names

  return jax.tree_util.tree_map_with_path(
    lambda path, _: is_grid(path) == wanted, tree
  )


def tree_stats(name: str, tree: Mapping[str, Any], reduce: Any) -> dict:
  """Reduces every subtree down to depth 3 to a number.

  Args:
    name: Prefix of the keys.
    tree: Parameters or gradients below 'params'.
    reduce: Leaf list -> scalar.

  Returns:
    {'<name>/<path>': scalar}.
  """

  def walk(prefix, node, depth):
    yield f'{name}/{prefix}', reduce(jax.tree.leaves(node))
    if isinstance(node, Mapping) and depth > 1:
      for key, child in node.items():
        yield from walk(f'{prefix}/{key}', child, depth - 1)

  out = {}
  for key, child in tree.items():
    out.update(walk(key, child, 3))
  return out
