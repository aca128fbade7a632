"""Compiled programs on disk: entries are whole, and broken ones are replaced."""

import os

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from multinerf import parallel


@pytest.fixture
def folder(tmp_path):
  """An empty cache that JAX uses while the test runs."""
  names = (
    'jax_compilation_cache_dir',
    'jax_persistent_cache_min_compile_time_secs',
    'jax_persistent_cache_min_entry_size_bytes',
  )
  before = {name: getattr(jax.config, name) for name in names}
  parallel.enable_compilation_cache(str(tmp_path), least_seconds=0)
  compilation_cache.reset_cache()
  yield tmp_path
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


def compile_and_run():
  """Compiles, or reads, a program of its own."""
  jax.clear_caches()
  program = jax.jit(lambda x: x * 3 + 0.0625)
  assert program(jnp.ones(7))[0] == 3.0625


def test_none_leaves_the_setting():
  before = jax.config.jax_compilation_cache_dir
  parallel.enable_compilation_cache(None)
  assert jax.config.jax_compilation_cache_dir == before


def test_a_broken_entry_is_replaced(folder):
  compile_and_run()
  entries = {path: path.read_bytes() for path in folder.iterdir()}
  assert entries
  assert all(path.name.endswith('-cache') for path in entries)
  for path, value in entries.items():
    path.write_bytes(value[: len(value) // 2])
  with pytest.warns(UserWarning, match='persistent compilation cache'):
    compile_and_run()
  compile_and_run()  # Warnings are errors: all of it can be read again.
  assert set(folder.iterdir()) == set(entries)
  for path, value in entries.items():
    assert len(path.read_bytes()) > len(value) // 2


def test_an_entry_appears_whole(folder, monkeypatch):
  replace = os.replace
  seen = []

  def watched(source, target):
    assert not os.path.exists(target)
    seen.append((target, os.path.getsize(source)))
    replace(source, target)

  monkeypatch.setattr(os, 'replace', watched)
  compile_and_run()
  assert dict(seen) == {
    str(path): path.stat().st_size for path in folder.iterdir()
  }
  assert seen


def test_what_could_not_be_written_leaves_nothing(folder, monkeypatch):
  def full(source, target):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'replace', full)
  with pytest.warns(UserWarning, match='No space left'):
    compile_and_run()
  assert not list(folder.iterdir())
