"""Several processes: finding, awaiting and telling each other, ending together.

JAX's multi-controller runtime is the engine: `jax.distributed` connects the
processes to a coordinator, which runs in the lead, watches their heartbeats and
keeps a small table of keys and values. What is decided by one and must be known
to all goes through that table (`on_lead`, `gather`), arrays go through the
devices (`broadcast`). Everything here is trivial with one process.

These functions are calls of all processes together: each must make the same
ones in the same order, on its main thread. If one process dies, the runtime
ends the others (`ClusterConfig.heartbeat_timeout`).
"""

import dataclasses
import hashlib
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np

# The table of keys and values has no public name.
from jax._src import distributed
from jax.experimental import multihost_utils

from multinerf import errors
from multinerf.parallel import heap

T = TypeVar('T')
_calls = itertools.count()  # as the connection, one for the process
# Arrays are sent in pieces of this many bytes: one program, bounded memory.
_PIECE = 2**26
# Waiting is interrupted so often that signals are noticed.
_POLL_SECONDS = 2.0
# How long a failing process waits for others that fail in the same way.
_LAST_WORDS_SECONDS = 5.0
# How much later the lead goes than those who fail with it.
_HEAD_START_SECONDS = 1.0
# Evidence of a job of several processes: variables of the job's launcher, and
# the number of processes in them.
_COUNTS = ('SLURM_STEP_NUM_TASKS', 'OMPI_COMM_WORLD_SIZE')


@dataclasses.dataclass(frozen=True)
class ClusterConfig:
  """Who trains together. None: the environment's, else found out by JAX.

  Attributes:
    coordinator_address: host:port of process 0 (JAX_COORDINATOR_ADDRESS).
    num_processes: How many there are (JAX_NUM_PROCESSES).
    process_id: This one's number, 0 for the lead (JAX_PROCESS_ID).
    cluster: 'auto' asks the job scheduler if there is evidence of one; 'none'
      does not; anything else is a detection method of JAX ('slurm', 'ompi',
      'mpi4py', 'k8s', ...), which must succeed.
    heartbeat_timeout: Seconds after which a silent process counts as dead and
      the runtime ends the others. JAX's own default is 100.
    start_timeout: Seconds within which all processes must have started.
  """

  coordinator_address: str | None = None
  num_processes: int | None = None
  process_id: int | None = None
  cluster: str = 'auto'
  heartbeat_timeout: int = 30
  start_timeout: int = 300


def initialize(config: ClusterConfig | None = None) -> None:
  """Connects this process to the others, before JAX's backend starts.

  Does nothing for a single process, or if it is connected already.

  Args:
    config: Who they are.

  Raises:
    ConfigError: The description is incomplete or contradicts itself.
    ProcessError: Not all processes came.
  """
  if jax.distributed.is_initialized():
    return
  config = _with_environment(config or ClusterConfig())
  if not _is_several(config):
    return
  # JAX's own SIGTERM handler takes the signal away from Python for the whole
  # life of the process: a process that reads its data could not be ended.
  jax.config.update('jax_enable_preemption_service', False)
  known = config.cluster in ('auto', 'none')
  heap.keep_freed_memory()
  try:
    jax.distributed.initialize(
      config.coordinator_address,
      config.num_processes,
      config.process_id,
      cluster_detection_method=None if known else config.cluster,
      initialization_timeout=config.start_timeout,
      heartbeat_timeout_seconds=config.heartbeat_timeout,
    )
  except jax.errors.JaxRuntimeError as error:
    raise errors.ProcessError(
      f'Not all processes came within {config.start_timeout} s: {error}'
    ) from error
  except (ValueError, TypeError, RuntimeError) as error:
    raise errors.ConfigError(
      f'Cannot tell who trains together: {error} Give --coordinator_address, '
      '--num_processes and --process_id, or --cluster=none to train alone '
      '(docs/cluster.md).'
    ) from error


def _with_environment(config: ClusterConfig) -> ClusterConfig:
  """Fills in what only the environment says."""
  values: dict[str, Any] = {}
  for name, kind in (
    ('coordinator_address', str),
    ('num_processes', int),
    ('process_id', int),
  ):
    variable = f'JAX_{name.upper()}'
    text = os.environ.get(variable)
    if getattr(config, name) is None and text:
      try:
        values[name] = kind(text)
      except ValueError as error:
        raise errors.ConfigError(
          f'{variable} = {text!r} is not a whole number.'
        ) from error
  return dataclasses.replace(config, **values)


