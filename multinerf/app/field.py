"""A trained field, loaded from a run's folder to be looked at."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from multinerf import parallel, types
from multinerf.app import renderer
from multinerf.cameras import camera, projection
from multinerf.config import schema
from multinerf.data import base
from multinerf.evaluation import render_image, results
from multinerf.training import checkpoints
from multinerf.training import step as step_lib


class TrainedField:
  """Parameters of one checkpoint with the model they belong to.

  Args:
    model: The linen module.
    config: Options.
    cameras: Some cameras of the scene, which tell what fields rays have.
    folder: Where the checkpoints are.
    step: Which one; None: the newest good one.
    warn: Gets one line about each damaged checkpoint passed over.

  Attributes:
    manifest: What the checkpoint says about itself.
    step: Its step.
    train_frac: Progress of training that annealing is at, in [0, 1].

  Raises:
    CheckpointError: There is no checkpoint, or it is of another model.
  """

  def __init__(
    self,
    model: Any,
    config: schema.Config,
    cameras: camera.Cameras,
    folder: str,
    *,
    step: int | None = None,
    warn: Callable[[str], None],
  ):
    wanted = target(model, cameras)
    found = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), wanted)

    def read() -> dict[str, Any]:
      nonlocal found
      found, manifest = checkpoints.restore(
        folder, wanted, step, warn=warn, only=('step', 'params')
      )
      return manifest

    # The folder may be the lead's own.
    self.manifest = parallel.on_lead(read, 'reading the checkpoint')
    found = parallel.broadcast(found)
    self.step = int(found['step'])
    self._config = config
    self._params = parallel.replicate(found['params'])
    self._renderer = renderer.Renderer(model, config)
    self.train_frac = step_lib.eval_frac(self.step, config.max_steps)

  def render(self, cameras: camera.Cameras, index: int) -> types.Rendering:
    """Renders the image of one camera, numpy [H, W, ...]."""
    return self._renderer.view(
      self._params, cameras, index, train_frac=self.train_frac
    )

  def views(
    self, cameras: camera.Cameras, *, fields: Sequence[str] | None = None
  ) -> render_image.Views:
    """Renders images of cameras ahead of being asked.

    Args:
      cameras: Any, in the scene's frame.
      fields: What is wanted of `types.Rendering`; None: all.
    """
    return self._renderer.views(
      self._params, cameras, train_frac=self.train_frac, fields=fields
    )

  def evaluate(
    self, scene: base.Scene, out_dir: str | None, **kwargs: Any
  ) -> results.Results:
    """Renders and measures a split; see `Renderer.evaluate`."""
    return self._renderer.evaluate(
      self._params,
      scene,
      self.step,
      out_dir,
      train_frac=self.train_frac,
      **kwargs,
    )


def target(model: Any, cameras: camera.Cameras) -> dict[str, Any]:
  """Shapes of what is read from a checkpoint; nothing is computed."""
  origin = np.zeros((2,), np.int32)
  pixels = types.Pixels(origin, origin, np.zeros((2, 1), np.int32))

  def init(key):
    rays = projection.cast_ray_batch(cameras, pixels)
    return {'params': model.init(key, None, rays)['params']}

  return {
    'step': jax.ShapeDtypeStruct((), np.int32),
    'params': jax.eval_shape(init, jax.random.key(0)),
  }
