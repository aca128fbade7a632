"""The presets in gin_configs/: values, sizes, headers, use from anywhere."""

import pathlib
import re

import jax
import jax.numpy as jnp
import model_util
import pytest

from multinerf import errors
from multinerf.config import gin_files, gin_setup
from multinerf.ops import coord, numerics

PRESETS = sorted(p.name for p in gin_files.find_gin_configs().glob('*.gin'))

# google-research/multinerf@5b4d4f6, configs/*.gin, transcribed by hand.
AXES = dict(basis_shape='octahedron', basis_subdivisions=1)
BLENDER = {
  'Config': dict(
    dataset_loader='blender',
    batching='single_image',
    near=2.0,
    far=6.0,
    eval_render_interval=5,
    data_loss_type='mse',
    adam_eps=1e-8,
    distortion_loss_mult=0.0,
  ),
  'Model': dict(num_levels=2, num_prop_samples=128, num_nerf_samples=32),
  'PropMLP': dict(
    net_depth=4,
    net_width=256,
    disable_density_normals=True,
    disable_rgb=True,
    max_deg_point=16,
  ),
  'NerfMLP': dict(net_depth=8, disable_density_normals=True, max_deg_point=16),
}
LLFF = {
  'Config': dict(
    dataset_loader='llff',
    near=0.0,
    far=1.0,
    factor=4,
    forward_facing=True,
    adam_eps=1e-8,
  ),
  'Model': BLENDER['Model']
  | dict(ray_shape='cylinder', opaque_background=True),
  'PropMLP': BLENDER['PropMLP'],
  'NerfMLP': BLENDER['NerfMLP'],
}
UNBOUNDED = {
  'Config': dict(dataset_loader='llff', near=0.2, far=1e6, factor=4),
  'Model': dict(raydist_fn=jnp.reciprocal, opaque_background=True),
  'PropMLP': dict(
    warp_fn=coord.contract,
    net_depth=4,
    net_width=256,
    disable_density_normals=True,
    disable_rgb=True,
  ),
  'NerfMLP': dict(
    warp_fn=coord.contract,
    net_depth=8,
    net_width=1024,
    disable_density_normals=True,
  ),
}
REFNERF = {
  'Config': dict(
    dataset_loader='blender',
    batching='single_image',
    near=2.0,
    far=6.0,
    eval_render_interval=5,
    compute_normal_metrics=True,
    data_loss_type='mse',
    distortion_loss_mult=0.0,
    interlevel_loss_mult=0.0,
    data_coarse_loss_mult=0.1,
    orientation_loss_mult=0.1,
    orientation_coarse_loss_mult=0.01,
    orientation_loss_target='normals_pred',
    predicted_normal_loss_mult=3e-4,
    predicted_normal_coarse_loss_mult=3e-5,
    adam_eps=1e-8,
  ),
  'Model': dict(
    num_levels=2,
    single_mlp=True,
    num_prop_samples=128,
    num_nerf_samples=128,
    anneal_slope=0.0,
    dilation_multiplier=0.0,
    dilation_bias=0.0,
    single_jitter=False,
    resample_padding=0.01,
  ),
  'PropMLP': {},
  'NerfMLP': dict(
    net_depth=8,
    net_width=256,
    net_depth_viewdirs=8,
    **AXES,
    disable_density_normals=False,
    enable_pred_normals=True,
    use_directional_enc=True,
    use_reflections=True,
    deg_view=5,
    enable_pred_roughness=True,
    use_diffuse_color=True,
    use_specular_tint=True,
    use_n_dot_v=True,
    bottleneck_width=128,
    density_bias=0.5,
    max_deg_point=16,
  ),
}
# Both networks of RawNeRF's file.
RAW = dict(
  **AXES,
  disable_density_normals=True,
  max_deg_point=16,
  density_noise=1.0,
  rgb_padding=0.0,
  rgb_activation=numerics.safe_exp,
  rgb_bias=-5.0,
  weight_init='glorot_uniform',
)
RAWNERF = {
  'Config': dict(
    dataset_loader='llff',
    near=0.0,
    far=1.0,
    factor=4,
    forward_facing=True,
    rawnerf_mode=True,
    data_loss_type='rawnerf',
    apply_bayer_mask=True,
    train_render_every=5000,
    render_chunk_size=16384,
    max_steps=500_000,
    lr_delay_steps=2500,
    lr_delay_mult=0.01,
    adam_eps=1e-8,
    interlevel_loss_mult=0.0,
    distortion_loss_mult=0.01,
    orientation_loss_mult=0.0,
    data_coarse_loss_mult=0.1,
    batch_size=16384,
    lr_init=1e-3,
    lr_final=1e-5,
    checkpoint_every=25000,
    grad_max_norm=0.1,
    grad_max_val=0.1,
  ),
  'Model': dict(
    ray_shape='cylinder',
    single_mlp=True,
    learned_exposure_scaling=True,
    num_levels=2,
    num_prop_samples=128,
    num_nerf_samples=128,
    opaque_background=True,
    anneal_slope=0.0,
    dilation_multiplier=0.0,
    dilation_bias=0.0,
    single_jitter=False,
  ),
  'PropMLP': RAW | dict(net_depth=4, net_width=256, disable_rgb=True),
  'NerfMLP': RAW | dict(net_depth=8, net_width=256),
}


