"""Functions that a .gin file can refer to as `@module.name`.

The names of MultiNeRF and camp_zipnerf (`internal/configs.py` and
`internal/models.py` there). To add one, add a line; no other file changes.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from multinerf.cameras import poses
from multinerf.ops import coord, curves, numerics
from multinerf.training import schedules

_JNP = 'reciprocal log log1p exp sqrt square sum mean'
_JAX_NN = 'relu softplus silu sigmoid gelu elu leaky_relu tanh'
_NUMERICS = 'safe_exp safe_log safe_sqrt noop'
_CURVES = 'power_ladder inv_power_ladder laplace_cdf scaled_softplus'
_COORD = 'contract'
_POSES = 'transform_poses_pca transform_poses_focus'
_OPTAX = (
  'adam sgd adamw warmup_exponential_decay_schedule '
  'warmup_cosine_decay_schedule linear_schedule constant_schedule '
  'polynomial_schedule join_schedules piecewise_constant_schedule '
  'piecewise_interpolate_schedule'
)
_INITIALIZERS = 'he_normal he_uniform glorot_normal glorot_uniform'


@functools.cache
def table() -> dict[str, Callable[..., Any]]:
  """Returns every function by its dotted name."""
  groups = [
    ('jnp', jnp, _JNP),
    ('jax.nn', jax.nn, _JAX_NN),
    ('math', numerics, _NUMERICS),
    ('math', curves, _CURVES),
    ('coord', coord, _COORD),
    ('optax', optax, _OPTAX),
    ('math', schedules, 'create_learning_rate_decay'),
    ('configs', schedules, 'join_schedule_defs'),
    ('camera_utils', poses, _POSES),
  ]
  found = {
    f'{prefix}.{name}': getattr(module, name)
    for prefix, module, names in groups
    for name in names.split()
  }
  # MultiNeRF registers initialisers under this odd name, though no option
  # takes one: `weight_init` is a string.
  for name in _INITIALIZERS.split():
    initializer = getattr(jax.nn.initializers, name)()
    found[f'jax.nn.initializers.{name}.init'] = initializer
  return found
