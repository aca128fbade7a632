"""Sharing arrays between devices; tests run with 8 virtual ones."""

import os
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import errors, parallel
from multinerf.parallel import devices


def tree(n):
  return {
    'a': np.arange(n * 3, dtype=np.float32).reshape(n, 3),
    'b': [np.arange(n, dtype=np.int32)],
  }


def assert_equal(got, want):
  assert jax.tree.structure(got) == jax.tree.structure(want)
  for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    assert x.dtype == y.dtype
    np.testing.assert_array_equal(x, y)


def test_there_are_eight_devices_of_one_process():
  # Everything below would pass with one device and show nothing.
  assert parallel.local_device_count() == parallel.device_count() == 8
  assert parallel.process_count() == 1
  assert parallel.is_lead() and parallel.process_index() == 0
  assert parallel.device_description() == '8 x cpu'


def test_merge_undoes_shard():
  want = tree(24)
  sharded = parallel.shard(want)
  assert sharded['a'].shape == (8, 3, 3)
  assert sharded['b'][0].shape == (8, 3)
  assert_equal(parallel.merge(sharded), want)


def test_shard_keeps_the_order_of_rays_and_leaves_out_none():
  sharded = parallel.shard({'x': np.arange(16), 'none': None})
  np.testing.assert_array_equal(sharded['x'][3], [6, 7])
  assert sharded['none'] is None


def test_shard_refuses_what_cannot_be_split_equally():
  with pytest.raises(errors.ConfigError, match='batch of 12.*8 devices'):
    parallel.shard({'x': np.zeros((12, 3))})


def test_unreplicate_undoes_replicate():
  want = tree(2)
  copies = parallel.replicate(want)
  assert copies['a'].shape == (8, 2, 3)
  np.testing.assert_array_equal(copies['a'][7], want['a'])
  host = parallel.unreplicate(copies)
  assert isinstance(host['a'], np.ndarray)
  assert_equal(host, want)


def test_unreplicate_of_a_step_s_result_is_its_first_device_s():
  out = parallel.pmap_step(lambda x: x + 1, donate_state=False)(np.arange(8.0))
  assert parallel.unreplicate(out) == 1


@pytest.mark.parametrize('size', [8, 16, 4096])
def test_divisible_batch_sizes_pass(size):
  parallel.check_divisible(size)


@pytest.mark.parametrize(
  'size, fits',
  [(7, 'use 8,'), (9, 'use 8 or 16,'), (100, 'use 96 or 104,'), (0, 'use 8,')],
)
def test_indivisible_batch_sizes_name_the_nearest_that_fit(size, fits):
  with pytest.raises(errors.ConfigError) as e:
    parallel.check_divisible(size)
  text = str(e.value)
  assert f'Config.batch_size = {size} is not divisible by the 8' in text
  assert fits in text


