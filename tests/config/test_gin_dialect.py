"""Two families of models in one set of names: MultiNeRF's and Zip-NeRF's."""

import jax
import jax.numpy as jnp
import model_util
import pytest

from multinerf import errors, models
from multinerf.config import gin_setup
from multinerf.ops import coord, curves, numerics

SMALL = """
Model.sampling_strategy = ((0, 0, 4), (1, None, 4))
Model.mlp_params_per_level = ({'disable_rgb': True, 'net_width': 8}, {})
Model.grid_params_per_level = ({'num_features': 1},)
MLP.net_depth = 1
MLP.net_width = 16
HashEncoding.max_grid_size = 64
HashEncoding.scale_supersample = 1.
"""


def test_zipnerf_360_is_the_published_one():
  # jonbarron/camp_zipnerf @8e6d57e, configs/zipnerf/360.gin, by hand.
  setup = gin_setup.load(['zipnerf_360.gin'])
  config, model = setup.config, setup.build_model()
  assert setup.family == 'zipnerf'
  assert (config.max_steps, config.batch_size) == (200_000, 8192)
  assert (config.lr_init, config.lr_final) == (0.00125, 0.000125)
  assert (config.lr_delay_steps, config.lr_delay_mult) == (20_000, 1e-8)
  assert (config.adam_beta2, config.adam_eps) == (0.99, 1e-15)
  assert (config.grad_max_norm, config.grad_max_val) == (0, 0)
  assert config.interlevel_loss_mult == 0
  assert config.spline_interlevel_params == {
    'mults': 0.01,
    'blurs': (0.03, 0.003),
  }
  assert config.distortion_loss_target == 'tdist'
  curve = (curves.power_ladder, {'p': -0.25, 'premult': 10000.0})
  assert config.distortion_loss_curve_fn == curve
  assert config.param_regularizers == {
    f'grid_{i}': (0.1, jnp.mean, 2, 1) for i in range(3)
  }
  assert model.sampling_strategy == ((0, 0, 64), (1, 1, 64), (2, 2, 32))
  assert model.raydist_fn[2] == {'p': -1.5, 'premult': 2}
  grid = dict(hash_map_size=2**21, scale_supersample=1.0, max_grid_size=8192)
  assert [dict(g) for g in model.grid_params_per_level] == [
    grid | dict(num_features=1, max_grid_size=512),
    grid | dict(num_features=1, max_grid_size=2048),
    grid | dict(num_features=4),
  ]
  mlp = dict(model.mlp_params_per_level[2])
  assert mlp['warp_fn'] is coord.contract
  assert mlp['density_activation'] is numerics.safe_exp
  assert mlp['unscented_mip_basis'] == 'hexify'
  assert (mlp['bottleneck_width'], mlp['net_width_viewdirs']) == (256, 256)


@pytest.mark.parametrize(
  'name, count',
  [
    ('zipnerf_360.gin', 77_519_447),  # the sum in presets.md B.1
    ('zipnerf_blender.gin', 77_519_447),
    ('zipnerf_360_aglo128.gin', 77_519_447 + 1_379_072),
    ('configs/zipnerf/360.gin', 77_519_447),
  ],
)
def test_zipnerf_has_the_number_of_parameters_of_the_specification(name, count):
  model = gin_setup.load([name]).build_model()
  tree = jax.eval_shape(
    lambda key: model.init(key, None, model_util.rays(2)), jax.random.key(0)
  )
  assert sum(x.size for x in jax.tree.leaves(tree)) == count


@pytest.mark.parametrize(
  'old',
  [
    'configs/zipnerf/360.gin',
    'configs/zipnerf/360_aglo128.gin',
    'configs/zipnerf/blender.gin',
  ],
)
def test_camp_zipnerf_s_includes_resolve(old, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'mine.gin').write_text(f"include '{old}'\nConfig.near = 0.5\n")
  setup = gin_setup.load(['mine.gin'])
  assert setup.config.near == 0.5 and setup.family == 'zipnerf'


