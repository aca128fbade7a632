"""Loading gin: values, scopes, macros, references, repetition, mistakes."""

import functools
import sys
import textwrap
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from multinerf import errors
from multinerf.config import gin_hints, gin_setup, schema
from multinerf.ops import coord, curves, numerics


class Enc(nn.Module):
  """A toy encoding."""

  size: int = 1
  scale: float = 1.0


class Net(nn.Module):
  """A toy network."""

  net_depth: int = 8
  warp_fn: Any = None
  widths: tuple[int, ...] = (1,)
  encoder: nn.Module | None = None
  compute_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x):
    return nn.Dense(self.net_depth)(x)


class Net2(Net):
  """Another."""


class Toy(nn.Module):
  """A toy model."""

  nerf_mlp: nn.Module
  prop_mlp: nn.Module
  num_levels: int = 3
  slope: float = 10.0
  shape: str = 'cone'

  preserve_adopted_names = True

  def __post_init__(self):
    if self.shape not in ('cone', 'cylinder'):
      raise ValueError(f'no shape {self.shape!r}')
    super().__post_init__()

  def __call__(self, x):
    return self.nerf_mlp(x) + self.prop_mlp(x)


TOYS = {'Model': Toy, 'NerfMLP': Net, 'PropMLP': Net2, 'HashEncoding': Enc}
load = functools.partial(gin_setup.load, classes=TOYS)


def error(bindings, configs=(), **kwargs) -> str:
  """The message of the ConfigError that loading raises; one line."""
  with pytest.raises(errors.ConfigError) as e:
    load(configs, bindings, **kwargs)
  assert '\n' not in str(e.value)
  return str(e.value)


def write(path, text) -> str:
  path.write_text(textwrap.dedent(text))
  return str(path)


def test_nothing_bound_gives_the_defaults():
  setup = load()
  assert setup.config == schema.Config()
  assert setup.build_model() == Toy(
    nerf_mlp=Net(name='NerfMLP_0'), prop_mlp=Net2(name='PropMLP_0')
  )


def test_files_are_read_in_order_and_bindings_last(tmp_path):
  a = write(tmp_path / 'a.gin', 'Config.near = 1\nConfig.far = 7\n')
  b = write(tmp_path / 'b.gin', 'Config.near = 3\nConfig.factor = 2\n')
  config = load([a, b], ['Config.factor = 4', 'Config.factor = 8']).config
  assert (config.near, config.far, config.factor) == (3.0, 7.0, 8)


def test_one_string_counts_as_one_file_or_some_lines(tmp_path):
  path = write(tmp_path / 'a.gin', 'Config.near = 1\n')
  config = load(path, 'Config.far = 7\nConfig.factor = 2').config
  assert (config.near, config.far, config.factor) == (1.0, 7.0, 2)


def test_block_syntax_works(tmp_path):
  text = """
    Config:
      near = 1  # comment
      far = 7

    Model:
      num_levels = 2
  """
  setup = load([write(tmp_path / 'a.gin', textwrap.dedent(text))])
  assert (setup.config.near, setup.config.far) == (1.0, 7.0)
  assert setup.build_model().num_levels == 2


def test_scoped_bindings_hold_in_their_scope_only():
  bindings = [
    'Config.factor = 2',
    'eval/Config.factor = 4',
    'train/NerfMLP.net_depth = 1',
  ]
  train, evaluation = load((), bindings), load((), bindings, scope='eval')
  assert (train.config.factor, evaluation.config.factor) == (2, 4)
  assert train.build_model().nerf_mlp.net_depth == 1
  assert evaluation.build_model().nerf_mlp.net_depth == 8
  assert 'eval/Config.factor = 4' in train.config_str
  assert 'Config.factor = 2\n' in train.operative_config_str
  assert 'Config.factor = 4\n' in evaluation.operative_config_str


def test_values_are_converted_to_the_annotations_of_models_too():
  model = load((), ['Model.slope = 3', 'NerfMLP.widths = [1, 2]']).build_model()
  assert (model.slope, type(model.slope)) == (3.0, float)
  assert model.nerf_mlp.widths == (1, 2)


def test_references_become_the_bare_functions():
  bindings = [
    'NerfMLP.warp_fn = @coord.contract',
    'PropMLP.warp_fn = @contract',
    'Config.render_dist_curve_fn = @jnp.log1p',
  ]
  setup = load((), bindings)
  model = setup.build_model()
  assert model.nerf_mlp.warp_fn is coord.contract
  assert model.prop_mlp.warp_fn is coord.contract
  assert setup.config.render_dist_curve_fn is jnp.log1p


