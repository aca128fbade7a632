"""Reads gin statements and remembers where each one stands."""

import contextlib
import importlib.util  # noqa: F401  gin 0.5.0 uses it without importing it.
import io
import pathlib
import re
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import gin
from gin import config_parser

from multinerf import errors, registry
from multinerf.config import (
  externals,
  gin_dialect,
  gin_files,
  gin_hints,
  gin_values,
  schema,
)

SCOPES = ('train', 'eval')


class Reader:
  """Feeds gin statement by statement and remembers where each one stands.

  Args:
    class_names: Our classes, for messages and for `safe`.
    safe: Refuses what a stranger's file could do harm with: `import`, which
      runs code; names of anything but our classes and the functions of
      `externals`; and `include` of files that are neither beside the file nor
      presets. Values are literals in any case; nothing is evaluated.
  """

  def __init__(self, class_names: tuple[str, ...], *, safe: bool = False):
    self._class_names = class_names
    self._safe = safe
    self._allowed = {
      *(f'multinerf.{name}' for name in class_names),
      *externals.table(),
      'gin.macro',
    }
    self._bindings: dict[tuple[str, str, str], tuple[Any, str]] = {}
    self.imports: list[str] = []

  def read_file(
    self,
    name: str,
    *,
    beside: pathlib.Path | None,
    chain: tuple[pathlib.Path, ...],
  ) -> None:
    """Reads a file and what it includes."""
    path = gin_files.resolve(name, beside)
    if path in chain:
      raise errors.ConfigError(f'{path} includes itself.')
    self.read_text(gin_files.read(path), str(path), chain=(*chain, path))

  def read_text(
    self, text: str, source: str, *, chain: tuple[pathlib.Path, ...]
  ) -> None:
    """Reads statements; `chain` lists the files that led here."""
    for statement in _statements(text, source):
      where = _where(source, statement.location)
      with _located(where):
        if isinstance(statement, config_parser.BindingStatement):
          self._bind(statement, where)
        elif isinstance(statement, config_parser.IncludeStatement):
          beside = chain[-1].parent if chain else None
          if self._safe:
            _check_include(statement.filename)
          self.read_file(statement.filename, beside=beside, chain=chain)
        elif isinstance(statement, config_parser.ImportStatement):
          self._import(statement)

  def _bind(self, statement: Any, where: str) -> None:
    """Hands one binding to gin, or says which name is wrong."""
    scope, selector, arg, value, _ = statement
    for reference in gin.config.iterate_references(value):
      self._check_allowed(reference.selector)
    if not arg:  # NAME = value defines the macro %NAME.
      scope = f'{scope}/{selector}' if scope else selector
      selector, arg = 'gin.macro', 'value'
    try:
      info = gin_values.lookup(selector)
    except KeyError as e:
      raise errors.ConfigError(f'ambiguous name {selector!r}') from e
    if info is None:
      raise errors.ConfigError(
        f'unknown class or function {selector!r}; known classes: '
        f'{", ".join(self._class_names)}.'
        f'{_advice(selector, self._class_names)}'
      )
    self._check_allowed(info.selector)
    if _has_no_effect(info.selector.removeprefix('multinerf.'), arg, value):
      return
    try:
      gin.bind_parameter((scope, selector, arg), value)
    except ValueError as e:
      raise errors.ConfigError(
        f'{selector} has no option {arg!r}.'
        f'{_advice(arg, gin_values.option_names(info.wrapped), info.module)}'
      ) from e
    self._bindings[scope, info.selector, arg] = value, where

  def _import(self, statement: Any) -> None:
    """Runs `import some.module`: how files bring in users' plug-ins."""
    text = statement.format()
    if self._safe:
      raise errors.ConfigError(
        f'{text!r} would run code, which --safe_gin refuses; read the file, and '
        'leave the flag away if you trust it.'
      )
    if '__gin__' in text:
      raise errors.ConfigError(
        "gin's dynamic registration is not supported; decorate with "
        '@gin.configurable instead.'
      )
    try:
      gin.parse_config(text)
    except ImportError as e:
      raise errors.ConfigError(
        f'cannot {text}: {one_line(e)} (is its folder on PYTHONPATH?)'
      ) from e
    self.imports.append(text)

  def _check_allowed(self, selector: str) -> None:
    """Refuses, if files are not trusted, names that are not ours."""
    if not self._safe:
      return
    info = gin_values.lookup(selector)
    if info is None or info.selector not in self._allowed:
      raise errors.ConfigError(
        f"{selector} is none of multinerf's own names, which --safe_gin "
        'refuses.'
      )

  def check(self) -> None:
    """Checks scopes, macros, references and types of all bindings."""
    references = {'/'.join(r.scopes) for r in self._references()}
    for (scope, selector, arg), (value, where) in self._bindings.items():
      with _located(where):
        if selector == 'gin.macro':
          self._check_macro(scope, references)
          gin_values.resolve(value)
          continue
        first = scope.split('/')[0]
        if first and first not in SCOPES and scope not in references:
          raise errors.ConfigError(
            f'unknown scope {first!r}; known: train, and eval for evaluation '
            f'and rendering.{registry.suggest(first, SCOPES)}'
          )
        with gin.config_scope(scope.split('/') if scope else []):
          gin_values.conform(
            gin_values.lookup(selector), arg, gin_values.resolve(value)
          )

  def bound(self) -> Iterator[tuple[str, str, str]]:
    """Yields (class, option, where) of every binding."""
    for (_, selector, arg), (_, where) in self._bindings.items():
      yield selector.removeprefix('multinerf.'), arg, where

  def _check_macro(self, name: str, references: set[str]) -> None:
    """Refuses `batch_size = 3`, which gin takes for a macro nobody uses."""
    for owner in self._class_names:
      if name not in references and name in gin_values.option_names(
        gin_values.lookup(f'multinerf.{owner}').wrapped
      ):
        raise errors.ConfigError(
          f'{name} = ... sets nothing; write {owner}.{name} = ...'
        )

  def _references(self) -> Iterator[Any]:
    """Yields the references in all bindings."""
    for value, _ in self._bindings.values():
      yield from gin.config.iterate_references(value)


