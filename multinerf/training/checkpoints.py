"""Checkpoints that survive kill -9, a full disk and a flipped bit.

One file `checkpoint_<step>` per step in flax's msgpack form, byte for byte what
`flax.training.checkpoints` writes with `flax_use_orbax_checkpointing=False`, so
that either library reads the other's files. The bytes are written here instead
of by flax because flax neither syncs nor hashes them, deletes newer files when
an older step is saved again, and chooses its format by a global flag.

Beside it `manifest_<step>.json` (not a name flax would pick up) holds checksum,
shapes, versions and what the caller adds.

What a reader may rely on at any moment, whatever the writer was doing:
- A file named `checkpoint_<step>` is complete: it was synced before it got its
  name. Temporary files are ignored, and removed by the next save.
- A manifest appears before its checkpoint, and disappears before that is
  replaced; a checkpoint without one (all of upstream's) is used unverified.
- Older checkpoints are removed only after the new one is durable.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from flax import serialization

from multinerf import errors
from multinerf.training import console, durable, state_dicts

Folder = str | os.PathLike
Manifest = Mapping[str, Any]
Warn = Callable[[str], Any]

_NAME = re.compile(r'checkpoint_(0|[1-9]\d*)')
_MAX_MANIFEST_BYTES = 2**26
_PACKAGES = ('multinerf', 'jax', 'jaxlib', 'flax', 'optax', 'numpy')


class _DamagedError(errors.CheckpointError):
  """A checkpoint whose bytes are not those that were written."""


def checkpoint_path(folder: Folder, step: int) -> pathlib.Path:
  """Where the checkpoint of `step` lies."""
  return pathlib.Path(folder) / f'checkpoint_{step}'


def manifest_path(folder: Folder, step: int) -> pathlib.Path:
  """Where the manifest of the checkpoint of `step` lies."""
  return pathlib.Path(folder) / f'manifest_{step}.json'


def available_steps(folder: Folder) -> list[int]:
  """Steps with a checkpoint, ascending; empty also when there is no folder."""
  folder = pathlib.Path(folder)
  try:
    names = os.listdir(folder) if folder.is_dir() else []
  except OSError as error:
    raise errors.CheckpointError(
      f'Cannot list {folder}: {error.strerror} (gin: Config.checkpoint_dir).'
    ) from error
  matches = (_NAME.fullmatch(name) for name in names)
  return sorted(int(match[1]) for match in matches if match)


def latest(folder: Folder) -> int | None:
  """The newest step with a checkpoint, or None; contents are not examined."""
  steps = available_steps(folder)
  return steps[-1] if steps else None


def save(
  folder: Folder,
  state: Any,
  step: int,
  *,
  keep: int,
  keep_every: int = 0,
  manifest: Manifest | None = None,
  is_lead: bool = True,
  warn: Warn = console.python_warning,
) -> pathlib.Path:
  """Writes `checkpoint_<step>` durably, then removes the oldest ones.

  Of the checkpoints up to `step` the newest `keep` stay. Later ones, left by a
  run that was rewound, are never removed; `warn` hears of them, because a
  resume would take them. The checkpoint of an equal step is replaced.

  Args:
    folder: Made with its parents if missing.
    state: Unreplicated pytree that flax can serialise (dict, flax struct,
      optax state) of host arrays; no typed JAX keys.
    step: The step that `state` holds; names the file.
    keep: How many stay, >= 1.
    keep_every: Those of its multiples stay as well; 0: none do.
    manifest: JSON-compatible extras (wall time so far, gin text, ...), stored
      as `manifest['run']`.
    is_lead: False on all processes but one: nothing is written.
    warn: Called with one line about anything odd but survivable.

  Returns:
    The path of the checkpoint.

  Raises:
    CheckpointError: The folder is not writable or the disk is full. Earlier
      checkpoints are intact and the temporary file is gone.
    ValueError: keep < 1, or `state` has an entry `step` that is not `step`.
  """
  if keep < 1:
    raise ValueError(f'keep = {keep} must be at least 1.')
  path = checkpoint_path(folder, step)
  if not is_lead:
    return path
  state_dict = serialization.to_state_dict(state)
  held = state_dict.get('step') if isinstance(state_dict, dict) else None
  # Differs from multinerf train.py:284 (names the last one max_steps).
  if held is not None and int(held) != step:
    raise ValueError(f'The state of step {int(held)} is saved as step {step}.')
  leaves = state_dicts.leaves(state_dict)
  arrays = {name: state_dicts.describe(leaf) for name, leaf in leaves.items()}
  data = serialization.msgpack_serialize(state_dict, in_place=True)
  sidecar = {
    'step': step,
    'sha256': hashlib.sha256(data).hexdigest(),
    'num_bytes': len(data),
    'saved_at': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
    'versions': _versions(),
    'run': dict(manifest or {}),
    'arrays': arrays,
  }
  sidecar = json.dumps(sidecar, indent=1).encode()
  try:
    durable.replace_pair(path, data, manifest_path(folder, step), sidecar)
  except OSError as error:
    raise errors.CheckpointError(
      f'Cannot write checkpoint {path} ({len(data) / 1e6:.1f} MB): '
      f'{error.strerror or error}. Earlier checkpoints are intact; free '
      f'space or choose another folder (gin: Config.checkpoint_dir).'
    ) from error
  _prune(path.parent, step, (keep, keep_every), warn)
  return path


def set_aside(folder: Folder, name: str, *, is_lead: bool = True) -> None:
  """Moves all checkpoints into the subfolder `name`, where no resume sees them.

  Raises:
    CheckpointError: The folder cannot be changed.
  """
  if not is_lead:
    return
  aside = pathlib.Path(folder) / name
  try:
    for step in available_steps(folder):
      aside.mkdir(exist_ok=True)
      for path in (manifest_path(folder, step), checkpoint_path(folder, step)):
        if path.exists():
          os.replace(path, aside / path.name)
  except OSError as error:
    raise errors.CheckpointError(
      f'Cannot move checkpoints to {aside}: {error.strerror or error} '
      '(gin: Config.checkpoint_dir).'
    ) from error


def _prune(
  folder: pathlib.Path, step: int, keeps: tuple[int, int], warn: Warn
) -> None:
  """Removes what neither `keep` nor `keep_every` asks for, up to `step`."""
  keep, keep_every = keeps
  steps = available_steps(folder)
  later = [s for s in steps if s > step]
  if later:
    warn(
      f'checkpoint_{step} was saved, but {folder} also holds later ones '
      f'({state_dicts.some(later)}), which a resume would take; remove them '
      f'if they belong to an abandoned run.'
    )
  # Folders are Orbax checkpoints of another program: not ours to remove.
  is_ours = lambda s: s <= step and checkpoint_path(folder, s).is_file()
  for old in list(filter(is_ours, steps))[:-keep]:
    if keep_every and old % keep_every == 0:
      continue
    try:
      checkpoint_path(folder, old).unlink(missing_ok=True)
      manifest_path(folder, old).unlink(missing_ok=True)
    except OSError as error:
      warn(f'Cannot remove the old checkpoint_{old} in {folder}: {error}.')


def _versions() -> dict[str, str]:
  """Versions of Python and of the packages that shape a checkpoint."""
  versions = {'python': platform.python_version()}
  for package in _PACKAGES:
    # A checkout that was never installed has no version.
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      versions[package] = importlib.metadata.version(package)
  return versions


def restore(
  folder: Folder,
  target: Any,
  step: int | None = None,
  *,
  only: Collection[str] | None = None,
  warn: Warn = console.python_warning,
) -> tuple[Any, dict[str, Any]]:
  """Reads a checkpoint into the structure of `target`.

  The checksum is verified, then that paths, shapes and dtypes are exactly those
  of `target`. Reading executes no code from the file. Orbax folders, which
  recent flax writes by default, are read too.

  Args:
    folder: Holds `checkpoint_<step>` files.
    target: Pytree of arrays or `jax.ShapeDtypeStruct`s; values are not used.
    step: Which; None takes the newest, and when that is damaged tells `warn`
      and takes the one before.
    only: Top-level entries to read, e.g. `('step', 'params')`; the others keep
      target's values and are ignored in the file. None reads all.
    warn: Called with one line about each damaged checkpoint passed over.

  Returns:
    The state, with (read-only) numpy arrays, and the manifest, which has at
    least `step` and `run` (the extras given to `save`; {} if there are none).

  Raises:
    CheckpointError: No checkpoint, no such step, nothing undamaged, or one of
      another architecture; the message lists what differs.
  """
  steps = available_steps(folder)
  if not steps or (step is not None and step not in steps):
    wanted = 'checkpoint' if step is None else f'checkpoint_{step}'
    raise errors.CheckpointError(
      f'No {wanted} in {folder}: {_contents(folder)} '
      f'(gin: Config.checkpoint_dir).'
    )
  damages = []
  for candidate in [step] if step is not None else reversed(steps):
    try:
      found, manifest = _read(folder, candidate)
    except _DamagedError as error:
      damages.append(str(error))
      continue
    path = checkpoint_path(folder, candidate)
    for damage in damages:
      warn(f'{damage} Using {path.name} instead.')
    return state_dicts.fit(found, target, only=only, source=path), manifest
  if step is None and available_steps(folder) != steps:
    # A training run replaced the only checkpoint while it was read.
    return restore(folder, target, only=only, warn=warn)
  raise errors.CheckpointError(
    f'No usable checkpoint in {folder}: {" ".join(damages)}'
  )


def _read(folder: Folder, step: int) -> tuple[Any, dict[str, Any]]:
  """The verified state dict and manifest of one step."""
  path, manifest = checkpoint_path(folder, step), {'step': step, 'run': {}}
  if path.is_dir():
    return _read_orbax(path), manifest
  try:
    data = path.read_bytes()
    sidecar = manifest_path(folder, step)
    if sidecar.exists():
      manifest = _read_manifest(sidecar)
      if len(data) != manifest['num_bytes']:
        raise _DamagedError(
          f'{path} is damaged: {len(data)} of {manifest["num_bytes"]} bytes.'
        )
      if hashlib.sha256(data).hexdigest() != manifest['sha256']:
        raise _DamagedError(f'{path} is damaged: its checksum is wrong.')
  except OSError as error:
    raise _DamagedError(f'{path} cannot be read: {error}.') from error
  except (ValueError, KeyError, TypeError, RecursionError) as error:
    raise _DamagedError(f'The manifest of {path} is damaged.') from error
  try:
    found = serialization.msgpack_restore(data)
  except Exception as error:
    # From arbitrary bytes msgpack, numpy and flax raise nearly every type.
    raise _DamagedError(
      f'{path} is damaged or no checkpoint: {type(error).__name__}: {error}.'
    ) from error
  if not isinstance(found, dict):
    raise _DamagedError(f'{path} is damaged or no checkpoint.')
  return found, manifest


def _read_manifest(path: pathlib.Path) -> dict[str, Any]:
  """A manifest whose entries that are read later are what they should be.

  Raises:
    ValueError, KeyError, TypeError, RecursionError, OSError: It is none.
  """
  if path.stat().st_size > _MAX_MANIFEST_BYTES:
    raise ValueError('it is too large')
  manifest = json.loads(path.read_text())
  if not isinstance(manifest['run'], dict):
    raise TypeError('its entry run is not an object')
  seconds = manifest['run'].get('train_seconds', 0.0)
  if not isinstance(seconds, int | float) or not 0 <= seconds < float('inf'):
    raise ValueError('its train_seconds is no duration')
  return manifest


def _read_orbax(path: pathlib.Path) -> Any:
  """State dict of a checkpoint folder written by flax through Orbax."""
  # Imported here: it takes more than a second, and only foreign folders need it.
  from flax.training import checkpoints as flax_checkpoints

  try:
    return flax_checkpoints.restore_checkpoint(path.absolute(), target=None)
  except Exception as error:  # As for msgpack: damage raises all types.
    raise _DamagedError(
      f'{path} is not readable by Orbax: {type(error).__name__}: {error}.'
    ) from error


def _contents(folder: Folder) -> str:
  """What is in a folder that has not the checkpoint wanted."""
  if not os.path.isdir(folder):
    return 'it is a file' if os.path.exists(folder) else 'it does not exist'
  return f'it holds {state_dicts.some(sorted(os.listdir(folder))) or "nothing"}'
