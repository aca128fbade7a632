"""Names of `camp_zipnerf/internal/resample.py`."""

from multinerf.ops import grid_sampling

gather_volume = grid_sampling.gather_volume
resample_3d = grid_sampling.resample_3d
