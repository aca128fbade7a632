"""`Config`: names, defaults, explanations, conversion and refusal."""

import dataclasses
import math
import pathlib
import subprocess
import sys

import jax.numpy as jnp
import pytest

from multinerf import errors
from multinerf.config import option, schema

# google-research/multinerf@5b4d4f6, internal/configs.py, transcribed by hand
# on 2026-11-22: the names and defaults on which users' gin files rely.
UPSTREAM = dict(
  dataset_loader='llff',
  batching='all_images',
  batch_size=16384,
  patch_size=1,
  factor=0,
  load_alphabetical=True,
  forward_facing=False,
  render_path=False,
  llffhold=8,
  llff_use_all_images_for_training=False,
  use_tiffs=False,
  compute_disp_metrics=False,
  compute_normal_metrics=False,
  disable_multiscale_loss=False,
  near=2.0,
  far=6.0,
  checkpoint_dir=None,
  render_dir=None,
  data_dir=None,
  vocab_tree_path=None,
  gc_every=10000,
  num_border_pixels_to_mask=0,
  randomized=True,
  max_steps=250000,
  early_exit_steps=None,
  checkpoint_every=25000,
  print_every=100,
  train_render_every=5000,
  num_showcase_images=5,
  deterministic_showcase=True,
  vis_num_rays=16,
  vis_decimate=0,
  cast_rays_in_train_step=False,
  render_chunk_size=16384,
  data_loss_type='charb',
  charb_padding=0.001,
  data_loss_mult=1.0,
  data_coarse_loss_mult=0.0,
  interlevel_loss_mult=1.0,
  distortion_loss_mult=0.01,
  orientation_loss_mult=0.0,
  orientation_coarse_loss_mult=0.0,
  orientation_loss_target='normals_pred',
  predicted_normal_loss_mult=0.0,
  predicted_normal_coarse_loss_mult=0.0,
  weight_decay_mults={},
  enable_robustnerf_loss=False,
  robustnerf_inlier_quantile=0.5,
  robustnerf_inner_patch_size=8,
  robustnerf_smoothed_filter_size=3,
  robustnerf_smoothed_inlier_quantile=0.5,
  robustnerf_inner_patch_inlier_quantile=0.5,
  lr_init=0.002,
  lr_final=0.00002,
  lr_delay_steps=512,
  lr_delay_mult=0.01,
  adam_beta1=0.9,
  adam_beta2=0.999,
  adam_eps=1e-6,
  grad_max_norm=0.001,
  grad_max_val=0.0,
  eval_only_once=True,
  eval_save_output=True,
  eval_save_ray_data=False,
  eval_render_interval=1,
  eval_dataset_limit=2147483647,
  eval_quantize_metrics=True,
  eval_crop_borders=0,
  eval_raw_affine_cc=False,
  render_video_fps=60,
  render_video_crf=18,
  render_path_frames=120,
  z_variation=0.0,
  z_phase=0.0,
  render_dist_percentile=0.5,
  render_dist_curve_fn=jnp.log,
  render_path_file=None,
  render_job_id=0,
  render_num_jobs=1,
  render_resolution=None,
  render_focal=None,
  render_camtype=None,
  render_spherical=False,
  render_save_async=True,
  render_spline_keyframes=None,
  render_spline_n_interp=30,
  render_spline_degree=5,
  render_spline_smoothness=0.03,
  render_spline_interpolate_exposure=False,
  rawnerf_mode=False,
  exposure_percentile=97.0,
  apply_bayer_mask=False,
  autoexpose_renders=False,
)
ADDED = dict(
  normalize_loss_weights=True,
  render_compute_dtype='',
  render_empty_below=0.0,
  render_rgb_only=False,
  normalize_poses='pca',
  mask_dir='masks',
  mask_keeps='white',
  depth_loss_mult=0.0,
  depth_loss_type='mse',
  depth_source='maps',
  depth_scale=1e-3,
  depth_sigma=0.01,
  depth_ray_fraction=0.25,
  normal_loss_mult=0.0,
  normal_loss_type='l1_cosine',
  normal_loss_target='normals',
  checkpoint_keep=100,
  checkpoint_keep_every=0,
  watchdog_minutes=10.0,
  jax_rng_seed=20200823,
  np_rng_seed=20201473,
  eval_checkpoint_wait_timeout_sec=math.inf,
  compute_dtype='float32',
  lr_schedule='log_lerp',
  lr_schedule_kwargs={},
  nonfinite_grad_limit=10,
  collapse_guard=True,
  collapse_check_step=200,
  collapse_max_restarts=5,
  prefetch_batches=3,
  opaque_ray_fraction=0.0,
  pixels_on_device='auto',
  steps_per_dispatch=1,
  pixel_cache_dir=None,
  memory_budget_gib=None,
  rays_at_once=None,
  remat=False,
  compilation_cache_dir='~/.cache/multinerf/xla',
  lpips_weights=None,
  synthetic_resolution=128,
  synthetic_num_train=60,
  synthetic_num_test=8,
  synthetic_look='still_life',
  dtu_light_cond=3,
  dtuhold=8,
)
CAMP_ZIPNERF = dict(
  colmap_subdir=None,
  image_subdir=None,
  llff_load_from_poses_bounds=False,
  load_ngp_format_poses=False,
  transform_poses_fn=None,
  checkpoint_init=False,
  # 25000 there, the power ladder of p = -1.5, and False; defaults of models of
  # MLP and HashEncoding here too.
  visualize_every=0,
  render_dist_vis_params=None,
  render_dist_adaptive=True,
  multiscale_train_factors=None,
  robust_loss_scale=0.01,
  # camp_zipnerf has {'mults': 0.01, 'blurs': (0.03, 0.003)} and no
  # interlevel_loss_mult; here that one is the default.
  spline_interlevel_params=None,
  distortion_loss_target='sdist',
  distortion_loss_curve_fn=None,
  eikonal_loss_mult=0.0,
  eikonal_coarse_loss_mult=0.0,
  param_regularizers={},
  lr_init_grid=None,
  lr_final_grid=None,
  scene_bbox=None,
  z_min=None,
  z_max=None,
  render_video_exts=('mp4',),
  rad_mult_min=1.0,
  rad_mult_max=1.0,
  render_rotate_xaxis=0.0,
  render_rotate_yaxis=0.0,
  lock_up=False,
  render_spline_interpolate_exposure_smoothness=20,
  render_spline_rot_weight=0.1,
  render_spline_lock_up=False,
  render_spline_fixed_up=False,
  render_spline_const_speed=False,
  render_spline_lookahead_i=None,
  render_spline_n_buffer=None,
  render_spline_meters_per_sec=None,
  render_spline_outlier_keyframe_quantile=None,
  render_spline_outlier_keyframe_multiplier=None,
  render_calibration_keyframes=None,
  render_calibration_distance=3.0,
  render_looped_videos=False,
  render_spline_keyframes_choices=None,
)
ROBUST = dict(
  data_loss_type='robustnerf', enable_robustnerf_loss=True, patch_size=16
)
FIELDS = {f.name: f for f in dataclasses.fields(schema.Config)}


