"""Compares and fills flax state dicts by path, shape and dtype.

`flax.serialization.from_state_dict` checks names only: an array of another
shape or dtype is restored without a word.
"""

import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from flax import serialization

from multinerf import errors

_NUM_NAMED = 10  # items that one message lists
_SCALARS = (bool, int, float, complex, np.generic, np.ndarray)


def fit(
  found: Any,
  target: Any,
  *,
  source: str | os.PathLike,
  only: Collection[str] | None = None,
) -> Any:
  """Puts the arrays of a state dict into `target`, if they are the same ones.

  Args:
    found: State dict as read from a file.
    target: Pytree of arrays or `jax.ShapeDtypeStruct`s.
    source: The file, for the message.
    only: Top-level entries to compare and fill; the others keep target's
      values. None means all.

  Returns:
    A copy of `target` with the arrays of `found`.

  Raises:
    CheckpointError: Paths, shapes or dtypes differ; the first ten are named.
  """
  template = serialization.to_state_dict(target)
  if only is None:
    expected, given = leaves(template), leaves(found)
  else:
    expected = leaves({k: v for k, v in template.items() if k in only})
    given = leaves({k: v for k, v in found.items() if k in only})
  differing = _differences(expected, given)
  if differing:
    raise errors.CheckpointError(
      f'{source} was saved by another model or optimizer: '
      f'{some(differing, separator="; ")}. Use the gin file it was trained '
      f'with, or another folder (gin: Config.checkpoint_dir).'
    )
  for path, wanted in expected.items():
    if hasattr(wanted, 'dtype') and not hasattr(given[path], 'dtype'):
      given[path] = np.asarray(given[path], wanted.dtype)
  return serialization.from_state_dict(target, _filled(template, given))


def leaves(tree: Any, prefix: str = '') -> dict[str, Any]:
  """Flattens a state dict to {'a/b/c': leaf}; empty branches vanish."""
  if tree is None:  # Orbax's spelling of optax's empty states.
    return {}
  if not isinstance(tree, dict):
    return {prefix: tree}
  flat = {}
  for key, value in tree.items():
    flat.update(leaves(value, f'{prefix}/{key}' if prefix else str(key)))
  return flat


def describe(leaf: Any) -> str:
  """E.g. 'float32[3, 4]', or the type of what is not an array."""
  if hasattr(leaf, 'dtype'):
    return f'{leaf.dtype}[{", ".join(map(str, leaf.shape))}]'
  return type(leaf).__name__


def some(items: Collection[Any], *, separator: str = ', ') -> str:
  """The first ten of a list, and how many more there are."""
  shown = separator.join(str(item) for item in list(items)[:_NUM_NAMED])
  rest = len(items) - _NUM_NAMED
  return f'{shown}{separator}and {rest} more' if rest > 0 else shown


def _differences(
  expected: Mapping[str, Any], found: Mapping[str, Any]
) -> list[str]:
  """One phrase per path that is not the same on both sides."""
  phrases = []
  # Parameters first: the optimizer's arrays only repeat what they say.
  params_first = lambda path: (not path.startswith('params/'), path)
  for path in sorted({*expected, *found}, key=params_first):
    if path not in found:
      wanted = describe(expected[path])
      phrases.append(f'{path} is not in the file (model: {wanted})')
    elif path not in expected:
      phrases.append(
        f'{path} is not in the model (file: {describe(found[path])})'
      )
    elif not _matches(expected[path], found[path]):
      phrases.append(
        f'{path} is {describe(found[path])} in the file and '
        f'{describe(expected[path])} in the model'
      )
  return phrases


def _matches(expected: Any, found: Any) -> bool:
  """Same shape and dtype; a Python number stands for any width of its kind."""
  if hasattr(expected, 'dtype') and hasattr(found, 'dtype'):
    return expected.shape == found.shape and expected.dtype == found.dtype
  sides = []
  for leaf in (expected, found):
    if not hasattr(leaf, 'dtype') and not isinstance(leaf, _SCALARS):
      return type(expected) is type(found)
    dtype = np.dtype(getattr(leaf, 'dtype', type(leaf)))
    sides.append(('i' if dtype.kind == 'u' else dtype.kind, np.shape(leaf)))
  return sides[0] == sides[1]


def _filled(template: Any, given: Mapping[str, Any], prefix: str = '') -> Any:
  """`template` with the leaves that are named in `given` replaced."""
  if isinstance(template, dict):
    return {
      k: _filled(v, given, f'{prefix}/{k}' if prefix else k)
      for k, v in template.items()
    }
  return given.get(prefix, template)
