"""The defects of MultiNeRF and camp_zipnerf that must not come back.

Numbers are those of docs/compatibility.md, which lists them with the test that
fails if one does. Most of those tests live beside what they test; the ones
that belong to no module are here.
"""

import ast
import pathlib
import re
import subprocess
import sys

import jax
import model_util
import numpy as np
import pytest

import multinerf
from multinerf import errors, parallel
from multinerf.cameras import camera
from multinerf.config import gin_setup
from multinerf.data import synthetic

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
NUM_DEFECTS = 29


def listed_tests():
  """{number: test ids} of the table in docs/compatibility.md."""
  text = (CHECKOUT / 'docs' / 'compatibility.md').read_text()
  rows = re.findall(r'^\| (\d+) \|.*\| ([^|]*) \|$', text, re.M)
  return {int(n): re.findall(r'`([\w/]+\.py)::(\w+)`', t) for n, t in rows}


def test_every_defect_is_listed_with_a_test_that_exists():
  listed = listed_tests()
  assert sorted(listed) == list(range(1, NUM_DEFECTS + 1))
  for number, tests in listed.items():
    assert tests, f'defect {number} names no test'
    for path, name in tests:
      tree = ast.parse((CHECKOUT / 'tests' / path).read_text())
      names = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
      assert name in names, f'defect {number}: {path}::{name}'


def test_one_parameter_tree_per_model_with_and_without_appearance_code():
  # 16: the tree depended on a flag of the call.
  model = model_util.model(num_glo_features=4)
  rays = model_util.rays()

  def shapes(zero_glo):
    init = lambda key: model.init(key, None, rays, zero_glo=zero_glo)
    return jax.eval_shape(init, jax.random.key(0))

  assert shapes(True) == shapes(False)
  assert 'Embed_0' in shapes(True)['params']


def test_a_model_keeps_its_options_when_gin_changes():
  # 15: networks were built from gin's global state while being traced.
  first = gin_setup.load(
    [], ['NerfMLP.net_width = 24', 'NerfMLP.net_depth = 2']
  )
  model = first.build_model()
  gin_setup.load([], ['NerfMLP.net_width = 8'])
  shapes = jax.eval_shape(
    lambda key: model.init(key, None, model_util.rays()), jax.random.key(0)
  )
  assert shapes['params']['NerfMLP_0']['Dense_0']['kernel'].shape[1] == 24


@pytest.fixture(scope='module')
def tiny_trainer(tmp_path_factory):
  folder = tmp_path_factory.mktemp('data') / 'scene'
  synthetic.render_scene(folder, 32, 6, 1)
  config = multinerf.Config(
    dataset_loader='blender',
    data_dir=str(folder),
    batch_size=64,
    max_steps=4,
    compilation_cache_dir=None,
  )
  scene = multinerf.load_scene(
    multinerf.DataConfig('blender', str(folder)), 'train'
  )
  with multinerf.Trainer(config, scene, model_util.model()) as trainer:
    yield trainer


@pytest.mark.slow
def test_cameras_reach_the_devices_once(tiny_trainer, monkeypatch):
  # 23: they were sent at every step.
  sent = []
  replicate = parallel.replicate

  def count(tree):
    sent.append(isinstance(tree, camera.Cameras))
    return replicate(tree)

  tiny_trainer.step()
  monkeypatch.setattr(parallel, 'replicate', count)
  for _ in range(3):
    tiny_trainer.step()
  assert not any(sent)


def test_no_image_is_a_constant_of_the_compiled_step(tiny_trainer):
  # 26: the traced step closed over all images.
  tiny_trainer.step()
  text = tiny_trainer._compiled[1].as_text()
  constants = [
    int(np.prod([int(n) for n in shape.split(',')]))
    for shape in re.findall(r'= \w+\[([\d,]+)\]\S* constant\(', text)
  ]
  assert max(constants) < 6 * 32 * 32
  assert all(len(line) < 20_000 for line in text.splitlines())


@pytest.mark.parametrize(
  'binding',
  [
    'Config.use_perturbed_cameras = True',
    'Config.enable_grid_c2f = True',
    'Config.use_exrs = True',
  ],
)
def test_options_that_crash_camp_zipnerf_are_refused_by_name(binding):
  # 28: they ended in AttributeErrors far away.
  with pytest.raises(errors.ConfigError, match=binding.split(' ')[0][7:]):
    gin_setup.load([], [binding])


_WITHOUT_EXTRAS = """
import importlib, pkgutil, sys

class Refuse:
  def find_spec(self, name, path=None, target=None):
    if name.split('.')[0] in {'rawpy', 'pycolmap', 'imageio', 'imageio_ffmpeg',
                              'tensorflow', 'cv2', 'torch', 'mediapy'}:
      raise ImportError(f'{name} is not here')

sys.meta_path.insert(0, Refuse())
import multinerf
for module in pkgutil.walk_packages(multinerf.__path__, 'multinerf.'):
  importlib.import_module(module.name)
"""


def test_every_module_imports_without_optional_packages():
  # 24, 29: TensorFlow and OpenCV were needed, and one missing optional
  # package broke all.
  done = subprocess.run(
    [sys.executable, '-c', _WITHOUT_EXTRAS],
    cwd=CHECKOUT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr


def test_a_network_without_bottleneck_works_without_reflections():
  # 14: a NameError.
  model = model_util.model(nerf=dict(bottleneck_width=0))

  def render(key):
    variables = model.init(key, None, model_util.rays())
    return model.apply(variables, None, model_util.rays())[0][-1].rgb

  assert jax.eval_shape(render, jax.random.key(0)).shape == (4, 3)
