"""A picture of a histogram, without a plotting library."""

from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

_SIZE = (640, 480)  # pixels
_BOX = (60, 20, 620, 430)  # left, top, right, bottom of the axes
_BAR, _INK = (31, 119, 180), (0, 0, 0)


def render_histogram(
  x: Any, *, log: bool = False, **kwargs: Any
) -> UInt8[np.ndarray, 'h w 3']:
  """Draws a histogram of numbers.

  Args:
    x: Numbers in any shape; what is not finite is left out.
    log: Whether the height of a bar is the logarithm of its count.
    **kwargs: Of `np.histogram`: bins, range, density, weights.

  Returns:
    A picture of 640 x 480 pixels with the ends of both axes written on it.
  """
  values = np.ravel(np.asarray(x, np.float64))
  finite = np.isfinite(values)
  if kwargs.get('weights') is not None:
    kwargs['weights'] = np.ravel(kwargs['weights'])[finite]
  counts, edges = np.histogram(values[finite], **kwargs)
  heights = np.log1p(counts) if log else counts.astype(np.float64)
  heights = heights / max(heights.max(), np.finfo(np.float64).tiny)
  left, top, right, bottom = _BOX
  picture = Image.new('RGB', _SIZE, 'white')
  draw = ImageDraw.Draw(picture)
  span = edges[-1] - edges[0]
  at = lambda edge: left + (edge - edges[0]) / span * (right - left)
  for low, high, height in zip(edges[:-1], edges[1:], heights, strict=True):
    if height > 0:
      y = bottom - height * (bottom - top)
      draw.rectangle([at(low), y, max(at(low), at(high) - 1), bottom], _BAR)
  draw.rectangle(_BOX, outline=_INK)
  draw.text((left, bottom + 8), f'{edges[0]:.4g}', _INK)
  draw.text((right, bottom + 8), f'{edges[-1]:.4g}', _INK, anchor='ra')
  draw.text((left - 6, top), f'{counts.max():.4g}', _INK, anchor='ra')
  draw.text((left - 6, bottom), '0', _INK, anchor='rd')
  return np.asarray(picture)
