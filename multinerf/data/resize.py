"""Images made smaller without inventing or losing anything."""

import numpy as np
from jaxtyping import Bool, Num, Shaped
from scipy import sparse

_VALUES_AT_ONCE = 2**22  # bounds the memory of float64 copies, 32 MiB


def area_average(
  image: Num[np.ndarray, 'h w c'], width: int, height: int
) -> Num[np.ndarray, 'height width c']:
  """Averages exactly the area of the image that each new pixel covers.

  Where the new size does not divide the old one, source pixels count with the
  part of them that is covered. Integers are averaged exactly and rounded half
  up. With 4 channels the last is straight opacity: colours are weighted with
  it, and are white where it is 0.

  Args:
    image: uint8, uint16 or float32.
    width, height: New size, at most the old one.

  Returns:
    An image of the same type.
  """
  if (height, width) == image.shape[:2]:
    return image
  rows = _overlaps(image.shape[0], height)
  columns = _overlaps(image.shape[1], width)
  out = np.empty((height, width, image.shape[2]), image.dtype)
  source_row = image.shape[1] * image.shape[2] * image.shape[0] / height
  step = max(1, int(_VALUES_AT_ONCE / source_row))
  for top in range(0, height, step):
    part = rows[top : top + step]
    first, last = part.indices.min(), part.indices.max() + 1
    out[top : top + step] = _average(
      image[first:last], part[:, first:last], columns
    )
  return out


def all_covered(
  keep: Bool[np.ndarray, 'h w'], width: int, height: int
) -> Bool[np.ndarray, 'height width']:
  """Scales a mask: True where every source pixel that is touched is True."""
  refused = np.zeros((keep.shape[0] + 1, keep.shape[1] + 1), np.int64)
  refused[1:, 1:] = np.cumsum(np.cumsum(~keep, axis=0), axis=1)
  (top, bottom), (left, right) = (
    _touched(old, new)
    for old, new in zip(keep.shape, (height, width), strict=True)
  )
  count = refused[bottom][:, right] - refused[bottom][:, left]
  return count == refused[top][:, right] - refused[top][:, left]


def nearest(
  image: Shaped[np.ndarray, 'h w'], width: int, height: int
) -> Shaped[np.ndarray, 'height width']:
  """Takes the source pixel under the centre of each new one."""
  y, x = (
    (2 * np.arange(new) + 1) * old // (2 * new)
    for old, new in zip(image.shape, (height, width), strict=True)
  )
  return image[y[:, None], x]


def _overlaps(old: int, new: int) -> sparse.csr_matrix:
  """[new, old] shared lengths, in units of 1 / new source pixels."""
  # Both grids on one integer ruler of length old * new.
  marks = np.union1d(np.arange(old + 1) * new, np.arange(new + 1) * old)
  lengths = np.diff(marks).astype(np.float64)
  at = marks[:-1]
  return sparse.csr_matrix((lengths, (at // old, at // new)), shape=(new, old))


def _average(image, rows, columns) -> np.ndarray:
  """Weighted sums over both axes; exact for integers, which stay < 2^53."""
  depth = image.shape[2]
  values = image.astype(np.float64)
  if depth == 4:
    values[..., :3] *= values[..., 3:]
  values = rows @ values.reshape(image.shape[0], -1)
  values = values.reshape(rows.shape[0], image.shape[1], depth).swapaxes(0, 1)
  values = columns @ values.reshape(image.shape[1], -1)
  values = values.reshape(columns.shape[0], rows.shape[0], depth)
  values = values.swapaxes(0, 1)
  area = float(rows[0].sum() * columns[0].sum())
  integer = np.issubdtype(image.dtype, np.integer)
  if depth == 4:
    alpha = values[..., 3:]
    white = np.iinfo(image.dtype).max if integer else 1.0
    colour = np.divide(
      values[..., :3],
      alpha,
      out=np.full_like(values[..., :3], white),
      where=alpha > 0,
    )
    values = np.concatenate([colour, alpha / area], -1)
  else:
    values = values / area
  return np.floor(values + 0.5) if integer else values


def _touched(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
  """First and one past the last source pixel under each new one."""
  at = np.arange(new + 1) * old
  return at[:-1] // new, -(-at[1:] // new)
