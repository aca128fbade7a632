"""Values against annotations: what is converted, what is refused."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import pytest

from multinerf.config import typecheck


class _Thing:
  pass


class _Shape(Protocol):
  def area(self) -> float: ...


THING = _Thing()

ACCEPTED = [
  # value, annotation, what comes out
  (2, float, 2.0),
  (np.float32(0.5), float, 0.5),
  (np.int64(3), int, 3),
  (1e5, int, 100000),
  (1, bool, True),
  (0.0, bool, False),
  (float('inf'), float, float('inf')),
  ('a', str, 'a'),
  (None, int | None, None),
  (3, int | None, 3),
  (3, float | None, 3.0),
  (3, float | int, 3),
  ('x', Literal['x', 'y'] | None, 'x'),
  ([1, 2], tuple[float, float], (1.0, 2.0)),
  ([1, 2, 3], tuple[int, ...], (1, 2, 3)),
  ((1, 2), list[float], [1.0, 2.0]),
  ((1, 2), Sequence[int], (1, 2)),
  ([1, 'a'], tuple, (1, 'a')),
  ({'a': 1}, dict[str, float], {'a': 1.0}),
  ({'a': 1}, Mapping[str, Any], {'a': 1}),
  ({1: 'a'}, dict, {1: 'a'}),
  (2, Annotated[float, 'metres'], 2.0),
  (abs, Callable[..., Any], abs),
  (abs, Callable[..., Any] | None, abs),
  (THING, _Thing, THING),
  (THING, _Thing | None, THING),
  (THING, Any, THING),
  (3, 'SomeForwardReference', 3),
  (THING, _Shape, THING),
]

REFUSED = [
  # value, annotation, words the message must have
  ('2', float, 'a number'),
  (True, float, 'a number'),
  (True, int, 'an integer'),
  (float('nan'), float, 'a number'),
  (float('inf'), int, 'an integer'),
  (1.5, int, 'an integer'),
  (2, bool, 'True or False'),
  ('True', bool, 'True or False'),
  (3, str, 'a string in quotes'),
  (None, str, 'a string in quotes'),
  (3, str | None, 'a string in quotes or None'),
  (3, None, 'None'),
  ('z', Literal['x', 'y'] | None, "'x' or 'y' or None"),
  (1, Literal[True], 'True'),
  ([1], tuple[float, float], 'a tuple (a number, a number)'),
  ([1, 'a'], tuple[int, ...], 'a tuple of an integer'),
  (3, list[float], 'a list of a number'),
  ('ab', Sequence[str], 'a list of'),
  ({'a': 'b'}, dict[str, float], 'a dict from a string in quotes to a number'),
  ([1], dict[str, float], 'a dict'),
  (3, dict, 'dict'),
  (3, Callable[..., Any] | None, 'a function (@name) or None'),
  (3, _Thing, '_Thing'),
]


@pytest.mark.parametrize(('value', 'annotation', 'want'), ACCEPTED)
def test_a_fitting_value_is_converted(value, annotation, want):
  got = typecheck.conform(value, annotation)
  assert got == want
  assert type(got) is type(want)


@pytest.mark.parametrize(('value', 'annotation', 'words'), REFUSED)
def test_a_value_that_does_not_fit_is_refused_by_name(value, annotation, words):
  with pytest.raises(typecheck.Mismatch) as e:
    typecheck.conform(value, annotation)
  assert words in str(e.value)


def test_paths_become_strings(tmp_path):
  assert typecheck.conform(tmp_path, str | None) == str(tmp_path)
