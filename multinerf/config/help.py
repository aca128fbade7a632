"""The text of --help: every option with its default and explanation.

Options of `Config` carry their explanation themselves; those of the model are
read from the `Attributes:` section of the classes' docstrings.
"""

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Mapping
from typing import Any

from multinerf.config import externals, gin_setup, option, schema

_WIDTH = 80
_HIDDEN = ('name', 'parent')


def parse_attributes(docstring: str | None) -> dict[str, str]:
  """Returns the explanations in a docstring's `Attributes:` section.

  Args:
    docstring: Google style; an entry 'a, b: text' explains both a and b.
  """
  lines = inspect.cleandoc(docstring or '').split('\n')
  if 'Attributes:' not in lines:
    return {}
  found: dict[str, str] = {}
  names: list[str] = []
  for line in lines[lines.index('Attributes:') + 1 :]:
    if line and not line.startswith(' '):
      break
    entry = re.match(r'  ([a-z]\w*(?:, [a-z]\w*)*): (.*)', line)
    if entry:
      names = entry[1].split(', ')
      found.update(dict.fromkeys(names, entry[2].strip()))
    elif names and line.strip():
      for name in names:
        found[name] += ' ' + line.strip()
    else:
      names = []
  return found


def config_help() -> str:
  """Returns the options of `Config`, grouped by topic."""
  topics = []
  for group in schema.GROUPS:
    entries = []
    for field in dataclasses.fields(group):
      doc = field.metadata['doc']
      if field.name in schema.DEAD:
        doc += f' ({schema.DEAD[field.name]})'
      entries.append(_entry('Config', field, doc))
    topics.append('\n'.join([_title(_summary(group)), *entries]))
  return '\n\n'.join(topics)


def class_help(classes: Mapping[str, type]) -> str:
  """Returns the options of model classes, one topic each.

  Options that two classes share (NerfMLP and PropMLP inherit them) are listed
  once, under the names of all.

  Args:
    classes: Classes by the name that gin files use.
  """
  by_fields: dict[tuple, list[str]] = {}
  for name, cls in classes.items():
    key = tuple((f.name, repr(f.default)) for f in _options(cls))
    by_fields.setdefault(key, []).append(name)
  topics = []
  for names in by_fields.values():
    cls = classes[names[0]]
    docs = attribute_docs(cls)
    owner = names[0]
    title = ', '.join(names) + ': ' + _summary(cls)
    entries = [
      _entry(owner, f, docs.get(f.name, 'Not documented.'))
      for f in _options(cls)
    ]
    topics.append('\n'.join([_title(title), *entries]))
  return '\n\n'.join(topics)


def text(classes: Mapping[str, type] = gin_setup.MODEL_CLASSES) -> str:
  """Returns the whole reference: `Config`, the classes, the functions.

  Args:
    classes: Model classes by the name that gin files use.
  """
  functions = ' '.join('@' + name for name in externals.table())
  known = _title('Functions to refer to') + '\n' + _wrap(functions, '  ')
  return '\n\n'.join([config_help(), class_help(classes), known]) + '\n'


def attribute_docs(cls: type) -> dict[str, str]:
  """Returns the documented attributes of a class and its bases."""
  docs: dict[str, str] = {}
  for base in reversed(cls.__mro__):
    docs |= parse_attributes(base.__dict__.get('__doc__'))
  return docs


def _options(cls: type) -> list[dataclasses.Field]:
  """Fields that a gin file can set."""
  fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
  return [f for f in fields if f.init and f.name not in _HIDDEN]


def _entry(owner: str, field: dataclasses.Field, doc: str) -> str:
  """'Owner.name = default' and the wrapped explanation below it."""
  default = _show(option.default_of(field))
  bounds = option.range_text(field)
  doc += f' [{bounds}]' if bounds else ''
  head = f'  {owner}.{field.name} = {default}'
  return head + '\n' + _wrap(doc, '      ')


def _show(value: Any) -> str:
  """A default, short enough for a line."""
  names = {id(fn): f'@{name}' for name, fn in externals.table().items()}
  if id(value) in names:
    return names[id(value)]
  text = '...' if value is dataclasses.MISSING else repr(value)
  is_literal = isinstance(value, str | bool | int | float | tuple | dict)
  return text if is_literal or value is None else f'<{type(value).__name__}>'


def _summary(cls: type) -> str:
  """First line of the docstring, of the nearest base that has fields."""
  return inspect.cleandoc(cls.__doc__ or cls.__name__).split('\n')[0]


def _title(text: str) -> str:
  """A heading."""
  return text + '\n' + '-' * min(len(text), _WIDTH)


def _wrap(text: str, indent: str) -> str:
  """Text folded to the width."""
  return textwrap.fill(
    text,
    _WIDTH,
    initial_indent=indent,
    subsequent_indent=indent,
    break_on_hyphens=False,
    break_long_words=False,
  )
