"""The text of --help."""

import dataclasses

import pytest

from multinerf.config import gin_setup, help, schema


class Documented:
  """A thing.

  More about it.

  Attributes:
    one: First line
      and a second one.
    two, three: Both: of them.
    four: See @x.

  Args:
    five: Not an attribute.
  """


@dataclasses.dataclass
class Base:
  """A base.

  Attributes:
    old: Inherited.
  """

  old: int = 1


@dataclasses.dataclass
class Left(Base):
  """Left one."""


@dataclasses.dataclass
class Right(Base):
  """Right one."""


def test_attributes_section_is_parsed():
  assert help.parse_attributes(Documented.__doc__) == {
    'one': 'First line and a second one.',
    'two': 'Both: of them.',
    'three': 'Both: of them.',
    'four': 'See @x.',
  }
  assert help.parse_attributes('No such section.') == {}
  assert help.parse_attributes(None) == {}


def test_config_help_lists_every_option_once_with_default_and_explanation():
  text = help.config_help()
  lines = text.split('\n')
  for field in dataclasses.fields(schema.Config):
    head = f'  Config.{field.name} = '
    heads = [i for i, t in enumerate(lines) if t.startswith(head)]
    assert len(heads) == 1, field.name
    first_word = field.metadata['doc'].split()[0]
    assert lines[heads[0] + 1].strip().startswith(first_word)
  assert (
    '  Config.lr_init = 0.002\n      Learning rate at the start. [> 0]' in text
  )
  assert 'Config.render_dist_curve_fn = @jnp.log' in text
  assert max(map(len, lines)) <= 80


def test_config_help_is_grouped_by_topic():
  text = help.config_help()
  at = [text.index(t) for t in ('Scenes and images', 'Losses', 'Optimiser')]
  assert at == sorted(at)
  assert text.index('Config.adam_eps') > at[2] > text.index('charb_padding')


def test_options_without_effect_say_so():
  assert "Has no effect. (use Config.render_camtype = 'pano'" in (
    help.config_help()
  )


def test_classes_with_the_same_options_are_listed_together():
  text = help.class_help({'Left': Left, 'Right': Right})
  assert text.startswith('Left, Right: Left one.')
  assert text.count('.old = 1') == 1
  assert 'Inherited.' in text


@pytest.mark.parametrize('name', gin_setup.MODEL_CLASSES)
def test_every_option_of_every_model_class_is_explained(name):
  cls = gin_setup.MODEL_CLASSES[name]
  text = help.class_help({name: cls})
  assert 'Not documented' not in text
  fields = [f.name for f in dataclasses.fields(cls) if f.init]
  for field in set(fields) - {'name', 'parent'}:
    assert f'{name}.{field} =' in text


def test_the_whole_text_has_all_three_parts():
  text = help.text()
  assert text.startswith(help.config_help())
  assert 'NerfMLP, PropMLP, MLP: ' in text
  assert '@coord.contract' in text[text.index('Functions to refer to') :]
