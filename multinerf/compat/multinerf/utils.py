"""Names of `internal/utils.py`.

`Rays`, `Pixels` and `Batch` are those of `multinerf.types`, so that everything
in the package takes them, with the constructors' positional order of upstream.
"""

import enum
import os
import pathlib
from typing import IO, Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from PIL import ExifTags, Image

from multinerf import errors, parallel, types
from multinerf.data import images


class DataSplit(enum.Enum):
  """Which views."""

  TRAIN = 'train'
  TEST = 'test'


class BatchingMethod(enum.Enum):
  """Where the rays of one batch come from."""

  ALL_IMAGES = 'all_images'
  SINGLE_IMAGE = 'single_image'


def fill(node: Any, values: dict[str, Any]) -> None:
  """Sets the fields of a frozen dataclass in its own constructor."""
  for name, value in values.items():
    if name not in ('self', '__class__'):
      object.__setattr__(node, name, value)


@flax.struct.dataclass
class Pixels(types.Pixels):
  """`types.Pixels`, constructed in upstream's order."""

  def __init__(
    self,
    pix_x_int: Any,
    pix_y_int: Any,
    lossmult: Any,
    near: Any,
    far: Any,
    cam_idx: Any,
    exposure_idx: Any = None,
    exposure_values: Any = None,
  ):
    fill(self, locals())


@flax.struct.dataclass
class Rays(types.Rays):
  """`types.Rays`, constructed in upstream's order."""

  def __init__(
    self,
    origins: Any,
    directions: Any,
    viewdirs: Any,
    radii: Any,
    imageplane: Any,
    lossmult: Any,
    near: Any,
    far: Any,
    cam_idx: Any,
    exposure_idx: Any = None,
    exposure_values: Any = None,
  ):
    fill(self, locals())


@flax.struct.dataclass
class Batch(types.Batch):
  """`types.Batch`, constructed in upstream's order.

  `rays` may hold `Pixels`, as upstream's does with `cast_rays_in_train_step`.
  """

  def __init__(
    self,
    rays: Any,
    rgb: Any = None,
    disps: Any = None,
    normals: Any = None,
    alphas: Any = None,
    *,
    pixels: Any = None,
    depths: Any = None,
    depth_weights: Any = None,
  ):
    fill(self, locals())


def dummy_rays(
  include_exposure_idx: bool = False, include_exposure_values: bool = False
) -> Rays:
  """One ray of zeros, to initialise a model with."""
  zeros = lambda n: jnp.zeros((1, n), jnp.float32)
  exposure_idx = exposure_values = None
  if include_exposure_idx:
    exposure_idx = jnp.zeros((1, 1), jnp.int32)
  if include_exposure_values:
    exposure_values = zeros(1)
  return Rays(
    origins=zeros(3),
    directions=zeros(3),
    viewdirs=zeros(3),
    radii=zeros(1),
    imageplane=zeros(2),
    lossmult=zeros(1),
    near=zeros(1),
    far=zeros(1),
    cam_idx=jnp.zeros((1, 1), jnp.int32),
    exposure_idx=exposure_idx,
    exposure_values=exposure_values,
  )


def open_file(pth: str | os.PathLike, mode: str = 'r') -> IO[Any]:
  """Opens a local file."""
  return open(pth, mode=mode)


def file_exists(pth: str | os.PathLike) -> bool:
  """Whether there is a file or folder of that name."""
  return os.path.exists(pth)


def listdir(pth: str | os.PathLike) -> list[str]:
  """Names in a folder, sorted (upstream: in any order)."""
  return sorted(os.listdir(pth))


def isdir(pth: str | os.PathLike) -> bool:
  """Whether there is a folder of that name."""
  return os.path.isdir(pth)


def makedirs(pth: str | os.PathLike) -> None:
  """Makes a folder and those above it; one that exists is fine."""
  os.makedirs(pth, exist_ok=True)


def shard(xs: Any) -> Any:
  """Splits the leading axis [B, ...] to [devices, B / devices, ...].

  Raises:
    ConfigError: B is not divisible by the local devices.
  """
  return parallel.shard(xs)


def unshard(x: Any, padding: int = 0) -> Any:
  """Merges the two leading axes, less the last `padding` entries."""
  merged = x.reshape((x.shape[0] * x.shape[1], *x.shape[2:]))
  return merged[: merged.shape[0] - padding]


def load_img(pth: str | os.PathLike) -> np.ndarray:
  """Pixels [H, W, 3 or 4] as float32 with the stored scale (0 to 255).

  Raises:
    DataError: The file is missing, damaged, or not an image.
  """
  return images.read_image(pth).astype(np.float32)


def load_exif(pth: str | os.PathLike) -> dict[str, Any]:
  """EXIF entries of an image by their names; {} if it has none.

  Raises:
    DataError: The file is missing, or not an image.
  """
  images.read_header(pth)  # refuses what is no image, or too large a one
  try:
    with Image.open(pth) as img:
      entries = img.getexif()
      merged = dict(entries) | dict(entries.get_ifd(ExifTags.IFD.Exif))
  except (OSError, SyntaxError, ValueError) as e:
    raise errors.DataError(f'Cannot read the EXIF data of {pth}: {e}.') from e
  return {ExifTags.TAGS[k]: v for k, v in merged.items() if k in ExifTags.TAGS}


def save_img_u8(img: Any, pth: str | os.PathLike) -> None:
  """Writes an image in [0, 1] as an 8-bit PNG, rounded (upstream: cut off)."""
  images.write_png(pathlib.Path(pth), np.asarray(img))


def save_img_f32(depthmap: Any, pth: str | os.PathLike) -> None:
  """Writes one channel [H, W] as a 32-bit float TIFF."""
  images.write_tiff(pathlib.Path(pth), np.asarray(depthmap, np.float32))
