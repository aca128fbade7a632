"""Raw scenes made visible: linear camera colours to sRGB."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from multinerf.data import base
from multinerf.ops import raw

Postprocess = Callable[[np.ndarray], np.ndarray]


def postprocessor(scene: base.Scene) -> Postprocess | None:
  """What makes colours of a scene displayable; None if they are already.

  Returns:
    Linear colours [h, w, 3] -> sRGB in [0, 1], at the scene's exposure.
  """
  display = scene.raw
  if display is None:
    return None
  return lambda rgb: raw.postprocess_raw(rgb, display.cam2rgb, display.exposure)


def pictures(
  display: base.RawDisplay, rgb: Float[np.ndarray, 'h w 3']
) -> dict[str, np.ndarray]:
  """A linear image at several brightnesses.

  Returns:
    'auto', exposed for this image alone, and 'color/<percentile>' for each of
    the scene's levels.
  """
  out = {'auto': raw.postprocess_raw(rgb, display.cam2rgb)}
  for percentile, level in display.exposure_levels.items():
    shown = raw.postprocess_raw(rgb, display.cam2rgb, level)
    out[f'color/{percentile}'] = shown
  return out
