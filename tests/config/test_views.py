"""The split of `Config` into the dataclasses of its components."""

import ast
import dataclasses
import importlib
import pathlib
import re

import pytest

from multinerf.config import schema, views

UNITS = ('data', 'losses', 'models', 'training', 'evaluation')


def find_views() -> dict[str, type]:
  """Every dataclass `*Config` below the config layer, by name."""
  root = pathlib.Path(views.__file__).resolve().parents[2]
  found = {}
  for unit in UNITS:
    for path in sorted((root / 'multinerf' / unit).glob('**/*.py')):
      names = re.findall(
        r'^class (\w*Config)\b', path.read_text(encoding='utf-8'), re.M
      )
      if names:
        parts = path.relative_to(root).with_suffix('').parts
        module = importlib.import_module('.'.join(parts))
        found |= {name: getattr(module, name) for name in names}
  return found


@dataclasses.dataclass(frozen=True)
class Small:
  near: float = 2.0
  far: float = 6.0
  span: float = dataclasses.field(init=False, default=0.0)


@dataclasses.dataclass(frozen=True)
class Wrong:
  near: float = 3.0
  nosuch: int = 1


def test_every_option_has_an_owner_and_every_view_field_is_an_option():
  found = find_views()
  assert {'DataConfig', 'SamplerConfig', 'LossConfig'} <= set(found)
  assert views.check_views(schema.Config, found.values()) == []


@pytest.mark.parametrize('cls', find_views().values(), ids=lambda c: c.__name__)
def test_the_views_of_the_default_config_are_their_own_defaults(cls):
  assert views.view(schema.Config(), cls) == cls()


def test_view_takes_the_fields_of_the_same_name():
  assert views.view(schema.Config(near=1), Small) == Small(1.0, 6.0)


def test_view_refuses_a_field_that_config_lacks():
  with pytest.raises(TypeError, match='nosuch'):
    views.view(schema.Config(), Wrong)
  with pytest.raises(TypeError, match='dataclass'):
    views.view(schema.Config(), int)


def test_check_views_reports_each_kind_of_mistake():
  @dataclasses.dataclass(frozen=True)
  class Tiny:
    near: float = 2.0
    far: float = 6.0
    lost: int = 0

  unclaimed = {'far': 'claimed after all', 'gone': 'no such option'}
  problems = views.check_views(Tiny, [Small, Wrong], unclaimed)
  assert problems == [
    'Wrong.near defaults to 3.0, Config to 2.0',
    'Wrong.nosuch is not an option of Config',
    'Config.lost is claimed by no view',
    'Config.far is claimed, yet listed as unclaimed',
    'gone is listed as unclaimed, but is no option',
  ]


def test_options_left_to_the_programs_are_read_there():
  app = pathlib.Path(views.__file__).resolve().parents[1] / 'app'
  read = set()
  for path in app.glob('*.py'):
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
      if isinstance(node, ast.Attribute):
        read.add(node.attr)
  assert set(views.APP_OPTIONS) - read == set()
