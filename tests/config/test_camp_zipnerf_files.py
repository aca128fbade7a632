"""Unmodified gin files of camp_zipnerf load, or say what is missing."""

import warnings

import gin
import pytest

from multinerf import errors
from multinerf.cameras import poses
from multinerf.config import gin_setup, schema

# Values of zipnerf/360.gin @8e6d57e (presets.md B.1), each once.
PUBLISHED = """
  Config.dataset_loader = 'llff'
  Config.near = 0.
  Config.far = 1e6
  Config.factor = 4
  Config.max_steps = 200000
  Config.batch_size = 8192
  Config.lr_init = 0.00125
  Config.lr_final = 0.000125
  Config.lr_delay_steps = 20000
  Config.lr_delay_mult = 1e-8
  Config.adam_beta1 = 0.9
  Config.adam_beta2 = 0.99
  Config.adam_eps = 1e-15
  Config.cast_rays_in_eval_step = True
  Config.cast_rays_in_train_step = True
  Config.checkpoint_every = 10000
  Config.visualize_every = 10000
  Config.print_every = 100
  Config.grad_max_norm = 0.
  Config.grad_max_val = 0.
  Config.distortion_loss_target = 'tdist'
  Config.distortion_loss_mult = 0.01
  Config.distortion_loss_curve_fn = (
      @math.power_ladder, {'p': -0.25, 'premult': 10000.})
  Config.spline_interlevel_params = {'mults': 0.01, 'blurs': (0.03, 0.003)}
  Config.param_regularizers = {
      'grid_0': (0.1, @jnp.mean, 2, 1),
      'grid_1': (0.1, @jnp.mean, 2, 1),
      'grid_2': (0.1, @jnp.mean, 2, 1),
  }
  Model.num_glo_features = 0
  Model.bg_intensity_range = (0, 1)
  Model.raydist_fn = (
      @math.power_ladder, @math.inv_power_ladder, {'p': -1.5, 'premult': 2})
  Model.sampling_strategy = ((0, 0, 64), (1, 1, 64), (2, 2, 32))
  Model.mlp_params_per_level = ({'disable_rgb': True}, {'disable_rgb': True}, {})
  Model.grid_params_per_level = (
      {'num_features': 1, 'max_grid_size': 512},
      {'num_features': 1, 'max_grid_size': 2048},
      {'num_features': 4})
  HashEncoding.hash_map_size = 2097152
  HashEncoding.scale_supersample = 1.
  HashEncoding.max_grid_size = 8192
  MLP.warp_fn = @coord.contract
  MLP.net_depth = 1
  MLP.net_width = 64
  MLP.disable_density_normals = True
  MLP.density_activation = @math.safe_exp
  MLP.bottleneck_width = 256
  MLP.net_depth_viewdirs = 3
  MLP.net_width_viewdirs = 256
  MLP.skip_layer_dir = 2
  MLP.unscented_mip_basis = 'hexify'
  MLP.unscented_scale_mult = 0.5
"""


# The other files that include it (B.2 to B.4), and our presets of them.
MORE = {
  'zipnerf_360.gin': '',
  'zipnerf_360_aglo128.gin': """
    Model.num_glo_features = 128
    MLP.glo_mode = 'affine'
    MLP.glo_mlp_arch = [128, 128]
  """,
  'zipnerf_blender.gin': """
    Config.dataset_loader = 'blender'
    Config.near = 2
    Config.far = 6
    Config.factor = 0
    Config.param_regularizers = {
        'grid_0': (10, @jnp.mean, 2, 1),
        'grid_1': (10, @jnp.mean, 2, 1),
        'grid_2': (10, @jnp.mean, 2, 1),
    }
    Model.bg_intensity_range = (1, 1)
    Model.raydist_fn = None
  """,
  'zipnerf_multiscale.gin': 'Config.multiscale_train_factors = [2, 4, 8]',
}


@pytest.mark.parametrize(('preset', 'more'), MORE.items(), ids=MORE)
def test_the_published_files_are_our_presets(preset, more):
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    theirs = gin_setup.load([], [PUBLISHED, more])
  ours = gin_setup.load([preset])
  for name, value in vars(theirs.config).items():
    assert value == getattr(ours.config, name), name
  assert theirs.model_fields == ours.model_fields


@pytest.mark.parametrize(
  ('binding', 'says'),
  [
    ('Config.world_scale = 2.0', 'never reads it'),
    ('Config.donate_args_to_train = False', 'memory is always reused'),
    ('Config.render_delete_images_when_done = True', 'images are kept'),
    ('MLP.isotropize_gaussians = True', 'never reads it'),
    ('Model.max_exposure = 3.0', 'never reads it'),
  ],
)
def test_what_has_no_effect_is_accepted_with_a_warning(binding, says):
  with pytest.warns(schema.ConfigWarning, match=says):
    setup = gin_setup.load([], binding)
  assert binding.split(' =')[0] not in setup.config_str


@pytest.mark.parametrize(
  'binding',
  [
    'Config.debug_mode = True',
    'Config.load_colmap_points = True',
    'Config.donate_args_to_train = True',
    'Config.world_scale = 1.0',
    'Config.metric_harness_eval_config = {}',
  ],
)
def test_what_holds_anyway_needs_no_word(binding):
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    gin_setup.load([], binding)


@pytest.mark.parametrize(
  ('binding', 'what'),
  [
    ('Config.optimize_cameras = True', 'CamP'),
    ('Config.camera_lr_schedule_def = None', 'CamP'),
    ('camera_delta.SE3CameraDelta.use_precondition = True', 'CamP'),
    ('Config.use_perturbed_cameras = True', 'CamP'),
    ('MLP.density_as_sdf = True', 'VolSDF'),
    ('Model.final_betas = None', 'VolSDF'),
    ('MLP.use_learned_vignette_map = True', 'vignettes'),
    ('Config.near_plane_meters = 0.1', 'metres'),
  ],
)
def test_what_is_missing_says_what_it_belongs_to(binding, what):
  with pytest.raises(errors.ConfigError, match=what) as info:
    gin_setup.load([], binding)
  assert 'Did you mean' not in str(info.value)


@gin.configurable(module='camp_test_plugin')
class Foreign:
  def __init__(self, beta_scale=1.0):
    self.beta_scale = beta_scale


def test_options_of_users_classes_are_not_taken_for_its():
  with pytest.raises(errors.ConfigError, match="'beta_scale'") as info:
    gin_setup.load([], 'camp_test_plugin.Foreign.beta_skale = 1.0')
  assert 'VolSDF' not in str(info.value)


def test_a_function_may_take_the_place_of_the_frame():
  setup = gin_setup.load(
    [], 'Config.transform_poses_fn = @camera_utils.transform_poses_focus'
  )
  assert setup.config.transform_poses_fn is poses.transform_poses_focus
  again = gin_setup.load([], setup.operative_config_str)
  assert again.config == setup.config


def test_its_defaults_of_training_and_videos_apply_to_its_family_only():
  theirs = gin_setup.load([], 'MLP.net_depth = 1').config
  ours = gin_setup.load([], 'NerfMLP.net_depth = 1').config
  assert (theirs.visualize_every, ours.visualize_every) == (25000, 0)
  assert not theirs.normalize_loss_weights and ours.normalize_loss_weights
  assert not theirs.render_dist_adaptive and ours.render_dist_adaptive
  assert theirs.render_dist_vis_params == {'p': -1.5, 'premult': 2.0}
  assert ours.render_dist_vis_params is None
