"""Rays that miss the scene's box: near = far = 0 (Config.scene_bbox)."""

import dataclasses

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import pytest

import multinerf
from multinerf import errors
from multinerf.cameras import bounds
from multinerf.ops import curves

LADDER = (
  curves.power_ladder,
  curves.inv_power_ladder,
  {'p': -1.5, 'premult': 2},
)
BOX = np.array([[-1.0] * 3, [1.0] * 3])


def rays():
  """Four rays into the box, of which the last two turn away from it."""
  found = model_util.rays(4)
  away = found.directions.at[2:].multiply(-1.0)
  found = found.replace(directions=away, viewdirs=found.viewdirs)
  cropped = bounds.crop_to_box(found, BOX, jnp)
  np.testing.assert_array_equal(cropped.lossmult[:, 0], [1, 1, 0, 0])
  np.testing.assert_array_equal(cropped.far[2:], 0)
  return cropped


@pytest.mark.parametrize(
  'fn',
  [jnp.reciprocal, jnp.log, None, 'piecewise', LADDER],
  ids=['reciprocal', 'log', 'none', 'piecewise', 'ladder'],
)
def test_rays_without_length_render_and_train_finitely(fn):
  net, batch = model_util.model(raydist_fn=fn), rays()
  keys = model_util.ray_keys(4)

  @jax.jit
  def run(key):
    params = net.init(key, None, batch)

    def loss(params, near, far):
      moved = batch.replace(near=near, far=far)
      renderings, levels = net.apply(
        params, keys, moved, train_frac=0.5, compute_extras=True
      )
      total = sum(jnp.sum(x.weights**2) for x in levels)
      total += jnp.sum(batch.lossmult * renderings[-1].rgb ** 2)
      return total, (renderings, [level.tdist for level in levels])

    grad_fn = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)
    return grad_fn(params, batch.near, batch.far)

  grads, (renderings, tdists) = run(jax.random.key(0))
  for path, x in jax.tree_util.tree_leaves_with_path((grads, renderings)):
    assert np.all(np.isfinite(x)), path
  for tdist in tdists:
    np.testing.assert_array_equal(tdist[2:], 0)
    assert np.all(tdist[:2, 0] < tdist[:2, -1])


def synthetic_scene(**options):
  cfg = multinerf.DataConfig(
    dataset_loader='synthetic',
    synthetic_resolution=8,
    synthetic_num_train=3,
    **options,
  )
  return multinerf.load_scene(cfg, 'train')


def config(**options):
  return multinerf.Config(
    batch_size=64, max_steps=4, compilation_cache_dir=None, **options
  )


def test_training_says_that_the_curve_needs_a_near_bound():
  scene = synthetic_scene()
  cameras = scene.cameras.replace(near=np.zeros_like(scene.cameras.near))
  net = model_util.model(raydist_fn=jnp.reciprocal)
  with pytest.raises(errors.ConfigError, match='Config.near'):
    multinerf.Trainer(
      config(), dataclasses.replace(scene, cameras=cameras), net
    )


@pytest.mark.slow
def test_a_step_on_rays_that_miss_the_box_learns_from_the_others():
  # The box is so small that most of the pictures miss it.
  net = model_util.model(raydist_fn=jnp.reciprocal)
  with multinerf.Trainer(config(), synthetic_scene(scene_bbox=0.3), net) as run:
    before = run.state.params
    run.step()
    assert run.state.nonfinite_steps == 0
    moved = jax.tree.map(lambda a, b: np.any(a != b), before, run.state.params)
  assert any(jax.tree.leaves(moved))
