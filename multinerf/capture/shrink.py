"""Smaller copies of images, each pixel the average of the area it covers."""

import pathlib

import numpy as np
from jaxtyping import Num, UInt8
from PIL import Image
from scipy import sparse

from multinerf.capture import files
from multinerf.data import images

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
  """Shrinks an image; every new pixel is the mean of the area it covers.

  Where a side is no multiple of the factor, a pixel on the border of two boxes
  counts in part in both (Pillow's BOX filter gives it to one of them, which
  shifts details by up to half a pixel). Colours are averaged as they are
  stored (sRGB), weighted by opacity if there is a fourth channel.

  Args:
    image: uint8, or uint16 (which becomes 8 bits); 3 or 4 channels.
    factor: >= 1.
  """
  height, width, channels = image.shape
  new_width, new_height = reduced_size(width, height, factor)
  values = image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
  if channels == 4:
    values[..., :3] *= values[..., 3:]
  rows = _averaging(height, new_height) @ values.reshape(height, -1)
  rows = rows.reshape(new_height, width, channels).swapaxes(0, 1)
  columns = _averaging(width, new_width) @ rows.reshape(width, -1)
  small = columns.reshape(new_width, new_height, channels).swapaxes(0, 1)
  if channels == 4:
    opacity = np.maximum(small[..., 3:], np.finfo(np.float32).tiny)
    small = np.concatenate([small[..., :3] / opacity, small[..., 3:]], axis=2)
  return images.to_uint8(small)


def _averaging(side: int, new_side: int) -> sparse.csr_array:
  """[new_side, side] matrix of the means of equal stretches of a line."""
  borders = np.linspace(0, side, new_side + 1)
  first, last = np.floor(borders[:-1]), np.ceil(borders[1:])
  most = int((last - first).max())
  index = first[:, None].astype(int) + np.arange(most)
  overlap = np.minimum(index + 1, borders[1:, None])
  overlap = overlap - np.maximum(index, borders[:-1, None])
  keep = (overlap > 0) & (index < side)
  row = np.broadcast_to(np.arange(new_side)[:, None], index.shape)
  weights = (overlap[keep] * new_side / side).astype(np.float32)
  return sparse.csr_array(
    (weights, (row[keep], index[keep])), shape=(new_side, side)
  )


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
  options = JPEG_OPTIONS if jpeg else {}
  files.write_file(path, lambda p: picture.save(p, **options))
