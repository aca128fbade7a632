"""Renders views of a trained field, from parameters alone."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from multinerf import parallel, types
from multinerf.app import writing
from multinerf.cameras import camera, projection
from multinerf.config import schema, views
from multinerf.data import base
from multinerf.evaluation import (
  evaluator,
  raw_display,
  render_image,
  results,
)
from multinerf.training import step as step_lib


class Renderer:
  """Renders with one model; the parameters can be exchanged.

  Args:
    model: The linen module.
    config: Chunk size and the rest.
  """

  def __init__(self, model: Any, config: schema.Config):
    self._model = model
    self._config = config
    self._render = parallel.pmap_step(
      step_lib.make_render_step(model), donate_state=False
    )
    self._levels = jax.jit(
      lambda params, rays, frac: model.apply(
        params, None, rays, train_frac=frac, compute_extras=True, zero_glo=True
      )
    )

  def view(
    self,
    params: Any,
    cameras: camera.Cameras,
    index: int = 0,
    *,
    train_frac: float = 1.0,
  ) -> types.Rendering:
    """Renders one camera's image.

    Args:
      params: Parameters, replicated over the local devices.
      cameras: One or more cameras, with their image sizes.
      index: Which of them.
      train_frac: Progress of training that annealing was at.

    Returns:
      numpy arrays [H, W, ...].
    """
    one = cameras.take(index)
    replicated = parallel.replicate(one)
    frac = parallel.replicate(np.float32(train_frac))

    def render_chunk(pixels: types.Pixels) -> types.Rendering:
      sharded = parallel.shard(pixels)
      return parallel.merge(self._render(params, sharded, replicated, frac))

    return render_image.render_image(
      render_chunk,
      projection.image_pixels(one, 0),
      chunk_size=self._config.render_chunk_size,
      num_devices=parallel.local_device_count(),
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
      params: Parameters, replicated over the local devices.
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

    Args:
      params: Parameters, replicated over the local devices.
      scene: The views.
      step: Of the parameters, for the names of files.
      out_dir: Where images, metric files and results.json go; None: nowhere.
      train_frac: Progress of training.
      **kwargs: Passed to `evaluation.evaluator.evaluate`.

    Raises:
      CheckpointError: A file cannot be written.
    """
    with writing.into(out_dir or '', 'checkpoint_dir'):
      return evaluator.evaluate(
        scene,
        lambda i: self.view(params, scene.cameras, i, train_frac=train_frac),
        step,
        out_dir,
        views.view(self._config, evaluator.EvalConfig),
        render_rays=lambda pixels: self.rays(
          params, scene.cameras, pixels, train_frac=train_frac
        ),
        **({'postprocess': raw_display.postprocessor(scene)} | kwargs),
      )
