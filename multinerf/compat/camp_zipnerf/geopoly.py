"""Names of `camp_zipnerf/internal/geopoly.py`."""

from multinerf.ops import geopoly as ops

compute_sq_dist = ops.compute_sq_dist
compute_tesselation_weights = ops.compute_tesselation_weights
tesselate_geodesic = ops.tesselate_geodesic
generate_basis = ops.generate_basis
