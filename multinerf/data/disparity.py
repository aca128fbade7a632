"""Measured depths from disparity images."""

import numpy as np
from jaxtyping import Float32

from multinerf.ops import color


def to_depth(
  disps: Float32[np.ndarray, 'h w 1'],
  alphas: Float32[np.ndarray, 'h2 w2 1'],
  factor: int = 1,
) -> Float32[np.ndarray, 'h2 w2 2']:
  """Ray parameters t and how far to trust them, as `Scene.depths` wants them.

  Args:
    disps: 1 / (1 + t) at full size; outside of (0, 1] there is nothing.
    alphas: Opacity at the size of the result; where it is 0 nothing is known.
    factor: Side of the boxes that become one pixel.

  Returns:
    Channel 0: mean t of the box's known pixels, 0 if there is none; channel
    1: their share.
  """
  known = (disps > 0) & (disps <= 1)
  t = 1 / np.where(known, disps, 1) - 1
  both = np.concatenate([t, known], axis=-1, dtype=np.float32)
  if factor > 1:
    both = color.downsample(both, factor)
    both[..., :1] /= np.where(both[..., 1:] > 0, both[..., 1:], 1)
  return (both * (alphas > 0)).astype(np.float32)
