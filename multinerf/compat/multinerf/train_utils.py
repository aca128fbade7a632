"""Names of `internal/train_utils.py`: losses, trees, optimiser, steps.

Renderings and ray histories are lists with a dict per sampling level, as
`models.Model` returns them. A config may be `configs.Config` or any object
with the options in question; an option it lacks has its default.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training import train_state

from multinerf import losses, parallel
from multinerf.cameras import camera
from multinerf.compat.multinerf import (
  _losses,
  _options,
  camera_utils,
  image,
  models,
  utils,
)
from multinerf.training import optim, schedules

tree_sum = _losses.tree_sum
tree_norm_sq = _losses.tree_norm_sq
tree_norm = _losses.tree_norm
tree_abs_max = _losses.tree_abs_max
tree_len = _losses.tree_len
summarize_tree = _losses.summarize_tree
compute_data_loss = _losses.compute_data_loss
interlevel_loss = _losses.interlevel_loss
distortion_loss = _losses.distortion_loss
orientation_loss = _losses.orientation_loss
predicted_normal_loss = _losses.predicted_normal_loss
clip_gradients = _losses.clip_gradients


def create_optimizer(
  config: Any, variables: Any
) -> tuple[train_state.TrainState, Callable[[Any], Any]]:
  """Adam without clipping, for a training loop of one's own.

  Args:
    config: Options of the optimiser.
    variables: The parameters.

  Returns:
    A flax `TrainState` and the learning rate as a function of the step.
  """
  cfg = _options.part(config, optim.OptimConfig)
  schedule = schedules.make_schedule(cfg)
  adam = optax.adam(
    schedule, b1=cfg.adam_beta1, b2=cfg.adam_beta2, eps=cfg.adam_eps
  )
  state = train_state.TrainState.create(
    apply_fn=None, params=variables, tx=adam
  )
  return state, schedule


def create_train_step(
  model: Any, config: Any, dataset: Any = None
) -> Callable[..., Any]:
  """One optimisation step on all devices.

  Args:
    model: In `models.Model`'s call form.
    config: Options of losses and optimiser, `randomized`,
      `cast_rays_in_train_step`.
    dataset: Its `camtype` is that of the rays; None: perspective.

  Returns:
    (rng, state, batch, cameras, train_frac, loss_threshold) -> (state, stats,
    rng), where rng, state and batch lead with the device axis, and state is
    used up. stats are nested dicts, equal on all devices.
  """
  camtype = camera.ProjectionType.PERSPECTIVE
  if dataset is not None:
    camtype = dataset.camtype

  def step(state, rng, batch, cameras, train_frac, loss_threshold):
    rng, key = jax.random.split(rng)
    rays = batch.rays
    if config.cast_rays_in_train_step:
      rays = camera_utils.cast_ray_batch(cameras, rays, camtype, xnp=jnp)
    loss_fn = _make_loss_fn(model, config, batch, rays, loss_threshold)
    keys = key if config.randomized else None
    grad, stats = jax.grad(loss_fn, has_aux=True)(
      state.params, keys, train_frac
    )
    grad, stats = parallel.pmean((grad, stats))
    stats |= _summary('grad', grad)
    grad = clip_gradients(optim.zero_nonfinite(grad)[0], config)
    new_state = state.apply_gradients(grads=grad)
    change = jax.tree.map(jnp.subtract, new_state.params, state.params)
    stats |= _summary('opt_update', change)
    stats['psnrs'] = image.mse_to_psnr(stats['mses'])
    stats['psnr'] = stats['psnrs'][-1]
    return new_state, stats, rng

  run = parallel.pmap_step(step, donate_state=True)

  def train_pstep(rng, state, batch, cameras, train_frac, loss_threshold):
    shared = _for_all_devices((cameras, train_frac, loss_threshold))
    return run(state, rng, batch, *shared)

  return train_pstep


def create_render_fn(model: Any) -> Callable[..., Any]:
  """Renders chunks on all devices of this process.

  Args:
    model: In `models.Model`'s call form.

  Returns:
    (variables, train_frac, rng, rays) -> (renderings, ray_history): variables
    without, rays with the device axis; the leaves come as [1, devices, n, ...].
    rng is not used, rendering is deterministic.
  """

  def render(variables, train_frac, rays):
    return model.apply(
      variables, None, rays, train_frac=train_frac, compute_extras=True
    )

  run = parallel.pmap_step(render, donate_state=False)
  latest: list[Any] = [None, None]  # variables, and their copies on devices

  def render_eval_pfn(variables, train_frac, rng, rays):
    del rng
    if latest[0] is not variables:
      latest[:] = [variables, parallel.replicate(variables)]
    out = run(latest[1], _for_all_devices(train_frac), rays)
    return jax.tree.map(lambda x: x[None], out)

  return render_eval_pfn


def setup_model(
  config: Any, rng: jax.Array, dataset: Any = None
) -> tuple[Any, train_state.TrainState, Any, Any, Any]:
  """(model, state, render_eval_pfn, train_pstep, lr_fn) for a training loop.

  Args:
    config: All options; see `models.construct_model` for those of the model.
    rng: Key that the parameters follow from.
    dataset: See `create_train_step`.
  """
  rays = utils.dummy_rays(
    include_exposure_idx=config.rawnerf_mode, include_exposure_values=True
  )
  model, variables = models.construct_model(rng, rays, config)
  state, schedule = create_optimizer(config, variables)
  return (
    model,
    state,
    create_render_fn(model),
    create_train_step(model, config, dataset),
    schedule,
  )


def _make_loss_fn(model, config, batch, rays, loss_threshold):
  """(variables, key, train_frac) -> (loss, stats) of one device's share."""
  cfg = _options.part(config, losses.LossConfig)
  wants = lambda name: losses.REGULARIZERS.get(name).is_active(cfg)

  def loss_fn(variables, key, train_frac):
    renderings, history = model.apply(
      variables,
      key,
      rays,
      train_frac=train_frac,
      compute_extras=cfg.compute_disp_metrics or cfg.compute_normal_metrics,
      zero_glo=False,
    )
    data, stats = compute_data_loss(
      batch, renderings, rays, loss_threshold, config
    )
    parts = {'data': data}
    if wants('interlevel'):
      parts['interlevel'] = interlevel_loss(history, cfg)
    if wants('distortion'):
      parts['distortion'] = distortion_loss(history, cfg)
    if wants('orientation'):
      parts['orientation'] = orientation_loss(rays, model, history, cfg)
    if wants('predicted_normals'):
      parts['predicted_normals'] = predicted_normal_loss(model, history, cfg)
    if wants('weight'):
      parts['weight'] = _losses.weight_loss(variables['params'], cfg)
    total = sum(parts.values())
    return total, stats | {
      'losses': parts,
      'loss': total,
      'weight_l2s': summarize_tree(variables['params'], tree_norm_sq),
    }

  return loss_fn


def _summary(name, tree) -> dict[str, Any]:
  """Norms and maxima of every subtree below 'params'."""
  return {
    f'{name}_norms': summarize_tree(tree['params'], tree_norm),
    f'{name}_maxes': summarize_tree(tree['params'], tree_abs_max),
  }


def _for_all_devices(tree: Any) -> Any:
  """Host arrays with one copy per local device."""
  count = parallel.local_device_count()
  return jax.tree.map(
    lambda x: np.broadcast_to(np.asarray(x), (count, *np.shape(x))), tree
  )
