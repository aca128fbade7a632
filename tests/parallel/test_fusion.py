"""What is stored is computed once, and differentiated as if it were not."""

import jax
import jax.numpy as jnp
import numpy as np

from multinerf import parallel
from multinerf.parallel import fusion


def twice_read(store):
  """A program in which two loops over other axes read the same sines."""

  def fn(x):
    y = store(jnp.sin(x))
    return y[:, None] * jnp.arange(8.0), jnp.cumsum(y)

  return jax.jit(fn)


def num_sines(program):
  text = program.lower(jnp.ones(64)).compile().as_text()
  return text.count(' sine(')


def test_what_is_stored_is_computed_once():
  assert num_sines(twice_read(lambda x: x)) == 2  # else this shows nothing
  assert num_sines(twice_read(parallel.stored)) == 1


def test_it_is_computed_once_in_loops_and_on_many_devices():
  def fn(x):
    return jax.lax.map(twice_read(parallel.stored), x)

  step = parallel.pmap_step(fn, donate_state=False)
  x = np.linspace(0, 1, 8 * 3 * 64, dtype=np.float32).reshape(24, 64)
  text = step.lower(x.reshape(8, 3, 64)).compile().as_text()
  assert text.count(' sine(') == 1
  got = step(x.reshape(8, 3, 64))
  np.testing.assert_allclose(
    np.reshape(got[0], (24, 64, 8)),
    np.sin(x)[..., None] * np.arange(8),
    rtol=1e-6,
    atol=1e-6,
  )


def test_stored_is_the_identity_and_so_are_its_derivatives():
  x = jnp.linspace(-1, 1, 6).reshape(2, 3)

  def fn(x):
    return jnp.sum(parallel.stored(x) ** 3)

  np.testing.assert_array_equal(parallel.stored(x), x)
  np.testing.assert_array_equal(jax.vmap(parallel.stored)(x), x)
  np.testing.assert_allclose(jax.grad(fn)(x), 3 * x**2, rtol=1e-6)
  np.testing.assert_allclose(
    jax.jvp(jax.grad(fn), (x,), (x,))[1], 6 * x**2, rtol=1e-6
  )


def test_accelerators_fuse_as_they_like(monkeypatch):
  monkeypatch.setattr(fusion.devices, 'is_cpu', lambda: False)
  program = jax.jit(lambda x: parallel.stored(x) + 1)
  assert 'call' not in program.lower(jnp.ones(2)).as_text()
