"""Names of `internal/ref_utils.py`."""

from multinerf.ops import directional

reflect = directional.reflect
l2_normalize = directional.l2_normalize
compute_weighted_mae = directional.compute_weighted_mae
generalized_binomial_coeff = directional.generalized_binomial_coeff
assoc_legendre_coeff = directional.assoc_legendre_coeff
sph_harm_coeff = directional.sph_harm_coeff
get_ml_array = directional.get_ml_array
generate_ide_fn = directional.generate_ide_fn
generate_dir_enc_fn = directional.generate_dir_enc_fn
