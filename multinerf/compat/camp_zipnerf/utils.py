"""Names of `camp_zipnerf/internal/utils.py`.

`Rays` and `Batch` are those of `multinerf.types` and what upstream adds to
them, with the constructors' positional order of upstream.
"""

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from multinerf import errors, parallel, types
from multinerf.compat.multinerf import utils as multinerf_utils
from multinerf.data import prefetch
from multinerf.ops import stepfun
from multinerf.types import Array

DataSplit = multinerf_utils.DataSplit
BatchingMethod = multinerf_utils.BatchingMethod
open_file = multinerf_utils.open_file
file_exists = multinerf_utils.file_exists
listdir = multinerf_utils.listdir
isdir = multinerf_utils.isdir
makedirs = multinerf_utils.makedirs
shard = multinerf_utils.shard
unshard = multinerf_utils.unshard

_END = object()


@flax.struct.dataclass
class Rays(types.Rays):
  """`types.Rays`; before they are cast, only `pixels` and `cam_idx` count.

  Attributes:
    pixels: [..., 2] integer column and row.
    device_idx: Never read.
  """

  pixels: Any = None
  device_idx: Any = None

  def __init__(
    self,
    origins: Any = None,
    directions: Any = None,
    viewdirs: Any = None,
    radii: Any = None,
    imageplane: Any = None,
    pixels: Any = None,
    lossmult: Any = None,
    near: Any = None,
    far: Any = None,
    cam_idx: Any = None,
    exposure_idx: Any = None,
    exposure_values: Any = None,
    device_idx: Any = None,
  ):
    multinerf_utils.fill(self, locals())


@flax.struct.dataclass
class Batch(types.Batch):
  """`types.Batch`, constructed in upstream's order.

  Attributes:
    masks: [...] weights of the pixels in the data loss, or None.
  """

  masks: Any = None

  def __init__(
    self,
    rays: Any,
    rgb: Any = None,
    disps: Any = None,
    normals: Any = None,
    alphas: Any = None,
    masks: Any = None,
    *,
    pixels: Any = None,
    depths: Any = None,
    depth_weights: Any = None,
  ):
    multinerf_utils.fill(self, locals())


def generate_random_rays(
  rng: Array,
  n: int,
  origin_lo: float,
  origin_hi: float,
  radius_lo: float,
  radius_hi: float,
  near_lo: float,
  near_hi: float,
  far_lo: float,
  far_hi: float,
  include_exposure_idx: bool = False,
  include_exposure_values: bool = False,
  include_device_idx: bool = False,
) -> Rays:
  """n rays with unit directions and numbers drawn uniformly between bounds.

  Args:
    rng: Key.
    n: How many.
    origin_lo, origin_hi: Bounds of every coordinate of the origins.
    radius_lo, radius_hi, near_lo, near_hi, far_lo, far_hi: Bounds of the fields
      of these names.
    include_exposure_idx, include_exposure_values, include_device_idx: Whether
      to fill these fields, with 0, with numbers in [0, 1), and with 0.
  """
  keys = iter(jax.random.split(rng, 7))
  uniform = lambda width, low, high: jax.random.uniform(
    next(keys), (n, width), minval=low, maxval=high
  )
  origins = uniform(3, origin_lo, origin_hi)
  directions = jax.random.normal(next(keys), (n, 3))
  directions /= jnp.linalg.norm(directions, axis=-1, keepdims=True)
  zeros = jnp.zeros((n, 1), jnp.int32)
  return Rays(
    origins=origins,
    directions=directions,
    viewdirs=directions,
    radii=uniform(1, radius_lo, radius_hi),
    imageplane=uniform(2, -1.0, 1.0),
    pixels=jnp.zeros((n, 2), jnp.int32),
    lossmult=jnp.ones((n, 1)),
    near=uniform(1, near_lo, near_hi),
    far=uniform(1, far_lo, far_hi),
    cam_idx=zeros,
    exposure_idx=zeros if include_exposure_idx else None,
    exposure_values=uniform(1, 0.0, 1.0) if include_exposure_values else None,
    device_idx=zeros if include_device_idx else None,
  )


def dummy_rays(
  include_exposure_idx: bool = False,
  include_exposure_values: bool = False,
  include_device_idx: bool = False,
) -> Rays:
  """Ten rays around the origin, to initialise a model with."""
  return generate_random_rays(
    jax.random.PRNGKey(0),
    10,
    origin_lo=-1.5,
    origin_hi=1.5,
    radius_lo=1e-5,
    radius_hi=1e-3,
    near_lo=0.0,
    near_hi=1.0,
    far_lo=10.0,
    far_hi=10000.0,
    include_exposure_idx=include_exposure_idx,
    include_exposure_values=include_exposure_values,
    include_device_idx=include_device_idx,
  )


def device_is_tpu() -> bool:
  """Whether computations run on a TPU by default."""
  return parallel.platform() == 'tpu'


def load_npy(pth: str | os.PathLike) -> np.ndarray:
  """The array in a .npy file; pickled content is refused.

  Raises:
    DataError: The file is missing or damaged, or holds Python objects.
  """
  try:
    return np.load(pth, allow_pickle=False)
  except (OSError, ValueError, EOFError) as e:
    raise errors.DataError(f'Cannot read the array in {pth}: {e}.') from e


def assert_valid_stepfun(t: Any, y: Any) -> None:
  """Raises ValueError unless t has one more entry than y, along the last axis."""
  stepfun.check(jnp.asarray(t), jnp.asarray(y))


def assert_valid_linspline(t: Any, y: Any) -> None:
  """Raises ValueError unless t has as many entries as y, along the last axis."""
  if t.shape[-1] != y.shape[-1]:
    raise ValueError(
      f'A linear spline of {t.shape[-1]} knots has {y.shape[-1]} values.'
    )


def iterate_in_separate_thread(
  queue_size: int = 3,
) -> Callable[[Callable[..., Iterator[Any]]], Callable[..., Iterator[Any]]]:
  """Decorates a generator, so that a thread runs ahead of its consumer.

  An exception in the generator is raised in the consumer, in its turn.

  Args:
    queue_size: How many items may wait.
  """

  def decorator(fn):
    @functools.wraps(fn)
    def run(*args, **kwargs):
      source = fn(*args, **kwargs)
      ahead = prefetch.Prefetcher(
        lambda _: next(source, _END), queue_size=queue_size
      )
      with ahead:
        for item in ahead:
          if item is _END:
            return
          yield item

    return run

  return decorator
