"""The devices of this process and, where there are others, of all.

One named axis, `AXIS`, spans all devices of all processes. A step is an
ordinary function of one device's share; `pmap_step` runs it on every device.
Host arrays get a leading device axis [D, b, ...] through `shard` and go to the
devices with `to_devices`. Arrays that are placed on a mesh axis of another name
than the pmapped function's have it compiled twice.

With several processes D is the number of this process's devices in host arrays
and that of all processes in arrays on devices, of which a process sees its own
part alone (`unreplicate`, `fetch`).
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import flax.jax_utils
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from multinerf import errors
from multinerf.parallel import cores, heap, processes

AXIS = 'batch'
_THREADS_PER_DEVICE = 2
# What accelerators do anyway: without it a CPU copies whatever a conditional
# returns, here all parameters at every step.
_CPU_OPTIONS = {'xla_cpu_copy_insertion_use_region_analysis': True}
T = TypeVar('T')


def configure_cpu_devices(batch_size: int, patch_size: int = 1) -> int:
  """Makes one virtual CPU device per core, before JAX's backend starts.

  XLA's CPU backend runs scatter serially and element-wise loops with few
  threads, so data parallelism over virtual devices is what uses the cores
  (docs/performance.md). The number of devices is the largest that divides the
  batch, or with several processes each one's share of it. Nothing happens when
  the backend runs already, when an accelerator is used, or when the user has
  set the number himself (`jax_num_cpu_devices`,
  `--xla_force_host_platform_device_count`).

  XLA's pool gets two threads per device if there are several (`NPROC`, unless
  it is set): one thread of each waits where devices average their gradients,
  and with fewer there may be none left for the device they wait for. XLA aborts
  after 40 seconds then. With four per device they get in each other's way:
  steps take up to twice as long (docs/performance.md). A single device, also
  that of one of several processes, gets a thread per core.

  Args:
    batch_size: Global batch size that the devices will share.
    patch_size: Side of the patches it consists of, which stay whole.

  Returns:
    The number of CPU devices asked for (0: left alone).
  """
  flag = 'xla_force_host_platform_device_count'
  num_cores = len(cores.available_cores())
  if (
    flag in os.environ.get('XLA_FLAGS', '')
    or jax.config.jax_num_cpu_devices > 0
  ):
    return 0
  num_patches = batch_size // patch_size**2 // processes.expected_count()
  count = max(n for n in range(1, num_cores + 1) if num_patches % n == 0)
  try:
    jax.config.update('jax_num_cpu_devices', count)
  except RuntimeError:  # JAX's word for: the backend is already running.
    return 0
  # A single device waits for no other of this process; more threads than needed
  # only take each other's cache.
  threads = (
    num_cores if count == 1 else max(num_cores, _THREADS_PER_DEVICE * count)
  )
  os.environ.setdefault('NPROC', str(threads))
  heap.keep_freed_memory()
  return count


def process_index() -> int:
  """Returns this process's number, 0 for the lead."""
  return jax.process_index()


def process_count() -> int:
  """Returns how many processes train together."""
  return jax.process_count()


def is_lead() -> bool:
  """Returns whether this process writes files and logs."""
  return jax.process_index() == 0


def local_device_count() -> int:
  """Returns how many devices this process drives."""
  return jax.local_device_count()


def device_count() -> int:
  """Returns how many devices all processes drive together."""
  return jax.device_count()


def platform() -> str:
  """Returns the kind of the devices: 'cpu', 'gpu' or 'tpu'."""
  return jax.default_backend()


def is_cpu() -> bool:
  """Returns whether the devices are CPUs."""
  return platform() == 'cpu'


def device_description() -> str:
  """Returns e.g. '2 x cpu' or '8 x NVIDIA H100', for logs and results."""
  return f'{jax.device_count()} x {jax.devices()[0].device_kind}'


def check_divisible(batch_size: int, patch_size: int = 1) -> None:
  """Checks that a batch can be shared equally by all devices.

  Args:
    batch_size: Rays of all devices together.
    patch_size: Side of the patches they come in, which stay whole.

  Raises:
    ConfigError: It cannot; names the nearest sizes that can.
  """
  count = jax.device_count()
  unit = count * patch_size**2
  if batch_size < unit or batch_size % unit:
    lower = batch_size // unit * unit
    fits = ' or '.join(str(n) for n in (lower, lower + unit) if n > 0)
    patches = f' in patches of {patch_size}x{patch_size}' * (patch_size > 1)
    raise errors.ConfigError(
      f'Config.batch_size = {batch_size}{patches} is not divisible by the '
      f'{count} devices; use {fits}, or another number of devices.'
    )


