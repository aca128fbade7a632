"""A run small enough for tests, in this process and in others.

All tests share one configuration, so that its programs are compiled once and
then come from the compilation cache. Runs end early by
`Config.early_exit_steps`, which is not compiled in; `max_steps` would be.
"""

import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import serialization
from tensorboardX.proto import event_pb2

from multinerf.data import synthetic
from multinerf.training import checkpoints

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
RESOLUTION, NUM_TRAIN, NUM_TEST = 16, 4, 2
MAX_STEPS = 60

# Small networks for any preset of MLPs.
FIELDS = (
  'Model.num_prop_samples = 8',
  'Model.num_nerf_samples = 8',
  'PropMLP.net_depth = 2',
  'PropMLP.net_width = 16',
  'PropMLP.max_deg_point = 4',
  'NerfMLP.net_depth = 2',
  'NerfMLP.net_width = 16',
  'NerfMLP.max_deg_point = 4',
  'NerfMLP.bottleneck_width = 16',
  'NerfMLP.net_width_viewdirs = 16',
)
BINDINGS = (
  'Config.batching = "all_images"',
  'Config.batch_size = 64',
  f'Config.max_steps = {MAX_STEPS}',
  'Config.checkpoint_every = 4',
  'Config.print_every = 10',
  'Config.train_render_every = 0',
  'Config.render_chunk_size = 256',
  'Config.lr_init = 1e-2',
  'Config.lr_final = 1e-3',
  'Config.lr_delay_steps = 0',
  'Config.grad_max_norm = 0.',
  'Config.eval_render_interval = 1',
  # None leaves JAX's own setting: that of conftest.py, or of `environment`.
  'Config.compilation_cache_dir = None',
  *FIELDS,
)


def render_scene(folder: pathlib.Path) -> pathlib.Path:
  """Renders the tiny scene, in Blender format."""
  return synthetic.render_scene(folder, RESOLUTION, NUM_TRAIN, NUM_TEST)


def arguments(
  data_dir: str | os.PathLike, run_dir: str | os.PathLike, *bindings: str
) -> list[str]:
  """Flags of a tiny run; later bindings replace earlier ones."""
  return [
    '--gin_configs=blender_256.gin',
    f'--data_dir={data_dir}',
    f'--checkpoint_dir={run_dir}',
    *(f'--gin_bindings={b}' for b in (*BINDINGS, *bindings)),
  ]


def run(main: Callable[[list[str]], int], *args: str) -> int:
  """Calls a program's `main`; returns its exit status."""
  return main(['program', *args])


def environment(num_devices: int, **extra: str) -> dict[str, str]:
  """Environment of a process with so many CPU devices and our cache."""
  return os.environ | {
    'JAX_PLATFORMS': 'cpu',
    # As in conftest.py: the same program gives the same bits only if it is
    # compiled alike.
    'XLA_FLAGS': f'--xla_force_host_platform_device_count={num_devices} '
    '--xla_backend_optimization_level=0',
    'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
    **extra,
  }


def start(
  script: str, args: Sequence[str], *, num_devices: int = 1, **extra: str
) -> subprocess.CompletedProcess:
  """Runs a script of the checkout from '/', as a user would."""
  return subprocess.run(
    [sys.executable, CHECKOUT / script, *args],
    cwd='/',
    env=environment(num_devices, **extra),
    capture_output=True,
    text=True,
    timeout=300,
  )


def leaves(folder: pathlib.Path, step: int) -> dict[str, np.ndarray]:
  """All arrays of a checkpoint by path: parameters, optimiser, step."""
  data = checkpoints.checkpoint_path(folder, step).read_bytes()
  flat, _ = jax.tree.flatten_with_path(serialization.msgpack_restore(data))
  return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}


def contents(folder: pathlib.Path) -> dict[str, bytes]:
  """Every file below a folder, to tell whether anything was changed."""
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in sorted(folder.rglob('*'))
    if path.is_file()
  }


def events(folder: pathlib.Path) -> list[event_pb2.Event]:
  """All TensorBoard events of a folder, oldest first, by a reader of our own."""
  found = []
  for path in sorted(folder.glob('events.out.tfevents.*')):
    data, start = path.read_bytes(), 0
    while start < len(data):
      size = int.from_bytes(data[start : start + 8], 'little')
      body = data[start + 12 : start + 12 + size]
      found.append(event_pb2.Event.FromString(body))
      start += size + 16
  return found


def summaries(folder: pathlib.Path) -> dict[str, dict[int, Any]]:
  """{tag: {step: value message}} of a folder's events."""
  found: dict[str, dict[int, Any]] = {}
  for event in events(folder):
    for value in event.summary.value:
      found.setdefault(value.tag, {})[event.step] = value
  return found
