"""LPIPS v0.1 in JAX, with weights from a file that the user supplies.

The learned perceptual distance of Zhang et al. 2018 (arXiv:1801.03924, Eq. 1):
features of a classification network at five depths, unit length per pixel,
squared difference weighted per channel, averaged over the image, summed over
depths. Papers report the VGG variant as LPIPS.

The trained weights are not ours to ship. `scripts/convert_lpips.py` makes the
file from torchvision's and LPIPS's own; `Config.lpips_weights` names it. It is
an .npz archive of float32 arrays (nothing is unpickled):

| key | content | shape |
|---|---|---|
| `backbone` | 'vgg' or 'alex' | [] unicode |
| `conv{i}/kernel` | convolution i = 0, 1, ..., correlation order | [kh, kw, in, out] |
| `conv{i}/bias` | | [out] |
| `lin{k}/kernel` | channel weights at depth k = 0 .. 4, >= 0 | [channels] |
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from multinerf import errors, npy

NO_WEIGHTS = (
  'no weights: set Config.lpips_weights to a file made by '
  'scripts/convert_lpips.py'
)
# Normalisation of images in [-1, 1] that the published weights expect.
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)
# Published v0.1 adds this to the length of each feature vector.
_EPS = 1e-10


@dataclasses.dataclass(frozen=True)
class _Conv:
  """One convolution with ReLU.

  Attributes:
    torch_idx: Its number in torchvision's `features` sequence.
    kernel, features_in, features_out, stride, pad: The usual.
    pool: Window of the max pooling (stride 2) before it; 0 = none.
    depth: Which LPIPS depth reads its output; None = none.
  """

  torch_idx: int
  kernel: int
  features_in: int
  features_out: int
  stride: int = 1
  pad: int = 1
  pool: int = 0
  depth: int | None = None


# Simonyan & Zisserman 2015 (arXiv:1409.1556), table 1, column D.
_VGG = (
  _Conv(0, 3, 3, 64),
  _Conv(2, 3, 64, 64, depth=0),
  _Conv(5, 3, 64, 128, pool=2),
  _Conv(7, 3, 128, 128, depth=1),
  _Conv(10, 3, 128, 256, pool=2),
  _Conv(12, 3, 256, 256),
  _Conv(14, 3, 256, 256, depth=2),
  _Conv(17, 3, 256, 512, pool=2),
  _Conv(19, 3, 512, 512),
  _Conv(21, 3, 512, 512, depth=3),
  _Conv(24, 3, 512, 512, pool=2),
  _Conv(26, 3, 512, 512),
  _Conv(28, 3, 512, 512, depth=4),
)
# Krizhevsky 2014 (arXiv:1404.5997), as in torchvision.
_ALEX = (
  _Conv(0, 11, 3, 64, stride=4, pad=2, depth=0),
  _Conv(3, 5, 64, 192, pad=2, pool=3, depth=1),
  _Conv(6, 3, 192, 384, pool=3, depth=2),
  _Conv(8, 3, 384, 256, depth=3),
  _Conv(10, 3, 256, 256, depth=4),
)
BACKBONES = {'vgg': _VGG, 'alex': _ALEX}
_MIN_SIZE = {'vgg': 16, 'alex': 31}


@dataclasses.dataclass(frozen=True)
class Lpips:
  """LPIPS of two images; 0 for equal ones, larger is less alike.

  Attributes:
    backbone: 'vgg' or 'alex'.
    params: Arrays by the keys of the module's table.
  """

  backbone: str
  params: Mapping[str, np.ndarray]

  def __call__(
    self, pred: Float[np.ndarray, 'h w 3'], gt: Float[np.ndarray, 'h w 3']
  ) -> float:
    """Returns the distance of two RGB images with values in [0, 1].

    Raises:
      DataError: The images are too small for the network.
    """
    least = _MIN_SIZE[self.backbone]
    if min(pred.shape[:2]) < least:
      raise errors.DataError(
        f'LPIPS ({self.backbone}) needs images of at least {least}x{least} '
        f'pixels, this one has {pred.shape[1]}x{pred.shape[0]}.'
      )
    pair = np.stack([pred, gt]).astype(np.float32)
    return float(_distance(dict(self.params), pair, self.backbone))


def load(path: str | os.PathLike) -> Lpips:
  """Reads a weight file and checks every array in it.

  Raises:
    ConfigError: The file is missing, not an .npz archive, or an array is
      missing, misshapen or not finite.
  """
  path = pathlib.Path(path).expanduser()
  if not path.is_file():
    raise errors.ConfigError(
      f'LPIPS weight file {path} does not exist (gin: Config.lpips_weights); '
      'make one with scripts/convert_lpips.py.'
    )
  try:
    arrays = npy.read_archive(path, kinds='fiuU')
  except (OSError, ValueError) as e:
    raise errors.ConfigError(
      f'{path} is not an .npz file of plain arrays: {e} '
      '(gin: Config.lpips_weights).'
    ) from e
  backbone = str(arrays.pop('backbone', 'missing'))
  if backbone not in BACKBONES:
    raise errors.ConfigError(
      f"{path}: entry 'backbone' is {backbone!r}; known: "
      f'{", ".join(BACKBONES)} (gin: Config.lpips_weights).'
    )
  params = {}
  for key, shape in param_shapes(backbone).items():
    params[key] = _checked(path, key, arrays.get(key), shape)
  return Lpips(backbone, params)


def param_shapes(backbone: str) -> dict[str, tuple[int, ...]]:
  """Returns the shape of every array that a weight file must hold."""
  shapes = {}
  for i, conv in enumerate(BACKBONES[backbone]):
    size = (conv.kernel, conv.kernel, conv.features_in, conv.features_out)
    shapes[f'conv{i}/kernel'] = size
    shapes[f'conv{i}/bias'] = (conv.features_out,)
    if conv.depth is not None:
      shapes[f'lin{conv.depth}/kernel'] = (conv.features_out,)
  return shapes


def from_torch(
  features: Mapping[str, np.ndarray],
  heads: Mapping[str, np.ndarray],
  backbone: str,
) -> dict[str, np.ndarray]:
  """Renames and transposes torch weights to the layout of a weight file.

  Args:
    features: torchvision's state dict of `vgg16` or `alexnet` as numpy arrays
      ('features.0.weight' [out, in, kh, kw], ...); other entries are ignored.
    heads: The state dict in LPIPS's `weights/v0.1/{vgg,alex}.pth`
      ('lin0.model.1.weight' [1, channels, 1, 1], ...).
    backbone: 'vgg' or 'alex'.

  Returns:
    Arrays for `numpy.savez`.

  Raises:
    ConfigError: An array is missing or has another shape.
  """
  out = {'backbone': np.array(backbone)}
  shapes = param_shapes(backbone)

  def take(source, name, key, convert):
    if name not in source:
      raise errors.ConfigError(f'The state dict has no entry {name!r}.')
    out[key] = _checked(name, key, convert(source[name]), shapes[key])

  for i, conv in enumerate(BACKBONES[backbone]):
    name = f'features.{conv.torch_idx}'
    take(
      features,
      f'{name}.weight',
      f'conv{i}/kernel',
      lambda x: np.transpose(x, (2, 3, 1, 0)),
    )
    take(features, f'{name}.bias', f'conv{i}/bias', np.asarray)
    if conv.depth is not None:
      k = conv.depth
      take(heads, f'lin{k}.model.1.weight', f'lin{k}/kernel', np.ravel)
  return out


def _checked(where, key: str, value, shape: tuple[int, ...]) -> np.ndarray:
  """float32 `value`, or an error that says what is wrong with it."""
  found = 'missing' if value is None else f'of shape {np.shape(value)}'
  if value is None or np.shape(value) != shape:
    raise errors.ConfigError(
      f'{where}: array {key!r} is {found}; expected shape {shape} '
      '(gin: Config.lpips_weights).'
    )
  if not np.issubdtype(value.dtype, np.number) or not np.all(
    np.isfinite(value)
  ):
    raise errors.ConfigError(
      f'{where}: array {key!r} holds values that are not finite numbers '
      '(gin: Config.lpips_weights).'
    )
  return np.asarray(value, np.float32)


@functools.partial(jax.jit, static_argnames='backbone')
def _distance(
  params: dict[str, Array], pair: Float[Array, '2 h w 3'], backbone: str
) -> Float[Array, '']:
  """LPIPS between the two images of a pair in [0, 1]."""
  x = (pair * 2.0 - 1.0 - _SHIFT) / _SCALE
  total = jnp.zeros(())
  for i, conv in enumerate(BACKBONES[backbone]):
    if conv.pool:
      x = _max_pool(x, conv.pool)
    x = jax.lax.conv_general_dilated(
      x,
      params[f'conv{i}/kernel'],
      window_strides=(conv.stride, conv.stride),
      padding=[(conv.pad, conv.pad)] * 2,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      precision=jax.lax.Precision.HIGHEST,
    )
    x = jax.nn.relu(x + params[f'conv{i}/bias'])
    if conv.depth is not None:
      norm = jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True))
      unit = x / (norm + _EPS)
      weights = params[f'lin{conv.depth}/kernel']
      total += jnp.mean(jnp.sum((unit[0] - unit[1]) ** 2 * weights, axis=-1))
  return total


def _max_pool(x: Float[Array, 'n h w c'], window: int) -> Array:
  """Max pooling with stride 2, without padding."""
  shape, strides = (1, window, window, 1), (1, 2, 2, 1)
  return jax.lax.reduce_window(
    x, -jnp.inf, jax.lax.max, shape, strides, 'VALID'
  )
