"""Losses of a batch that is spread over virtual devices, and its gradient."""

import functools

import jax
import jax.numpy as jnp
import model_util
import numpy as np

from multinerf import losses, parallel, types


def inputs(
  tdist, weights, normals=None, normals_pred=None, truth=None, **measured
):
  """Loss inputs of one level; `truth` are the true normals."""
  field = types.FieldOutput(
    density=None, normals=normals, normals_pred=normals_pred
  )
  level = types.Level(sdist=None, tdist=tdist, weights=weights, field=field)
  empty = jnp.zeros((0, 3), jnp.float32)
  return losses.LossInputs(
    rays=model_util.no_rays(),
    rgb=empty,
    lossmult=empty,
    renderings=(),
    levels=(level,),
    params=None,
    normals=truth,
    **measured,
  )


@functools.cache
def _mapped(name, cfg_items, num_devices):
  """The pmapped term `name`, with its gradient by the rendering weights."""
  cfg = losses.LossConfig(**dict(cfg_items))
  term = losses.REGULARIZERS.get(name).fn

  def loss(weights, rest):
    return term(inputs(weights=weights, **rest), cfg)

  return jax.pmap(
    jax.value_and_grad(loss),
    axis_name=parallel.AXIS,
    devices=jax.devices()[:num_devices],
  )


def spread(name, cfg, data, num_devices=1):
  """The loss and gradient of the whole batch, as the step would have them.

  Args:
    name: Of the regulariser.
    cfg: Options of `LossConfig`, a dict.
    data: Arguments of `inputs`, [rays, ...] each.
    num_devices: How many share the rays.

  Returns:
    The mean loss over devices, and its gradient by data['weights'].
  """
  split = {
    k: np.asarray(v, np.float32).reshape(num_devices, -1, *v.shape[1:])
    for k, v in data.items()
  }
  weights = split.pop('weights')
  fn = _mapped(name, tuple(sorted(cfg.items())), num_devices)
  loss, grad = fn(weights, split)
  grad = np.asarray(grad).reshape(data['weights'].shape) / num_devices
  return float(np.mean(loss)), grad
