"""The examples of docs/porting.md run."""

import json
import pathlib
import re
import sys
import types

import numpy as np
import pytest

from multinerf.compat.multinerf import datasets, models
from multinerf.data import base, images

PAGE = pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'porting.md'


@pytest.fixture(scope='module')
def examples():
  """What the Python blocks of the page define."""
  registries = [base.SCENES, datasets.DATASETS]
  before = [dict(r._entries) for r in registries]
  module = types.ModuleType('my_set')
  sys.modules['my_set'] = module
  for block in re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL):
    exec(compile(block, 'docs/porting.md', 'exec'), vars(module))
  yield module
  del sys.modules['my_set']
  for registry, entries in zip(registries, before, strict=True):
    registry._entries.clear()
    registry._entries.update(entries)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp('thing')
  gen = np.random.default_rng(0)
  files = [f'{i}.png' for i in range(2)]
  for name in files:
    images.write_png(path / name, gen.uniform(size=(6, 6, 3)))
  pose = np.eye(3, 4) + 4 * np.eye(3, 4)[2:] * np.eye(4)[3]
  index = {'files': files, 'poses': [pose.tolist()] * 2, 'focal': 8.0}
  (path / 'train.json').write_text(json.dumps(index))
  return path


def test_the_example_data_set_is_loaded_by_name(examples, folder):
  cfg = base.DataConfig(dataset_loader='my_set', data_dir=str(folder))
  scene = base.load_scene(cfg, 'train')
  stored = images.read_image(folder / '1.png')
  np.testing.assert_allclose(scene.images.image(1), stored / 255, atol=1e-6)
  assert scene.name == folder.name


def test_the_example_builds_a_model_from_gin(examples):
  config, model = examples.build(
    ['blender_256.gin'], ['NerfMLP.net_depth = 3', 'Config.batch_size = 64']
  )
  assert isinstance(model, models.Model) and model.config is config
  assert config.batch_size == 64
  assert model.nerf_mlp.net_depth == 3
  assert model.num_levels == 2  # of the preset


@pytest.mark.slow
def test_the_example_loop_trains(examples, folder):
  options = dict(batch_size=8, near=2.0, far=6.0, max_steps=4)
  losses = examples.fit(str(folder), 3, dataset_loader='my_set', **options)
  assert len(losses) == 3 and np.isfinite(losses).all()