def test_every_upstream_option_keeps_its_name_and_default():
  config = schema.Config()
  got = {name: getattr(config, name) for name in UPSTREAM}
  assert got == UPSTREAM


def test_our_own_options_are_the_only_additions():
  config = schema.Config()
  extra = set(FIELDS) - set(UPSTREAM)
  added = ADDED | CAMP_ZIPNERF
  assert {name: getattr(config, name) for name in extra} == added


@pytest.mark.parametrize(
  ('options', 'words'),
  [(ADDED, ' New here.'), (CAMP_ZIPNERF, " camp_zipnerf's.")],
)
def test_every_added_option_says_where_it_is_from(options, words):
  docs = {n: f.metadata['doc'] for n, f in FIELDS.items()}
  assert {n for n, doc in docs.items() if doc.endswith(words)} == set(options)


@pytest.mark.parametrize('name', FIELDS)
def test_every_option_is_explained_and_has_a_default_that_it_accepts(name):
  doc = FIELDS[name].metadata['doc']
  assert len(doc) > 10
  assert doc.endswith('.')
  default = option.default_of(FIELDS[name])
  assert schema.check_value(name, default) == default


def test_groups_partition_the_options():
  names = [f.name for g in schema.GROUPS for f in dataclasses.fields(g)]
  assert sorted(names) == sorted(FIELDS)
  assert schema.GROUPS[0].__name__ == 'DataOptions'


def test_values_are_converted_to_the_declared_types():
  config = schema.Config(
    near=0,
    far=1,
    max_steps=1e5,
    render_path=1,
    render_resolution=[640, 480],
    data_dir=pathlib.Path('a') / 'b',
    weight_decay_mults={'NerfMLP_0': 1},
  )
  assert (config.near, type(config.near)) == (0.0, float)
  assert (config.max_steps, type(config.max_steps)) == (100000, int)
  assert config.render_path is True
  assert config.render_resolution == (640, 480)
  assert config.data_dir == str(pathlib.Path('a') / 'b')
  assert type(config.weight_decay_mults['NerfMLP_0']) is float


