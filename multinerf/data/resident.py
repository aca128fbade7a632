"""What images hold at a batch's pixels, read on the host or on the devices.

With the training pixels in the devices' memory, as stored (8 or 16 bits), only
the places of a batch travel, and the values are read inside of the step. They
are the same values: which pixels are drawn does not depend on where they are.
"""

from typing import Any

import flax.struct
import jax
import numpy as np

from multinerf import errors, types
from multinerf.data import base

# Share of a device's free memory that pixels may take if nobody says otherwise:
# the rest is for the model, its optimiser and activations.
MEMORY_SHARE = 0.3
_MAX_INDEX = 2**31


@flax.struct.dataclass
class Table:
  """A `base.PixelBuffer` that a device can hold.

  Attributes:
    values: [num_pixels, C] as stored.
    widths: [n] int32 of the images.
    offsets: [n + 1] int32 row of `values` where each image starts.
  """

  values: Any
  widths: Any
  offsets: Any

  def at(self, cam_idx: Any, x: Any, y: Any) -> Any:
    """Values [..., C] at column x and row y of image cam_idx."""
    return self.values[self.offsets[cam_idx] + y * self.widths[cam_idx] + x]


@flax.struct.dataclass
class Tables:
  """The images that batches read: `PixelBuffer`s or `Table`s; None: not read.

  Attributes: As in `base.Scene`.
  """

  images: Any
  disps: Any = None
  normals: Any = None
  alphas: Any = None
  depths: Any = None


def of_scene(scene: base.Scene, depth_source: str) -> Tables:
  """The buffers on the host; depths only where they come from maps."""
  maps = scene.depths if depth_source == 'maps' else None
  return Tables(scene.images, scene.disps, scene.normals, scene.alphas, maps)


def fill(batch: types.Batch, tables: Tables) -> types.Batch:
  """Adds what the images hold at the pixels of a batch.

  Args:
    batch: With `pixels`; numpy arrays, or jax ones inside a step.
    tables: Where to read; what is None there keeps the batch's value.
  """
  pixels = batch.pixels
  where = (pixels.cam_idx[..., 0], pixels.pix_x_int, pixels.pix_y_int)
  found = {}
  for name in ('disps', 'alphas'):
    table = getattr(tables, name)
    if table is not None:
      found[name] = table.at(*where)[..., 0]
  if tables.normals is not None:
    found['normals'] = tables.normals.at(*where)
  if tables.depths is not None:
    depths = tables.depths.at(*where)
    found |= {'depths': depths[..., 0], 'depth_weights': depths[..., 1]}
  return batch.replace(rgb=tables.images.at(*where), **found)


def choose(
  tables: Tables, wanted: bool | str, free_memory: int | None
) -> Tables | None:
  """Decides where the pixels of a training run are kept.

  Args:
    tables: From `of_scene`.
    wanted: `Config.pixels_on_device`: 'auto' keeps them on devices that have
      memory of their own, if they take no more than `MEMORY_SHARE` of it.
    free_memory: Bytes free on each device; None: it uses the host's memory,
      where reading pixels in the step gains nothing.

  Returns:
    `Table`s (numpy) for the devices, or None for pixels on the host.

  Raises:
    ConfigError: They are wanted on the devices but cannot be there.
  """
  if wanted is False or (wanted == 'auto' and free_memory is None):
    return None
  buffers = jax.tree.leaves(tables)
  problem = None
  if any(type(x) is not base.PixelBuffer for x in buffers):
    problem = 'these images are made from mosaics when they are read'
  elif any(len(x.values) >= _MAX_INDEX for x in buffers):
    problem = f'there are more than {_MAX_INDEX} of them'
  if problem is None:
    size = sum(x.values.nbytes for x in buffers)
    if wanted is True or size <= MEMORY_SHARE * free_memory:
      return jax.tree.map(_table, tables)
  elif wanted is True:
    raise errors.ConfigError(
      f'Config.pixels_on_device = True, but {problem}; leave it at '
      "'auto' or set it to False."
    )
  return None


def _table(buffer: base.PixelBuffer) -> Table:
  return Table(
    buffer.values,
    buffer.widths.astype(np.int32),
    buffer.offsets.astype(np.int32),
  )
