"""Writes down every value in effect, as gin text that can be loaded."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import gin

from multinerf.config import externals, gin_values, option


def operative_text(
  classes: Mapping[str, type],
  imports: Iterable[str],
  omit: Mapping[str, Iterable[str]] | None = None,
) -> str:
  """Returns every value in effect in the current scope, defaults included.

  Args:
    classes: The classes to show, as registered under `multinerf.<name>`.
      Whatever they refer to is added.
    imports: Import statements to begin with.
    omit: Options that are not in effect, by class.
  """
  text = _OperativeText(omit or {})
  for name, cls in classes.items():
    text.add_class(name, f'multinerf.{name}', cls)
  return '\n'.join([*imports, *text.lines()]).lstrip('\n') + '\n'


class _OperativeText:
  """Collects bindings of classes and of everything they refer to."""

  def __init__(self, omit: Mapping[str, Iterable[str]]):
    self._blocks: dict[str, list[str]] = {}
    self._omit = omit
    self._names = {id(fn): name for name, fn in externals.table().items()}

  def lines(self) -> list[str]:
    """Returns the text, one binding a line."""
    return [line for block in self._blocks.values() for line in ['', *block]]

  def add_class(self, name: str, selector: str, target: Any) -> None:
    """Adds what is bound, then the defaults of the rest."""
    if name in self._blocks:
      return
    bound = gin.get_bindings(selector, resolve_references=False)
    values = {}
    if dataclasses.is_dataclass(target):
      fields = {f.name: f for f in dataclasses.fields(target) if f.init}
      values = {k: option.default_of(f) for k, f in fields.items()}
    self._blocks[name] = block = []
    for key, value in sorted((values | bound).items()):
      if key in self._omit.get(name, ()):
        continue
      is_code = key in gin_values.HIDDEN or key in ('nerf_mlp', 'prop_mlp')
      if value is dataclasses.MISSING or (is_code and key not in bound):
        continue
      literal = self._literal(value)
      shown = f'{name}.{key} = {literal}'
      block.append(shown if literal else f'# {name}.{key} = {value!r}')

  def _literal(self, value: Any) -> str:
    """Gin text of a value; '' if it has none."""
    if isinstance(value, gin.config.ConfigurableReference):
      return self._reference(value)
    if isinstance(value, dict):
      keys = [self._literal(k) for k in value]
      values = [self._literal(v) for v in value.values()]
      pairs = [f'{k}: {v}' for k, v in zip(keys, values, strict=True)]
      return '{' + ', '.join(pairs) + '}' if all(keys + values) else ''
    if isinstance(value, list | tuple):
      entries = [self._literal(v) for v in value]
      if not all(entries):
        return ''
      inside = ', '.join(entries) + (',' if len(entries) == 1 else '')
      return f'[{inside}]' if isinstance(value, list) else f'({inside})'
    if isinstance(value, float) and math.isinf(value):
      return '1e999' if value > 0 else '-1e999'
    if value is None or isinstance(value, bool | int | float | str):
      return repr(value)
    name = self._names.get(id(value))
    return f'@{name}' if name else ''

  def _reference(self, ref: Any) -> str:
    """Text of a reference; macros are expanded, bindings added."""
    info = ref.configurable
    if info.selector == 'gin.macro':
      return self._literal(gin_values.macro_value('/'.join(ref.scopes)))
    if info.module == 'gin':
      return self._literal(ref.scoped_configurable_fn())
    with gin.config_scope(ref.scopes or gin.current_scope()):
      if gin.get_bindings(
        info.selector, resolve_references=False
      ) or dataclasses.is_dataclass(info.wrapped):
        self.add_class(ref.scoped_selector, info.selector, info.wrapped)
    return repr(ref)
