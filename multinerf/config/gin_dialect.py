"""Which of two families of models a configuration describes, never both.

MultiNeRF's files bind `NerfMLP` and `PropMLP`; camp_zipnerf's bind `MLP`, and
say in `Model.sampling_strategy` which field and grid each level has. Values of
one family mean nothing to the other, and a few defaults differ.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import gin

from multinerf import errors
from multinerf.config import gin_values

MULTINERF, ZIPNERF = 'multinerf', 'zipnerf'

# The classes that a model of the family is made of.
PARTS: Mapping[str, tuple[str, ...]] = {
  MULTINERF: ('NerfMLP', 'PropMLP'),
  ZIPNERF: ('MLP', 'HashEncoding'),
}
# The options of Model that only one family has.
_MODEL_OPTIONS: Mapping[str, tuple[str, ...]] = {
  MULTINERF: (
    'nerf_mlp',
    'prop_mlp',
    'num_prop_samples',
    'num_nerf_samples',
    'num_levels',
    'single_mlp',
    'dilation_multiplier',
    'dilation_bias',
  ),
  ZIPNERF: (
    'sampling_strategy',
    'mlp_params_per_level',
    'grid_params_per_level',
  ),
}
# camp_zipnerf's defaults where they are not MultiNeRF's.
_ZIPNERF_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
  'Model': {
    'sampling_strategy': ((0, None, 64), (0, None, 64), (1, None, 32)),
    'num_glo_embeddings': 10000,
  },
  'Config': {
    'interlevel_loss_mult': 0.0,
    'spline_interlevel_params': {'mults': 0.01, 'blurs': (0.03, 0.003)},
    'render_chunk_size': 32768,
    'train_render_every': 0,
    'normalize_loss_weights': False,
    'visualize_every': 25000,
    'render_dist_adaptive': False,
    'render_dist_vis_params': {'p': -1.5, 'premult': 2.0},
  },
}

# Options that unmodified files bind and that change nothing: the values that
# need no word, and what to say about another one.
_NEVER_READ = 'camp_zipnerf never reads it'
_ALWAYS = (True, False)
WITHOUT_EFFECT: Mapping[tuple[str, str], tuple[tuple, str]] = {
  ('Config', 'cast_rays_in_eval_step'): (
    _ALWAYS,
    'rays are made on the devices',
  ),
  ('Config', 'color_correction_config'): ((), _NEVER_READ),
  ('Config', 'debug_mode'): (_ALWAYS, 'its statistics are always written'),
  ('Config', 'disable_pmap_and_jit'): ((False,), 'steps are always compiled'),
  ('Config', 'donate_args_to_train'): ((True,), 'memory is always reused'),
  ('Config', 'enable_loss_scaler'): ((False,), _NEVER_READ),
  ('Config', 'load_colmap_points'): (_ALWAYS, 'points are always read'),
  ('Config', 'loss_scale'): ((1000.0,), _NEVER_READ),
  ('Config', 'metric_harness_eval_config'): (({},), 'all metrics are computed'),
  ('Config', 'metric_harness_train_config'): (
    ({},),
    'all metrics are computed',
  ),
  ('Config', 'render_delete_images_when_done'): ((False,), 'images are kept'),
  ('Config', 'save_calibration_to_disk'): ((False,), 'it is not written'),
  ('Config', 'world_scale'): ((1.0,), _NEVER_READ),
  ('MLP', 'isotropize_gaussians'): ((False,), _NEVER_READ),
  ('MLP', 'use_affine_dir_enc_transform'): ((False,), _NEVER_READ),
  ('Model', 'max_exposure'): ((1.0,), _NEVER_READ),
}
# Beginnings of the names of what camp_zipnerf has and multinerf has not.
_ABSENT: Mapping[str, tuple[str, ...]] = {
  'the optimisation of cameras (CamP)': (
    'camera_',
    'optimize_cameras',
    'optimize_test_cameras',
    'test_camera_delta_cls',
    'enable_grid_c2f',
    'grid_c2f_',
    'focal_length_var_loss_mult',
    'principal_point_',
    'radial_distortion_var_loss_mult',
    'compute_procrustes_metric',
    'print_camera_every',
    'use_identity_cameras',
    'use_perturbed_cameras',
  ),
  'signed distances (VolSDF)': (
    'density_as_sdf',
    'sphere_',
    'beta_',
    'scheduled_beta',
    'final_betas',
    'rate_beta',
  ),
  'exposures and vignettes': (
    'use_exposure_at_bottleneck',
    'use_learned_vignette_map',
  ),
  'bounds in metres': ('near_plane_meters', 'far_plane_meters'),
  'ARCore': ('arcore_format_pose_file',),
  'OpenEXR images': ('use_exrs',),
  'grids whose sizes an MLP chooses': ('extra_grid_kwargs',),
}


def absent(name: str) -> str:
  """Says so if an option or class is one that only camp_zipnerf has; or ''."""
  for what, beginnings in _ABSENT.items():
    if name.startswith(beginnings):
      return f' It belongs to {what} in camp_zipnerf, which is not here yet.'
  return ''


def find(bindings: Iterable[tuple[str, str, str]]) -> str:
  """Returns the family that bindings belong to.

  Args:
    bindings: (class, option, where it is bound).

  Raises:
    ConfigError: Both; names a binding of each.
  """
  first = {}
  for owner, option, where in bindings:
    for family in (MULTINERF, ZIPNERF):
      # Grids serve as encoders of MultiNeRF's networks as well.
      is_part = owner in PARTS[family] and owner != 'HashEncoding'
      is_option = owner == 'Model' and option in _MODEL_OPTIONS[family]
      if is_part or is_option:
        first.setdefault(family, f'{owner}.{option} ({where})')
  if len(first) == 2:
    raise errors.ConfigError(
      f'{first[MULTINERF]} belongs to models of NerfMLP and PropMLP, '
      f'{first[ZIPNERF]} to models of MLP and grids (Zip-NeRF); a '
      'configuration is of one family.'
    )
  return next(iter(first), MULTINERF)


def fill_defaults(
  family: str, bindings: Iterable[tuple[str, str, str]]
) -> None:
  """Binds the family's own defaults where nothing is bound in any scope."""
  if family != ZIPNERF:
    return
  bound = {(owner, option) for owner, option, _ in bindings}
  for owner, values in _ZIPNERF_DEFAULTS.items():
    for name, value in values.items():
      if (owner, name) not in bound:
        gin.bind_parameter(f'multinerf.{owner}.{name}', value)


def foreign_options(family: str) -> frozenset[str]:
  """The options of Model that mean nothing to the family."""
  other = ZIPNERF if family == MULTINERF else MULTINERF
  return frozenset(_MODEL_OPTIONS[other])


def level_params(
  name: str,
  shared: Mapping[str, Any],
  entries: Iterable[Mapping[str, Any]],
) -> tuple[dict[str, Any], ...]:
  """The options of each level's MLP or grid.

  Args:
    name: 'MLP' or 'HashEncoding'.
    shared: What is bound to the class.
    entries: What each level says, which counts more.

  Raises:
    ConfigError: An entry is no option of the class, or has a wrong value.
  """
  info = gin_values.lookup(f'multinerf.{name}')
  known = gin_values.option_names(info.wrapped)
  levels = []
  for entry in entries:
    for option in entry:
      if option not in known:
        raise errors.ConfigError(
          f'{name} has no option {option!r} (gin: Model.'
          f'{"mlp" if name == "MLP" else "grid"}_params_per_level).'
        )
    own = {k: gin_values.conform(info, k, v) for k, v in entry.items()}
    levels.append({**shared, **own})
  return tuple(levels)
