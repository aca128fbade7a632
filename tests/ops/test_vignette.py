import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf.ops import vignette


@pytest.mark.slow
def test_vignette_is_the_exponential_of_an_even_polynomial():
  gen = np.random.default_rng(0)
  coords = gen.normal(size=(2, 4, 2)).astype(np.float32)
  weights = gen.normal(size=(3, 3)).astype(np.float32) * 0.1
  got = jax.jit(vignette.compute_vignette)(
    jnp.asarray(coords), jnp.asarray(weights)
  )
  radius = np.linalg.norm(coords, axis=-1)[..., None]
  w = np.abs(weights)
  want = np.exp(-(w[0] * radius**2 + w[1] * radius**4 + w[2] * radius**6))
  np.testing.assert_allclose(got, want, rtol=1e-5)
  centre = vignette.compute_vignette(jnp.zeros((1, 2)), jnp.asarray(weights))
  np.testing.assert_array_equal(centre, np.ones((1, 3)))