@pytest.mark.parametrize(
  ('name', 'want'),
  [
    ('jnp.reciprocal', jnp.reciprocal),
    ('jnp.log', jnp.log),
    ('jnp.exp', jnp.exp),
    ('jnp.sqrt', jnp.sqrt),
    ('jnp.square', jnp.square),
    ('jax.nn.relu', jax.nn.relu),
    ('jax.nn.softplus', jax.nn.softplus),
    ('jax.nn.silu', jax.nn.silu),
    ('math.safe_exp', numerics.safe_exp),
    ('math.power_ladder', curves.power_ladder),
    ('math.inv_power_ladder', curves.inv_power_ladder),
  ],
)
def test_every_upstream_function_can_be_referred_to(name, want):
  model = load((), [f'NerfMLP.warp_fn = @{name}']).build_model()
  assert model.nerf_mlp.warp_fn is want


def test_tuples_may_mix_references_and_literals():
  binding = (
    'NerfMLP.warp_fn = (@math.power_ladder, @math.inv_power_ladder, '
    "{'p': -1.5, 'premult': 2})"
  )
  assert load((), [binding]).build_model().nerf_mlp.warp_fn == (
    curves.power_ladder,
    curves.inv_power_ladder,
    {'p': -1.5, 'premult': 2},
  )


def test_a_referred_function_with_bindings_carries_them_along():
  bindings = [
    'NerfMLP.warp_fn = @math.power_ladder',
    'math.power_ladder.p = 0.5',
  ]
  fn = load((), bindings).build_model().nerf_mlp.warp_fn
  load()  # Forgets the bindings; the value must not depend on them.
  assert fn.func is curves.power_ladder and fn.keywords == {'p': 0.5}


def test_a_called_reference_is_an_instance_with_its_bindings():
  bindings = [
    'NerfMLP.encoder = @HashEncoding()',
    'PropMLP.encoder = @test/HashEncoding()',
    'HashEncoding.size = 5',
    'test/HashEncoding.scale = 3',
  ]
  model = load((), bindings).build_model()
  assert model.nerf_mlp.encoder == Enc(size=5)
  assert model.prop_mlp.encoder == Enc(size=5, scale=3.0)


def test_a_model_part_can_be_replaced_by_reference():
  model = load((), ['Model.prop_mlp = @NerfMLP()']).build_model()
  assert model.prop_mlp == Net()


def test_macros_are_read_late():
  bindings = ['N = 2', 'Config.factor = %N', 'M = %N', 'N = 4']
  setup = load((), [*bindings, 'Model.num_levels = %M'])
  assert setup.config.factor == 4
  assert setup.build_model().num_levels == 4
  assert 'Config.factor = %N' in setup.config_str
  assert 'Config.factor = 4' in setup.operative_config_str


def test_networks_are_named_as_checkpoints_expect():
  model = load().build_model()
  params = model.init(jax.random.key(0), jnp.ones((1, 2)))['params']
  assert set(params) == {'NerfMLP_0', 'PropMLP_0'}
  assert set(params['NerfMLP_0']) == {'Dense_0'}


def test_compute_dtype_reaches_the_networks_unless_they_have_their_own():
  bindings = [
    "Config.compute_dtype = 'bfloat16'",
    "PropMLP.compute_dtype = 'float32'",
  ]
  setup = load((), bindings)
  model = setup.build_model()
  assert model.nerf_mlp.compute_dtype == 'bfloat16'
  assert model.prop_mlp.compute_dtype == 'float32'
  assert 'NerfMLP.compute_dtype' not in setup.config_str


def test_loading_again_starts_from_nothing():
  load((), ['Config.factor = 4', 'NerfMLP.net_depth = 2', 'X = 3'])
  setup = load()
  assert setup.config.factor == 0
  assert setup.build_model().nerf_mlp.net_depth == 8
  assert setup.config_str.strip() == ''


def test_a_failed_load_leaves_no_trace():
  error(['Config.factor = 4', 'Config.nosuch = 1'])
  assert load().config.factor == 0


def test_other_classes_can_take_the_names():
  real = gin_setup.load((), ['Model.num_levels = 2']).build_model()
  toy = load((), ['Model.num_levels = 2']).build_model()
  assert (type(real), type(toy)) == (gin_setup.MODEL_CLASSES['Model'], Toy)


def test_setups_do_not_influence_each_other():
  first = load((), ['NerfMLP.net_depth = 2'])
  load((), ['NerfMLP.net_depth = 5'])
  assert first.build_model().nerf_mlp.net_depth == 2


