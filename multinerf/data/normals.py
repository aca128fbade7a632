"""Two encodings of world-space normals in 8 or 16-bit images.

Signed: [-1, 1] is spread over the whole range (MultiNeRF's `_normal.png`).
Clipped: what Blender wrote for the original NeRF synthetic data set
(`_normal_0000.png`): sRGB-encoded, negative components cut off at 0. Measured
on its chair: decoded as signed, lengths are 1.68; decoded as clipped, where no
component was cut, 0.99.
"""

import pathlib

import numpy as np
from jaxtyping import Float32

from multinerf.ops import color

SIGNED_SUFFIX = '_normal.png'
CLIPPED_SUFFIXES = ('_normal_0001.png', '_normal_0000.png')
# Two lost components are told from two small ones by the missing length.
_LOST_SQUARED_LENGTH = 0.1


def find(stem: pathlib.Path) -> pathlib.Path:
  """The normal image of a view: signed if there is one, else clipped.

  Returns the signed name when neither exists.
  """
  signed = stem.with_name(stem.name + SIGNED_SUFFIX)
  clipped = [stem.with_name(stem.name + s) for s in CLIPPED_SUFFIXES]
  return next((p for p in [signed, *clipped] if p.exists()), signed)


def decode(
  picture: Float32[np.ndarray, 'h w 3'], path: pathlib.Path
) -> Float32[np.ndarray, 'h w 4']:
  """Normals, and whether they are known.

  Args:
    picture: Image values in [0, 1].
    path: Its file, whose name tells the encoding.

  Returns:
    [H, W, 4]: x, y, z; and 1, or 0 where a clipped image has lost more than
    one component. A single lost component follows from the length 1.
    Signed normals are as stored, not normalised.
  """
  if path.name.endswith(SIGNED_SUFFIX):
    return np.concatenate([picture * 2 - 1, np.ones_like(picture[..., :1])], -1)
  kept = color.srgb_to_linear(picture, xnp=np)
  lost = np.maximum(1 - np.sum(kept**2, axis=-1, keepdims=True), 0)
  cut = picture <= 0
  num_cut = np.sum(cut, axis=-1, keepdims=True)
  known = (num_cut <= 1) | (lost < _LOST_SQUARED_LENGTH)
  filled = np.where(cut, -np.sqrt(lost / np.maximum(num_cut, 1)), kept)
  length = np.linalg.norm(filled, axis=-1, keepdims=True)
  filled /= np.maximum(length, np.finfo(np.float32).tiny)
  return np.concatenate([filled, known], axis=-1, dtype=np.float32)
