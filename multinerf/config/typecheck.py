"""Does a value fit a type annotation? Checks gin values at the boundary.

Gin itself never looks at annotations, so `Config.batch_size = '4096'` would
travel until some array operation trips over it. What people do write in gin
files is let through and converted: an int where a float is declared, a list
for a tuple, `1e5` or 0/1 for an int or a bool.
"""

import collections.abc
import math
import numbers
import os
import types
import typing
from typing import Any


class Mismatch(Exception):
  """A value does not fit; the message names the expected type only."""


def describe(annotation: Any) -> str:
  """Returns what a user should write, e.g. 'float or None'."""
  if annotation is None or annotation is type(None):
    return 'None'
  if annotation is Any:
    return 'anything'
  origin = typing.get_origin(annotation)
  args = typing.get_args(annotation)
  if origin is typing.Annotated:
    return describe(args[0])
  if origin is typing.Literal:
    return ' or '.join(repr(a) for a in args)
  if origin in (typing.Union, types.UnionType):
    return ' or '.join(describe(a) for a in args)
  if origin is collections.abc.Callable or annotation is typing.Callable:
    return 'a function (@name)'
  if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
    return f'a tuple of {describe(args[0])}'
  if origin is tuple:
    return 'a tuple (' + ', '.join(describe(a) for a in args) + ')'
  if origin in (list, collections.abc.Sequence) and args:
    return f'a list of {describe(args[0])}'
  if origin in (dict, collections.abc.Mapping) and len(args) == 2:
    return f'a dict from {describe(args[0])} to {describe(args[1])}'
  names = {str: 'a string in quotes', int: 'an integer', bool: 'True or False'}
  names[float] = 'a number'
  return (
    names.get(annotation)
    or getattr(annotation, '__name__', None)
    or str(annotation)
  )


def conform(value: Any, annotation: Any) -> Any:
  """Returns `value`, converted to what `annotation` declares.

  Conversions: int -> float, integral float -> int (`1e5`), 0/1 -> bool, path
  object -> str, list <-> tuple, recursively in containers. Annotations that
  this module does not know (strings, protocols, type variables) accept
  everything.

  Raises:
    Mismatch: The value does not fit; the message is `describe(annotation)`.
  """
  if annotation is Any:
    return value
  origin = typing.get_origin(annotation)
  args = typing.get_args(annotation)
  if origin is typing.Annotated:
    return conform(value, args[0])
  if origin in (typing.Union, types.UnionType):
    return _conform_union(value, annotation, args)
  if origin is typing.Literal:
    if not any(value == a and type(value) is type(a) for a in args):
      raise Mismatch(describe(annotation))
    return value
  if annotation is None or annotation is type(None):
    if value is not None:
      raise Mismatch('None')
    return None
  if annotation in (bool, int, float, str):
    return _conform_scalar(value, annotation)
  if origin is collections.abc.Callable or annotation is typing.Callable:
    if not callable(value):
      raise Mismatch(describe(annotation))
    return value
  container = origin or annotation
  if container in (dict, collections.abc.Mapping):
    return _conform_mapping(value, annotation, args)
  if container in (tuple, list, collections.abc.Sequence):
    return _conform_sequence(value, annotation, container, args)
  if isinstance(annotation, type) and not getattr(
    annotation, '_is_protocol', False
  ):
    if not isinstance(value, annotation):
      raise Mismatch(describe(annotation))
  return value


def _conform_union(value: Any, annotation: Any, args: tuple) -> Any:
  """Prefers the member whose type is exactly the value's, then any that fits."""
  exact = [a for a in args if a is type(value)]
  for member in exact + [a for a in args if a not in exact]:
    try:
      return conform(value, member)
    except Mismatch:
      continue
  raise Mismatch(describe(annotation))


def _conform_scalar(value: Any, annotation: type) -> Any:
  """Checks bool, int, float and str, with the conversions of `conform`."""
  is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
  if annotation is bool:
    if isinstance(value, bool) or (is_number and value in (0, 1)):
      return bool(value)
  elif annotation is int:
    if is_number and math.isfinite(value) and value == math.floor(value):
      return math.floor(value)
  elif annotation is float:
    if is_number and not math.isnan(value):
      return float(value)
  elif isinstance(value, (str, os.PathLike)):
    return os.fspath(value)
  raise Mismatch(describe(annotation))


def _conform_mapping(value: Any, annotation: Any, args: tuple) -> dict:
  """Checks keys and values of a dict."""
  if not isinstance(value, collections.abc.Mapping):
    raise Mismatch(describe(annotation))
  if not args:
    return dict(value)
  try:
    return {conform(k, args[0]): conform(v, args[1]) for k, v in value.items()}
  except Mismatch as e:
    raise Mismatch(describe(annotation)) from e


def _conform_sequence(
  value: Any, annotation: Any, container: Any, args: tuple
) -> Any:
  """Checks length and entries of a list or tuple; gin's lists serve as both."""
  if not isinstance(value, (list, tuple)):
    raise Mismatch(describe(annotation))
  build = list if container is list else tuple
  if not args:
    return build(value)
  variadic = container is not tuple or args[-1] is Ellipsis
  members = [args[0]] * len(value) if variadic else args
  if len(members) != len(value):
    raise Mismatch(describe(annotation))
  try:
    return build(conform(v, a) for v, a in zip(value, members, strict=True))
  except Mismatch as e:
    raise Mismatch(describe(annotation)) from e