def pmap_step(
  fn: Callable[..., Any], *, donate_state: bool
) -> Callable[..., Any]:
  """Runs `fn` on every device; all arguments carry a leading device axis.

  Args:
    fn: A function of one device's share; may use `pmean` and `ray_offset`.
    donate_state: Let the output reuse the memory of the first argument.

  Returns:
    The parallel function.
  """
  donate = (0,) if donate_state else ()
  if jax.process_count() == 1:
    return jax.pmap(fn, axis_name=AXIS, donate_argnums=donate)

  # What pmap does, for arrays that span the processes: pmap itself takes each
  # process's part, which it has to copy where it is donated.
  def on_all_devices(*args):
    args = jax.tree.map(lambda x: jax.lax.squeeze(x, [0]), args)
    return jax.tree.map(lambda x: jnp.expand_dims(x, 0), fn(*args))

  spec = jax.sharding.PartitionSpec(AXIS)
  mapped = jax.shard_map(
    on_all_devices,
    mesh=_mesh(),
    in_specs=spec,
    out_specs=spec,
    check_vma=False,
  )
  return jax.jit(mapped, donate_argnums=donate)


def in_place(fn: Callable[..., T]) -> Callable[..., T]:
  """Lets an element-wise function write over the arrays of a donated state.

  pmap takes the device axis off every array and puts it back on. XLA moves most
  of these reshapes away, but where it does not it copies the arrays that it is to
  write over and computes them once for each use: the update by Adam took 1.4 to
  1.6 times as long (docs/performance.md). In the shapes in which arrays are kept
  there is nothing to move.

  Args:
    fn: A function of trees of arrays that may all have one more axis in front,
      of length 1; numbers stay numbers. Only inside `pmap_step`.

  Returns:
    The same function.
  """
  add = lambda x: jnp.expand_dims(x, 0) if x.ndim else x
  drop = lambda x: jnp.squeeze(x, 0) if x.ndim else x

  def wrapped(*args):
    return jax.tree.map(drop, fn(*jax.tree.map(add, args)))

  return wrapped


def compiled(step: Any, args: tuple[Any, ...]) -> Callable[..., Any]:
  """Compiles what `pmap_step` returned, ahead of its first call.

  Args:
    step: The parallel function.
    args: What it will be called with; only shapes and places matter.

  Returns:
    The compiled function, with `memory_analysis()` and `cost_analysis()`.
  """
  lowered = step.lower(*args)
  with heap.compiling():
    try:
      return lowered.compile(_CPU_OPTIONS if is_cpu() else None)
    except jax.errors.JaxRuntimeError as error:
      if 'No such compile option' not in str(error):
        raise
      return lowered.compile()  # an XLA that has no such choice any more


def pmean(tree: T) -> T:
  """Averages a tree of floats over all devices; only inside `pmap_step`.

  Between processes that compute on CPUs everything travels as one vector: there
  every array is two milliseconds of talk, whatever its size
  (docs/performance.md). Elsewhere XLA joins the arrays itself, and of a single
  device it would copy them.
  """
  if jax.lax.psum(1, AXIS) == 1:
    return tree
  if jax.process_count() == 1 or not is_cpu():
    return jax.lax.pmean(tree, AXIS)
  vector, split = jax.flatten_util.ravel_pytree(tree)
  return split(jax.lax.pmean(vector, AXIS))


def all_gather(x: jax.Array) -> jax.Array:
  """Joins all devices' shares [b, ...] to [D * b, ...], in the order of rays.

  Only inside `pmap_step`; the same on every device.
  """
  return jax.lax.all_gather(x, AXIS, tiled=True)


def ray_offset(rays_per_device: int) -> jax.Array:
  """Returns the global index of this device's first ray (inside a step)."""
  return jax.lax.axis_index(AXIS) * rays_per_device


def replicate(tree: T) -> T:
  """Copies a tree to every local device, adding the leading device axis."""
  # From host arrays: stacking on the device compiles a program per shape.
  tree = jax.tree.map(np.asarray, tree)
  if jax.process_count() == 1:
    return flax.jax_utils.replicate(tree, axis_name=AXIS)
  count = jax.local_device_count()
  return to_devices(jax.tree.map(lambda x: np.stack([x] * count), tree))