def test_patches_stay_whole_on_their_devices():
  parallel.check_divisible(8 * 16**2, 16)
  with pytest.raises(errors.ConfigError) as e:
    parallel.check_divisible(3 * 8 * 16**2 // 2, 16)
  assert 'Config.batch_size = 3072 in patches of 16x16' in str(e.value)
  assert 'use 2048 or 4096' in str(e.value)


def test_pmean_is_the_mean_over_devices_on_every_device():
  step = parallel.pmap_step(parallel.pmean, donate_state=False)
  x = np.arange(8.0, dtype=np.float32)
  out = step({'x': x})
  np.testing.assert_array_equal(out['x'], np.full(8, 3.5))


def test_between_processes_an_average_is_one_vector(monkeypatch):
  tree = {
    'a': np.arange(48.0, dtype=np.float32).reshape(8, 2, 3),
    'b': [np.arange(8.0, dtype=np.float32), np.ones((8, 5), np.float32)],
  }
  want = parallel.pmap_step(parallel.pmean, donate_state=False)(tree)
  monkeypatch.setattr(parallel.devices.jax, 'process_count', lambda: 2)
  # A function of its own: JAX remembers the one that is traced already.
  step = jax.pmap(lambda x: parallel.pmean(x), axis_name=parallel.AXIS)
  jax.tree.map(np.testing.assert_array_equal, step(tree), want)
  assert step.lower(tree).as_text().count('"stablehlo.all_reduce"') == 1


def test_ray_offsets_number_the_rays_of_all_devices():
  number = lambda x: parallel.ray_offset(x.shape[0]) + jnp.arange(x.shape[0])
  step = parallel.pmap_step(number, donate_state=False)
  got = step(np.zeros((8, 3), np.float32))
  np.testing.assert_array_equal(got.reshape(-1), np.arange(24))


def test_keys_of_indices_do_not_depend_on_their_company():
  key = jax.random.key(0)
  together = jax.random.key_data(
    parallel.fold_in_indices(key, jnp.arange(100, 108))
  )
  alone = jax.random.key_data(parallel.fold_in_indices(key, jnp.array([103])))
  np.testing.assert_array_equal(together[3], alone[0])
  assert len(np.unique(together, axis=0)) == 8


def test_moved_and_replicated_arguments_share_one_compilation(caplog):
  traces = []

  def fn(state, batch):
    traces.append(None)
    return state + jnp.sum(batch), jnp.max(batch)

  step = parallel.pmap_step(fn, donate_state=True)
  state = parallel.replicate(np.float32(0))
  batches = [np.full(16, i, np.float32) for i in range(4)]
  largest = []
  with jax.log_compiles():
    for batch in map(parallel.to_devices, map(parallel.shard, batches)):
      state, top = step(state, batch)
      largest.append(float(parallel.unreplicate(top)))
  assert largest == [0, 1, 2, 3]  # none lost, none swapped
  assert parallel.unreplicate(state) == 2 * (0 + 1 + 2 + 3)
  assert len(traces) == 1
  compiled = [m for m in caplog.messages if 'XLA compilation' in m]
  assert len(compiled) == 1, compiled


def test_donated_argument_is_gone_and_others_are_not():
  step = parallel.pmap_step(lambda a, b: a + b, donate_state=True)
  a = parallel.replicate(np.ones(4, np.float32))
  b = parallel.replicate(np.ones(4, np.float32))
  parallel.wait(step(a, b))
  assert a.is_deleted() and not b.is_deleted()


def test_all_gather_joins_the_shares_in_the_order_of_rays_on_every_device():
  x = np.arange(48.0).reshape(8, 3, 2)
  out = parallel.pmap_step(parallel.all_gather, donate_state=False)(x)
  for copy in np.asarray(out):
    np.testing.assert_array_equal(copy, x.reshape(24, 2))


def test_devices_set_by_the_user_are_left_alone():
  # tests/conftest.py sets --xla_force_host_platform_device_count.
  assert parallel.configure_cpu_devices(64) == 0
  assert jax.device_count() == 8


def test_shared_arrays_are_replicated_ones():
  want = tree(5)
  shared = parallel.share(want)
  assert_equal(jax.device_get(shared), jax.device_get(parallel.replicate(want)))
  total = parallel.pmap_step(lambda t: jnp.sum(t['a']), donate_state=False)
  np.testing.assert_array_equal(total(shared), np.full(8, want['a'].sum()))


def test_moved_arrays_keep_their_values_and_lie_on_their_devices():
  want = parallel.shard(tree(16))
  moved = parallel.to_devices(want)
  assert_equal(jax.device_get(moved), want)
  devices = [s.device for s in moved['a'].addressable_shards]
  assert devices == jax.local_devices()


def test_cpu_devices_have_no_memory_of_their_own():
  assert parallel.free_memory() is None
  assert parallel.peak_memory() is None
  assert parallel.platform() == 'cpu'


def test_the_peak_is_that_of_the_device_that_needed_most(monkeypatch):
  class Device:
    def __init__(self, **stats):
      self.memory_stats = lambda: stats or None

  devices = [Device(peak_bytes_in_use=n, bytes_in_use=9) for n in (5, 7, 6)]
  monkeypatch.setattr(jax, 'local_devices', lambda: [Device(), *devices])
  assert parallel.peak_memory() == 7


DEVICE_PER_CORE = """
import os
from multinerf import parallel
count = parallel.configure_cpu_devices(64)
cores = len(os.sched_getaffinity(0))
print(count == parallel.device_count(), os.environ['NPROC'], cores)
"""


def test_devices_are_counted_where_python_knows_no_affinity():
  program = 'import os\ndel os.sched_getaffinity\n' + DEVICE_PER_CORE.replace(
    'len(os.sched_getaffinity(0))', 'os.cpu_count()'
  )
  hidden = ('XLA_FLAGS', 'NPROC', 'JAX_NUM_CPU_DEVICES')
  done = subprocess.run(
    [sys.executable, '-c', program],
    env={k: v for k, v in os.environ.items() if k not in hidden},
    cwd=pathlib.Path(parallel.__file__).parents[2],
    capture_output=True,
    text=True,
    check=True,
  )
  cores = os.cpu_count()
  assert done.stdout.strip() == f'True {1 if cores == 1 else 2 * cores} {cores}'


def test_a_device_per_core_comes_with_more_threads_than_devices():
  hidden = ('XLA_FLAGS', 'NPROC', 'JAX_NUM_CPU_DEVICES')
  env = {k: v for k, v in os.environ.items() if k not in hidden}
  for given in {}, {'NPROC': '1000'}:
    done = subprocess.run(
      [sys.executable, '-c', DEVICE_PER_CORE],
      env=env | given,
      cwd=pathlib.Path(parallel.__file__).parents[2],
      capture_output=True,
      text=True,
      check=True,
    )
    cores = len(os.sched_getaffinity(0))
    # A single one waits for nobody; the user's own number stays.
    threads = given.get('NPROC', 1 if cores == 1 else 2 * cores)
    assert done.stdout.strip() == f'True {threads} {cores}'


def _update(params, moments, grads):
  """Adam's moments of gradients whose non-finite elements count as 0."""
  finite = jnp.where(jnp.isfinite(grads), grads, 0)
  first = 0.9 * moments[0] + 0.1 * finite
  second = 0.99 * moments[1] + 0.01 * finite**2
  return params - first / (jnp.sqrt(second) + 1e-8), (first, second)


@pytest.mark.parametrize('in_place', [False, True])
def test_arrays_are_written_over_without_a_copy(in_place):
  count = parallel.local_device_count()
  rows = np.linspace(0.1, 1, count * 6000, dtype=np.float32)
  state, grads = (
    parallel.to_devices(rows.reshape(count, 2000, 3) + n) for n in (0, 1)
  )
  fn = parallel.in_place(_update) if in_place else _update
  step = parallel.pmap_step(
    lambda state, grads: fn(state[0], state[1], grads), donate_state=True
  )
  given = (state, (state + 1, state + 2))
  want = jax.vmap(_update)(*given, grads)
  program = parallel.compiled(step, (given, grads))
  # Without `in_place` there are copies today. Once there are none, it can go.
  copies = re.findall(r'f32\[1,2000,3\]\S* copy\(', program.as_text())
  assert bool(copies) != in_place
  got = program(given, grads)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), got, want
  )


