"""How much arithmetic a preset asks for per ray.

Effective utilisation is measured against a fixed amount of work, that of the
reference implementation, so that doing less for the same result counts as
being faster and no change here moves the scale.
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from multinerf import types
from multinerf.config import gin_setup

_NUM_RAYS = 16
_MEASURED = "measured on MultiNeRF's own code"
_COUNTED = 'matrix products counted in the traced program'

# MFLOP per ray of a training step and of rendering, matrix products and the
# rest, as XLA counts them in google-research/multinerf (commit 5b4d4f6);
# blender_refnerf without normal metrics. None: not measured there.
_REFERENCE = {
  'blender_256': (281.4, 95.8),
  'blender': (281.4, 95.8),  # ours, the same model
  '360': (1859.0, None),
  'blender_refnerf': (1870.0, None),
  'llff_raw': (929.5, None),
}


@dataclasses.dataclass(frozen=True)
class Work:
  """What a model costs.

  Attributes:
    num_params: Numbers that training adjusts.
    training, rendering: MFLOP per ray of a step with gradients, and of the
      colour of a ray without.
    training_source, rendering_source: Where these are from.
  """

  num_params: int
  training: float
  rendering: float
  training_source: str
  rendering_source: str


def of_preset(name: str, model: Any) -> Work:
  """Reference work where it is known, else counted.

  Args:
    name: A preset's name or path; the reference applies to the name.
    model: The linen module it builds.
  """
  num, forward, training = count(model)
  known = _REFERENCE.get(pathlib.Path(name).stem, (None, None))
  return Work(
    num_params=num,
    training=known[0] or training,
    rendering=known[1] or forward,
    training_source=_MEASURED if known[0] else _COUNTED,
    rendering_source=_MEASURED if known[1] else _COUNTED,
  )


def costs(name: str) -> tuple[int, float, float]:
  """Parameters, and MFLOP per ray forward and in training, of a preset."""
  return count(gin_setup.load([name]).build_model())


def count(model: Any) -> tuple[int, float, float]:
  """Parameters, and MFLOP per ray forward and in training, of a model.

  MFLOP are those of the dot products in the traced program, a multiplication
  and an addition each: forward, and forward plus gradients as in a training
  step (without the optimiser). The colours, densities and normals of all
  levels are needed, as they are by the losses. Nothing is run.
  """
  rays = _rays()
  keys = jax.random.split(jax.random.key(0), _NUM_RAYS)
  params = jax.eval_shape(
    lambda key: model.init(key, None, rays), jax.random.key(0)
  )

  def outputs(params):
    found = model.apply(params, keys, rays, train_frac=1.0)
    return sum(
      jnp.sum(leaf)
      for leaf in jax.tree_util.tree_leaves(found)
      if jnp.issubdtype(leaf.dtype, jnp.floating)
    )

  forward = jax.make_jaxpr(outputs)(params).jaxpr
  training = jax.make_jaxpr(jax.grad(outputs))(params).jaxpr
  num = sum(x.size for x in jax.tree_util.tree_leaves(params))
  per_ray = _NUM_RAYS * 1e6
  return num, _flops(forward) / per_ray, _flops(training) / per_ray


def _rays() -> types.Rays:
  three, one = jnp.ones((_NUM_RAYS, 3)), jnp.ones((_NUM_RAYS, 1))
  index = jnp.zeros((_NUM_RAYS, 1), jnp.int32)
  return types.Rays(
    origins=three,
    directions=three,
    viewdirs=three,
    radii=one,
    imageplane=jnp.ones((_NUM_RAYS, 2)),
    near=one,
    far=2 * one,
    cam_idx=index,
    exposure_idx=index,
    exposure_values=one,
  )


def _flops(jaxpr: Any) -> int:
  """Dot products of a program and of what it calls."""
  total = 0
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'dot_general':
      (summed, _), _ = equation.params['dimension_numbers']
      shape = equation.invars[0].aval.shape
      length = math.prod(shape[i] for i in summed)
      total += 2 * length * math.prod(equation.outvars[0].aval.shape)
    repeats = 1
    if equation.primitive.name == 'scan':
      repeats = equation.params['length']
    for value in equation.params.values():
      total += repeats * sum(_flops(inner) for inner in _programs(value))
  return total


def _programs(value: Any) -> Iterator[Any]:
  """The programs among an equation's parameters."""
  if isinstance(value, tuple | list):
    for item in value:
      yield from _programs(item)
  elif hasattr(value, 'eqns'):
    yield value
  elif hasattr(value, 'jaxpr'):
    yield value.jaxpr
