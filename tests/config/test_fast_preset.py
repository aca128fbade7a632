"""fast.gin: the size its header states, and a proposal that is only a grid."""

import math
import re

import jax
import model_util
import pytest

from multinerf.config import gin_files, gin_setup


@pytest.fixture(scope='module')
def shapes():
  model = gin_setup.load(['fast.gin']).build_model()
  return jax.eval_shape(
    lambda key: model.init(key, None, model_util.rays(1)), jax.random.key(0)
  )['params']


def test_the_proposal_is_one_grid_of_densities_without_a_network(shapes):
  (leaf,) = jax.tree.leaves(shapes['PropMLP_0'])
  assert leaf.shape == (64, 64, 64, 1)


def test_the_header_states_the_number_of_parameters(shapes):
  count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
  text = (gin_files.find_gin_configs() / 'fast.gin').read_text(encoding='utf-8')
  (stated,) = re.findall(r'Cost: ([\d.]+) M parameters', text)
  assert f'{count / 1e6:.1f}' == stated


def test_the_header_states_the_number_of_rays():
  config = gin_setup.load(['fast.gin']).config
  text = (gin_files.find_gin_configs() / 'fast.gin').read_text(encoding='utf-8')
  (stated,) = re.findall(r'([\d.]+) M rays', text)
  assert f'{config.max_steps * config.batch_size / 1e6:.1f}' == stated
