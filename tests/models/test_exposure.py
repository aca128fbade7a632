"""Exposures of raw images scale the field's colours (RawNeRF)."""

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import pytest

NUMBER = jnp.array([[0], [0], [1], [2]], jnp.int32)
VALUES = jnp.array([[1.0], [0.5], [0.5], [0.25]])
RAYS = model_util.rays(4)


def colours(rays, offsets=0.0, **options):
  """Colours of the last level's samples, [4, n, 3]."""
  net = model_util.model(num_glo_embeddings=3, **options)

  @jax.jit
  def run(key):
    params = net.init(key, None, RAYS)['params']
    if options:
      params = params | {
        'exposure_scaling_offsets': {'embedding': jnp.asarray(offsets)}
      }
    return net.apply({'params': params}, None, rays)[1][-1].field.rgb

  return np.asarray(run(jax.random.key(0)))


@pytest.mark.slow
def test_colours_are_multiplied_by_the_exposure():
  plain = colours(RAYS)
  scaled = colours(RAYS.replace(exposure_idx=NUMBER, exposure_values=VALUES))
  np.testing.assert_allclose(scaled, plain * VALUES[..., None], rtol=1e-6)


def test_learned_gains_apply_to_all_exposures_but_the_first():
  offsets = np.array([[9, 9, 9], [0.1, 0.2, -0.3], [0.5, 0, 0]], np.float32)
  got = colours(
    RAYS.replace(exposure_idx=NUMBER, exposure_values=VALUES),
    offsets,
    learned_exposure_scaling=True,
  )
  gain = np.where(NUMBER > 0, 1 + offsets[NUMBER[:, 0]], 1) * VALUES
  want = colours(RAYS) * gain[:, None, :]
  np.testing.assert_allclose(got, want, rtol=1e-5)


def test_exposures_of_developed_photographs_change_nothing():
  exif = RAYS.replace(exposure_values=VALUES)
  np.testing.assert_array_equal(colours(exif), colours(RAYS))
