"""Builds our objects from an end-to-end golden file (tests only)."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest

from multinerf import losses, models, types
from multinerf.ops import coord, numerics
from multinerf.training import optim

# End-to-end cases of ../shared/golden. The presets that every user starts from
# run always; option variants compile for ten seconds each and are slow tests.
_ALWAYS = ('model_blender_256', 'model_360')
_SLOW = (
  'model_llff_256',
  'model_blender_refnerf',
  'model_llff_raw',
  'model_360_glo4',
  'model_360_robustnerf',
  'model_v_bg_range',
  'model_v_blender_512',
  'model_v_density_normals',
  'model_v_gpu_resampling',
  'model_v_level_grad',
  'model_v_no_integration',
  'model_v_weight_decay',
)
CASES = _ALWAYS + _SLOW


def parameters(*, without=()):
  """The cases as pytest parameters, the slow ones marked."""
  marks = {name: [pytest.mark.slow] for name in _SLOW}
  return [
    pytest.param(name, marks=marks.get(name, []))
    for name in CASES
    if name not in without
  ]


_FUNCTIONS = {
  'relu': jax.nn.relu,
  'softplus': jax.nn.softplus,
  'sigmoid': jax.nn.sigmoid,
  'safe_exp': numerics.safe_exp,
  'contract': coord.contract,
  'reciprocal': jnp.reciprocal,
}
_FUNCTION_FIELDS = (
  'net_activation',
  'roughness_activation',
  'density_activation',
  'rgb_activation',
  'warp_fn',
  'raydist_fn',
)


def _resolve(options):
  out = {}
  for name, value in options.items():
    if name in _FUNCTION_FIELDS and value is not None:
      value = _FUNCTIONS[value]
    if isinstance(value, list):
      value = tuple(value)
    out[name] = value
  return out


def model(data) -> models.Model:
  """The model of a golden file, at its shrunken size."""
  options = json.loads(str(data['model_json']))
  return models.Model(
    nerf_mlp=models.NerfMLP(**_resolve(options['NerfMLP']), name='NerfMLP_0'),
    prop_mlp=models.PropMLP(**_resolve(options['PropMLP']), name='PropMLP_0'),
    **_resolve(options['Model']),
  )


def view(data, cls):
  """A small configuration from the golden file's resolved Config."""
  config = json.loads(str(data['config_json']))
  names = {f.name for f in dataclasses.fields(cls)}
  return cls(**{k: v for k, v in config.items() if k in names})


def configs(data) -> tuple[losses.LossConfig, optim.OptimConfig]:
  """The options of losses and optimiser of a golden file."""
  return view(data, losses.LossConfig), view(data, optim.OptimConfig)


def params(data, which: str = 'params0'):
  """A parameter tree as linen holds it."""
  tree = {}
  for key in data.keys:
    if key.startswith(which + '/'):
      *path, leaf = key.split('/')[1:]
      node = tree
      for part in path:
        node = node.setdefault(part, {})
      node[leaf] = jnp.asarray(data[key])
  return {'params': tree}


def batch(data) -> types.Batch:
  """The training batch, rays already cast."""
  rays = {
    key[len('batch/rays_') :]: jnp.asarray(data[key])
    for key in data.keys
    if key.startswith('batch/rays_')
  }
  extra = {
    name: jnp.asarray(data[f'batch/{name}'])
    for name in ('normals', 'alphas', 'disps')
    if f'batch/{name}' in data.keys
  }
  return types.Batch(
    rays=types.Rays(**rays), rgb=jnp.asarray(data['batch/rgb']), **extra
  )
