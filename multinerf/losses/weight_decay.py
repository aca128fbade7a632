"""Penalties on parameters."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from multinerf import errors, registry
from multinerf.losses import base


def subtrees(params: Mapping[str, Any], depth: int = 3) -> dict[str, Any]:
  """Names every subtree down to `depth` by its '/'-joined path."""
  found = {}
  for name, child in params.items():
    found[name] = child
    if isinstance(child, Mapping) and depth > 1:
      for path, grandchild in subtrees(child, depth - 1).items():
        found[f'{name}/{path}'] = grandchild
  return found


def squared_norm(tree: Any) -> Float[Array, '']:
  """Sum of squares of all leaves."""
  return sum(jnp.sum(x**2) for x in jax.tree.leaves(tree))


@base.register_regularizer('weight', lambda cfg: bool(cfg.weight_decay_mults))
def weight(inputs: base.LossInputs, cfg: base.LossConfig) -> Float[Array, '']:
  """Sum over the named subtrees of mult * |params|^2 (no factor 1/2).

  Raises:
    ConfigError: `weight_decay_mults` names a path that does not exist.
  """
  known = subtrees(inputs.params)
  total = jnp.zeros(())
  for path, mult in cfg.weight_decay_mults.items():
    if path not in known:
      raise errors.ConfigError(
        f'Config.weight_decay_mults names {path!r}, which is no parameter '
        f'of this model.{registry.suggest(path, known)}'
      )
    total += mult * squared_norm(known[path])
  return total