def _is_several(config: ClusterConfig) -> bool:
  """Whether there are other processes; checks what was said about them."""
  said = (config.coordinator_address, config.num_processes, config.process_id)
  if all(x is None for x in said):
    if config.cluster == 'auto':
      return _scheduler_says_several(os.environ)
    return config.cluster != 'none'
  if config.cluster in ('auto', 'none'):
    if config.num_processes == 1:
      return False
    if None in said and not _scheduler_says_several(os.environ):
      names = ('coordinator_address', 'num_processes', 'process_id')
      missing = [n for n, x in zip(names, said, strict=True) if x is None]
      raise errors.ConfigError(
        f'--{" and --".join(missing)} missing: --coordinator_address, '
        '--num_processes and --process_id belong together.'
      )
  count, index = config.num_processes, config.process_id
  if count is not None and count < 1:
    raise errors.ConfigError(f'--num_processes = {count} must be at least 1.')
  if None not in (count, index) and not 0 <= index < count:
    raise errors.ConfigError(
      f'--process_id = {index} must be in 0 .. {count - 1} '
      f'(--num_processes = {count}).'
    )
  return True


def _scheduler_says_several(environ: Mapping[str, str]) -> bool:
  """Whether a scheduler that JAX knows has started more than this process."""
  if any(environ.get(name, '') not in ('', '0', '1') for name in _COUNTS):
    return True
  return ',' in environ.get('TPU_WORKER_HOSTNAMES', '')


def is_distributed() -> bool:
  """Whether this process is connected to others."""
  return jax.distributed.is_initialized()


def connection() -> Any:
  """JAX's connection: `client`, `process_id`, `num_processes`."""
  return distributed.global_state


def new_key(kind: str, name: str = '') -> str:
  """A key that no other call uses, the same in all processes."""
  return f'multinerf/{next(_calls)}/{kind}/{name}'


def expected_count() -> int:
  """Returns how many processes there are, without starting the backend."""
  return connection().num_processes if is_distributed() else 1


def check_devices() -> None:
  """Checks that all processes drive equally many devices.

  Raises:
    ConfigError: They do not; names the numbers.
  """
  counts = gather(jax.local_device_count())
  if len(set(counts)) > 1:
    raise errors.ConfigError(
      f'The processes drive {counts} devices; all must drive equally many '
      '(CUDA_VISIBLE_DEVICES, JAX_NUM_CPU_DEVICES).'
    )


def check_same(text: str, name: str) -> None:
  """Checks that all processes have the same text.

  Args:
    text: Of any length; a digest is compared.
    name: What it is, capitalised.

  Raises:
    ConfigError: They have not; names the processes that differ from the lead.
  """
  digests = gather(hashlib.sha256(text.encode()).hexdigest())
  others = [i for i, digest in enumerate(digests) if digest != digests[0]]
  if others:
    raise errors.ConfigError(
      f'{name} of process {", ".join(map(str, others))} differs from that of '
      'process 0; start all with the same flags, files and versions.'
    )


def barrier(name: str, timeout: float = 600.0) -> None:
  """Waits until all processes are here.

  Args:
    name: What for, for messages.
    timeout: Seconds; math.inf waits as long as the others live.

  Raises:
    ProcessError: Somebody did not come.
  """
  if not is_distributed():
    return
  state = connection()
  key = new_key('barrier', name)
  # Not the runtime's own barrier: that one cannot be waited for in small
  # pieces, and fails for good in all processes once a single one gives up.
  deadline = time.monotonic() + timeout
  state.client.key_value_set(f'{key}/{state.process_id}', '')
  for i in range(state.num_processes):
    _get(f'{key}/{i}', name, deadline)