def test_an_option_that_this_xla_lacks_is_left_out(monkeypatch):
  step, args = (
    parallel.pmap_step(jnp.sin, donate_state=False),
    (parallel.replicate(np.ones(2)),),
  )
  monkeypatch.setattr(devices, '_CPU_OPTIONS', {'xla_cpu_no_such_thing': True})
  got = parallel.compiled(step, args)(*args)
  np.testing.assert_allclose(parallel.unreplicate(got), np.sin(np.ones(2)))
  monkeypatch.setattr(devices, '_CPU_OPTIONS', {'xla_cpu_max_isa': 3})
  with pytest.raises(Exception, match='xla_cpu_max_isa'):
    parallel.compiled(step, args)


def test_in_place_leaves_numbers_alone():
  double = parallel.in_place(lambda x, n: (x * n, n + 1))
  x, n = double(jnp.ones((2, 3)), jnp.int32(2))
  assert x.shape == (2, 3) and n.shape == () and n == 3


@pytest.mark.parametrize('count', [1, 2])
def test_the_mean_of_one_device_is_no_work(count):
  step = jax.pmap(
    parallel.pmean, axis_name=parallel.AXIS, devices=jax.devices()[:count]
  )
  x = jnp.arange(2.0 * count).reshape(count, 2)
  assert ('all-reduce' in step.lower(x).compile().as_text()) == (count > 1)
  np.testing.assert_allclose(step(x), jnp.broadcast_to(x.mean(0), x.shape))