REPRODUCED = [
  'Config.factor = 4',
  'Config.eval_checkpoint_wait_timeout_sec = 1e999',
  "Config.weight_decay_mults = {'NerfMLP_0/Dense_0': 0.1}",
  "Config.lr_schedule_kwargs = {'steps': [1, 2], 'one': (1,)}",
  'eval/Config.factor = 2',
  'NerfMLP.warp_fn = @math.power_ladder',
  'math.power_ladder.p = %P',
  'P = -1.5',
  'PropMLP.encoder = @test/HashEncoding()',
  'HashEncoding.size = 5',
  'test/HashEncoding.scale = 3',
]


@pytest.mark.parametrize('scope', ['train', 'eval'])
def test_the_operative_config_reproduces_the_setup(scope, tmp_path):
  first = load((), REPRODUCED, scope=scope)
  path = write(tmp_path / 'operative.gin', first.operative_config_str)
  again = load([path])
  assert again.config == first.config
  assert again.operative_config_str == first.operative_config_str
  a, b = first.build_model(), again.build_model()
  assert a.prop_mlp == b.prop_mlp
  assert a.nerf_mlp.warp_fn.keywords == b.nerf_mlp.warp_fn.keywords


def test_the_bound_config_reproduces_the_setup(tmp_path):
  first = load((), REPRODUCED[2:])
  again = load([write(tmp_path / 'config.gin', first.config_str)])
  assert again.config == first.config
  assert again.config_str == first.config_str


def test_the_operative_config_lists_every_option():
  text = load().operative_config_str
  for name in vars(schema.Config()):
    assert f'Config.{name} = ' in text
  assert 'Config.render_dist_curve_fn = @jnp.log' in text
  assert 'NerfMLP.net_depth = 8' in text


def test_the_text_of_the_model_tells_models_apart_and_nothing_else():
  class Fading(Net):
    fade_fn: Any = lambda x: x  # gin has no text for it

  def text(*bindings):
    classes = TOYS | {'NerfMLP': Fading}
    return load((), bindings, scope='eval', classes=classes).model_text

  plain = text()
  assert text('Config.near = 1', 'train/NerfMLP.net_depth = 2') == plain
  assert text('NerfMLP.net_depth = 8') == plain  # the default
  assert text('eval/NerfMLP.net_depth = 2') != plain
  warp = 'NerfMLP.warp_fn = @coord.contract'
  assert text(warp) != plain
  # Another process has the function elsewhere in memory.
  assert 'fade_fn = <function' in plain and ' at 0x' not in plain


PLUGIN = """
  import gin

  @gin.configurable
  def plug_warp(x, power=2):
    return x ** power
"""


def test_a_file_can_import_a_plug_in(tmp_path, monkeypatch):
  write(tmp_path / 'plug_in_of_a_test.py', PLUGIN)
  monkeypatch.syspath_prepend(str(tmp_path))
  text = """\
    import plug_in_of_a_test
    NerfMLP.warp_fn = @plug_warp
    plug_warp.power = 3
  """
  path = write(tmp_path / 'a.gin', text)
  for _ in range(2):  # The second time, the module is already imported.
    setup = load([path])
    assert setup.build_model().nerf_mlp.warp_fn(2) == 8
  assert 'import plug_in_of_a_test' in setup.operative_config_str
  again = load((), setup.operative_config_str)
  assert again.build_model().nerf_mlp.warp_fn(2) == 8
  del sys.modules['plug_in_of_a_test']


MISTAKES = [
  # binding, words of the message
  ('Configs.near = 3', ["'Configs'", 'known classes', "Did you mean 'Config'"]),
  ('nerfmlp.net_depth = 3', ["Did you mean 'NerfMLP'"]),
  ('PropMLPs.net_depth = 3', ["'PropMLPs'", "'PropMLP'?"]),
  ('Config.batchsize = 3', ["no option 'batchsize'", "'batch_size'"]),
  ('NerfMLP.depth = 3', ["NerfMLP has no option 'depth'", "'net_depth'"]),
  ('NerfMLP.name = "x"', ["no option 'name'"]),
  ('NerfMLP.warp_fn = @coord.contrct', ['@coord.contrct', "'coord.contract'"]),
  ('NerfMLP.warp_fn = @no()', ['unknown function @no']),
  ('Config.batch_size = "x"', ['Config.batch_size', 'integer >= 1', "'x'"]),
  ('Config.batch_size = 1.5', ['Config.batch_size', 'integer', '1.5']),
  ('NerfMLP.net_depth = 2.5', ['NerfMLP.net_depth', 'integer', '2.5']),
  ('eval/Model.slope = "x"', ['Model.slope', 'a number', "'x'"]),
  ('NerfMLP.encoder = @HashEncoding', ['Module or None', 'Add ()']),
  ('HashEncoding.size = "x"', ['HashEncoding.size', 'integer']),
  ('Config.factor = @jnp.log()', ['cannot call @jnp.log()']),
  ('Config.factor = %gin.REQUIRED', ['Config.factor must be set']),
  ('Config.factor = %NO', ['%NO is not defined', 'NO = ...']),
  ('A = (1, %A)', ['%A refers to itself']),
  ('factor = 4', ['write Config.factor = ...']),
  ('tran/Config.factor = 4', ["scope 'tran'", "Did you mean 'train'"]),
  ('Config.data_dir = lego', ["as in 'lego'"]),
  ('Config.data_dir = /data/lego  # c', ["as in '/data/lego'"]),
  ('Config.data_dir = "lego', ['a quote is not closed']),
  ('Config.render_path = true', ['write True instead of true']),
  ('Config.far = inf', ['1e999']),
  ('Config.near =', ['value is missing']),
  ('Config.near', ['Name.option = value']),
  ('= 3', ['Name.option = value']),
  ('Config.near = 3 4', ['after the value']),
  ('Config.near = (3', ['not closed']),
  ('import no.such.module', ['cannot import no.such.module', 'PYTHONPATH']),
  ('from __gin__ import dynamic_registration', ['not supported']),
  ("include 'nosuch.gin'", ["No gin file 'nosuch.gin'"]),
]


