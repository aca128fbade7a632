"""From gin's references and macros to plain Python values."""

import dataclasses
import functools
import inspect
from typing import Any

import gin

from multinerf import errors
from multinerf.config import option

# Given by code when it builds the modules, not by files.
HIDDEN = ('name', 'parent')


def lookup(selector: str) -> Any:
  """Returns gin's record of a class or function, or None."""
  try:
    return gin.config.ConfigurableReference(selector, False).configurable
  except ValueError:
    return None


def option_names(target: Any) -> list[str]:
  """Names of the parameters that gin can bind."""
  if dataclasses.is_dataclass(target):
    names = [f.name for f in dataclasses.fields(target) if f.init]
  else:
    names = list(inspect.signature(target).parameters)
  return [n for n in names if n not in HIDDEN]


def fields_of(name: str) -> dict[str, Any]:
  """Resolved, converted bindings of a class in the current scope."""
  info = lookup(f'multinerf.{name}')
  bound = gin.get_bindings(info.selector, resolve_references=False)
  return {k: conform(info, k, resolve(v)) for k, v in bound.items()}


def conform(info: Any, arg: str, value: Any) -> Any:
  """Checks and converts one value bound to a class; functions take any.

  Args:
    info: What `lookup` returned for the class or function.
    arg: Name of the parameter.
    value: A resolved value.

  Raises:
    ConfigError: Wrong type, out of range, or still %gin.REQUIRED.
  """
  if value is gin.REQUIRED:
    raise errors.ConfigError(f'{info.name}.{arg} must be set.')
  if dataclasses.is_dataclass(info.wrapped):
    fields = {f.name: f for f in dataclasses.fields(info.wrapped)}
    return option.check(info.name, fields[arg], value)
  return value


def resolve(value: Any, open_macros: tuple[str, ...] = ()) -> Any:
  """Replaces references and macros in a value by what they stand for.

  Args:
    value: As gin parsed it; containers are searched.
    open_macros: Macros being resolved, to notice one that names itself.

  Raises:
    ConfigError: An undefined macro, or a call `@f()` that fails.
  """
  if isinstance(value, gin.config.ConfigurableReference):
    return _resolve_reference(value, open_macros)
  if isinstance(value, dict):
    return {
      resolve(k, open_macros): resolve(v, open_macros) for k, v in value.items()
    }
  if isinstance(value, list | tuple):
    return type(value)(resolve(v, open_macros) for v in value)
  return value


def _resolve_reference(ref: Any, open_macros: tuple[str, ...]) -> Any:
  """Returns a bare function, one with its bindings applied, or its result."""
  info = ref.configurable
  name = '/'.join(ref.scopes)
  if info.selector == 'gin.macro':
    if name in open_macros:
      raise errors.ConfigError(f'macro %{name} refers to itself.')
    return resolve(macro_value(name), (*open_macros, name))
  if info.module == 'gin':  # %constants and @singletons.
    return ref.scoped_configurable_fn()
  with gin.config_scope(ref.scopes or gin.current_scope()):
    bound = gin.get_bindings(info.selector, resolve_references=False)
    kwargs = {
      k: conform(info, k, resolve(v, open_macros)) for k, v in bound.items()
    }
  if ref.evaluate:
    try:
      return info.wrapped(**kwargs)
    except (TypeError, ValueError) as e:
      raise errors.ConfigError(f'cannot call {ref!r}: {e}') from e
  return functools.partial(info.wrapped, **kwargs) if kwargs else info.wrapped


def macro_value(name: str) -> Any:
  """Returns what NAME = value gave."""
  try:
    return gin.query_parameter(f'{name}/gin.macro.value')
  except ValueError as e:
    raise errors.ConfigError(
      f'macro %{name} is not defined; add a line {name} = ...'
    ) from e
