"""Statistics survive the trip through one vector."""

import jax
import jax.numpy as jnp
import numpy as np

from multinerf import parallel
from multinerf.training import stats

VALUES = {
  'psnrs': np.float32([20.5, 30.25]),
  'loss': np.float32(0.125),
  'nonfinite_grads': np.int32(2**24),
  'matrix': np.arange(6, dtype=np.float32).reshape(2, 3),
  'bad': np.float32([np.nan, np.inf, -np.inf]),
}


def packed_on_devices(values):
  copies = jax.tree.map(lambda x: np.stack([x] * 8), values)
  return parallel.pmap_step(stats.pack, donate_state=False)(copies)


def test_unpack_undoes_pack_step_by_step():
  steps = [
    packed_on_devices({**VALUES, 'loss': np.float32(i)}) for i in range(3)
  ]
  table = stats.unpack(steps)
  assert set(table) == set(VALUES)
  for name, value in VALUES.items():
    assert isinstance(table[name], np.ndarray)
    assert table[name].shape == (3, *np.shape(value))
    if name != 'loss':
      for row in table[name]:
        np.testing.assert_array_equal(row, value, err_msg=name)
  np.testing.assert_array_equal(table['loss'], [0, 1, 2])


def test_a_step_s_statistics_are_one_array():
  # A report costs one fetch a step, not one for each number.
  assert len(jax.tree.leaves(packed_on_devices(VALUES))) == 1


def test_layout_is_sorted_static_and_independent_of_the_order():
  one = stats.pack(VALUES)
  other = stats.pack(dict(reversed(VALUES.items())))
  assert one.layout == other.layout
  np.testing.assert_array_equal(one.values, other.values)
  assert [name for name, _ in one.layout] == sorted(VALUES)
  mapped = jax.tree.map(lambda x: x, one)
  assert mapped.layout == one.layout


def test_everything_becomes_float32():
  got = stats.pack({'a': jnp.bfloat16(1.5), 'b': np.int32(3), 'c': 2.0})
  assert got.values.dtype == jnp.float32
  np.testing.assert_array_equal(got.values, [1.5, 3, 2])


def test_what_only_reports_know_is_that_of_the_last_step():
  def step(x):
    return stats.pack({'loss': x}, at_reports={'norm': 10 * x})

  run = parallel.pmap_step(step, donate_state=False)
  table = stats.unpack([run(np.full(8, i, np.float32)) for i in range(3)])
  np.testing.assert_array_equal(table['loss'], [0, 1, 2])
  np.testing.assert_array_equal(table['norm'], [20])


def test_several_steps_of_one_dispatch_are_as_many_rows():
  def steps(x):
    return jax.lax.map(lambda i: stats.pack({'a': x + i}), jnp.arange(3.0))

  run = parallel.pmap_step(steps, donate_state=False)
  single = parallel.pmap_step(
    lambda x: stats.pack({'a': x}), donate_state=False
  )
  x = np.zeros(8, np.float32)
  table = stats.unpack([single(x), run(x + 1), single(x + 9)])
  np.testing.assert_array_equal(table['a'], [0, 1, 2, 3, 9])
