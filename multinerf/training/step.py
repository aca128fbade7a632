"""The train step and the render step: pure functions of one device's share."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from multinerf import losses, parallel, types
from multinerf.cameras import projection
from multinerf.data import resident
from multinerf.models import chunks
from multinerf.ops import color, numerics
from multinerf.training import gradients, optim, schedules, state
from multinerf.training import stats as stats_lib


@dataclasses.dataclass(frozen=True)
class StepConfig:
  """The options of a step that no component below it owns."""

  randomized: bool = True
  max_steps: int = 250000


def ray_keys(
  seed: jax.Array, step: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
  """One key per ray of this device: f(seed, step, global index of the ray)."""
  count = 1
  for side in shape:
    count *= side
  key = jax.random.fold_in(jax.random.key(seed), step)
  indices = parallel.ray_offset(count) + jnp.arange(count)
  return parallel.fold_in_indices(key, indices).reshape(shape)


def train_frac(step: jax.Array, max_steps: int) -> jax.Array:
  """Progress in [0, 1] of the update that follows `step` earlier ones."""
  return jnp.clip(step / max(max_steps - 1, 1), 0, 1)


def eval_frac(step: int, max_steps: int) -> float:
  """Progress in [0, 1] that a state after `step` updates is shown at.

  As in upstream's eval.py (behaviour.md, section 10).
  # Differs from multinerf render.py, which shows every state at 1: one from the
  # middle of a run would be resampled more sharply than it was trained.
  """
  return min(step / max_steps, 1.0)


def _norm(leaves):
  return jnp.sqrt(sum(jnp.sum(x**2) for x in leaves))


def _largest(leaves):
  return jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in leaves]))


def _update_stats(params, grads, updates):
  """Norms and maxima of gradients, updates and weights by path."""
  stats = optim.tree_stats('grad_norms', grads['params'], _norm)
  stats |= optim.tree_stats('grad_maxes', grads['params'], _largest)
  stats |= optim.tree_stats('opt_update_norms', updates['params'], _norm)
  stats |= optim.tree_stats('opt_update_maxes', updates['params'], _largest)
  squared = lambda leaves: sum(jnp.sum(x**2) for x in leaves)
  return stats | optim.tree_stats('weight_l2s', params['params'], squared)


def _color_moments(rgb):
  """Means of this device's colours and of their squares, as distances to grey.

  Both are averaged over devices with everything else: every further average is
  a place where all devices wait for each other.
  """
  distance = rgb - 0.5
  axes = tuple(range(rgb.ndim - 1))
  return jnp.mean(distance, axis=axes), jnp.mean(distance**2, axis=axes)


def _color_spread(mean, mean_square):
  """Variance of the true colours over the whole batch (all channels alike).

  What a field that says the same everywhere would be wrong by: the collapse
  guard compares the loss with it.
  """
  return jnp.mean(jnp.maximum(mean_square - mean**2, 0.0))


def make_train_step(
  model: Any,
  optimizer: optax.GradientTransformation,
  loss_cfg: losses.LossConfig,
  optim_cfg: optim.OptimConfig,
  cfg: StepConfig,
  chunk_cfg: chunks.ChunkConfig | None = None,
) -> Callable[..., Any]:
  """Builds the step `(state, batch, cameras) -> (state, stats)` of one device.

  Args:
    model: The linen module.
    optimizer: From `optim.make_optimizer`, or any that works element by element
      or by whole arrays: it sees them with one more axis (`parallel.in_place`).
    loss_cfg: Which losses, and their weights.
    optim_cfg: For the reported learning rate.
    cfg: Randomisation and length of training.
    chunk_cfg: How the model goes through the rays.

  Returns:
    A function to be run by `parallel.pmap_step`; stats are `PackedStats`,
    equal on all devices. Two more arguments are optional: `tables`, from which
    a batch of mere places is filled (`resident.fill`), and `reported`, a bool
    array: if false, statistics of gradients, updates and weights are left out.
  """
  gradient_fn = gradients.make_gradient(model, loss_cfg, chunk_cfg)
  schedule = schedules.make_schedule(optim_cfg)

  def step_fn(
    train_state: state.TrainState,
    batch: types.Batch,
    cameras,
    tables=None,
    reported=None,
  ):
    if tables is not None:
      batch = resident.fill(batch, tables)
    rays = batch.rays
    if rays is None:
      rays = projection.cast_ray_batch(cameras, batch.pixels)
    keys = None
    if cfg.randomized:
      shape = rays.origins.shape[:-1]
      keys = ray_keys(train_state.seed, train_state.step, shape)
    frac = train_frac(train_state.step, cfg.max_steps)
    # By float32 copies of what is stored as float16, where gradients of means
    # over a batch would vanish.
    grads, (stats, rgb, loss_state) = gradient_fn(
      numerics.widen(train_state.params),
      keys,
      rays,
      batch,
      frac,
      train_state.loss_state,
    )
    train_state = train_state.replace(loss_state=loss_state)
    moments = _color_moments(rgb)
    grads, stats, moments = parallel.pmean((grads, stats, moments))
    stats['color_spread'] = _color_spread(*moments)
    stats['learning_rate'] = schedule(train_state.step + 1)
    return _apply(optimizer, train_state, grads, stats, reported)

  return step_fn


def several_steps(step_fn: Callable[..., Any]) -> Callable[..., Any]:
  """The same step taken several times in one program.

  Args:
    step_fn: From `make_train_step`.

  Returns:
    A function of the same arguments but batches with a leading axis [n, ...],
    one of each step; its statistics have that axis too, and `reported` is
    about the last step.
  """

  def steps_fn(train_state, batches, cameras, tables, reported):
    count = jax.tree.leaves(batches)[0].shape[0]

    def body(train_state, at):
      batch, is_last = at
      return step_fn(train_state, batch, cameras, tables, reported & is_last)

    is_last = jnp.arange(count) == count - 1
    return jax.lax.scan(body, train_state, (batches, is_last))

  return steps_fn


def _apply(optimizer, train_state, grads, stats, reported):
  """The new state, and the statistics complete and packed."""
  # A batch of pure background that is rendered exactly would be infinitely
  # good; 100 dB is beyond any image of 8 bits.
  stats['psnrs'] = color.mse_to_psnr(jnp.maximum(stats['mses'], 1e-10))
  stats['psnr'] = stats['psnrs'][-1]
  update = parallel.in_place(_make_update(optimizer, reported))
  params, opt_state, bad, details = update(
    train_state.params, train_state.opt_state, grads
  )
  run = jnp.where(bad > 0, train_state.nonfinite_steps + 1, 0)
  stats |= {'nonfinite_grads': bad, 'nonfinite_steps': run}
  new_state = train_state.replace(
    step=train_state.step + 1,
    params=params,
    opt_state=opt_state,
    nonfinite_steps=run,
  )
  return new_state, stats_lib.pack(stats, details)


def _make_update(optimizer, reported):
  """(params, opt_state, grads) -> the new ones, non-finite, statistics.

  `reported` is as in `make_train_step`; where it is false statistics are NaN.
  """

  def update(params, opt_state, grads):
    finite, bad = optim.zero_nonfinite(grads)
    wide = numerics.widen(params)
    updates, opt_state = optimizer.update(finite, opt_state, wide)

    def describe():
      return _update_stats(wide, grads, updates)

    def unknown():
      return jax.tree.map(
        lambda x: jnp.full(x.shape, jnp.nan, x.dtype), jax.eval_shape(describe)
      )

    # One program for both: two would have to be compiled at the start. The
    # parameters are written in here, after the last look at the old ones: else
    # XLA copies them first, for the statistics that it may have to take. That
    # includes the count: gradients of decay may be made of weights once more.
    def apply(make):
      return optax.apply_updates(params, updates), make()

    if reported is None:
      params, details = apply(describe)
    else:
      params, details = jax.lax.cond(
        reported & (bad >= 0),
        lambda: apply(describe),
        lambda: apply(unknown),
      )
    return params, opt_state, bad, details

  return update


def make_render_step(model: Any) -> Callable[..., Any]:
  """Builds `(params, pixels, cameras, frac) -> Rendering` of one device.

  Deterministic, last level only, appearance code zero.
  """

  render = chunks.make_render(model, compute_extras=True, zero_glo=True)

  def render_fn(params, pixels, cameras, frac):
    rays = projection.cast_ray_batch(cameras, pixels)
    renderings, _ = render(params, None, rays, frac)
    return renderings[-1]

  return render_fn