def _advice(name: str, known: Iterable[str], module: str = 'multinerf') -> str:
  """What a name that is not known may be; users' classes are only theirs."""
  ours = module == 'multinerf'
  return (gin_dialect.absent(name) if ours else '') or (
    registry.suggest(name, known)
  )


def _has_no_effect(owner: str, option: str, value: Any) -> bool:
  """Whether a binding changes nothing; warns if it was meant to."""
  found = gin_dialect.WITHOUT_EFFECT.get((owner, option))
  if found is None:
    return False
  values, reason = found
  if value not in values:
    warnings.warn(
      f'{owner}.{option} has no effect ({reason}).',
      schema.ConfigWarning,
      stacklevel=2,
    )
  return True


def _check_include(name: str) -> None:
  """Refuses paths that lead out of the folders that are searched."""
  path = pathlib.PurePath(name)
  if path.is_absolute() or '..' in path.parts or name.startswith('~'):
    raise errors.ConfigError(
      f'include {name!r} is neither beside the file nor a preset, which '
      '--safe_gin refuses.'
    )


def _statements(text: str, source: str) -> Iterator[Any]:
  """Yields parsed statements; syntax errors name the line and the remedy."""
  stream = io.StringIO(text)
  lines = text.splitlines() or ['']
  number = 1
  try:
    parser = config_parser.ConfigParser(stream, gin.config.ParserDelegate())
    yield from parser
  except SyntaxError as e:
    _, number, _, _ = e.args[1]
    message = e.args[0]
  except tokenize.TokenError as e:
    message, (number, _) = e.args
  except (ValueError, KeyError) as e:  # From the delegate.
    found = re.search(r'line (\d+)', str(e))
    number = int(found[1]) if found else number
    message = _unknown_reference(str(e))
  else:
    return
  number = min(number, len(lines))
  where = _where(source, (None, number, None, lines[number - 1]))
  raise errors.ConfigError(
    f'{where}: {gin_hints.syntax_hint(message, lines[number - 1])}'
  )


def _unknown_reference(message: str) -> str:
  """Rewords gin's message about an `@name` that nobody registered."""
  name = re.search(r"reference '@(.*?)(\(\))?'", message)
  if not name:
    return message
  known = list(externals.table())
  return f'unknown function @{name[1]}.{registry.suggest(name[1], known)}'


def _where(source: str, location: Any) -> str:
  """'file:line', or the binding itself where there is no file."""
  _, number, _, line = location
  if source == '--gin_bindings':
    return f'{source} {line.strip()!r}'
  return f'{source}:{number}'


@contextlib.contextmanager
def _located(where: str) -> Iterator[None]:
  """Puts the place before the message of a ConfigError that has none yet."""
  try:
    yield
  except errors.ConfigError as e:
    if re.match(r'(.*:\d+|--gin_bindings .*): ', str(e)):
      raise
    raise errors.ConfigError(f'{where}: {e}') from e


def one_line(error: Exception) -> str:
  """First line of an error's message; gin appends several."""
  return str(error).split('\n')[0]