def with_more(preset, **more):
  """A preset with more bindings, by class."""
  return {cls: preset[cls] | more.get(cls, {}) for cls in preset}


NOTHING = {'Config': {}, 'Model': {}, 'PropMLP': {}, 'NerfMLP': {}}
WANT = {
  '360.gin': UNBOUNDED,
  '360_glo4.gin': with_more(UNBOUNDED, Model=dict(num_glo_features=4)),
  '360_robustnerf.gin': with_more(
    UNBOUNDED,
    Config=dict(
      patch_size=16,
      data_loss_type='robustnerf',
      robustnerf_inlier_quantile=0.8,
      enable_robustnerf_loss=True,
    ),
  ),
  'blender_256.gin': with_more(
    BLENDER, PropMLP=AXES, NerfMLP=AXES | dict(net_width=256)
  ),
  'blender_512.gin': with_more(BLENDER, NerfMLP=dict(net_width=512)),
  'blender_refnerf.gin': REFNERF,
  'llff_256.gin': with_more(
    LLFF, PropMLP=AXES, NerfMLP=AXES | dict(net_width=256)
  ),
  'llff_512.gin': with_more(LLFF, NerfMLP=dict(net_width=512)),
  'llff_raw.gin': RAWNERF,
  'llff_raw_test.gin': with_more(
    RAWNERF,
    Config=dict(
      factor=0, eval_raw_affine_cc=True, eval_crop_borders=16, vis_decimate=4
    ),
  ),
  'tat.gin': with_more(
    NOTHING, Config=dict(dataset_loader='tat_nerfpp', near=0.1, far=1e6)
  ),
  'debug.gin': {
    'Config': dict(
      checkpoint_every=1000,
      print_every=100,
      train_render_every=1000,
      lr_delay_mult=0.1,
      lr_delay_steps=500,
      batch_size=2048,
      render_chunk_size=2048,
      lr_init=5e-4,
      lr_final=5e-6,
      factor=4,
      early_exit_steps=3000,
    ),
    'Model': {},
    'PropMLP': dict(net_depth=2, net_width=64),
    'NerfMLP': dict(net_depth=4, net_width=128),
  },
  'render_config.gin': with_more(
    NOTHING,
    Config=dict(render_path=True, render_path_frames=480, render_video_fps=60),
  ),
}
# The counts that the MultiNeRF repository prints; those of the last one are
# also the sum of 612,740 for its network and 1000 x 3 exposure offsets.
NUM_PARAMS = {
  '360.gin': 9_007_493,
  '360_glo4.gin': 9_012_005,
  '360_robustnerf.gin': 9_007_493,
  'blender_256.gin': 835_205,
  'blender_512.gin': 3_065_733,
  'blender_refnerf.gin': 713_230,
  'llff_256.gin': 835_205,
  'llff_512.gin': 3_065_733,
  'llff_raw.gin': 615_740,
}
# Top-level names besides NerfMLP_0, where they are not {PropMLP_0}.
MORE_PARAMS = {
  '360_glo4.gin': {'PropMLP_0', 'Embed_0'},
  'blender_refnerf.gin': set(),
  'llff_raw.gin': {'exposure_scaling_offsets'},
}


def no_compute_dtype(fields):
  return {k: v for k, v in fields.items() if k != 'compute_dtype'}


def bound(setup, cls):
  """What the files bind of a class, by name (not by value)."""
  return set(re.findall(rf'^{cls}\.(\w+) =', setup.config_str, re.MULTILINE))


@pytest.mark.parametrize('name', WANT)
def test_preset_binds_what_the_original_binds_and_nothing_else(name):
  setup = gin_setup.load([name])
  want = WANT[name]
  assert {k: getattr(setup.config, k) for k in want['Config']} == want['Config']
  assert bound(setup, 'Config') == set(want['Config'])
  for cls in ('Model', 'PropMLP', 'NerfMLP'):
    assert no_compute_dtype(setup.model_fields[cls]) == want[cls]


def test_all_presets_of_multinerf_are_there_and_blender_means_blender_256():
  assert len(WANT) == 13 and set(WANT) < set(PRESETS)
  ours, theirs = (
    gin_setup.load('blender.gin'),
    gin_setup.load('blender_256.gin'),
  )
  assert ours.config == theirs.config
  assert ours.build_model() == theirs.build_model()


