"""Trains tiny fields of every kind of preset, on whatever devices there are.

As a program it does so in a process of its own, which may be one of several:

  python independence_util.py SPEC.json OUT [flags of several processes]
"""

import dataclasses
import json
import pathlib
import sys

import jax
import numpy as np
import run_util

from multinerf.app import cli, trainer
from multinerf.config import gin_setup, views
from multinerf.data import base
from multinerf.training import stats

STEPS = 6
# Of the networks and samples of any preset.
SMALL = (
  'Config.batch_size = 64',
  'Config.max_steps = 60',
  'Config.print_every = 1',
  'Config.checkpoint_every = 60',
  'Config.train_render_every = 0',
  'Config.lr_delay_steps = 0',
  'Config.compilation_cache_dir = None',
)
FIELDS = run_util.FIELDS
# name -> (gin file, kind of scene, more bindings)
FAMILIES = {
  'blender': ('blender_256.gin', 'blender', FIELDS),
  '360': ('360.gin', 'around', FIELDS),
  'llff': ('llff_256.gin', 'llff', FIELDS),
  'refnerf': (
    'blender_refnerf.gin',
    'blender',
    (*FIELDS, 'NerfMLP.net_depth_viewdirs = 2', 'NerfMLP.deg_view = 3'),
  ),
  # Weights by channel (the mosaic), learned gains, noise on densities.
  'raw': ('llff_raw.gin', 'raw', FIELDS),
  # Patches, and a threshold that goes from step to step.
  'robust': (
    '360_robustnerf.gin',
    'around',
    (
      *FIELDS,
      'Config.batch_size = 256',
      'Config.patch_size = 4',
      'Config.robustnerf_inner_patch_size = 2',
    ),
  ),
  'glo': ('360_glo4.gin', 'around', FIELDS),
  # Weights by pixel: 1, 4 or 16 by the size of the image.
  'multiscale': (
    'blender_256.gin',
    'blender',
    (*FIELDS, 'Config.multiscale_train_factors = [2, 4]'),
  ),
  'fast': (
    'fast.gin',
    'blender',
    (
      'Model.num_prop_samples = 8',
      'Model.num_nerf_samples = 8',
      'prop/HashEncoding.max_grid_size = 16',
      'prop/HashEncoding.min_grid_size = 16',
      'nerf/HashEncoding.max_grid_size = 32',
      'nerf/HashEncoding.hash_map_size = 512',
      'NerfMLP.net_width = 16',
      'NerfMLP.net_width_viewdirs = 16',
    ),
  ),
  'zipnerf': (
    'zipnerf_360.gin',
    'around',
    (
      'Model.sampling_strategy = ((0, 0, 8), (1, 1, 8), (2, 2, 8))',
      'Model.grid_params_per_level = ('
      "{'num_features': 1, 'max_grid_size': 32}, "
      "{'num_features': 1, 'max_grid_size': 32}, "
      "{'num_features': 2})",
      'HashEncoding.hash_map_size = 512',
      'HashEncoding.max_grid_size = 64',
      'MLP.net_width = 16',
      'MLP.bottleneck_width = 16',
      'MLP.net_depth_viewdirs = 2',
      'MLP.net_width_viewdirs = 16',
    ),
  ),
}


@dataclasses.dataclass(frozen=True)
class Run:
  """What is left of a run.

  Attributes:
    losses: [STEPS] of the steps.
    leaves: path -> array of the final state.
  """

  losses: np.ndarray
  leaves: dict[str, np.ndarray]


def train(name: str, data_dir: str, *more: str) -> Run:
  """Takes a few steps of a family, with all randomness of its preset."""
  preset, _, bindings = FAMILIES[name]
  bindings = [*SMALL, *bindings, *more, f'Config.data_dir = {data_dir!r}']
  setup = gin_setup.load([preset], bindings, scope='train')
  assert setup.config.randomized
  cli.prepare_devices(setup)
  scene = base.load_scene(views.view(setup.config, base.DataConfig), 'train')
  model = setup.build_model()
  with trainer.Trainer(setup.config, scene, model) as field:
    packed = [field.step() for _ in range(STEPS)]
    losses = [float(loss_of(p)) for p in packed]
    leaves, _ = jax.tree.flatten_with_path(field.state)
  return Run(
    np.array(losses),
    {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves},
  )


def loss_of(packed) -> float:
  """The loss among packed statistics."""
  return stats.unpack([packed])['loss'][0]


def save(run: Run, path: pathlib.Path) -> None:
  """Writes a run."""
  np.savez(
    path, losses=run.losses, **{f'/{k}': v for k, v in run.leaves.items()}
  )


def load(path: pathlib.Path) -> Run:
  """Reads a run."""
  with np.load(path) as data:
    leaves = {k[1:]: data[k] for k in data.files if k[0] == '/'}
    return Run(data['losses'], leaves)


def main(argv: list[str]) -> None:
  """Trains the families of a specification, {name: data_dir}."""
  spec, out, *flags = argv[1:]
  values = cli._flag_values()
  values(['program', *flags])
  cli._initialize(values)
  for name, data_dir in json.loads(pathlib.Path(spec).read_text()).items():
    run = train(name, data_dir)
    index = int(values.process_id or 0)
    save(run, pathlib.Path(out) / f'{name}_{index}.npz')


if __name__ == '__main__':
  main(sys.argv)