def unreplicate(tree: T) -> T:
  """Returns a copy on the host of the first local device's values."""
  # A copy: on the CPU `np.asarray` is a view of memory that the next step,
  # which is given the state to reuse, overwrites.
  return jax.tree.map(
    lambda x: np.array(np.asarray(x.addressable_shards[0].data)[0]), tree
  )


def shard(tree: T) -> T:
  """Splits the leading axis [B, ...] of host arrays to [D, B / D, ...].

  Raises:
    ConfigError: The leading axis is not divisible by the local devices; pmap
      itself would silently use fewer devices.
  """
  count = jax.local_device_count()

  def split(x):
    if x.shape[0] % count:
      raise errors.ConfigError(
        f'A batch of {x.shape[0]} cannot be shared by {count} devices '
        '(gin: Config.batch_size, Config.patch_size).'
      )
    return x.reshape((count, x.shape[0] // count) + x.shape[1:])

  return jax.tree.map(split, tree)


def merge(tree: T) -> T:
  """Merges the device axis, [D, b, ...] to [D * b, ...], without waiting."""
  return jax.tree.map(lambda x: jnp.reshape(x, (-1,) + x.shape[2:]), tree)


def to_devices(tree: T) -> T:
  """Moves host arrays [D, ...] to the local devices, without waiting.

  May be called from any thread; the arrays must not be changed afterwards.
  """
  sharding = _sharding()
  if jax.process_count() == 1:
    return jax.device_put(tree, sharding)
  place = jax.make_array_from_process_local_data
  return jax.tree.map(lambda x: place(sharding, np.asarray(x)), tree)


def share(tree: T) -> T:
  """Like `replicate`, for large host arrays that are only read.

  Nothing is copied on the host, and CPU devices may all read its memory: never
  donate the result, nor change the arrays.
  """
  count = jax.local_device_count()
  return to_devices(
    jax.tree.map(lambda x: np.broadcast_to(x, (count, *x.shape)), tree)
  )


def fetch(x: jax.Array | np.ndarray) -> np.ndarray:
  """Waits for an array [D, b, ...] and returns it on the host, [D * b, ...].

  With several processes it must be what `all_devices` returned.
  """
  if jax.process_count() == 1:
    x = np.asarray(x)
  else:
    x = np.asarray(x.addressable_shards[0].data)
  return x.reshape((-1,) + x.shape[2:])


def all_devices(tree: T) -> T:
  """Gives every process all devices' shares [b, ...], where it lacks some.

  Only inside `pmap_step`, as the last thing, for `fetch`.
  """
  if jax.process_count() == 1:
    return tree
  return jax.tree.map(all_gather, tree)


def free_memory() -> int | None:
  """Returns the bytes free on each device; None: it uses the host's.

  The least of all processes, which all have to call it.
  """
  free: list[int | None] = []
  for device in jax.local_devices():
    stats = device.memory_stats()
    known = stats and 'bytes_limit' in stats
    free.append(stats['bytes_limit'] - stats['bytes_in_use'] if known else None)
  everywhere = [x for one in processes.gather(free) for x in one]
  return None if None in everywhere else min(everywhere)


def peak_memory() -> int | None:
  """Returns the most bytes ever in use on a device of this process.

  None: the devices use the host's memory.
  """
  stats = [device.memory_stats() or {} for device in jax.local_devices()]
  peaks = [s['peak_bytes_in_use'] for s in stats if 'peak_bytes_in_use' in s]
  return max(peaks, default=None)


def _mesh() -> jax.sharding.Mesh:
  """All devices, those of one process beside each other."""
  devices = [
    device
    for process in range(jax.process_count())
    for device in jax.local_devices(process)
  ]
  return jax.sharding.Mesh(np.array(devices), (AXIS,))


def _sharding() -> jax.sharding.Sharding:
  """The leading axis over the devices, as `pmap_step` wants it."""
  return jax.sharding.NamedSharding(_mesh(), jax.sharding.PartitionSpec(AXIS))


def wait(tree: Any) -> None:
  """Waits until the arrays of a tree are computed."""
  jax.block_until_ready(tree)


def fold_in_indices(key: jax.Array, indices: jax.Array) -> jax.Array:
  """Returns one key per index: a function of (key, index) alone."""
  return jax.vmap(lambda i: jax.random.fold_in(key, i))(
    jnp.asarray(indices, jnp.uint32)
  )
