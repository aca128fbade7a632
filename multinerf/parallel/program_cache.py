"""Compiled programs on disk, so that a second start is quick.

JAX writes an entry in place and never replaces one: who reads it meanwhile, or
after its writer was killed, has half a program, for which JAX warns at every
start from then on. Entries are written beside their place here and renamed,
and one that could not be read is replaced.
"""

import os
import uuid
from typing import Any

import jax

try:
  from jax._src.lru_cache import LRUCache
except ImportError:  # A JAX that keeps its programs in another way.
  LRUCache = None

_jax_put = getattr(LRUCache, 'put', None)


def enable_compilation_cache(
  folder: str | None, least_seconds: float = 0.5
) -> None:
  """Keeps compiled programs in `folder`.

  Args:
    folder: Where; `~` is expanded. None leaves JAX's own setting.
    least_seconds: Programs that compile faster are not kept.
  """
  if _jax_put is not None:
    LRUCache.put = _put
  if folder is None:
    return
  jax.config.update('jax_compilation_cache_dir', os.path.expanduser(folder))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', least_seconds)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


def _put(cache: Any, key: str, value: bytes) -> None:
  """Writes an entry, whole or not at all; JAX asks after a failed reading."""
  if cache.eviction_enabled or '://' in str(cache.path):
    _jax_put(cache, key, value)  # It locks; a bucket's objects appear whole.
    return
  place = os.path.join(cache.path, f'{key}-cache')
  part = f'{place}.{uuid.uuid4().hex}'
  try:
    with open(part, 'xb') as file:
      file.write(value)
    os.replace(part, place)
  except BaseException:
    if os.path.exists(part):
      os.unlink(part)
    raise
