"""Gradients taken part by part are those of the whole share."""

import dataclasses

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import pytest

from multinerf import losses, parallel
from multinerf.losses import base
from multinerf.models import chunks
from multinerf.training import gradients

N = 12
NET = model_util.model(
  nerf=dict(disable_density_normals=False, enable_pred_normals=True),
  single_mlp=True,
)
SMALL = model_util.model()
# Every loss that is a mean over rays, switched on by one of these.
EACH_RAY = (
  dict(
    # The mean angle is a ratio of sums over rays, not a mean over rays.
    compute_disp_metrics=True,
    compute_normal_metrics=True,
    data_coarse_loss_mult=0.1,
    distortion_loss_mult=0.1,
    orientation_loss_mult=0.1,
    orientation_coarse_loss_mult=0.1,
    predicted_normal_loss_mult=0.1,
    eikonal_loss_mult=0.1,
    weight_decay_mults={'NerfMLP_0': 0.1},
    param_regularizers={'NerfMLP_0/': (0.1, jnp.mean, 2.0, 1.0)},
  ),
  dict(spline_interlevel_params={'mults': 0.1, 'blurs': (0.1,)}),
  dict(data_loss_type='mse', interlevel_loss_mult=0.0),
  dict(data_loss_type='cauchy', interlevel_loss_mult=0.0),
  dict(data_loss_type='geman-mcclure', interlevel_loss_mult=0.0),
  dict(data_loss_type='rawnerf', interlevel_loss_mult=0.0),
)
# Those that look at other rays.
TOGETHER = (
  dict(data_loss_type='robustnerf'),
  dict(depth_loss_mult=0.1),
  dict(normal_loss_mult=0.1),
)


def batch(n=N):
  """Rays whose weights differ, with what the metrics compare with."""
  generator = np.random.default_rng(1)
  weights = np.float32(4.0 ** generator.integers(0, 4, (n, 1)))
  normals = generator.normal(size=(n, 3)).astype(np.float32)
  return model_util.batch(n, lossmult=jnp.asarray(weights)).replace(
    alphas=jnp.asarray(generator.random(n, np.float32)),
    disps=jnp.asarray(generator.random(n, np.float32)),
    normals=jnp.asarray(normals / np.linalg.norm(normals, axis=-1)[:, None]),
  )


def gradient(loss_cfg, chunk_cfg, batch, keys=None, net=SMALL):
  """(gradient, statistics, colours) on one device."""
  fn = gradients.make_gradient(net, loss_cfg, chunk_cfg)
  params = model_util.init(net, model_util.rays(2))
  keys = model_util.ray_keys(batch.rgb.shape[0]) if keys is None else keys

  def run(params, key_data, batch):
    keys = jax.random.wrap_key_data(key_data)
    frac = jnp.float32(0.5)
    grads, (stats, rgb, state) = fn(params, keys, batch.rays, batch, frac, {})
    assert state == {}
    return grads, stats, rgb

  mapped = jax.pmap(run, axis_name=parallel.AXIS, devices=jax.devices()[:1])
  add_axis = lambda tree: jax.tree.map(lambda x: jnp.asarray(x)[None], tree)
  found = mapped(*add_axis((params, jax.random.key_data(keys), batch)))
  return jax.tree.map(lambda x: np.asarray(x[0]), found)


def assert_same(got, want):
  assert jax.tree.structure(got) == jax.tree.structure(want)

  def check(a, b):
    scale = max(np.linalg.norm(b), 1e-7)
    assert np.linalg.norm(a - b) <= 1e-5 * scale

  jax.tree.map(check, got, want)


def case(options):
  """The first of them covers what is not colour, the rest take as long each."""
  mark = () if options is EACH_RAY[0] else pytest.mark.slow
  return pytest.param(options, marks=mark)


