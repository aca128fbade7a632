"""The gradient of the loss of one device's share of a batch.

Where every loss is a mean over rays of what each ray says by itself
(`losses.per_ray`), gradients are taken a few rays after the other and summed:
what the backward pass needs is then kept for a few rays only, in a CPU's cache
instead of its memory (docs/performance.md). Losses that compare rays with each
other get the gradient of the whole share at once.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from multinerf import losses
from multinerf.losses import geometric, photometric
from multinerf.models import chunks
from multinerf.ops import color


def make_gradient(
  model: Any,
  loss_cfg: losses.LossConfig,
  chunk_cfg: chunks.ChunkConfig | None = None,
) -> Callable[..., Any]:
  """Builds the gradient of the loss of one device's share of a batch.

  Args:
    model: The linen module.
    loss_cfg: Which losses, and their weights.
    chunk_cfg: How the model goes through the rays.

  Returns:
    `(params, keys, rays, batch, frac, loss_state) ->
    (gradient, (stats, rgb, loss_state))`; `rgb` are the true colours.
  """
  chunk_cfg = chunk_cfg or chunks.ChunkConfig()

  def gradient_fn(params, keys, rays, batch, frac, loss_state):
    targets = batch.replace(
      pixels=None, rays=None, rgb=color.decode_rgb(batch.rgb)
    )
    weights = _weights(loss_cfg, rays, targets.rgb)
    args = keys, rays, targets, weights
    num_entries, *sides = rays.origins.shape[:-1]
    count = num_chunks(
      model, loss_cfg, chunk_cfg, num_entries, math.prod(sides)
    )
    # What is kept of a part is small already: nothing to recompute.
    render_cfg = chunk_cfg if count == 1 else chunks.ChunkConfig()
    loss_fn = _make_loss_fn(model, loss_cfg, render_cfg)

    def gradient_of(args):
      return jax.grad(loss_fn, has_aux=True)(params, *args, frac, loss_state)

    if count == 1:
      grads, (stats, renderings, loss_state) = gradient_of(args)
    else:
      grads, stats, renderings = _accumulated(gradient_of, args, params, count)
    if renderings is not None:
      whole = _loss_inputs(rays, targets, weights, renderings, (), {})
      stats |= geometric.geometry_stats(whole, loss_cfg)
    return grads, (stats, targets.rgb, loss_state)

  return gradient_fn


def num_chunks(
  model: Any,
  loss_cfg: losses.LossConfig,
  chunk_cfg: chunks.ChunkConfig,
  num_patches: int,
  patch_rays: int = 1,
) -> int:
  """In how many equal parts, one after the other, the gradient is taken.

  Args:
    model: The linen module; its `rays_at_once` counts if the options say
      nothing.
    loss_cfg: Which losses.
    chunk_cfg: How the user or the memory wants it.
    num_patches: Of one device's rays; they stay whole.
    patch_rays: Rays of each.

  Returns:
    1 where losses need the whole share, or where only parts much smaller than
    wanted would be equal: the model then goes through its rays by itself.
  """
  if not losses.all_per_ray(loss_cfg):
    return 1
  num_rays = num_patches * patch_rays
  wanted = chunk_cfg.rays_at_once or model.rays_at_once(num_rays)
  most = max(wanted // patch_rays, 1)
  if most >= num_patches:
    return 1
  size = max(n for n in range(1, most + 1) if num_patches % n == 0)
  return num_patches // size if 2 * size >= most else 1


def _accumulated(gradient_of, args, params, count):
  """Means of the gradients and statistics of `count` parts; all renderings."""

  def split(x):
    return x.reshape((count, x.shape[0] // count) + x.shape[1:])

  def join(x):
    return x.reshape((-1,) + x.shape[2:])

  def add(total, part):
    grads, (stats, renderings, _) = gradient_of(part)
    return jax.tree.map(jnp.add, total, grads), (stats, renderings)

  zero = jax.tree.map(jnp.zeros_like, params)
  total, (stats, renderings) = jax.lax.scan(
    add, zero, jax.tree.map(split, args)
  )
  grads = jax.tree.map(lambda x: x / count, total)
  stats = jax.tree.map(lambda x: jnp.mean(x, axis=0), stats)
  return grads, stats, jax.tree.map(join, renderings)


def _make_loss_fn(model, loss_cfg, chunk_cfg):
  """Builds (params, keys, rays, targets, weights, frac, loss_state) ->
  (loss, (stats, renderings, loss_state)).

  Renderings are those that statistics of geometry need, or None.
  """
  terms = losses.active_regularizers(loss_cfg)
  geometry = loss_cfg.compute_disp_metrics or loss_cfg.compute_normal_metrics
  render = chunks.make_render(
    model, chunk_cfg, compute_extras=geometry, zero_glo=False
  )

  def loss_fn(params, keys, rays, targets, weights, frac, loss_state):
    renderings, levels = render(params, keys, rays, frac)
    inputs = _loss_inputs(
      rays, targets, weights, renderings, levels, params['params']
    )
    data, loss_state, stats = photometric.data_loss(
      inputs, loss_cfg, loss_state
    )
    parts = {'data': data}
    parts |= {name: term(inputs) for name, term in terms.items()}
    loss = sum(parts.values())
    stats |= {f'losses/{name}': value for name, value in parts.items()}
    stats |= {
      'loss': loss,
      'acc': jnp.mean(jnp.sum(levels[-1].weights, axis=-1)),
    }
    return loss, (stats, tuple(renderings) if geometry else None, loss_state)

  return loss_fn


def _weights(cfg, rays, rgb):
  """[..., 3] weights of the colours, by default with a mean of 1 over all."""
  if rays.lossmult is None or cfg.disable_multiscale_loss:
    return jnp.ones_like(rgb)
  weights = jnp.broadcast_to(rays.lossmult, rgb.shape).astype(rgb.dtype)
  if not cfg.normalize_loss_weights:
    return weights
  return losses.normalize_weights(weights)


def _loss_inputs(rays, targets, weights, renderings, levels, params):
  """Gathers what losses see."""
  return losses.LossInputs(
    rays=rays,
    rgb=targets.rgb,
    lossmult=weights,
    renderings=tuple(renderings),
    levels=tuple(levels),
    params=params,
    disps=targets.disps,
    normals=targets.normals,
    alphas=targets.alphas,
    depths=targets.depths,
    depth_weights=targets.depth_weights,
  )
