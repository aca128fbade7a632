"""A model applied to a few rays after the other, inside one program.

Rays do not see each other, so this changes nothing but rounding. On a CPU the
activations of a few rays fit into a core's cache, where those of thousands are
written to memory and read back between any two layers; on an accelerator,
recomputing them chunk by chunk trades time for memory.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from multinerf import parallel, types
from multinerf.models import mlp
from multinerf.models import model as model_lib

# Samples of one level that a CPU core works on at once: at 256 features of
# 4 bytes, 1 MiB a layer (docs/performance.md).
_CPU_SAMPLES = 1024


@dataclasses.dataclass(frozen=True)
class ChunkConfig:
  """How a step goes through its rays; names and defaults as in `Config`."""

  rays_at_once: int | None = None
  remat: bool = False


def rays_at_once(model: Any, num_rays: int, wanted: int | None = None) -> int:
  """How many of `num_rays` rays a device works on at once.

  Args:
    model: The linen module.
    num_rays: Rays of one device.
    wanted: At most this; None: all, but on CPUs, for fields without grids,
      as many as keep a level's samples within a core's cache.

  Returns:
    As many as make chunks of equal size, but for less than one chunk.
  """
  if wanted is None:
    if not parallel.is_cpu() or not _is_dense(model):
      return num_rays
    most = max(model.num_prop_samples, model.num_nerf_samples)
    if num_rays * most <= 4 * _CPU_SAMPLES:
      return num_rays
    wanted = _CPU_SAMPLES // most
  num_chunks = math.ceil(num_rays / max(wanted, 1))
  return math.ceil(num_rays / num_chunks)


def _is_dense(model):
  """Whether matrix products are what takes the time."""
  if not isinstance(model, model_lib.Model) or model.sampling_strategy:
    return False
  return all(
    isinstance(field, mlp.MLP) and field.encoder is None
    for field in (model.nerf_mlp, model.prop_mlp)
  )


def make_render(
  model: Any, cfg: ChunkConfig | None = None, **options: Any
) -> Callable[..., Any]:
  """Builds `(params, ray_keys, rays, train_frac) -> (renderings, levels)`.

  Args:
    model: The linen module.
    cfg: How to go through the rays.
    **options: `compute_extras`, `zero_glo` of `Model.__call__`.

  Returns:
    What `model.apply` does, for rays of any batch shape, chunk by chunk.
  """
  cfg = cfg or ChunkConfig()

  def render(params, ray_keys, rays: types.Rays, train_frac):
    def fn(ray_keys, rays):
      return model.apply(
        params, ray_keys, rays, train_frac=train_frac, **options
      )

    if cfg.remat:
      fn = jax.checkpoint(fn)
    batch = rays.origins.shape[:-1]
    num_rays = math.prod(batch)
    at_once = rays_at_once(model, num_rays, cfg.rays_at_once)
    if at_once == num_rays:
      return fn(ray_keys, rays)

    # The last chunk is filled up with copies, which nobody looks at.
    padding = -num_rays % at_once

    def split(x):
      x = x.reshape((num_rays,) + x.shape[len(batch) :])
      x = jnp.concatenate([x, x[:padding]])
      return x.reshape((-1, at_once) + x.shape[1:])

    def join(x):
      flat = x.reshape((-1,) + x.shape[2:])[:num_rays]
      return flat.reshape(batch + flat.shape[1:])

    chunks = jax.tree.map(split, (ray_keys, rays))
    return jax.tree.map(join, jax.lax.map(lambda x: fn(*x), chunks))

  return render
