"""The documentation names what exists, and its examples run."""

import dataclasses
import json
import pathlib
import re
import sys

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import ops_util
import pytest

from multinerf import losses, parallel
from multinerf.config import gin_setup, schema
from multinerf.data import base, images
from multinerf.training import schedules

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
PAGES = sorted([*CHECKOUT.glob('*.md'), *CHECKOUT.glob('docs/*.md')])
TEXT = {p.relative_to(CHECKOUT).as_posix(): p.read_text() for p in PAGES}


@pytest.mark.parametrize('page', TEXT)
def test_every_option_a_page_names_exists(page):
  named = set(re.findall(r'\bConfig\.([a-z]\w*)', TEXT[page]))
  known = {f.name for f in dataclasses.fields(schema.Config)}
  assert named - known == set()


@pytest.mark.parametrize('page', TEXT)
def test_every_file_a_page_links_or_names_exists(page):
  text = TEXT[page]
  here = (CHECKOUT / page).parent
  links = [here / x for x in re.findall(r'\]\(([^)#:]+)\)', text)]
  # `path/with/slash.ext` in backquotes is a file of the checkout.
  named = re.findall(
    r'`((?:multinerf|scripts|tests|docs|benchmarks)/[\w./]+)`', text
  )
  presets = re.findall(r'(?<!benchmarks/)\b(\w+\.gin)\b', text)
  invented = {'config.gin', 'operative_config.gin', 'mine.gin'}
  paths = links + [CHECKOUT / x for x in named]
  paths += [CHECKOUT / 'gin_configs' / x for x in set(presets) - invented]
  assert [str(p) for p in paths if not p.exists()] == []


def test_the_table_of_options_has_every_data_loss():
  row = re.search(
    r'`Config\.data_loss_type`: (.*) \|', TEXT['docs/configuration.md']
  )
  entries = losses.DATA_LOSSES._entries.items()
  ours = {k for k, v in entries if v.__module__.startswith('multinerf.')}
  assert set(re.findall('`(.*?)`', row[1])) == ours


@pytest.fixture(scope='module')
def plugins():
  """What the Python examples of the architecture page define."""
  registries = [base.SCENES, losses.DATA_LOSSES, losses.REGULARIZERS]
  registries.append(schedules.SCHEDULES)
  before = [dict(r._entries) for r in registries]
  namespace = {'__name__': 'my_plugins'}
  for block in re.findall(
    r'```python\n(.*?)```', TEXT['docs/architecture.md'], re.DOTALL
  ):
    exec(compile(block, 'docs/architecture.md', 'exec'), namespace)
  yield namespace
  for registry, entries in zip(registries, before, strict=True):
    registry._entries.clear()
    registry._entries.update(entries)


def test_the_example_loader_loads_a_scene_that_passes_the_checks(
  plugins, tmp_path
):
  pose = np.eye(4)[:3] + np.array([0, 0, 0, 4]) * np.eye(3)[:, 2:]
  index = {'focal': 5.0, 'names': ['a.png'], 'camtoworlds': [pose.tolist()]}
  (tmp_path / 'train.json').write_text(json.dumps(index))
  images.write_png(tmp_path / 'a.png', np.full((4, 6, 3), 7, np.uint8))
  cfg = base.DataConfig(dataset_loader='my_format', data_dir=str(tmp_path))
  scene = base.load_scene(cfg, 'train')
  np.testing.assert_array_equal(scene.images.image(0), np.full((4, 6, 3), 7))


def test_the_example_losses_are_chosen_by_name_and_by_predicate(plugins):
  cfg = losses.LossConfig(data_loss_type='huber')
  value = losses.DATA_LOSSES.get('huber')(jnp.full(3, 0.1), jnp.zeros(3), cfg)
  np.testing.assert_allclose(value, 0.05, rtol=1e-5)  # float32 rounding
  assert 'opacity' in losses.active_regularizers(cfg)


