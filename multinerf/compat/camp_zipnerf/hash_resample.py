"""Names of `camp_zipnerf/internal/hash_resample.py`."""

from multinerf.ops import grid_sampling

hash_resample_3d = grid_sampling.hash_resample_3d
