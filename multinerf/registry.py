"""Named plug-ins: one registry type, used for data sets, losses, schedules.

A registry maps the string a user writes in gin to a Python object. An unknown
name is an error that lists the choices and the nearest of them.
"""

import difflib
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from multinerf import errors

T = TypeVar('T')


def suggest(name: str, choices: Iterable[str]) -> str:
  """Returns ' Did you mean ...?' for the nearest choice, or ''.

  Case is ignored: `config.batchsize` should find `Config.batch_size`.
  """
  by_lower = {c.lower(): c for c in choices}
  near = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.5)
  return f' Did you mean {by_lower[near[0]]!r}?' if near else ''


class Registry(Generic[T]):
  """A table of named plug-ins of one kind.

  Args:
    kind: What the entries are, for error messages, e.g. 'data loss'.
    gin_key: The option that selects an entry, e.g. 'Config.data_loss_type'.
  """

  def __init__(self, kind: str, gin_key: str):
    self.kind = kind
    self.gin_key = gin_key
    self._entries: dict[str, T] = {}

  def register(self, name: str) -> Callable[[T], T]:
    """Decorator that adds an entry.

    Raises:
      ConfigError: Another object is already registered under `name`.
    """

    def add(entry: T) -> T:
      if self._entries.get(name, entry) is not entry:
        raise errors.ConfigError(
          f'{self.kind} {name!r} is already registered; choose another name.'
        )
      self._entries[name] = entry
      return entry

    return add

  def get(self, name: str) -> T:
    """Returns the entry called `name`.

    Raises:
      ConfigError: There is none; lists the choices and the nearest name.
    """
    if name not in self._entries:
      raise errors.ConfigError(
        f'Unknown {self.kind} {name!r}; known: {", ".join(self.names())} '
        f'(gin: {self.gin_key}).{suggest(name, self._entries)}'
      )
    return self._entries[name]

  def names(self) -> tuple[str, ...]:
    """Returns all registered names, sorted."""
    return tuple(sorted(self._entries))
