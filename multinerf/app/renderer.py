"""Renders views of a trained field, from parameters alone.

The devices of all processes share the rays of each chunk, and all processes get
the whole image: they must ask for the same images in the same order.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from multinerf import models, parallel, types
from multinerf.app import memory, writing
from multinerf.cameras import camera, projection
from multinerf.config import schema, views
from multinerf.data import base
from multinerf.evaluation import (
  evaluator,
  raw_display,
  render_image,
  results,
)
from multinerf.training import memory_plan
from multinerf.training import step as step_lib

_MEASURED_GEOMETRY = ('acc', 'normals', 'normals_pred')
_MEASURED_DISTANCES = ('distance_mean', 'distance_median')


class Renderer:
  """Renders with one model; the parameters can be exchanged.

  Args:
    model: The linen module.
    config: Chunk size and the rest.
    budget: Bytes of each device that rendering may take, parameters included;
      None: as `Config.memory_budget_gib` says.
  """

  def __init__(
    self, model: Any, config: schema.Config, *, budget: int | None = None
  ):
    if config.render_compute_dtype:
      model = models.with_compute_dtype(
        model,
        config.render_compute_dtype,
        option='Config.render_compute_dtype',
      )
    self._model = model
    self._config = config
    self._budget = memory.budget(config) if budget is None else budget
    # Pixels of a chunk that are known to fit.
    self._limit = config.render_chunk_size
    self._programs: dict[Any, Callable[..., types.Rendering]] = {}
    self._levels = jax.jit(
      lambda params, rays, frac: model.apply(
        params, None, rays, train_frac=frac, compute_extras=True, zero_glo=True
      )
    )

  @property
  def num_programs(self) -> int:
    """How many programs were made, by size of chunk and fields."""
    return len({key[:2] for key in self._programs})

  @property
  def chunk_size(self) -> int:
    """Most pixels rendered at once: as configured, or fewer to fit."""
    return self._limit

  def view(
    self,
    params: Any,
    cameras: camera.Cameras,
    index: int = 0,
    *,
    train_frac: float = 1.0,
    fields: Sequence[str] | None = None,
  ) -> types.Rendering:
    """Renders one camera's image.

    Args:
      params: Parameters, replicated over the devices.
      cameras: One or more cameras, with their image sizes.
      index: Which of them.
      train_frac: Progress of training that annealing was at.
      fields: What is wanted of `types.Rendering`, the others are None and
        cost nothing; None: all.

    Returns:
      numpy arrays [H, W, ...].
    """
    (view,) = self.stream(
      params, cameras, [index], train_frac=train_frac, fields=fields
    )
    return view.rendering

  def stream(
    self,
    params: Any,
    cameras: camera.Cameras,
    indices: Sequence[int],
    *,
    train_frac: float = 1.0,
    fields: Sequence[str] | None = None,
  ) -> Iterator[render_image.View]:
    """Renders several images without a pause between them.

    Args:
      params, cameras, train_frac, fields: As for `view`.
      indices: Which cameras, in this order.

    Yields:
      The images, as numpy arrays [H, W, ...], and how long they took.
    """
    frac = parallel.replicate(np.float32(train_frac))
    with memory_plan.explained(self._advice):
      yield from render_image.render_jobs(
        self._job(params, cameras.take(i), frac, fields) for i in indices
      )

  def views(
    self, params: Any, cameras: camera.Cameras, **kwargs: Any
  ) -> render_image.Views:
    """Renders images on request, ahead of it once it is told the order.

    Args:
      params, cameras: As for `view`.
      **kwargs: Passed to `stream`.
    """
    return render_image.Views(
      lambda indices: self.stream(params, cameras, indices, **kwargs)
    )

  def rays(
    self,
    params: Any,
    cameras: camera.Cameras,
    pixels: types.Pixels,
    *,
    train_frac: float = 1.0,
  ) -> tuple[types.Rendering, Sequence[types.Level]]:
    """Renders a few rays with all their levels, for plots.

    Args:
      params: Parameters, replicated over the devices.
      cameras: What `pixels.cam_idx` refers to.
      pixels: A flat list of pixels.
      train_frac: Progress of training.
    """
    rays = projection.cast_ray_batch(cameras, pixels)
    renderings, levels = self._levels(
      parallel.unreplicate(params), rays, np.float32(train_frac)
    )
    return renderings[-1], levels

  def evaluate(
    self,
    params: Any,
    scene: base.Scene,
    step: int,
    out_dir: str | None,
    *,
    train_frac: float = 1.0,
    **kwargs: Any,
  ) -> results.Results:
    """Renders and measures the views of a scene.

    Views are rendered while earlier ones are measured and written.

    Args:
      params: Parameters, replicated over the devices.
      scene: The views.
      step: Of the parameters, for the names of files.
      out_dir: Where images, metric files and results.json go; None: nowhere.
      train_frac: Progress of training.
      **kwargs: Passed to `evaluation.evaluator.evaluate`.

    Raises:
      CheckpointError: A file cannot be written.
    """
    config = self._config
    saved = out_dir is not None and config.eval_save_output
    shown = kwargs.get('writer') is not None or (
      saved and not config.render_rgb_only
    )
    ahead = self.views(
      params,
      scene.cameras,
      train_frac=train_frac,
      fields=None if shown else _measured_fields(scene),
    )
    with ahead, writing.into(out_dir or '', 'checkpoint_dir'):
      return evaluator.evaluate(
        scene,
        ahead,
        step,
        out_dir,
        views.view(config, evaluator.EvalConfig),
        render_rays=lambda pixels: self.rays(
          params, scene.cameras, pixels, train_frac=train_frac
        ),
        **({'postprocess': raw_display.postprocessor(scene)} | kwargs),
      )

  def _job(self, params, one: camera.Cameras, frac, fields):
    """How to render the only camera of a table."""
    width, height = int(one.widths[0]), int(one.heights[0])
    replicated = parallel.replicate(one)
    args = (params, self._first(0, 1), replicated, frac)
    size, program = self._program(width * height, args, fields)
    share = size // parallel.device_count()

    def start(k: int) -> types.Rendering:
      return program(params, self._first(k, share), replicated, frac)

    return render_image.Job((height, width), size, start, sharded=True)

  def _first(self, chunk: int, share: int) -> jax.Array:
    """First pixel of each local device in a chunk of `share` for each."""
    mine = parallel.local_device_count()
    numbers = np.arange(mine, dtype=np.int32) + parallel.process_index() * mine
    numbers += chunk * parallel.device_count()
    return parallel.to_devices(numbers * np.int32(share))

  def _program(
    self, num_pixels: int, args: tuple[Any, ...], fields: Sequence[str] | None
  ) -> tuple[int, Callable[..., types.Rendering]]:
    """(pixels in a chunk, what renders one) for an image; fits the devices."""
    fields = None if fields is None else tuple(fields)
    # What a compiled program can be called with.
    kind = (
      jax.tree.structure(args),
      tuple((x.shape, x.dtype) for x in jax.tree.leaves(args)),
    )
    num_devices = parallel.device_count()

    def compile_chunk(size: int) -> Callable[..., types.Rendering]:
      step = _span_step(
        self._model,
        size // num_devices,
        fields,
        self._config.render_empty_below,
      )
      return parallel.compiled(
        parallel.pmap_step(step, donate_state=False), args
      )

    size = render_image.choose_chunk(
      num_pixels,
      self._limit,
      num_devices,
      known={size for size, *_ in self._programs},
    )
    if (size, fields, kind) not in self._programs:
      fitted = memory_plan.fit_chunk(
        compile_chunk, size, num_devices, self._budget
      )
      if fitted.choice < size:
        self._limit = size = fitted.choice
      self._programs[size, fields, kind] = fitted.program
    return size, self._programs[size, fields, kind]

  def _advice(self) -> str:
    return (
      'Lower Config.memory_budget_gib, or Config.render_chunk_size below '
      f'{self._limit}.'
    )


def _measured_fields(scene: base.Scene) -> tuple[str, ...]:
  """The fields of a rendering that metrics of a scene need."""
  fields = ['rgb']
  if scene.disps is not None:
    fields += _MEASURED_DISTANCES
  if scene.normals is not None:
    fields += _MEASURED_GEOMETRY
  return tuple(fields)


def _span_step(
  model: Any, size: int, fields: tuple[str, ...] | None, empty_below: float
) -> Callable[..., types.Rendering]:
  """Renders `size` pixels of one camera, from a number of a pixel on.

  The pixels are numbered on the device: one number comes from the host, no
  coordinates. Beyond the image's last pixel it is repeated. What is not among
  `fields` is not returned, and so the compiler leaves its computation out.
  """
  render = step_lib.make_render_step(model)
  if empty_below > 0 and models.num_levels(model) > 1:
    render = _sparse_render_step(model, empty_below)

  def step(params, first, cameras, frac):
    width, height = cameras.widths[0], cameras.heights[0]
    index = jnp.minimum(first + jnp.arange(size), width * height - 1)
    pixels = types.Pixels(
      pix_x_int=index % width,
      pix_y_int=index // width,
      cam_idx=jnp.zeros((size, 1), jnp.int32),
    )
    rendering = render(params, pixels, cameras, frac)
    if fields is not None:
      rendering = types.Rendering(
        **{'rgb': None} | {name: getattr(rendering, name) for name in fields}
      )
    return parallel.all_devices(rendering)

  return step


def _sparse_render_step(
  model: Any, empty_below: float
) -> Callable[..., types.Rendering]:
  """As `training.step.make_render_step`, by `models.render_nonempty`."""

  def render(params, pixels, cameras, frac):
    rays = projection.cast_ray_batch(cameras, pixels)
    return models.render_nonempty(
      model, params, rays, below=empty_below, train_frac=frac
    )

  return render