@pytest.mark.parametrize(('binding', 'words'), MISTAKES)
def test_a_mistake_in_a_binding_is_named_with_the_remedy(binding, words):
  message = error([binding])
  assert message.startswith('--gin_bindings ')
  for word in words:
    assert word in message


@pytest.mark.parametrize(('binding', 'words'), MISTAKES)
def test_a_mistake_in_a_file_is_named_with_its_line(binding, words, tmp_path):
  path = write(tmp_path / 'bad.gin', f'# A comment.\n\n{binding}\n')
  message = error((), [path])
  assert message.startswith(f'{path}:3: ')
  for word in words:
    assert word in message


def test_a_mistake_in_an_included_file_is_located_there(tmp_path):
  inner = write(tmp_path / 'inner.gin', '\nConfig.nosuch = 1\n')
  outer = write(tmp_path / 'outer.gin', "include 'inner.gin'\n")
  message = error((), [outer])
  assert message.startswith(f'{inner}:2: ')
  assert 'outer.gin' not in message


def test_a_file_that_includes_itself_is_an_error(tmp_path):
  write(tmp_path / 'a.gin', "include 'b.gin'\n")
  b = write(tmp_path / 'b.gin', "include 'a.gin'\n")
  assert 'includes itself' in error((), [b])


def test_an_error_inside_a_block_names_its_own_line(tmp_path):
  path = write(tmp_path / 'a.gin', 'Config:\n  near = 3\n  lr_inti = 4\n')
  message = error((), [path])
  assert message.startswith(f'{path}:3: ')
  assert "'lr_init'" in message


def test_contradicting_options_are_an_error():
  assert 'Config.near' in error(['Config.near = 9'])


def test_an_unknown_scope_argument_is_an_error():
  assert "'render'" in error([], scope='render')


def test_what_a_constructor_refuses_is_a_config_error():
  setup = load((), ["Model.shape = 'cube'"])
  with pytest.raises(errors.ConfigError, match="no shape 'cube'"):
    setup.build_model()


def test_an_ambiguous_name_is_an_error(tmp_path, monkeypatch):
  code = """
    import gin

    @gin.configurable(module='left')
    def twin(x=1):
      return x

    right = gin.external_configurable(lambda x=2: x, 'twin', module='right')
  """
  write(tmp_path / 'twins_of_a_test.py', code)
  monkeypatch.syspath_prepend(str(tmp_path))
  start = 'import twins_of_a_test\n'
  assert "ambiguous name 'twin'" in error([start + 'twin.x = 2'])
  assert 'twin' in error([start + 'NerfMLP.warp_fn = @twin'])
  clear = [start + 'NerfMLP.warp_fn = @left.twin', 'right.twin.x = 4']
  assert load((), clear).build_model().nerf_mlp.warp_fn() == 1


def test_an_option_without_effect_warns():
  with pytest.warns(schema.ConfigWarning, match='vocab_tree_path'):
    load((), ["Config.vocab_tree_path = 'x'"])


def test_hints_fall_back_to_the_first_line_of_the_message():
  assert gin_hints.syntax_hint('Odd thing.\n  More', 'Config.x = 3') == (
    'Odd thing.'
  )


@pytest.mark.parametrize(
  'message',
  [
    "Failed to parse token '\"' (line 1)",
    'unterminated string literal (detected at line 1)',  # Python 3.12 and later
  ],
)
def test_an_open_quote_is_named_whoever_finds_it(message):
  hint = gin_hints.syntax_hint(message, 'Config.data_dir = "lego')
  assert hint == 'a quote is not closed'
