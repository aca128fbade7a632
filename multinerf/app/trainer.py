"""The Python API: a scene, a model and the steps that fit one to the other.

Needs neither absl nor gin; the scripts are thin users of it.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from multinerf import errors, losses, models, parallel, types
from multinerf.app import renderer
from multinerf.cameras import camera, projection
from multinerf.config import schema, views
from multinerf.data import base, batching, prefetch
from multinerf.evaluation import results
from multinerf.training import checkpoints, optim, report
from multinerf.training import state as state_lib
from multinerf.training import stats as stats_lib
from multinerf.training import step as step_lib


class Trainer:
  """Fits a radiance field to a scene.

  Everything follows from (config, scene, model): two trainers with the same
  three take the same steps, and one that loads a checkpoint goes on as if it
  had never stopped.

  Args:
    config: Options; see `Config`.
    scene: Training views.
    model: The field; None: `Model()` with default fields.
    test_scene: Held-out views for `evaluate`.
    manifest: Extra entries for every checkpoint's manifest (JSON).

  Raises:
    ConfigError: Options contradict each other, the scene or the devices.
  """

  def __init__(
    self,
    config: schema.Config,
    scene: base.Scene,
    model: models.Model | None = None,
    *,
    test_scene: base.Scene | None = None,
    manifest: Mapping[str, Any] | None = None,
  ):
    parallel.check_divisible(config.batch_size, config.patch_size)
    if model is None:
      model = models.with_compute_dtype(models.Model(), config.compute_dtype)
    models.check_num_images(model, len(scene))
    self.config = config
    self.model = model
    self.scene = scene
    self.test_scene = test_scene
    self.clock = report.Clock()
    self.compile_seconds = 0.0
    self._manifest = dict(manifest or {})
    self._sampler = batching.RaySampler(
      scene, views.view(config, batching.SamplerConfig)
    )
    self._loss_cfg = views.view(config, losses.LossConfig)
    optim_cfg = views.view(config, optim.OptimConfig)
    self._optimizer = optim.make_optimizer(optim_cfg)
    self._step_fn = parallel.pmap_step(
      step_lib.make_train_step(
        model,
        self._optimizer,
        self._loss_cfg,
        optim_cfg,
        views.view(config, step_lib.StepConfig),
      ),
      donate_state=True,
    )
    self._compiled = None
    self._cameras = parallel.replicate(scene.cameras)
    self._renderer = renderer.Renderer(model, config)
    self._batches = contextlib.ExitStack()  # the open prefetch thread
    self._stream: Iterator[types.Batch] | None = None
    self.start(config.jax_rng_seed)

  def start(self, seed: int) -> None:
    """Forgets all training and initialises the field from a seed."""
    self._set_state(
      state_lib.create(
        self.model,
        self._optimizer,
        self._example_rays(),
        seed,
        self._loss_cfg,
      )
    )

  @property
  def step_number(self) -> int:
    """Updates made so far."""
    return self._step

  @property
  def seed(self) -> int:
    """What parameters and random numbers follow from."""
    return self._seed

  @property
  def state(self) -> state_lib.TrainState:
    """A copy of the training state on the host."""
    return parallel.unreplicate(self._state)

  @property
  def device_state(self) -> state_lib.TrainState:
    """The replicated state; the next step takes its memory."""
    return self._state

  @property
  def num_params(self) -> int:
    """How many numbers are being optimised."""
    return state_lib.num_params(self.state)

  def step(self) -> stats_lib.PackedStats:
    """Takes one step. Returns its statistics, still on the device."""
    batch = next(self._stream or self._open_stream())
    compiled = self._compiled or self._compile(batch)
    self.clock.start()
    self._state, stats = compiled(self._state, batch, self._cameras)
    self._step += 1
    return stats

  def render(self, cameras: camera.Cameras, index: int = 0) -> types.Rendering:
    """Renders the image of one camera.

    Args:
      cameras: Any cameras in the scene's frame, e.g. `scene.cameras`.
      index: Which of them.

    Returns:
      numpy arrays [H, W, ...]: rgb, acc, distances, normals.
    """
    with self._aside():
      return self._renderer.view(
        self._state.params, cameras, index, train_frac=self.train_frac
      )

  def evaluate(
    self,
    scene: base.Scene | None = None,
    *,
    out_dir: str | None = None,
    **kwargs: Any,
  ) -> results.Results:
    """Renders and measures held-out views.

    Args:
      scene: The views; None: `test_scene`.
      out_dir: Where images, metric files and results.json go; None: nowhere.
      **kwargs: Passed to `evaluation.evaluator.evaluate`.

    Raises:
      ConfigError: There are no views.
    """
    scene = scene or self.test_scene
    if scene is None:
      raise errors.ConfigError(
        'evaluate() needs a scene: pass one, or Trainer(test_scene=...).'
      )
    with self._aside():
      return self._renderer.evaluate(
        self._state.params,
        scene,
        self._step,
        out_dir,
        train_frac=self.train_frac,
        **kwargs,
      )

  @property
  def train_frac(self) -> float:
    """Progress of training in [0, 1]."""
    return min(self._step / self.config.max_steps, 1.0)

  def save(self, folder: str | None = None) -> None:
    """Writes a checkpoint and waits until it is durable.

    Args:
      folder: Where; None: `Config.checkpoint_dir`.

    Raises:
      CheckpointError: It cannot be written.
    """
    checkpoints.save(
      self._folder(folder),
      self.state,
      self._step,
      keep=self.config.checkpoint_keep,
      manifest=self.manifest(),
      is_lead=parallel.is_lead(),
    )

  def load(
    self, folder: str | None = None, step: int | None = None, **kwargs: Any
  ) -> None:
    """Continues from a checkpoint.

    Args:
      folder: Where; None: `Config.checkpoint_dir`.
      step: Which; None: the newest good one.
      **kwargs: Passed to `training.checkpoints.restore`.

    Raises:
      CheckpointError: There is none, or it is not this model's.
    """
    found, manifest = checkpoints.restore(
      self._folder(folder), self.state, step, **kwargs
    )
    self._set_state(found)
    self.clock = report.Clock(manifest['run'].get('train_seconds', 0.0))

  def manifest(self) -> dict[str, Any]:
    """What a checkpoint says about itself beside its parameters."""
    return self._manifest | {
      'train_seconds': self.clock.seconds(),
      'world_transform': np.asarray(self.scene.world_transform).tolist(),
    }

  def close(self) -> None:
    """Ends the thread that prepares batches."""
    self._batches.close()
    self._stream = None

  def __enter__(self) -> 'Trainer':
    return self

  def __exit__(self, *exc_info: Any) -> None:
    self.close()

  def _folder(self, folder):
    folder = folder or self.config.checkpoint_dir
    if folder is None:
      raise errors.CheckpointError(
        'No folder for checkpoints (gin: Config.checkpoint_dir).'
      )
    return folder

  @contextlib.contextmanager
  def _aside(self):
    """Whatever happens inside is not training time."""
    running = self.clock.running
    if not running:
      yield
      return
    with self.clock.paused(self._state):
      yield

  def _set_state(self, state: state_lib.TrainState) -> None:
    self.close()
    self._step = int(state.step)
    self._seed = int(state.seed)
    self._state = parallel.replicate(state)

  def _example_rays(self) -> types.Rays:
    """Two rays with the fields that training rays have."""
    batch = self._sampler.batch(0)
    pixels = batch.pixels
    flat = types.Pixels(
      **{
        name: None if x is None else _first_two(x, pixels.pix_x_int.ndim)
        for name, x in vars(pixels).items()
      }
    )
    return projection.cast_ray_batch(self.scene.cameras, flat)

  def _open_stream(self) -> Iterator[types.Batch]:
    """Starts preparing batches from the current step on."""

    def host_batch(step: int) -> types.Batch:
      return parallel.shard(
        self._sampler.batch(
          step,
          process_index=parallel.process_index(),
          process_count=parallel.process_count(),
        )
      )

    ahead = self._batches.enter_context(
      prefetch.Prefetcher(
        host_batch, self._step, queue_size=self.config.prefetch_batches
      )
    )
    self._stream = parallel.prefetch_to_device(ahead)
    return self._stream

  def _compile(self, batch: types.Batch) -> Callable[..., Any]:
    """Compiles the step ahead of its first use, to know how long it takes."""
    start = time.perf_counter()
    lowered = self._step_fn.lower(self._state, batch, self._cameras)
    self._compiled = lowered.compile()
    self.compile_seconds = time.perf_counter() - start
    return self._compiled


def _first_two(x: np.ndarray, batch_ndim: int) -> np.ndarray:
  """The first two entries, the batch axes taken as one."""
  return x.reshape((-1,) + x.shape[batch_ndim:])[:2]
