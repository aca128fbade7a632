"""Names of `internal/coord.py`."""

from collections.abc import Callable

from multinerf.ops import coord as ops
from multinerf.types import Array

contract = ops.contract
inv_contract = ops.inv_contract
track_linearize = ops.track_linearize
expected_sin = ops.expected_sin
integrated_pos_enc = ops.integrated_pos_enc
lift_and_diagonalize = ops.lift_and_diagonalize
pos_enc = ops.pos_enc


def construct_ray_warps(
  fn: Callable[[Array], Array] | str | None, t_near: Array, t_far: Array
) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
  """Maps (t_to_s, s_to_t) between metric and normalised distance.

  Args:
    fn: None, 'piecewise', or one of jnp.reciprocal, log, exp, sqrt, square,
      whose inverses are known.
    t_near, t_far: Bounds of the rays, broadcastable against t.

  Raises:
    ConfigError: The inverse of `fn` is not known; `ops.coord` takes it as a
      fourth argument.
  """
  return ops.construct_ray_warps(fn, t_near, t_far)
