"""Measured depths and normals improve what is seen from other places."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import run_util

from multinerf.app import trainer as trainer_lib
from multinerf.config import gin_setup, views
from multinerf.data import base, synthetic
from multinerf.ops import directional

STEPS = 150
BINDINGS = (
  *run_util.BINDINGS,
  'Config.batch_size = 256',
  f'Config.max_steps = {STEPS}',
  'Model.num_prop_samples = 16',
  'Model.num_nerf_samples = 16',
  'NerfMLP.net_width = 32',
  'NerfMLP.disable_density_normals = False',
)


@pytest.fixture(scope='module')
def setup(tmp_path_factory):
  """Five views of 32x32, and two held out."""
  folder = tmp_path_factory.mktemp('data') / 'toys'
  synthetic.render_scene(folder, 32, 5, 2)
  return gin_setup.load(
    'blender_256.gin', [*BINDINGS, f"Config.data_dir = '{folder}'"]
  )


def held_out_errors(setup, **options):
  """Mean |t - true t| where there is something, and angle in degrees."""
  config = dataclasses.replace(setup.config, **options)
  cfg = views.view(config, base.DataConfig)
  test = base.load_scene(
    dataclasses.replace(
      cfg, compute_disp_metrics=True, compute_normal_metrics=True
    ),
    'test',
  )
  depth, angle = [], []
  with trainer_lib.Trainer(
    config, base.load_scene(cfg, 'train'), setup.build_model()
  ) as trainer:
    for _ in range(STEPS):
      trainer.step()
    for i in range(len(test)):
      view = trainer.render(test.cameras, i)
      disps = test.disps.image(i)[..., 0]
      hit = disps > 0
      depth.append(
        np.mean(np.abs(view.distance_mean[hit] - (1 / disps[hit] - 1)))
      )
      angle.append(
        directional.compute_weighted_mae(
          jnp.asarray(view.acc * test.alphas.image(i)[..., 0]),
          directional.l2_normalize(jnp.asarray(view.normals)),
          directional.l2_normalize(jnp.asarray(test.normals.image(i))),
        )
      )
  return float(np.mean(depth)), float(np.mean(angle))


@pytest.mark.slow
def test_supervised_depths_and_normals_improve_held_out_views(setup):
  depth, angle = held_out_errors(setup)
  with_depths, _ = held_out_errors(
    setup, depth_loss_mult=0.1, depth_loss_type='ds_nerf', depth_sigma=0.05
  )
  _, with_normals = held_out_errors(
    setup, normal_loss_mult=0.2, normal_loss_type='l1_cosine'
  )
  assert with_depths < 0.6 * depth  # measured: 0.34 -> 0.12
  assert with_normals < 0.8 * angle  # measured: 71.7 -> 46.2 degrees
