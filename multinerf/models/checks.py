"""Checks of a model's options before anything is compiled.

Only what MultiNeRF's and Zip-NeRF's own classes would fail on later, with an
error that names no option. Fields of other classes are their authors'.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from multinerf import errors, registry
from multinerf.models import build, mlp, zipnerf
from multinerf.models import model as model_lib


def check_for_scene(model: Any, num_images: int, near: Any) -> None:
  """Checks a model against the views it is to be trained on.

  Args:
    model: Any model.
    num_images: How many training images there are.
    near: Near bound of their cameras, one or one each.

  Raises:
    ConfigError: They do not go together; see the checks below.
  """
  check_options(model)
  build.check_num_images(model, num_images)
  check_near(model, near)


def check_near(model: Any, near: Any) -> None:
  """Checks that the curve of the distances is finite where rays begin.

  Args:
    model: Any model.
    near: Near bounds of cameras, one or an array, before a box crops them: of
      a ray that misses the box, near = far = 0, the curve is not asked.

  Raises:
    ConfigError: 1/t or log t of near <= 0.
  """
  fn = getattr(model, 'raydist_fn', None)
  if isinstance(fn, tuple | list) and fn:
    fn = fn[0]
  name, lowest = getattr(fn, '__name__', ''), float(np.min(near))
  if name in ('reciprocal', 'log') and lowest <= 0:
    raise errors.ConfigError(
      f'Model.raydist_fn = @jnp.{name} needs near > 0, but training cameras '
      f'have {lowest:g}; raise Config.near, or set Model.raydist_fn = '
      "'piecewise', or None where Config.forward_facing makes near 0."
    )


def check_options(model: Any) -> None:
  """Checks that a model can be built at all; any but a `Model` can.

  Raises:
    ConfigError: Names the option and what to change.
  """
  if not isinstance(model, model_lib.Model):
    return
  _check_levels(model)
  for where, options in _fields(model):
    _check_initializer(where, options['weight_init'])
    if options['net_depth'] > 0:
      _check_skip(where, 'skip_layer', options['skip_layer'])
    if not options['disable_rgb']:
      _check_skip(where, 'skip_layer_dir', options['skip_layer_dir'])
      if model.use_viewdirs:
        _check_normals(where, options)
  _check_shared_field(model)


def _check_levels(model) -> None:
  """Numbers of levels, and of intervals: resampling makes 2 or more."""
  if model.sampling_strategy is not None:
    strategy = model.sampling_strategy
    num_mlps = len(model.mlp_params_per_level)
    zipnerf.check(strategy, num_mlps, len(model.grid_params_per_level))
    counts = {'sampling_strategy': min(level[2] for level in strategy)}
  elif model.num_levels < 1:
    raise errors.ConfigError(
      f'Model.num_levels = {model.num_levels}; there must be at least 1.'
    )
  else:
    counts = {'num_nerf_samples': model.num_nerf_samples}
    if model.num_levels > 1:
      counts['num_prop_samples'] = model.num_prop_samples
  for option, count in counts.items():
    if count < 2:
      raise errors.ConfigError(
        f'Model.{option} asks for {count} intervals in a level; 2 is the least.'
      )


def _fields(model) -> Iterator[tuple[str, Mapping[str, Any]]]:
  """(name in gin, options) of every MLP that a level evaluates."""
  if model.sampling_strategy is not None:
    defaults = {f.name: f.default for f in dataclasses.fields(mlp.MLP)}
    for params in model.mlp_params_per_level:
      yield 'MLP', defaults | dict(params)
    return
  used = [model.nerf_mlp]
  if model.num_levels > 1 and not model.single_mlp:
    used.append(model.prop_mlp)
  for field in used:
    if isinstance(field, mlp.MLP):
      names = [f.name for f in dataclasses.fields(field)]
      yield type(field).__name__, {name: getattr(field, name) for name in names}


def _is_initializer(name: str) -> bool:
  """Whether it makes kernels without being told more than their shape."""
  try:
    init = getattr(nn.initializers, name)()
    jax.eval_shape(lambda key: init(key, (2, 2)), jax.random.key(0))
  except (AttributeError, TypeError, ValueError):
    return False
  return True


def _check_initializer(where, name) -> None:
  if _is_initializer(name):
    return
  public = [x for x in dir(nn.initializers) if not x.startswith('_')]
  known = [x for x in public if _is_initializer(x)]
  raise errors.ConfigError(
    f'Unknown initialiser {name!r}; known: {", ".join(known)} '
    f'(gin: {where}.weight_init).{registry.suggest(name, known)}'
  )


def _check_skip(where, option, period) -> None:
  if period < 1:
    raise errors.ConfigError(
      f'{where}.{option} = {period}; every how many layers the input joins '
      'again must be at least 1. For never, name more than there are layers.'
    )


def _check_normals(where, options) -> None:
  """Directions relative to normals need normals."""
  if options['enable_pred_normals'] or not options['disable_density_normals']:
    return
  for option in ('use_reflections', 'use_n_dot_v'):
    if options[option]:
      raise errors.ConfigError(
        f'{where}.{option} = True needs normals, and there are none; set '
        f'{where}.enable_pred_normals = True, or '
        f'{where}.disable_density_normals = False.'
      )


def _check_shared_field(model) -> None:
  """One MLP for all levels has one width of inputs."""
  field = model.nerf_mlp
  shared = model.single_mlp and model.num_levels > 1 and model.use_viewdirs
  if model.sampling_strategy is not None or not shared:
    return
  if not isinstance(field, mlp.MLP) or field.disable_rgb:
    return
  if model.num_glo_features > 0 and field.glo_mode == 'concatenate':
    raise errors.ConfigError(
      'Model.single_mlp = True evaluates one field at levels with and without '
      f'appearance codes, but Model.num_glo_features = '
      f'{model.num_glo_features} widens its input at the last one; set '
      "Model.single_mlp = False, or NerfMLP.glo_mode = 'affine'."
    )
