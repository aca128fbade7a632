"""Statistics of a step as one vector, so that reports cost one fetch a step.

A step has some two hundred numbers. As separate arrays they would take longer
to fetch than a short step takes to run; as one vector with its layout in the
tree structure they stay on the device until a report wants them. Those that
cost a pass over all parameters are computed at reports only.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np

from multinerf import parallel


@flax.struct.dataclass
class PackedStats:
  """Named numbers of a step, or of several, in float32 vectors.

  Attributes:
    values: [..., K]; a device axis may lead, and a step axis after it.
    layout: (name, shape) of each entry, in order; static.
    at_reports: Names of entries that are NaN but at the step of a report;
      static.
  """

  values: Any
  layout: tuple[tuple[str, tuple[int, ...]], ...] = flax.struct.field(
    pytree_node=False
  )
  at_reports: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())


def pack(
  stats: Mapping[str, Any], at_reports: Mapping[str, Any] | None = None
) -> PackedStats:
  """Packs scalars and small arrays, in the order of their names.

  Args:
    stats: What every step knows.
    at_reports: More that only the step of a report knows; else NaN.
  """
  rare = at_reports or {}
  stats = {**stats, **rare}
  names = sorted(stats)
  parts = [jnp.ravel(stats[name]).astype(jnp.float32) for name in names]
  layout = tuple((name, tuple(jnp.shape(stats[name]))) for name in names)
  return PackedStats(jnp.concatenate(parts), layout, tuple(sorted(rare)))


def unpack(packed: Sequence[PackedStats]) -> dict[str, np.ndarray]:
  """Fetches the statistics of several steps.

  Args:
    packed: One per dispatch, in order and of one layout, as a parallel step
      returns them (a leading device axis of equal rows).

  Returns:
    name -> [steps, ...] numpy arrays; [1, ...] for `PackedStats.at_reports`,
    whose values are those of the last step.
  """
  first = packed[0]
  parts = [parallel.unreplicate(p.values) for p in packed]
  table = np.concatenate([p.reshape(-1, p.shape[-1]) for p in parts])
  out, start = {}, 0
  for name, shape in first.layout:
    end = start + int(np.prod(shape))
    rows = table[-1:] if name in first.at_reports else table
    out[name] = rows[:, start:end].reshape((len(rows), *shape))
    start = end
  return out
