"""What a run takes of the memory of devices and host, and what it may take."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax

from multinerf import errors, losses, models, parallel
from multinerf.config import schema, views
from multinerf.data import base, host_memory
from multinerf.training import gradients, memory_plan


def budget(config: schema.Config) -> int:
  """Bytes of each device that may be taken from now on.

  The same in all processes, which must compile the same programs.
  """
  mine = memory_plan.budget(
    config.memory_budget_gib,
    parallel.free_memory(),
    host_memory.available(),
    parallel.local_device_count(),
  )
  return min(parallel.gather(mine))


def bytes_per_device(tree: Any) -> int:
  """What arrays with a leading device axis take on each device."""
  leaves = jax.tree.leaves(tree)
  return sum(x.nbytes for x in leaves) // parallel.device_count()


class Planner:
  """Fits the steps of a run into the devices; to be made before its arrays.

  Args:
    config: Memory, and what the user wants of chunks.
    model: The linen module that the steps train.

  Attributes:
    limit: Bytes that the run may take on each device.
    free_on_device: Bytes free there; None: devices use the host's memory.
    fitted: The first step that was compiled, or None.
  """

  def __init__(self, config: schema.Config, model: Any):
    self.free_on_device = parallel.free_memory()
    self.limit = budget(config)
    self.fitted: memory_plan.Fitted[models.ChunkConfig] | None = None
    self._config, self._model = config, model

  def fit_step(
    self, compile_step: Callable[[models.ChunkConfig], Any]
  ) -> Callable[..., Any]:
    """The compiled step, with rays in chunks if it would not fit otherwise.

    A second program, of another number of steps, goes through its rays as the
    first one does: results are the same bit for bit.

    Args:
      compile_step: Compiles it.

    Raises:
      OutOfMemoryError: It does not fit; names the settings.
    """
    if self.fitted is not None:
      return compile_step(self.fitted.choice)
    num_rays = self._config.batch_size // parallel.device_count()
    chunk_cfg = views.view(self._config, models.ChunkConfig)
    patch_rays = self._config.patch_size**2
    num_parts = gradients.num_chunks(
      self._model,
      views.view(self._config, losses.LossConfig),
      chunk_cfg,
      num_rays // patch_rays,
      patch_rays,
    )
    self.fitted = memory_plan.fit_step(
      compile_step, chunk_cfg, num_rays, self.limit, num_parts
    )
    return self.fitted.program

  def left_beside(self, tree: Any) -> int:
    """Bytes left on each device beside these arrays."""
    return max(0, self.limit - bytes_per_device(tree))

  def explained(self) -> contextlib.AbstractContextManager[None]:
    """Inside, exhausted memory of a device is an error of ours."""
    return memory_plan.explained(self._advice)

  def _advice(self) -> str:
    """Which setting helps a training step that does not fit after all."""
    lower = f'Lower Config.memory_budget_gib below {self.limit / 2**30:.1f}'
    if self.fitted is None:
      return f'{lower}.'
    choice = self.fitted.choice
    if not choice.remat:
      return f'{lower}, or set Config.rays_at_once and Config.remat = True.'
    if (choice.rays_at_once or 0) > 1:
      return f'{lower}, or Config.rays_at_once below {choice.rays_at_once}.'
    return f'{lower}, or lower Config.batch_size.'

  def lines(
    self, state: Any, tables: Any, scenes: list[base.Scene]
  ) -> list[str]:
    """What the run takes, for people; after a step was compiled.

    Args:
      state: The training state on the devices.
      tables: The pixels there, or None.
      scenes: Whose pixels are on the host.
    """
    size = errors.format_bytes
    fitted, params = self.fitted, bytes_per_device(state.params)
    pixels = bytes_per_device(tables)
    parts = [
      f'parameters {size(params)}',
      f'optimiser {size(bytes_per_device(state.opt_state))}',
    ]
    total = ''
    if fitted.footprint is not None:
      needs = fitted.footprint
      total = f'{size(needs.total)} of '
      parts.append(f'activations {size(needs.temporaries + needs.results)}')
      parts.append(f'libraries {size(needs.libraries)}')
    parts.append(f'pixels {size(pixels)}')
    found = [
      f'Memory per device: {total}{size(self.limit)}; {", ".join(parts)}',
      f'Memory on the host: {_on_host(scenes)}',
    ]
    if fitted.refused is not None:
      what = (
        'more than can be compiled'
        if not fitted.refused
        else (f'{size(fitted.refused)}')
      )
      found.append(
        f'As configured a step would take {what} per device: it goes through '
        f'{fitted.choice.rays_at_once} rays at once (Config.rays_at_once, '
        'Config.remat; results are the same but for rounding).'
      )
    return found


def _on_host(scenes: list[base.Scene]) -> str:
  """Pixels in memory and in files."""
  buffers = [
    getattr(scene, kind) for scene in scenes for kind in base.PIXEL_KINDS
  ]
  buffers = [b for b in buffers if b is not None]
  inside = sum(b.values.nbytes for b in buffers if b.file is None)
  mapped = sum(b.values.nbytes for b in buffers if b.file is not None)
  text = f'pixels {errors.format_bytes(inside)}'
  if mapped:
    text += f', and {errors.format_bytes(mapped)} read from files as needed'
  return text
