"""Where Zip-NeRF's levels differ from MultiNeRF's: codes, colours, distances."""

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import pytest

from multinerf import losses
from multinerf.losses import photometric
from multinerf.models import model
from multinerf.training import gradients

FIELD = dict(
  net_depth=1,
  net_width=8,
  bottleneck_width=8,
  net_width_viewdirs=8,
  max_deg_point=2,
  disable_density_normals=True,
)
PROPOSAL = FIELD | {'disable_rgb': True}


def make(strategy, params, **options):
  return model.Model(
    sampling_strategy=strategy, mlp_params_per_level=params, **options
  )


def render(net, rays, **options):
  @jax.jit
  def run(key):
    params = net.init(key, None, rays)
    return params, net.apply(params, None, rays, **options)

  return run(jax.random.key(0))


def test_a_field_of_all_levels_reads_the_code_at_all_of_them():
  # camp_zipnerf gives it to every level; MultiNeRF to the last alone.
  net = make(
    ((0, None, 4), (0, None, 4)),
    (FIELD,),
    num_glo_features=3,
    num_glo_embeddings=5,
  )
  rays = model_util.rays(4)
  _, (plain, _) = render(net, rays, zero_glo=True)
  _, (coded, _) = render(net, rays, zero_glo=False)
  for before, after in zip(plain, coded, strict=True):
    assert np.abs(before.rgb - after.rgb).max() > 1e-4


def test_a_code_alone_opens_the_second_stage():
  net = make(
    ((0, None, 4), (1, None, 4)),
    (PROPOSAL, FIELD),
    num_glo_features=3,
    num_glo_embeddings=5,
    use_viewdirs=False,
  )
  rays = model_util.rays(4)
  params, (plain, _) = render(net, rays, zero_glo=True)
  _, (coded, _) = render(net, rays, zero_glo=False)
  assert np.abs(plain[-1].rgb - coded[-1].rgb).max() > 1e-4
  # Trunk, density, bottleneck, view layer (bottleneck and code), colour.
  shapes = [v['kernel'].shape for v in params['params']['MLP_1'].values()]
  assert shapes == [(84, 8), (8, 1), (8, 8), (8 + 3, 8), (8, 3)]


def test_without_directions_multinerf_reads_no_code():
  net = model_util.model(
    num_glo_features=3, num_glo_embeddings=5, use_viewdirs=False
  )
  rays = model_util.rays(4)
  params, (plain, _) = render(net, rays, zero_glo=True)
  _, (coded, _) = render(net, rays, zero_glo=False)
  np.testing.assert_array_equal(plain[-1].rgb, coded[-1].rgb)


@pytest.mark.parametrize('coarse_mult', [0.0, 1.0])
def test_levels_without_colours_count_in_no_loss_and_no_psnr(coarse_mult):
  net = make(((0, None, 4), (1, None, 4)), (PROPOSAL, FIELD))
  rays = model_util.rays(4)
  _, (renderings, levels) = render(net, rays)
  assert renderings[0].rgb is None and levels[0].field.rgb is None
  target = jnp.full((4, 3), 0.25)
  inputs = losses.LossInputs(
    rays=rays,
    rgb=target,
    lossmult=jnp.ones((4, 3)),
    renderings=tuple(renderings),
    levels=tuple(levels),
    params={},
  )
  cfg = losses.LossConfig(
    data_loss_type='mse', data_coarse_loss_mult=coarse_mult
  )
  total, _, stats = photometric.data_loss(inputs, cfg)
  want = np.mean((np.asarray(renderings[-1].rgb) - 0.25) ** 2)
  np.testing.assert_allclose(total, want, rtol=1e-6)
  np.testing.assert_allclose(stats['mses'], [want], rtol=1e-6)


def test_distances_are_percentiles_of_what_was_hit():
  # Half transparent: MultiNeRF's median may be the far plane, this one not.
  net = make(((0, None, 8),), (FIELD | {'density_bias': -6.0},))
  rays = model_util.rays(4)
  _, (renderings, levels) = render(net, rays, compute_extras=True)
  assert np.all(renderings[-1].acc < 0.5)
  weights, t = np.asarray(levels[-1].weights), np.asarray(levels[-1].tdist)
  for i in range(4):
    cdf = np.concatenate([[0], np.cumsum(weights[i]) / weights[i].sum()])
    want = np.interp(0.5, cdf, t[i])
    np.testing.assert_allclose(
      renderings[-1].distance_median[i], want, rtol=1e-3
    )


def test_weights_of_rays_may_be_taken_as_they_are():
  rays = model_util.rays(4)
  rays = rays.replace(lossmult=jnp.asarray([[1.0], [4.0], [0.0], [1.0]]))
  rgb = jnp.zeros((4, 3))
  as_given = losses.LossConfig(normalize_loss_weights=False)
  weights = gradients._weights(as_given, rays, rgb)
  np.testing.assert_array_equal(weights[:, 0], [1, 4, 0, 1])
