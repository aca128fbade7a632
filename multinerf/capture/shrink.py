"""Smaller copies of images, each pixel the average of the area it covers."""

import pathlib
from typing import Any

import numpy as np
from jaxtyping import Num, UInt8
from PIL import Image

from multinerf.capture import files
from multinerf.data import resize

# High enough that the artefacts are below the noise of a photograph.
JPEG_OPTIONS = {'quality': 95, 'subsampling': 0}


def reduced_size(width: int, height: int, factor: int) -> tuple[int, int]:
  """Sides divided by a factor, rounded half up, at least 1 pixel.

  Rounded as the mip-NeRF 360 scenes are (4946x3286 by 4 is 1237x822). The two
  sides then shrink by slightly different ratios; a loader must scale the
  intrinsics by the ratio of the actual sizes.
  """
  return (
    max((2 * width + factor) // (2 * factor), 1),
    max((2 * height + factor) // (2 * factor), 1),
  )


def area_average(
  image: Num[np.ndarray, 'h w c'], factor: int
) -> UInt8[np.ndarray, 'h2 w2 c']:
  """Shrinks an image to 8 bits; new pixels are the means of what they cover.

  Colours are averaged as they are stored (sRGB), weighted by opacity if there
  is a fourth channel; see `resize.area_average`. (Pillow's BOX filter would
  shift details by up to half a pixel where the factor does not divide a side.)

  Args:
    image: uint8 or uint16; 3 or 4 channels.
    factor: >= 1.
  """
  height, width = image.shape[:2]
  small = resize.area_average(image, *reduced_size(width, height, factor))
  if small.dtype == np.uint16:
    small = np.round(small / 257.0).astype(np.uint8)
  return small


def write_copies(
  image: Num[np.ndarray, 'h w c'],
  scene: pathlib.Path,
  name: str,
  factors: tuple[int, ...],
) -> None:
  """Writes images_<factor>/<name> for every factor.

  Args:
    image: The whole image, as `area_average` takes it.
    scene: The folder that holds images/; folders are made as needed.
    name: File name of the image; JPEG stays JPEG, PNG stays PNG.
    factors: Each >= 2.
  """
  for factor in factors:
    folder = scene / f'images_{factor}'
    folder.mkdir(exist_ok=True)
    write_image(folder / name, area_average(image, factor))


def write_image(path: pathlib.Path, image: UInt8[np.ndarray, 'h w c']) -> None:
  """Writes a JPEG (opacity is dropped) or PNG, by the name's ending."""
  jpeg = path.suffix.lower() in ('.jpg', '.jpeg')
  picture = Image.fromarray(image[..., :3] if jpeg else image)
  options: dict[str, Any] = JPEG_OPTIONS if jpeg else {}
  files.write_file(path, lambda p: picture.save(p, **options))