@pytest.mark.parametrize('name', PRESETS)
def test_every_preset_builds_in_both_scopes(name):
  for scope in ('train', 'eval'):
    setup = gin_setup.load([name], scope=scope)
    model = setup.build_model()
    if setup.family == 'multinerf':
      assert model.nerf_mlp.name == 'NerfMLP_0'
      assert model.prop_mlp.name == 'PropMLP_0'


@pytest.mark.parametrize('name', PRESETS)
def test_every_preset_says_where_it_is_from_and_what_it_promises_and_costs(
  name,
):
  text = (gin_files.find_gin_configs() / name).read_text(encoding='utf-8')
  header = text.split('\n\n')[0]
  assert all(line.startswith('#') for line in header.split('\n'))
  assert 'Promise' in header and 'ost' in header


@pytest.mark.parametrize('name', NUM_PARAMS)
def test_preset_has_the_published_number_of_parameters(name):
  model = gin_setup.load([name]).build_model()
  shapes = jax.eval_shape(
    lambda key: model.init(key, None, model_util.rays(1)), jax.random.key(0)
  )
  sizes = {k: num_values(v) for k, v in shapes['params'].items()}
  assert sum(sizes.values()) == NUM_PARAMS[name]
  assert set(sizes) == {'NerfMLP_0'} | MORE_PARAMS.get(name, {'PropMLP_0'})


def num_values(tree):
  return sum(x.size for x in jax.tree_util.tree_leaves(tree))


@pytest.mark.parametrize(
  'name',
  [
    '360.gin',
    'configs/360.gin',
    'gin_configs/360.gin',
    'experimental/users/barron/mipnerf360/configs/360.gin',
  ],
)
def test_presets_resolve_from_any_directory_and_by_old_paths(
  name, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  assert gin_setup.load([name]).config.far == 1e6
  (tmp_path / 'mine.gin').write_text(f"include '{name}'\nConfig.factor = 2\n")
  assert gin_setup.load(['mine.gin']).config.factor == 2
  assert gin_setup.load([str(tmp_path / 'mine.gin')]).config.far == 1e6


def test_the_include_that_exists_only_inside_google_resolves(
  tmp_path, monkeypatch
):
  # The first line of MultiNeRF's own llff_raw_test.gin.
  (tmp_path / 'theirs.gin').write_text(
    "include 'experimental/users/barron/mipnerf360/configs/llff_raw.gin'\n"
    'Config.factor = 0\n'
  )
  monkeypatch.chdir(tmp_path)
  theirs = gin_setup.load(['theirs.gin']).config
  ours = gin_setup.load(['llff_raw.gin'], ['Config.factor = 0']).config
  assert theirs == ours and theirs.rawnerf_mode


def test_files_in_the_working_directory_come_before_presets(
  tmp_path, monkeypatch
):
  (tmp_path / '360.gin').write_text('Config.factor = 8\n')
  monkeypatch.chdir(tmp_path)
  assert gin_setup.load(['360.gin']).config.factor == 8


def test_an_included_file_is_looked_for_beside_the_including_one_first(
  tmp_path, monkeypatch
):
  (tmp_path / 'a').mkdir()
  (tmp_path / 'a' / 'top.gin').write_text("include 'base.gin'\n")
  (tmp_path / 'a' / 'base.gin').write_text('Config.factor = 3\n')
  (tmp_path / 'base.gin').write_text('Config.factor = 5\n')
  monkeypatch.chdir(tmp_path)
  assert gin_setup.load(['a/top.gin']).config.factor == 3


def test_presets_are_found_inside_an_installed_package_first(tmp_path):
  package = tmp_path / 'site-packages' / 'multinerf'
  (package / 'gin_configs').mkdir(parents=True)
  beside = package.parent / 'gin_configs'
  beside.mkdir()
  with pytest.raises(errors.ConfigError, match='reinstall'):
    gin_files.find_gin_configs(package)
  (beside / 'x.gin').touch()
  assert gin_files.find_gin_configs(package) == beside
  (package / 'gin_configs' / 'x.gin').touch()
  assert gin_files.find_gin_configs(package) == package / 'gin_configs'


def test_a_missing_file_names_the_folders_and_the_nearest_preset(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(errors.ConfigError) as e:
    gin_setup.load(['configs/blendr_256.gin'])
  assert str(tmp_path) in str(e.value)
  assert str(gin_files.find_gin_configs()) in str(e.value)
  assert "Did you mean 'blender_256.gin'?" in str(e.value)


def test_an_unreadable_file_is_an_error_that_names_it(tmp_path):
  path = pathlib.Path(tmp_path) / 'latin.gin'
  path.write_bytes(b'# caf\xe9\n')
  with pytest.raises(errors.ConfigError, match='latin.gin'):
    gin_setup.load([str(path)])
