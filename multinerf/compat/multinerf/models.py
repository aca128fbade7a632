"""Names of `internal/models.py`.

`Model` takes one key for all rays and returns lists of dicts, as upstream's.
Its networks, `NerfMLP` and `PropMLP`, are the package's own: the same fields
and parameters, called as `types.Field`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from multinerf import models, parallel, types
from multinerf.compat.multinerf import utils

NerfMLP = models.NerfMLP
PropMLP = models.PropMLP


class Model(models.Model):
  """The model, in upstream's call form.

  Attributes:
    config: Options that the call reads: `vis_num_rays`, how many rays of a
      rendering keep their samples (`ray_sdist`, ...); None keeps none.
  """

  config: Any = None

  def __call__(
    self,
    rng: Any,
    rays: types.Rays,
    train_frac: Any = 1.0,
    compute_extras: bool = False,
    zero_glo: bool = True,
  ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Renders rays.

    Args:
      rng: A key of either kind for all rays together; None: deterministic.
      rays: What to render.
      train_frac: Progress of training in [0, 1].
      compute_extras: Also distances, opacity, normals and a few rays' samples.
      zero_glo: Use the zero appearance code instead of each image's own.

    Returns:
      (renderings, ray_history), a dict per sampling level each. A rendering
      holds the fields of `types.Rendering` that are not None; ray_history
      those of `types.FieldOutput`, None included (but black where there is no
      colour), with sdist, tdist, weights.
    """
    renderings, levels = super().__call__(
      _ray_keys(rng, rays),
      rays,
      train_frac=train_frac,
      compute_extras=compute_extras,
      zero_glo=zero_glo,
    )
    history = [_history(level) for level in levels]
    found = [
      {k: v for k, v in vars(r).items() if v is not None} for r in renderings
    ]
    if compute_extras and self.config is not None:
      _add_samples(found, history, self.config.vis_num_rays)
    return found, history


def construct_model(
  rng: jax.Array, rays: types.Rays, config: Any
) -> tuple[Model, Any]:
  """A model with default fields, and its initial parameters.

  Upstream's fields come from gin's global state, ours do not: for others than
  the defaults call `Model(config=config, nerf_mlp=..., ...)` and its `init`.

  Args:
    rng: Key that the parameters follow from.
    rays: Rays with the fields that training uses; two of them are looked at.
    config: See `Model`; its `compute_dtype` is that of the dense layers.

  Returns:
    The model and {'params': ...}.
  """
  dtype = getattr(config, 'compute_dtype', 'float32')
  model: Any = models.with_compute_dtype(Model(config=config), dtype)
  few = jax.tree.map(lambda r: jnp.reshape(r, (-1, r.shape[-1]))[:2], rays)
  return model, jax.jit(lambda key: model.init(key, None, few))(rng)


def render_image(
  render_fn: Callable[[Any, types.Rays], Any],
  rays: types.Rays,
  rng: Any,
  config: Any,
  verbose: bool = True,
) -> dict[str, Any]:
  """Renders the rays of a whole image in chunks.

  Args:
    render_fn: (rng, rays [devices, n, ...]) -> (renderings, ray_history), the
      leaves gathered from all devices: [copies, devices, n, ...]. What
      `train_utils.create_render_fn` makes, its first two arguments bound.
    rays: [H, W, ...] of one image.
    rng: Handed on to `render_fn`.
    config: `render_chunk_size` and `vis_num_rays`.
    verbose: Without effect; nothing is printed.

  Returns:
    The last level's rendering as [H, W, ...]; `ray_...` are lists with one
    array per level, of at most `vis_num_rays` random rays.
  """
  del verbose
  height, width = rays.origins.shape[:2]
  flat = jax.tree.map(lambda r: np.reshape(r, (-1, r.shape[-1])), rays)
  total, count = height * width, parallel.local_device_count()
  size = -(-min(config.render_chunk_size, total) // count) * count
  chunks = []
  for start in range(0, total, size):
    index = np.minimum(np.arange(start, start + size), total - 1)
    shared = utils.shard(jax.tree.map(lambda r, i=index: r[i], flat))
    padding = max(0, start + size - total)
    chunks.append(_gather_chunk(render_fn(rng, shared)[0], padding))
  rendering = jax.tree.map(lambda *parts: np.concatenate(parts), *chunks)
  kept = config.vis_num_rays
  for name, value in rendering.items():
    if name.startswith('ray_'):
      order = np.random.default_rng(0).permutation(value[0].shape[0])
      rendering[name] = [v[order[:kept]] for v in value]
    else:
      rendering[name] = value.reshape((height, width, *value.shape[1:]))
  return rendering


def _gather_chunk(renderings, padding) -> dict[str, Any]:
  """The last level's images, all levels' samples; numpy, without padding."""
  merge = lambda x: utils.unshard(np.asarray(x[0]), padding)
  found = {
    name: merge(value)
    for name, value in renderings[-1].items()
    if not name.startswith('ray_')
  }
  for name in renderings[-1]:
    if name.startswith('ray_'):
      # Only some of the rays carry samples, so there is no padding to cut.
      found[name] = [utils.unshard(np.asarray(r[name][0])) for r in renderings]
  return found


def _ray_keys(rng, rays) -> jax.Array | None:
  """One key per ray out of one for all."""
  if rng is None:
    return None
  if not jnp.issubdtype(rng.dtype, jax.dtypes.prng_key):
    rng = jax.random.wrap_key_data(rng)
  shape = rays.origins.shape[:-1]
  indices = jnp.arange(int(np.prod(shape)))
  return parallel.fold_in_indices(rng, indices).reshape(shape)


def _history(level: types.Level) -> dict[str, Any]:
  """A level as one flat dict."""
  found = {
    f.name: getattr(level.field, f.name)
    for f in dataclasses.fields(types.FieldOutput)
  }
  if found['rgb'] is None:  # a proposal's
    found['rgb'] = jnp.zeros((*level.weights.shape, 3), level.weights.dtype)
  return found | {
    'sdist': level.sdist,
    'tdist': level.tdist,
    'weights': level.weights,
  }


def _add_samples(renderings, history, num_rays) -> None:
  """Puts the samples of the first rays into the renderings of all levels."""
  first = lambda x, ndim: x.reshape((-1, *x.shape[-ndim:]))[:num_rays]
  weights, rgbs = first(history[-1]['weights'], 1), first(history[-1]['rgb'], 2)
  # Proposals have no colour: they are shown in that of the last level's weight.
  final = jnp.sum(weights[..., None] * rgbs, axis=-2, keepdims=True)
  for rendering, level in zip(renderings, history, strict=True):
    own = first(level['weights'], 1)
    rendering['ray_sdist'] = first(level['sdist'], 1)
    rendering['ray_weights'] = own
    shape = (*own.shape, final.shape[-1])
    rendering['ray_rgbs'] = jnp.broadcast_to(final, shape)
  renderings[-1]['ray_rgbs'] = rgbs
