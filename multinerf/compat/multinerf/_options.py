"""The options of one component out of whatever a caller calls config."""

import dataclasses
from typing import Any, TypeVar

T = TypeVar('T')


def part(config: Any, cls: type[T]) -> T:
  """Returns a `cls`; options that `config` lacks have their default.

  Lenient, unlike `config.views.view`: ported code may bring a config class of
  its own, which lacks the options that are new here.

  Raises:
    TypeError: `cls` is not a dataclass.
  """
  if not dataclasses.is_dataclass(cls):
    raise TypeError(f'A part of a config is a dataclass; {cls!r} is not.')
  names = [f.name for f in dataclasses.fields(cls)]
  return cls(**{n: getattr(config, n) for n in names if hasattr(config, n)})
