"""Names of `camp_zipnerf/internal/loss_utils.py`.

A ray history is a list with a dict per sampling level, coarsest first: sdist,
tdist, weights, normals and so on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from multinerf import losses
from multinerf.compat.multinerf import _losses
from multinerf.losses import geometric, spline
from multinerf.types import Array

Levels = Sequence[Mapping[str, Any]]


def spline_interlevel_loss(
  ray_history: Levels,
  *,
  mults: float | tuple[float, ...],
  blurs: float | None | tuple[float | None, ...] = None,
  eps: float = jnp.finfo(jnp.float32).eps,
) -> list[Array]:
  """Zip-NeRF's loss of each proposal level whose weight is not 0.

  Args:
    ray_history: The levels.
    mults, blurs: Weights, and half widths of the blur in normalised distance
      (None: from the proposal's intervals): one for all proposal levels, or a
      tuple of one each.
    eps: What a proposal without weight divides by.

  Raises:
    ConfigError: A tuple of another length, or a negative number.
  """
  *proposals, last = (_losses.as_level(values) for values in ray_history)
  given = {'mults': mults, 'blurs': blurs}
  all_mults, all_blurs = spline.parse_params(given, len(proposals))
  return [
    mult * jnp.mean(spline.excess(last, level, blur, float(eps)))
    for level, mult, blur in zip(proposals, all_mults, all_blurs, strict=True)
    if mult != 0
  ]


def distortion_loss(
  ray_history: Levels,
  *,
  target: str = 'sdist',
  mult: float = 1.0,
  curve_fn: Callable[[Array], Array] = lambda x: x,
) -> Array:
  """mip-NeRF 360's distortion of the last level.

  Args:
    ray_history: The levels.
    target: 'sdist' or 'tdist'.
    mult: Weight.
    curve_fn: Increasing function of the distances.
  """
  cfg = losses.LossConfig(
    distortion_loss_mult=mult,
    distortion_loss_target=target,
    distortion_loss_curve_fn=(curve_fn, {}),
  )
  return _losses.term(geometric.distortion, ray_history, cfg)


def orientation_loss(
  rays: Any,
  ray_history: Levels,
  *,
  target: str = 'normals',
  coarse_mult: float = 1.0,
  mult: float = 1.0,
  stop_gradient_weights: bool = False,
) -> Array:
  """Visible normals must face the camera (Ref-NeRF, Eq. 11).

  Args:
    rays: Their view directions.
    ray_history: The levels.
    target: 'normals' or 'normals_pred'.
    coarse_mult, mult: Weights of the earlier levels, and of the last.
    stop_gradient_weights: Whether only the normals get a gradient.

  Raises:
    ConfigError: A level has no such normals.
  """
  if stop_gradient_weights:
    ray_history = [
      {**v, 'weights': jax.lax.stop_gradient(v['weights'])} for v in ray_history
    ]
  cfg = losses.LossConfig(
    orientation_loss_target=target,
    orientation_coarse_loss_mult=coarse_mult,
    orientation_loss_mult=mult,
  )
  return _losses.term(geometric.orientation, ray_history, cfg, rays)


def predicted_normal_loss(
  ray_history: Levels, *, coarse_mult: float = 1.0, mult: float = 1.0
) -> Array:
  """Ties predicted to density normals (Ref-NeRF, Eq. 12).

  Raises:
    ConfigError: A level has no such normals.
  """
  cfg = losses.LossConfig(
    predicted_normal_coarse_loss_mult=coarse_mult,
    predicted_normal_loss_mult=mult,
  )
  return _losses.term(geometric.predicted_normals, ray_history, cfg)


def eikonal_equation(
  n: Array, eps: float = jnp.finfo(jnp.float32).tiny
) -> Array:
  """Mean of (|n| - 1)^2 of vectors [..., 3]; |n|^2 is at least eps."""
  norm = jnp.sqrt(jnp.maximum(jnp.sum(n**2, axis=-1), eps))
  return jnp.mean((norm - 1) ** 2)


def eikonal_loss(
  ray_history: Levels, *, coarse_mult: float = 1.0, mult: float = 1.0
) -> Array:
  """`eikonal_equation` of the gradients of the raw density.

  Raises:
    ConfigError: A level has no such gradients.
  """
  cfg = losses.LossConfig(
    eikonal_coarse_loss_mult=coarse_mult, eikonal_loss_mult=mult
  )
  return _losses.term(geometric.eikonal, ray_history, cfg)
