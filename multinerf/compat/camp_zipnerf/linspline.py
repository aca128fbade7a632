"""Names of `camp_zipnerf/internal/linspline.py`."""

from multinerf.ops import linspline as ops

check_zero_endpoints = ops.check_zero_endpoints
query = ops.query
integrate = ops.integrate
normalize = ops.normalize
insert_knot = ops.insert_knot
clamp = ops.clamp
compute_integral = ops.compute_integral
sorted_lookup = ops.sorted_lookup
interpolate_integral = ops.interpolate_integral
blur_stepfun = ops.blur_stepfun
