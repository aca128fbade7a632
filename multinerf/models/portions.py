"""A field evaluated on a few rays after the other, inside one program.

Samples do not see each other, so this changes nothing but rounding. On a CPU
the activations of a thousand samples stay in a core's cache, where those of a
hundred thousand are written to memory and read back between any two layers;
with much fewer, reading the weights takes longer than multiplying by them.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from multinerf import parallel, types
from multinerf.models import mlp
from multinerf.ops import frustum

# Samples that a CPU core works on at once: at 256 features of 4 bytes, 1 MiB a
# layer; and twice as many as a wider layer has features (docs/performance.md).
_CPU_SAMPLES = 1024


def rays_at_once(field: Any, num_rays: int, num_samples: int) -> int:
  """How many of `num_rays` rays a field is evaluated on at once.

  Args:
    field: A module, or a function like one.
    num_rays: Rays of one device.
    num_samples: Of each of them.

  Returns:
    All, but on CPUs and for fields that are nothing but matrix products as
    many as make portions of equal size that stay in the cache.
  """
  is_dense = isinstance(field, mlp.MLP) and field.encoder is None
  if not parallel.is_cpu() or not is_dense:
    return num_rays
  most = max(_CPU_SAMPLES, 2 * field.net_width)
  if num_rays * num_samples <= most:
    return num_rays
  count = math.ceil(num_rays / max(most // num_samples, 1))
  return math.ceil(num_rays / count)


def evaluate(
  field: Any,
  ray_keys: Key[Array, '*batch'] | None,
  samples: frustum.Samples,
  **inputs: Any,
) -> types.FieldOutput:
  """field(ray_keys, samples, **inputs), portion by portion.

  Args:
    field: A bound module, or a function like one.
    ray_keys: One key per ray, or None.
    samples: Of each ray.
    **inputs: Arrays with an entry per ray, or None.
  """
  batch = samples.means.shape[:-2]
  num_rays = math.prod(batch)
  at_once = rays_at_once(field, num_rays, samples.means.shape[-2])
  if at_once == num_rays or field.is_initializing():
    return field(ray_keys, samples, **inputs)
  module, variables = field.unbind()

  def run(ray_keys, samples, inputs):
    return module.apply(variables, ray_keys, samples, **inputs)

  return in_turn(run, (ray_keys, samples, inputs), batch, at_once)


def in_turn(
  fn: Callable[..., Any], args: Any, batch: tuple[int, ...], at_once: int
) -> Any:
  """fn(*args) for `at_once` rays after the others, in one program.

  Args:
    fn: Of arrays [n, ...] of n rays; returns such arrays.
    args: Trees of arrays [*batch, ...].
    batch: Shape of the rays.
    at_once: How many fn gets at a time.

  Returns:
    What fn returns, [*batch, ...].
  """
  num_rays = math.prod(batch)
  # The last part is filled up with copies, which nobody looks at.
  padding = -num_rays % at_once

  def split(x):
    x = x.reshape((num_rays,) + x.shape[len(batch) :])
    x = jnp.concatenate([x, x[:padding]]) if padding else x
    return x.reshape((-1, at_once) + x.shape[1:])

  def join(x):
    flat = x.reshape((-1,) + x.shape[2:])[:num_rays]
    return flat.reshape(batch + flat.shape[1:])

  parts = jax.tree.map(split, args)
  return jax.tree.map(join, jax.lax.map(lambda x: fn(*x), parts))