def test_config_is_frozen_and_copies_its_mutable_defaults():
  config = schema.Config()
  with pytest.raises(dataclasses.FrozenInstanceError):
    config.near = 3.0
  config.weight_decay_mults['x'] = 1.0
  assert schema.Config().weight_decay_mults == {}


def test_replace_checks_again():
  config = dataclasses.replace(schema.Config(), batch_size=64)
  assert config.batch_size == 64
  with pytest.raises(errors.ConfigError, match='batch_size'):
    dataclasses.replace(config, batch_size=-1)


@pytest.mark.parametrize(
  ('options', 'words'),
  [
    ({'batch_size': '64'}, ['Config.batch_size', "'64'", 'integer >= 1']),
    ({'batch_size': 0}, ['Config.batch_size', '>= 1', 'got 0']),
    ({'adam_beta1': 1}, ['Config.adam_beta1', '>= 0, < 1', 'got 1']),
    ({'batching': 'image'}, ['Config.batching', "'single_image'", "'image'"]),
    ({'compute_dtype': 'float16'}, ['compute_dtype', "'bfloat16'"]),
    ({'orientation_loss_target': 'n'}, ["'normals' or 'normals_pred'"]),
    ({'render_camtype': 'x'}, ["'pano' or None"]),
    ({'render_resolution': (0, 4)}, ['render_resolution', '> 0']),
    ({'render_resolution': (4,)}, ['(an integer, an integer)', '(4,)']),
    ({'render_dist_curve_fn': 'log'}, ['function', "'log'"]),
    ({'weight_decay_mults': {'a': 'b'}}, ['weight_decay_mults', 'dict']),
    ({'lr_init': float('nan')}, ['lr_init', 'number', 'nan']),
    ({'near': 6}, ['Config.near', '< Config.far', '6.0']),
    ({'patch_size': 8, 'batch_size': 32}, ['patch_size = 8', '64', '32']),
    ({'render_job_id': 1}, ['render_job_id', 'render_num_jobs']),
    (ROBUST | {'data_loss_type': 'mse'}, ['data_loss_type', "'robustnerf'"]),
    (ROBUST | {'patch_size': 1}, ['patch_size', 'patches', 'got 1']),
    (
      ROBUST | {'robustnerf_inner_patch_size': 17},
      ['robustnerf_inner_patch_size', 'patch_size', '17 and 16'],
    ),
    ({'distortion_loss_curve_fn': ('log', {})}, ['curve_fn', 'function']),
    ({'param_regularizers': {'a': (1, 2, 1)}}, ['param_regularizers', 'dict']),
    ({'distortion_loss_target': 't'}, ["'sdist' or 'tdist'"]),
    ({'lr_init_grid': 0}, ['lr_init_grid', '> 0']),
    ({'dtu_light_cond': 8}, ['dtu_light_cond', '<= 7']),
  ],
)
def test_a_bad_value_is_refused_with_option_value_and_remedy(options, words):
  with pytest.raises(errors.ConfigError) as e:
    schema.Config(**options)
  for word in words:
    assert word in str(e.value)
  assert '\n' not in str(e.value)


def test_robustnerf_is_checked_only_where_its_masks_are_on():
  assert schema.Config(**ROBUST).robustnerf_inner_patch_size == 8
  # Off, it is the plain squared error, for which any batch will do.
  off = schema.Config(data_loss_type='robustnerf')
  assert off.patch_size == 1


@pytest.mark.parametrize('name', schema.DEAD)
def test_options_without_effect_are_accepted_with_a_warning(name):
  other = True if FIELDS[name].type is bool else 'x'
  with pytest.warns(schema.ConfigWarning, match=f'{name} has no effect'):
    config = schema.Config(**{name: other})
  assert getattr(config, name) == other


def test_unknown_options_are_suggested():
  with pytest.raises(errors.ConfigError, match="'lr_init'"):
    schema.check_value('lr_inti', 3)


def test_config_needs_no_gin():
  code = (
    'import sys; from multinerf.config import schema, views; schema.Config();'
    "assert 'gin' not in sys.modules"
  )
  root = pathlib.Path(__file__).resolve().parents[2]
  subprocess.run([sys.executable, '-c', code], check=True, cwd=root)


def test_option_refuses_an_unknown_bound():
  with pytest.raises(TypeError, match='above'):
    option.option(1, 'Something.', above=0)
