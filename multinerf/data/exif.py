"""How long a photograph was exposed, from what the camera wrote in it."""

import pathlib
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from multinerf import errors
from multinerf.data import images, photo_set

_EXIF_IFD = 0x8769
_EXPOSURE_TIME, _ISO = 0x829A, 0x8827
# What Pillow raises on damaged files and tags.
_DAMAGED = (
  *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError),
  *(ArithmeticError, AttributeError, MemoryError, struct.error, zlib.error),
  Image.DecompressionBombError,
)


def read_exposure(path: pathlib.Path) -> float | None:
  """Exposure time in seconds times ISO / 1000 (as MultiNeRF), or None.

  None if the file is missing, no photograph, or says nothing usable.
  """
  try:
    with images.opened(path) as img:
      tags = img.getexif().get_ifd(_EXIF_IFD)
  # Damaged tags are as good as none; whether the pixels can be read is found
  # out elsewhere.
  except (errors.DataError, *_DAMAGED):
    return None
  seconds, iso = _number(tags.get(_EXPOSURE_TIME)), _number(tags.get(_ISO))
  if seconds is None or iso is None:
    return None
  exposure = seconds * iso / 1000
  return exposure if 0 < exposure < 1e9 else None


def read_exposures(
  files: Sequence[pathlib.Path],
) -> tuple[Float[np.ndarray, ' n'] | None, tuple[str, ...]]:
  """Exposures of all files, or None and perhaps why.

  Differs from multinerf datasets.py (which fails): where some photographs
  have no exposure none is used, and a note names them. Nothing but a model of
  the exposure needs them, so that they are no reason not to train.
  """
  found = [read_exposure(f) for f in files]
  missing = [f.name for f, e in zip(files, found, strict=True) if e is None]
  if not missing:
    return np.array(found, np.float64), ()
  if len(missing) == len(files):
    return None, ()
  return None, (
    f'EXIF exposures are not used: {len(missing)} of {len(files)} photographs '
    f'have none: {photo_set.listed(missing)}.',
  )


def _number(value: Any) -> float | None:
  """A positive finite number from an EXIF rational, integer or pair."""
  first: Any = value[0] if isinstance(value, tuple | list) and value else value
  try:
    number = float(first)
  except (TypeError, ValueError, ArithmeticError):
    return None
  return number if 0 < number < float('inf') else None
