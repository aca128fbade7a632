"""How one option of `Config` is declared: default, explanation, range."""

import dataclasses
import operator
from collections.abc import Mapping
from typing import Any

from multinerf import errors
from multinerf.config import typecheck

_BOUNDS = {
  'ge': ('>=', operator.ge),
  'gt': ('>', operator.gt),
  'le': ('<=', operator.le),
  'lt': ('<', operator.lt),
}


def option(default: Any, doc: str, **bounds: int | float) -> Any:
  """Declares a dataclass field that documents and checks itself.

  Args:
    default: The value if the option is not set; a dict is copied.
    doc: One or two sentences with the unit, for `--help`.
    **bounds: Any of ge, gt, le, lt: the allowed range of the value, or of
      each entry of a tuple. None is never out of range.

  Raises:
    TypeError: A bound has another name.
  """
  unknown = set(bounds) - set(_BOUNDS)
  if unknown:
    raise TypeError(f'option() does not know the bounds {sorted(unknown)}.')
  metadata = {'doc': doc, 'bounds': bounds}
  if isinstance(default, dict):
    return dataclasses.field(
      default_factory=lambda: dict(default), metadata=metadata
    )
  return dataclasses.field(default=default, metadata=metadata)


def default_of(field: dataclasses.Field) -> Any:
  """Returns the default of a dataclass field, or `dataclasses.MISSING`."""
  if field.default_factory is not dataclasses.MISSING:
    return field.default_factory()
  return field.default


def range_text(field: dataclasses.Field) -> str:
  """Returns the allowed range, e.g. '>= 0, < 1', or ''."""
  bounds: Mapping[str, float] = field.metadata.get('bounds', {})
  return ', '.join(f'{_BOUNDS[k][0]} {v:g}' for k, v in bounds.items())


def check(owner: str, field: dataclasses.Field, value: Any) -> Any:
  """Returns `value` as the field's type.

  Args:
    owner: Name of the class for the message, e.g. 'Config'.
    field: A dataclass field; its bounds are checked if it was declared by
      `option`, its type if the annotation is not a string.
    value: What the user gave.

  Raises:
    ConfigError: Wrong type or out of range; names the option, the value and
      what is allowed.
  """
  name = f'{owner}.{field.name}'
  bounds: Mapping[str, float] = field.metadata.get('bounds', {})
  try:
    value = typecheck.conform(value, field.type)
  except typecheck.Mismatch as e:
    allowed = f'{e} {range_text(field)}'.strip()
    hint = ' Add () after the name to build one.'
    raise errors.ConfigError(
      f'{name} must be {allowed}; got {value!r} ({type(value).__name__}).'
      f'{hint if isinstance(value, type) else ""}'
    ) from e
  entries = value if isinstance(value, tuple) else (value,)
  for bound, limit in bounds.items():
    if not all(v is None or _BOUNDS[bound][1](v, limit) for v in entries):
      raise errors.ConfigError(
        f'{name} must be {range_text(field)}; got {value!r}.'
      )
  return value
