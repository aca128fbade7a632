"""Parameters and matrix products of presets, counted without running them.

  python benchmarks/preset_costs.py 360.gin blender_256.gin ...

MFLOP per ray count the dot products in the traced program, a multiplication
and an addition each: forward, and forward plus gradients as in a training step
(without the optimiser). The colours, densities and normals of all levels are
needed, as they are by the losses.
"""

import math
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from multinerf import types
from multinerf.config import gin_setup

NUM_RAYS = 16


def main(argv: list[str]) -> int:
  """Prints a line for each preset."""
  print(f'{"preset":24s} {"parameters":>11s} {"forward":>8s} {"training":>8s}')
  for name in argv[1:]:
    num, forward, training = costs(name)
    print(f'{name:24s} {num:11,d} {forward:8.1f} {training:8.1f}')
  return 0


def costs(name: str) -> tuple[int, float, float]:
  """Parameters, and MFLOP per ray forward and in training."""
  model = gin_setup.load([name]).build_model()
  rays = _rays()
  keys = jax.random.split(jax.random.key(0), NUM_RAYS)
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
  per_ray = NUM_RAYS * 1e6
  return num, _flops(forward) / per_ray, _flops(training) / per_ray


def _rays() -> types.Rays:
  three, one = jnp.ones((NUM_RAYS, 3)), jnp.ones((NUM_RAYS, 1))
  index = jnp.zeros((NUM_RAYS, 1), jnp.int32)
  return types.Rays(
    origins=three,
    directions=three,
    viewdirs=three,
    radii=one,
    imageplane=jnp.ones((NUM_RAYS, 2)),
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


if __name__ == '__main__':
  sys.exit(main(sys.argv))
