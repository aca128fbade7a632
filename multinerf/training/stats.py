"""Statistics of a step as one vector, so that reports cost one fetch a step.

A step has some two hundred numbers. As separate arrays they would take longer
to fetch than a short step takes to run; as one vector with its layout in the
tree structure they stay on the device until a report wants them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np


@flax.struct.dataclass
class PackedStats:
  """Named numbers in one float32 vector.

  Attributes:
    values: [..., K]; a device axis may lead.
    layout: (name, shape) of each entry, in order; static.
  """

  values: Any
  layout: tuple[tuple[str, tuple[int, ...]], ...] = flax.struct.field(
    pytree_node=False
  )


def pack(stats: Mapping[str, Any]) -> PackedStats:
  """Packs scalars and small arrays, in the order of their names."""
  names = sorted(stats)
  parts = [jnp.ravel(stats[name]).astype(jnp.float32) for name in names]
  layout = tuple((name, tuple(jnp.shape(stats[name]))) for name in names)
  return PackedStats(values=jnp.concatenate(parts), layout=layout)


def unpack(packed: Sequence[PackedStats]) -> dict[str, np.ndarray]:
  """Fetches the statistics of several steps.

  Args:
    packed: One per step, of one layout, as a parallel step returns them (a
      leading device axis of equal rows).

  Returns:
    name -> [steps, ...] numpy arrays.
  """
  rows = [np.asarray(p.values.addressable_shards[0].data)[0] for p in packed]
  table = np.stack(rows)
  out, start = {}, 0
  for name, shape in packed[0].layout:
    size = int(np.prod(shape))
    out[name] = table[:, start : start + size].reshape((len(rows), *shape))
    start += size
  return out
