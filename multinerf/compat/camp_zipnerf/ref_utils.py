"""Names of `camp_zipnerf/internal/ref_utils.py`."""

import jax.numpy as jnp

from multinerf.ops import directional
from multinerf.types import Array

reflect = directional.reflect
l2_normalize = directional.l2_normalize_exact
compute_weighted_mae = directional.compute_weighted_mae
generalized_binomial_coeff = directional.generalized_binomial_coeff
assoc_legendre_coeff = directional.assoc_legendre_coeff
sph_harm_coeff = directional.sph_harm_coeff
get_ml_array = directional.get_ml_array
generate_ide_fn = directional.generate_ide_fn
generate_dir_enc_fn = directional.generate_dir_enc_fn


def orientation_loss(w: Array, n: Array, v: Array) -> Array:
  """mean over rays of sum_i w_i min(0, n_i . v)^2 (Ref-NeRF, Eq. 11).

  Args:
    w: Weights [..., n].
    n: Unit normals [..., n, 3].
    v: Unit vectors [..., 3] from the surface towards the camera.
  """
  facing_away = jnp.minimum(0.0, jnp.sum(n * v[..., None, :], axis=-1))
  return jnp.mean(jnp.sum(w * facing_away**2, axis=-1))
