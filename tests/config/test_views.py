"""The split of `Config` into the dataclasses of its components."""

import ast
import dataclasses
import importlib
import pathlib
import re

import pytest

from multinerf.config import schema, views

ROOT = pathlib.Path(views.__file__).resolve().parents[1]
# Options that none of our loaders reads. Those ported from MultiNeRF do: there
# a hook makes `render_poses` in passing (tests/compat/test_datasets.py).
FOR_PORTED_LOADERS = {
  'render_camtype',
  'render_focal',
  'render_path_file',
  'render_path_frames',
  'render_resolution',
  'render_spline_degree',
  'render_spline_interpolate_exposure',
  'render_spline_keyframes',
  'render_spline_n_interp',
  'render_spline_smoothness',
  'z_phase',
  'z_variation',
}
# Packages that are handed another one's view: the step knows the losses' (it
# weighs the rays for all of them).
ALSO_READ_BY = {'losses': ('training',)}

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


def names_read(unit: str) -> set[str]:
  """Attributes that a package of ours reads, of anything."""
  read = set()
  for path in (ROOT / unit).rglob('*.py'):
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
      if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        read.add(node.attr)
  return read


@pytest.mark.parametrize('cls', find_views().values(), ids=lambda c: c.__name__)
def test_every_field_of_a_view_is_read_where_the_view_belongs(cls):
  unit = cls.__module__.split('.')[1]
  read = set().union(
    *(names_read(u) for u in (unit, *ALSO_READ_BY.get(unit, ())))
  )
  unread = {f.name for f in dataclasses.fields(cls) if f.init} - read
  # Not just a subset: an option that loaders read by now leaves the list.
  assert unread == (
    FOR_PORTED_LOADERS if cls.__name__ == 'DataConfig' else set()
  )


def test_options_left_to_the_programs_are_read_there():
  assert set(views.APP_OPTIONS) - names_read('app') == set()
