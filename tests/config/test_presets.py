"""The presets in gin_configs/: values, sizes, headers, use from anywhere."""

import pathlib

import jax
import jax.numpy as jnp
import pytest

from multinerf import errors, types
from multinerf.config import gin_files, gin_setup
from multinerf.ops import coord

PRESETS = sorted(p.name for p in gin_files.find_gin_configs().glob('*.gin'))

# google-research/multinerf@5b4d4f6, configs/*.gin, transcribed by hand.
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
AXES = dict(basis_shape='octahedron', basis_subdivisions=1)
WANT = {
  'blender_256.gin': {
    **BLENDER,
    'PropMLP': BLENDER['PropMLP'] | AXES,
    'NerfMLP': BLENDER['NerfMLP'] | AXES | dict(net_width=256),
  },
  'blender_512.gin': {
    **BLENDER,
    'NerfMLP': BLENDER['NerfMLP'] | dict(net_width=512),
  },
  '360.gin': {
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
  },
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
  'render_config.gin': {
    'Config': dict(
      render_path=True, render_path_frames=480, render_video_fps=60
    ),
    'Model': {},
    'PropMLP': {},
    'NerfMLP': {},
  },
}
WANT['blender.gin'] = WANT['blender_256.gin']
# The counts that the MultiNeRF repository prints.
NUM_PARAMS = {
  'blender_256.gin': 835_205,
  'blender_512.gin': 3_065_733,
  '360.gin': 9_007_493,
}


def no_compute_dtype(fields):
  return {k: v for k, v in fields.items() if k != 'compute_dtype'}


@pytest.mark.parametrize('name', WANT)
def test_preset_binds_what_the_original_binds_and_nothing_else(name):
  setup = gin_setup.load([name])
  default = gin_setup.load()
  changed = {
    k: v
    for k, v in vars(setup.config).items()
    if v != getattr(default.config, k)
  }
  # What equals our default is bound all the same; the rest must be wanted.
  want = WANT[name]['Config']
  assert {k: getattr(setup.config, k) for k in want} == want
  assert set(changed) <= set(want)
  for cls in ('Model', 'PropMLP', 'NerfMLP'):
    assert no_compute_dtype(setup.model_fields[cls]) == WANT[name][cls]


@pytest.mark.parametrize('name', PRESETS)
def test_every_preset_builds_in_both_scopes(name):
  for scope in ('train', 'eval'):
    model = gin_setup.load([name], scope=scope).build_model()
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


def example_rays() -> types.Rays:
  three, one = jnp.ones((1, 3)), jnp.ones((1, 1))
  return types.Rays(
    origins=three,
    directions=three,
    viewdirs=three,
    radii=one,
    imageplane=jnp.ones((1, 2)),
    near=one,
    far=2 * one,
    cam_idx=jnp.zeros((1, 1), jnp.int32),
  )


@pytest.mark.parametrize('name', NUM_PARAMS)
def test_preset_has_the_published_number_of_parameters(name):
  model = gin_setup.load([name]).build_model()
  shapes = jax.eval_shape(
    lambda key: model.init(key, None, example_rays()), jax.random.key(0)
  )
  sizes = [x.size for x in jax.tree_util.tree_leaves(shapes)]
  assert sum(sizes) == NUM_PARAMS[name]
  assert {'NerfMLP_0', 'PropMLP_0'} == set(shapes['params'])


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
