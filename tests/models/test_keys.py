"""Random numbers belong to rays, not to batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf.models import keys


def _keys(shape, seed=0):
  return jax.random.split(jax.random.key(seed), shape)


def test_numbers_of_a_ray_do_not_depend_on_its_neighbours():
  all_keys = _keys((6,))
  together = keys.uniform(all_keys, (4,))
  alone = keys.uniform(all_keys[2:3], (4,))
  np.testing.assert_array_equal(together[2:3], alone)


@pytest.mark.parametrize('batch', [(), (3,), (2, 3)])
def test_shapes_follow_the_keys(batch):
  ray_keys = _keys(batch)
  assert keys.uniform(ray_keys, (5,)).shape == (*batch, 5)
  assert keys.normal(ray_keys, (5, 2)).shape == (*batch, 5, 2)
  assert keys.fold(ray_keys, 1).shape == batch


def test_different_uses_of_a_key_give_different_numbers():
  ray_keys = _keys((3,))
  first = keys.uniform(keys.fold(ray_keys, 0), (4,))
  second = keys.uniform(keys.fold(ray_keys, 1), (4,))
  assert not np.any(np.asarray(first) == np.asarray(second))


def test_perturb_is_the_identity_without_keys_or_noise():
  x = jnp.ones((3, 4), jnp.float32)
  assert keys.perturb(None, x, 1.0) is x
  assert keys.perturb(_keys((3,)), x, 0.0) is x
  assert keys.fold(None, 1) is None


def test_perturb_adds_noise_of_the_given_deviation():
  x = jnp.zeros((50, 200), jnp.float32)
  noise = np.asarray(keys.perturb(_keys((50,)), x, 2.0))
  # 10,000 normal numbers: the deviation is known to 1.4 % (2 sigma).
  assert abs(noise.std() - 2.0) < 0.06
  assert abs(noise.mean()) < 0.06