def test_levels_take_the_class_s_options_unless_they_have_their_own():
  setup = gin_setup.load([], SMALL)
  coarse, fine = map(dict, setup.build_model().mlp_params_per_level)
  assert (coarse['net_width'], fine['net_width']) == (8, 16)
  assert coarse['disable_rgb'] and 'disable_rgb' not in fine
  (grid,) = setup.build_model().grid_params_per_level
  assert grid['max_grid_size'] == 64 and grid['num_features'] == 1


def test_compute_dtype_reaches_every_level():
  setup = gin_setup.load([], [SMALL, "Config.compute_dtype = 'bfloat16'"])
  params = setup.build_model().mlp_params_per_level
  assert {p['compute_dtype'] for p in params} == {'bfloat16'}


def test_the_family_s_own_defaults_apply_only_to_it():
  zipnerf = gin_setup.load([], 'MLP.net_depth = 1')
  model, config = zipnerf.build_model(), zipnerf.config
  assert model.sampling_strategy == (
    (0, None, 64),
    (0, None, 64),
    (1, None, 32),
  )
  assert model.num_glo_embeddings == 10_000
  assert config.interlevel_loss_mult == 0 and config.spline_interlevel_params
  assert config.render_chunk_size == 32768 and config.train_render_every == 0
  bound = gin_setup.load(
    [], ['MLP.net_depth = 1', 'Config.render_chunk_size = 8']
  )
  assert bound.config.render_chunk_size == 8
  multinerf = gin_setup.load([], 'NerfMLP.net_depth = 1')
  assert multinerf.build_model().sampling_strategy is None
  assert multinerf.config.spline_interlevel_params is None


def parts(model):
  """The model without its levels' options, and what those make."""
  mlps = [models.MLP(**p) for p in model.mlp_params_per_level]
  grids = [models.HashEncoding(**p) for p in model.grid_params_per_level]
  bare = model.clone(mlp_params_per_level=(), grid_params_per_level=())
  return bare, mlps, grids


def test_what_a_run_saves_gives_the_same_run_again():
  for name in ('zipnerf_360_aglo128.gin', 'zipnerf_blender.gin'):
    setup = gin_setup.load([name])
    for text in (setup.config_str, setup.operative_config_str):
      again = gin_setup.load([], text)
      assert again.config == setup.config
      assert parts(again.build_model()) == parts(setup.build_model())


@pytest.mark.parametrize(
  'mixed',
  [
    'NerfMLP.net_depth = 2\nMLP.net_depth = 2',
    'Model.num_levels = 2\nModel.sampling_strategy = ((0, None, 4),)',
    'PropMLP.net_depth = 2\nModel.grid_params_per_level = ()',
  ],
)
def test_mixing_the_families_names_a_binding_of_each(mixed):
  first, second = (line.split(' =')[0] for line in mixed.split('\n'))
  with pytest.raises(errors.ConfigError, match='one family') as info:
    gin_setup.load([], mixed)
  assert first in str(info.value) and second in str(info.value)


def test_a_grid_may_serve_multinerf_s_networks():
  setup = gin_setup.load(
    [], 'HashEncoding.num_features = 3\nNerfMLP.encoder = @HashEncoding()'
  )
  assert setup.family == 'multinerf'
  assert setup.build_model().nerf_mlp.encoder.num_features == 3


@pytest.mark.parametrize(
  'binding, words',
  [
    ("Model.mlp_params_per_level = ({'net_dept': 1}, {})", "'net_dept'"),
    ("Model.mlp_params_per_level = ({'net_depth': 'a'}, {})", 'net_depth'),
    ("Model.grid_params_per_level = ({'size': 1},)", 'grid_params_per_level'),
  ],
)
def test_wrong_options_of_a_level_are_named(binding, words):
  with pytest.raises(errors.ConfigError, match=words):
    gin_setup.load([], binding)
