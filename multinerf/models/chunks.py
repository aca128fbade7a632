"""A model applied to a few rays after the other, inside one program.

Rays do not see each other, so this changes nothing but rounding. Recomputing
them chunk by chunk in the backward pass trades time for memory.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax

from multinerf import types
from multinerf.models import portions


@dataclasses.dataclass(frozen=True)
class ChunkConfig:
  """How a step goes through its rays; names and defaults as in `Config`."""

  rays_at_once: int | None = None
  remat: bool = False


def rays_at_once(num_rays: int, wanted: int | None = None) -> int:
  """How many of `num_rays` rays of one device are worked on at once.

  Returns:
    At most `wanted` (None: all), so that chunks are of equal size.
  """
  if wanted is None:
    return num_rays
  num_chunks = math.ceil(num_rays / max(wanted, 1))
  return math.ceil(num_rays / num_chunks)


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
    at_once = rays_at_once(num_rays, cfg.rays_at_once)
    if at_once == num_rays:
      return fn(ray_keys, rays)
    return portions.in_turn(fn, (ray_keys, rays), batch, at_once)

  return render