def on_lead(fn: Callable[[], T], name: str, *, timeout: float = 600.0) -> T:
  """Calls `fn` in the lead alone, and returns what it said in all processes.

  Args:
    fn: Its result must survive JSON. An error of our own that it raises is
      raised in all processes, so that nobody waits in vain.
    name: What for, for messages.
    timeout: Seconds that the others wait; math.inf as long as the lead lives.

  Raises:
    ProcessError: The lead did not answer.
  """
  if not is_distributed():
    return fn()
  state, key = connection(), new_key('lead', name)
  if state.process_id == 0:
    try:
      value = fn()
    except errors.MultinerfError as error:
      state.client.key_value_set(
        key, json.dumps({'error': type(error).__name__, 'text': str(error)})
      )
      raise
    state.client.key_value_set(key, json.dumps({'value': value}))
    return value
  answer = json.loads(_get(key, name, time.monotonic() + timeout))
  if 'error' in answer:
    kind = getattr(errors, answer['error'], errors.MultinerfError)
    raise kind(answer['text'])
  return answer['value']


def gather(value: T, *, timeout: float = 600.0) -> list[T]:
  """Returns every process's value, in order of the processes.

  Args:
    value: Must survive JSON; small.
    timeout: Seconds to wait for the others.

  Raises:
    ProcessError: Somebody did not answer.
  """
  if not is_distributed():
    return [value]
  state, key = connection(), new_key('gather')
  deadline = time.monotonic() + timeout
  state.client.key_value_set(f'{key}/{state.process_id}', json.dumps(value))
  return [
    json.loads(_get(f'{key}/{i}', 'the value of each process', deadline))
    for i in range(state.num_processes)
  ]


def broadcast(tree: T) -> T:
  """Returns the lead's host arrays in all processes, bit for bit.

  Args:
    tree: Arrays (or numbers) of the same shapes and types in all processes;
      the values of the others do not matter.
  """
  if not is_distributed():
    return tree
  leaves, structure = jax.tree.flatten(tree)
  leaves = [np.asarray(x) for x in leaves]
  # As bytes: a sum over processes, which it is on the devices, would turn the
  # negative zeros of other types into positive ones.
  data = b''.join(x.tobytes() for x in leaves)
  size = min(_PIECE, len(data))
  received = bytearray()
  for start in range(0, len(data), max(size, 1)):
    piece = np.zeros(size, np.uint8)
    part = np.frombuffer(data[start : start + size], np.uint8)
    piece[: part.size] = part
    received += multihost_utils.broadcast_one_to_all(piece).tobytes()
  out, start = [], 0
  for x in leaves:
    flat = np.frombuffer(received, x.dtype, x.size, start)
    out.append(flat.reshape(x.shape).copy())
    start += x.nbytes
  return jax.tree.unflatten(structure, out)


def finish() -> None:
  """Waits for the others at the end of a program that went well.

  As long as it takes: the lead may still have files to write.
  """
  barrier('the end', timeout=float('inf'))


def leave(status: int) -> NoReturn:
  """Ends this process at once after a failure.

  An orderly exit would wait for the others, which may be waiting for this one.
  They notice by their heartbeats; those that failed in the same way say so
  first.
  """
  sys.stdout.flush()
  sys.stderr.flush()
  if is_distributed():
    try:
      barrier('the end', timeout=_LAST_WORDS_SECONDS)
      # The runtime aborts whoever outlives the lead, which is the coordinator,
      # and so would replace a status that says what happened.
      if connection().process_id == 0:
        time.sleep(_HEAD_START_SECONDS)
    except errors.ProcessError:
      pass  # they are not at their end, and will hear of it from the runtime
  os._exit(status)


def _get(key: str, name: str, deadline: float) -> str:
  """The value of a key, as soon as somebody sets it.

  Raises:
    ProcessError: Nobody did, or the coordinator is gone.
  """
  client = connection().client
  while True:
    left = deadline - time.monotonic()
    try:
      return client.blocking_key_value_get(
        key, int(1000 * max(0.001, min(left, _POLL_SECONDS)))
      )
    except jax.errors.JaxRuntimeError as error:
      if 'DEADLINE_EXCEEDED' not in str(error):
        raise errors.ProcessError(
          f'Lost the other processes while waiting for {name!r}: {error}'
        ) from error
      if left <= 0:
        raise errors.ProcessError(
          f'Another process did not come to {name!r} in time.'
        ) from error
