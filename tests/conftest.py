"""Fixtures shared by all tests, and the set-up that must precede JAX."""

import functools
import os
import pathlib
import time

# Eight virtual CPU devices, so that every multi-device path is tested on any
# machine. The suite compiles thousands of programs that run once on a handful
# of numbers, so the compiler's optimisations are off. Both must be in the
# environment before the first `import jax`.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = ' '.join(
  (
    os.environ.get('XLA_FLAGS', ''),
    '--xla_force_host_platform_device_count=8',
    '--xla_backend_optimization_level=0',
  )
)

import jaxtyping  # noqa: E402

# Shapes in annotations are checked while tests run, and cost users nothing.
_hook = jaxtyping.install_import_hook('multinerf', 'numeric_tower.check')
_hook.__enter__()

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from multinerf import parallel  # noqa: E402

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
SHARED = CHECKOUT.parent / 'shared'

# Compiling dominates the suite; a second run on one machine skips most of it.
parallel.enable_compilation_cache(
  os.environ.get('MULTINERF_TEST_CACHE', '~/.cache/multinerf/xla-tests'),
  least_seconds=0,
)


# Linux allows a process 65,530 mappings of memory (vm.max_map_count); past that
# the compiler fails in ways that end or hang the process.
_MAPPINGS = pathlib.Path('/proc/self/maps')
_MOST_MAPPINGS = 30_000


@pytest.fixture(autouse=True)
def _forget_programs():
  """Lets go of compiled programs, dozens of mappings each, when many are kept.

  Only tests that take long are worth counting after.
  """
  start = time.monotonic()
  yield
  if time.monotonic() - start < 1 or not _MAPPINGS.exists():
    return
  if _MAPPINGS.read_bytes().count(b'\n') > _MOST_MAPPINGS:
    jax.clear_caches()


class Golden:
  """One golden file: reference inputs and outputs by slash-separated key."""

  def __init__(self, path: pathlib.Path):
    with np.load(path) as npz:
      self._npz = {key: npz[key] for key in npz.files}
    self.keys = tuple(self._npz)

  def __getitem__(self, key: str) -> np.ndarray:
    return self._npz[key]

  def cases(self, function: str) -> list[str]:
    """Names of the cases recorded for `function`."""
    found = {k.split('/')[1] for k in self.keys if k.startswith(function + '/')}
    return sorted(found)

  def case(self, function: str, name: str) -> dict[str, np.ndarray]:
    """All arrays of one case, keyed by what follows the case's name."""
    prefix = f'{function}/{name}/'
    return {
      k[len(prefix) :]: self._npz[k] for k in self.keys if k.startswith(prefix)
    }


@functools.cache
def _load_golden(path: pathlib.Path) -> Golden:
  return Golden(path)


@pytest.fixture(scope='session')
def golden():
  """Returns a function: name of a golden file -> `Golden`."""

  def load(name: str) -> Golden:
    path = SHARED / 'golden' / f'{name}.npz'
    if not path.exists():
      pytest.skip(f'reference vectors {path} are only on the project machines')
    return _load_golden(path)

  return load


@pytest.fixture(scope='session')
def shared_data():
  """Returns a function: name of a real scene -> its folder."""

  def find(name: str) -> pathlib.Path:
    path = SHARED / 'data' / name
    if not path.exists():
      pytest.skip(f'real scene {path} is only on the project machines')
    return path

  return find
