"""Penalties on parameters."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from multinerf import errors, registry
from multinerf.losses import base
from multinerf.ops import robust


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
@base.per_ray
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


def arrays(params: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
  """Yields ('/'-joined path, array) for every parameter array."""
  for name, child in params.items():
    if isinstance(child, Mapping):
      for path, array in arrays(child):
        yield f'{name}/{path}', array
    else:
      yield name, child


@base.register_regularizer(
  'param_regularizers', lambda cfg: bool(cfg.param_regularizers)
)
@base.per_ray
def param_regularizers(
  inputs: base.LossInputs, cfg: base.LossConfig
) -> Float[Array, '']:
  """Sum of mult * acc(rho(V; alpha, scale)) over the arrays V of each prefix.

  rho is Barron's robust loss (arXiv:1701.03077). With acc = mean, alpha = 2 and
  scale = 1 every level of a grid counts the same, however large: the normalised
  weight decay of Zip-NeRF (arXiv:2304.06706, supplement) times 1/2.

  A prefix is any beginning of a path, as in camp_zipnerf: 'grid_1' covers
  'grid_10/...' too, 'grid_1/' does not.

  Raises:
    ConfigError: No parameter's path starts with one of the prefixes.
  """
  known = dict(arrays(inputs.params))
  total = jnp.zeros(())
  for prefix, options in cfg.param_regularizers.items():
    mult, accumulate, alpha, scale = options
    found = [x for path, x in known.items() if path.startswith(prefix)]
    if not found:
      raise errors.ConfigError(
        f'Config.param_regularizers: no parameter of this model starts with '
        f'{prefix!r}; there are {", ".join(_tops(inputs.params))}.'
        f'{registry.suggest(prefix, [*inputs.params, *known])}'
      )
    for x in found:
      total += mult * _accumulated(accumulate, x, alpha, scale)
  return total


def _accumulated(accumulate, x, alpha, scale):
  """The robust loss of an array; the usual half squares in a tenth of its time.

  A sum of mere squares is one pass over the array, and the same that a grid's
  scale features need.
  """
  if alpha != 2:
    return accumulate(robust.general_lossfun(x, alpha, scale))
  x = jnp.asarray(x, jnp.float32)
  if accumulate in (jnp.mean, jnp.sum):
    return 0.5 / scale**2 * accumulate(x**2)
  return accumulate(0.5 * (x / scale) ** 2)


def _tops(params: Mapping[str, Any]) -> list[str]:
  """Names of networks as 'name/...', of lone arrays as they are."""
  return [
    f'{name}/...' if isinstance(child, Mapping) else name
    for name, child in params.items()
  ]
