"""A model, rays and batches small enough to compile in a second."""

import dataclasses

import flax.jax_utils
import jax
import jax.numpy as jnp
import numpy as np

from multinerf import losses, models, parallel, types
from multinerf.models import chunks
from multinerf.training import optim, state, stats, step

_MLP = dict(
  net_depth=2,
  net_width=8,
  bottleneck_width=8,
  net_width_viewdirs=8,
  max_deg_point=3,
  basis_shape='octahedron',
  basis_subdivisions=1,
  deg_view=2,
  disable_density_normals=True,
)


def nerf_mlp(**fields) -> models.NerfMLP:
  """The last level's field, 8 wide; `fields` replace or add options."""
  return models.NerfMLP(**{**_MLP, **fields}, name='NerfMLP_0')


def prop_mlp(**fields) -> models.PropMLP:
  """The proposals' field, 8 wide and without colour."""
  options = {**_MLP, 'disable_rgb': True, **fields}
  return models.PropMLP(**options, name='PropMLP_0')


def model(nerf=None, prop=None, **fields) -> models.Model:
  """Two levels of 6 and 4 intervals."""
  sizes = dict(num_prop_samples=6, num_nerf_samples=4, num_levels=2)
  return models.Model(
    nerf_mlp=nerf_mlp(**(nerf or {})),
    prop_mlp=prop_mlp(**(prop or {})),
    **{**sizes, **fields},
  )


def rays(n: int = 4, seed: int = 0, **fields) -> types.Rays:
  """Rays from a sphere of radius 4 towards the unit ball, |d| != 1."""
  gen = np.random.default_rng(seed)
  origins = gen.normal(size=(n, 3))
  origins *= 4 / np.linalg.norm(origins, axis=-1, keepdims=True)
  directions = (gen.uniform(-0.5, 0.5, (n, 3)) - origins) / 3
  length = np.linalg.norm(directions, axis=-1, keepdims=True)
  array = lambda x: jnp.asarray(x, jnp.float32)
  values = dict(
    origins=array(origins),
    directions=array(directions),
    viewdirs=array(directions / length),
    radii=array(np.full((n, 1), 0.01)),
    imageplane=array(np.zeros((n, 2))),
    near=array(np.full((n, 1), 1.5)),
    far=array(np.full((n, 1), 4.5)),
    cam_idx=jnp.asarray(np.arange(n)[:, None] % 3, jnp.int32),
  )
  return types.Rays(**{**values, **fields})


def no_rays(**fields) -> types.Rays:
  """Rays without values, for losses that look at some of the fields only."""
  names = [f.name for f in dataclasses.fields(types.Rays)]
  return types.Rays(**{**dict.fromkeys(names), **fields})


def ray_keys(n: int, seed: int = 0) -> jax.Array:
  """One key per ray."""
  return jax.random.split(jax.random.key(seed), n)


def init(net: models.Model, example: types.Rays, seed: int = 0):
  """Parameters, compiled as one function."""
  return jax.jit(lambda key: net.init(key, None, example))(jax.random.key(seed))


def rendered(net: models.Model, rays: types.Rays, ray_keys, cfg=None):
  """((renderings, levels), gradient of the colours), with fresh parameters.

  Args:
    net: The model.
    rays: Rays of any batch shape.
    ray_keys: A key per ray.
    cfg: How to go through the rays.
  """
  render = chunks.make_render(net, cfg, compute_extras=True, zero_glo=False)
  batch = rays.origins.ndim - 1
  example = jax.tree.map(lambda x: x.reshape((-1, *x.shape[batch:])), rays)

  @jax.jit
  def both(key):
    def loss(params):
      found = render(params, ray_keys, rays, 0.5)
      return jnp.sum(found[0][-1].rgb ** 2), found

    params = net.init(key, None, example)
    grads, found = jax.grad(loss, has_aux=True)(params)
    return found, grads

  return both(jax.random.key(0))


def shapes(net: models.Model, example: types.Rays) -> dict[str, tuple]:
  """Path -> shape of all parameters; nothing is computed or compiled."""
  tree = jax.eval_shape(
    lambda key: net.init(key, None, example), jax.random.key(0)
  )
  return {path: x.shape for path, x in flat(tree['params']).items()}


def flat(tree) -> dict:
  """'/'-joined path -> leaf of nested dicts."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {'/'.join(p.key for p in path): leaf for path, leaf in leaves}


@dataclasses.dataclass
class Training:
  """A tiny model's step on some of the virtual devices.

  Attributes:
    fn: The pmapped step; arguments lead with the device axis.
    num_devices: How many devices share a batch.
    traces: Grows by one whenever the step is traced.
    first: The initial state on the host.
  """

  fn: object
  num_devices: int
  traces: list
  first: state.TrainState

  def spread(self, tree):
    """Splits a batch's leading axis over the devices."""
    count = self.num_devices
    return jax.tree.map(
      lambda x: np.asarray(x).reshape(count, -1, *x.shape[1:]), tree
    )

  def copies(self, tree):
    """One copy per device, placed as `parallel.replicate` does."""
    devices = jax.devices()[: self.num_devices]
    return flax.jax_utils.replicate(tree, devices, axis_name=parallel.AXIS)

  def run(self, batches, first=None, cameras=None):
    """Takes one step per batch; returns (last state, stats [steps, ...])."""
    now = self.copies(self.first if first is None else first)
    cameras = np.float32(0) if cameras is None else cameras
    packed = []
    for batch in batches:
      now, new = self.fn(now, self.spread(batch), self.copies(cameras))
      packed.append(new)
    table = stats.unpack(packed)
    return jax.tree.map(lambda x: np.asarray(x)[0], now), table


def training(
  num_devices: int = 1,
  *,
  net: models.Model | None = None,
  randomized: bool = True,
  loss: losses.LossConfig | None = None,
  seed: int = 7,
) -> Training:
  """A tiny training, 20 steps long."""
  net = model() if net is None else net
  loss = losses.LossConfig() if loss is None else loss
  cfg = optim.OptimConfig(lr_init=0.01, max_steps=20, lr_delay_steps=0)
  optimizer = optim.make_optimizer(cfg)
  fn = step.make_train_step(
    net,
    optimizer,
    loss,
    cfg,
    step.StepConfig(randomized=randomized, max_steps=20),
  )
  traces = []

  def counted(*args):
    traces.append(None)
    return fn(*args)

  mapped = jax.pmap(
    counted, axis_name=parallel.AXIS, devices=jax.devices()[:num_devices]
  )
  first = jax.device_get(state.create(net, optimizer, rays(2), seed, loss))
  return Training(mapped, num_devices, traces, first)


def batch(n: int = 16, seed: int = 0, **ray_fields) -> types.Batch:
  """A batch of n cast rays with random colours."""
  rgb = np.random.default_rng(seed).random((n, 3)).astype(np.float32)
  return types.Batch(rays=rays(n, seed, **ray_fields), rgb=jnp.asarray(rgb))