@pytest.mark.parametrize('options', [case(x) for x in EACH_RAY])
def test_parts_add_up_to_the_whole(options):
  loss_cfg = losses.LossConfig(**options)
  assert losses.all_per_ray(loss_cfg)
  want = gradient(loss_cfg, chunks.ChunkConfig(N), batch(), net=NET)
  found = gradient(loss_cfg, chunks.ChunkConfig(5), batch(), net=NET)  # of 4
  if loss_cfg.compute_normal_metrics:
    assert {'disparity_mses', 'normal_maes'} <= found[1].keys()
  assert_same(found, want)


def test_patches_stay_whole():
  fold = lambda x: x.reshape((3, 2, 2, *x.shape[1:]))
  keys = model_util.ray_keys(N)
  want = gradient(losses.LossConfig(), chunks.ChunkConfig(N), batch(), keys)
  patches = jax.tree.map(fold, batch())
  found = gradient(
    losses.LossConfig(), chunks.ChunkConfig(1), patches, keys.reshape(3, 2, 2)
  )
  assert_same(found[:2], want[:2])


def test_every_loss_is_declared_as_it_is():
  declared = {
    name
    for table in (losses.DATA_LOSSES, losses.REGULARIZERS)
    for name in table.names()
    if hasattr(getattr(table.get(name), 'fn', table.get(name)), 'per_ray')
  }
  on = lambda options: {
    losses.LossConfig(**options).data_loss_type,
    *losses.active_regularizers(losses.LossConfig(**options)),
  }
  assert declared == set().union(*map(on, EACH_RAY))
  for options in TOGETHER:
    assert not losses.all_per_ray(losses.LossConfig(**options))


def test_a_loss_of_a_user_sees_all_rays_unless_it_is_declared(monkeypatch):
  for table in (base.DATA_LOSSES, base.REGULARIZERS):
    monkeypatch.setattr(table, '_entries', dict(table._entries))
  seen = []

  @base.DATA_LOSSES.register('own')
  def own(pred, target, cfg):
    seen.append(pred.shape[0])
    return (pred - jnp.median(target)) ** 2

  loss_cfg = losses.LossConfig(data_loss_type='own')
  data = model_util.batch(N)
  params = jax.eval_shape(
    lambda: SMALL.init(jax.random.key(0), None, model_util.rays(2))
  )

  def trace():
    fn = gradients.make_gradient(SMALL, loss_cfg, chunks.ChunkConfig(4))
    jax.eval_shape(fn, params, None, data.rays, data, 0.5, {})

  trace()
  assert set(seen) == {N}
  seen.clear()
  losses.per_ray(own)
  trace()
  assert set(seen) == {4}


@pytest.mark.parametrize(
  ('num_patches', 'patch_rays', 'wanted', 'count'),
  [
    (64, 1, 8, 8),
    (64, 1, 64, 1),
    (64, 1, 100, 1),
    (60, 1, 8, 10),  # of 6
    (61, 1, 8, 1),  # a prime number: only single rays would be equal
    (16, 64, 128, 8),
    (16, 64, 8, 16),  # a patch is the least
  ],
)
def test_the_number_of_parts(num_patches, patch_rays, wanted, count):
  class Wants:
    def rays_at_once(self, num_rays):
      assert num_rays == num_patches * patch_rays
      return wanted

  loss_cfg, default = losses.LossConfig(), chunks.ChunkConfig()
  args = num_patches, patch_rays
  found = gradients.num_chunks(Wants(), loss_cfg, default, *args)
  assert found == count
  asked = dataclasses.replace(default, rays_at_once=wanted)
  assert gradients.num_chunks(None, loss_cfg, asked, *args) == count


def test_on_a_cpu_parts_have_the_size_that_fields_want():
  net = model_util.model(nerf=dict(net_width=2048), num_nerf_samples=64)
  assert net.rays_at_once(10_000) == 1024 // 6
  assert net.clone(num_prop_samples=64).rays_at_once(10_000) == 64
  assert net.rays_at_once(3) == 3
  with_grids = net.clone(sampling_strategy=((0, 0, 64), (1, 1, 32)))
  assert with_grids.rays_at_once(10_000) == 10_000
