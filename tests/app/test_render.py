"""What render.py makes of its options, without rendering."""

import pytest

from multinerf import errors
from multinerf.app import render
from multinerf.config import gin_setup


def choices(*bindings):
  setup = gin_setup.load(
    [], ["Config.checkpoint_dir = '/runs/a/b'", *bindings], scope='eval'
  )
  return [one.config for one in render._choices(setup)]


def test_without_choices_it_is_the_run_as_it_is():
  (config,) = choices("Config.render_dir = '/out'")
  assert config.render_dir == '/out'
  assert config.render_spline_keyframes is None


@pytest.mark.parametrize(
  ('bindings', 'root'),
  [((), '/runs/a/b/render'), (("Config.render_dir = '/out'",), '/out')],
)
def test_each_choice_has_its_path_and_its_folder(bindings, root):
  found = choices(
    "Config.render_spline_keyframes_choices = '/keys/one.txt, /keys/two/'",
    *bindings,
  )
  assert [c.render_spline_keyframes for c in found] == [
    '/keys/one.txt',
    '/keys/two/',
  ]
  assert [c.render_dir for c in found] == [f'{root}/one.txt', f'{root}/two']


@pytest.mark.parametrize(
  ('bindings', 'says'),
  [
    (
      [
        "Config.render_spline_keyframes = 'a'",
        "Config.render_spline_keyframes_choices = 'b'",
      ],
      'exclude each other',
    ),
    (
      ["Config.render_spline_keyframes_choices = 'x/a, y/a'"],
      'different names',
    ),
    (["Config.render_spline_keyframes_choices = ' , '"], 'must list'),
  ],
)
def test_choices_that_cannot_be_are_refused(bindings, says):
  with pytest.raises(errors.ConfigError, match=says):
    choices(*bindings)


@pytest.mark.parametrize(
  'binding',
  [
    'Config.render_rgb_only = True',
    "Config.render_compute_dtype = 'bfloat16'",
    'Config.render_empty_below = 0.1',
    'NerfMLP.rgb_padding = 0.3',
  ],
)
def test_frames_of_other_options_are_another_set(binding):
  def run_id(*bindings):
    setup = gin_setup.load([], bindings, scope='eval')
    return render._run_id(setup, '/runs/a', 'checksum')

  assert run_id(binding) == run_id(binding) != run_id()
  assert run_id('Config.render_chunk_size = 7') == run_id()