def test_the_example_loss_with_a_memory_is_recognised_as_one(plugins):
  cfg = losses.LossConfig(data_loss_type='relative')
  assert losses.init_data_loss_state(cfg) == {'scale': 1.0}
  fn = jax.pmap(
    lambda p, t, s: losses.DATA_LOSSES.get('relative')(p, t, cfg, s),
    axis_name=parallel.AXIS,
  )
  pred = jnp.full((8, 2, 3), 0.5) * jnp.arange(8)[:, None, None]
  loss, state, _ = fn(pred, 0 * pred, {'scale': jnp.full(8, 2.0)})
  np.testing.assert_allclose(loss, pred**2 / 2)
  want = np.full(8, 1.8 + 0.1 * np.mean(pred**2))
  np.testing.assert_allclose(state['scale'], want, rtol=1e-6)


def test_the_example_schedule_is_chosen_by_name(plugins):
  cfg = schedules.ScheduleConfig(lr_schedule='halving', max_steps=100)
  schedule = schedules.make_schedule(cfg)
  assert schedule(0) == cfg.lr_init and schedule(25) == cfg.lr_init / 4


def test_the_example_field_gives_density_and_colour(plugins):
  field, means = plugins['Blob'](), jnp.zeros((2, 5, 3))
  samples = ops_util.sample_points(means)
  output, _ = field.init_with_output(jax.random.key(0), None, samples)
  assert output.density.shape == (2, 5) and output.rgb.shape == (2, 5, 3)
  assert np.all(output.density > 0)


MY_ENCODER = '''

class Waves(nn.Module):
  """One learned sine per feature."""

  width: int = 4

  @nn.compact
  def __call__(self, points, scales=None):
    waves = self.param('waves', nn.initializers.ones, (3, self.width))
    return jnp.sin(points @ waves).mean(axis=-2)
'''


def test_the_example_s_gin_block_builds_a_model_of_plug_ins(
  tmp_path, monkeypatch
):
  page = TEXT['docs/architecture.md']
  (blob,) = re.findall(r'```python\n([^`]*class Blob[^`]*)```', page)
  (block,) = re.findall(r'```\n(import my_plugins\n[^`]*)```', page)
  source = (blob + MY_ENCODER).replace(
    '\nclass ', '\n@gin.configurable\nclass '
  )
  (tmp_path / 'my_plugins.py').write_text('import gin\n' + source)
  monkeypatch.syspath_prepend(str(tmp_path))
  monkeypatch.delitem(sys.modules, 'my_plugins', raising=False)

  def shapes(*bindings):
    setup = gin_setup.load('blender_256.gin', bindings)
    tree = model_util.shapes(setup.build_model(), model_util.rays(2))
    return setup.build_model(), tree

  # Blob reads no encoder: PropMLP does.
  model, tree = shapes(
    *block.splitlines(), 'PropMLP.encoder = @Waves()', 'Waves.width = 5'
  )
  assert type(model.nerf_mlp).__name__ == 'Blob'
  assert tree['nerf_mlp/scale'] == ()
  assert tree['PropMLP_0/encoder/waves'] == (3, 5)
  assert tree['PropMLP_0/Dense_0/kernel'][0] == 5
  assert not any(path.startswith('NerfMLP_0') for path in tree)
  # The block's other line, where an MLP is left to read an encoder.
  _, tree = shapes(*(x for x in block.splitlines() if 'Blob' not in x))
  assert tree['NerfMLP_0/encoder/grid_0016'] == (16, 16, 16, 2)


def test_the_example_program_calls_a_hook_after_every_step(plugins):
  class Trainer:
    step_number, last_step, device_state = 3, 6, 'state'

    def step(self):
      self.step_number += 1
      return {'loss': self.step_number}

  seen = []
  plugins['fit'](Trainer(), [lambda *args: seen.append(args)])
  assert seen == [(i, 'state', {'loss': i}) for i in (4, 5, 6)]
