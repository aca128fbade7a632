"""The Python API: a scene, a model and the steps that fit one to the other.

Needs neither absl nor gin; the scripts are thin users of it.
"""

import contextlib
import functools
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from multinerf import errors, losses, models, parallel, types
from multinerf.app import memory, renderer
from multinerf.cameras import camera, projection
from multinerf.config import schema, views
from multinerf.data import base, batching, prefetch, resident
from multinerf.evaluation import results
from multinerf.training import checkpoints, loop, optim, report
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
    models.check_for_scene(model, len(scene), scene.cameras.near)
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
    self._make_step = functools.partial(
      step_lib.make_train_step,
      model,
      self._optimizer,
      self._loss_cfg,
      optim_cfg,
      views.view(config, step_lib.StepConfig),
    )
    # By the number of steps they take.
    self._compiled: dict[int, Callable[..., Any]] = {}
    self.memory = memory.Planner(config, model)
    self._cameras = parallel.replicate(scene.cameras)
    # On the devices, or None.
    self._tables = resident.choose(
      self._sampler.tables, config.pixels_on_device, self.memory.free_on_device
    )
    if self._tables is not None:
      self._tables = parallel.share(self._tables)
    self._yes_no = [parallel.replicate(np.bool_(x)) for x in (False, True)]
    self._batches = contextlib.ExitStack()  # the open prefetch thread
    self._stream: Iterator[tuple[int, types.Batch]] | None = None
    self._next: tuple[int, types.Batch] | None = None
    self.start(config.jax_rng_seed)
    left = self.memory.left_beside((self._state.opt_state, self._tables))
    self._renderer = renderer.Renderer(model, config, budget=left)

  def start(self, seed: int) -> None:
    """Forgets all training and initialises the field from a seed."""
    # Nothing is computed: op by op, it took a fifth of a small run's start.
    rays = jax.eval_shape(
      projection.cast_ray_batch,
      self.scene.cameras,
      self._sampler.two_pixels(),
    )
    made = state_lib.create(
      self.model, self._optimizer, rays, seed, self._loss_cfg
    )
    self._set_state(made)

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

  @property
  def last_step(self) -> int:
    """Where training ends."""
    return min(
      self.config.max_steps,
      self.config.early_exit_steps or self.config.max_steps,
    )

  def step(self) -> stats_lib.PackedStats:
    """Takes the next step, or up to `Config.steps_per_dispatch` of them.

    Returns:
      The statistics, still on the device. Those of gradients, updates and
      weights are NaN but at steps that `Config.print_every` reports.
    """
    self.prepare()
    count, batch = self._next
    self.clock.start()
    with self.memory.explained():
      self._state, stats = self._compiled[count](*self._args(count, batch))
    self._next = None
    self._step += count
    return stats

  def prepare(self) -> None:
    """Compiles the next step if it is not compiled, and plans its memory.

    Raises:
      OutOfMemoryError: It does not fit; names the settings.
    """
    if self._next is None:
      self._next = next(self._stream or self._open_stream())
    count, batch = self._next
    if count not in self._compiled:
      self._compile(count, self._args(count, batch))

  def memory_lines(self) -> list[str]:
    """What the run takes of devices and host, once a step was prepared."""
    scenes = [s for s in (self.scene, self.test_scene) if s is not None]
    return self.memory.lines(self._state, self._tables, scenes)

  def _args(self, count: int, batch: types.Batch) -> tuple[Any, ...]:
    """What a dispatch of some steps is given."""
    reported = loop.due(
      self._step + count,
      self.config.print_every,
      last=self.last_step,
      first=True,
    )
    given = (self._state, batch, self._cameras, self._tables)
    return *given, self._yes_no[reported]

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
        out_dir and os.path.expanduser(out_dir),
        train_frac=self.train_frac,
        **kwargs,
      )

  @property
  def train_frac(self) -> float:
    """Progress of training in [0, 1]."""
    return step_lib.eval_frac(self._step, self.config.max_steps)

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
      keep_every=self.config.checkpoint_keep_every,
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
    target = self.state
    found = [target]

    def read() -> float:
      found[0], manifest = checkpoints.restore(
        self._folder(folder), target, step, **kwargs
      )
      return manifest['run'].get('train_seconds', 0.0)

    # The folder may be the lead's own.
    seconds = parallel.on_lead(read, 'reading the checkpoint')
    self._set_state(found[0])
    self.clock = report.Clock(seconds)

  def manifest(self) -> dict[str, Any]:
    """What a checkpoint says about itself beside its parameters."""
    return self._manifest | {
      'train_seconds': self.clock.seconds(),
      'world_transform': np.asarray(self.scene.world_transform).tolist(),
    }

  def close(self) -> None:
    """Ends the thread that prepares batches."""
    self._batches.close()
    self._stream = self._next = None

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
    return os.path.expanduser(folder)

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
    # Machines that differ may initialise to other roundings.
    state = parallel.broadcast(state)
    self._step = int(state.step)
    self._seed = int(state.seed)
    self._state = parallel.replicate(state)

  def _dispatches(self) -> Iterator[tuple[int, int]]:
    """(updates made before, number of steps) of all dispatches from here on."""
    config, step = self.config, self._step
    periods = (
      config.print_every,
      config.checkpoint_every,
      config.train_render_every,
      config.visualize_every,
      config.gc_every,
    )
    while True:
      count = loop.dispatch_size(
        step, config.steps_per_dispatch, periods, last=self.last_step
      )
      yield step, count
      step += count

  def _batch_stream(self) -> Iterator[tuple[int, types.Batch]]:
    """(number of steps, batches on the devices) of each dispatch."""
    draw = self._sampler.batch if self._tables is None else self._sampler.places
    place = dict(
      process_index=parallel.process_index(),
      process_count=parallel.process_count(),
    )
    for first, count in self._dispatches():
      batches = [
        parallel.shard(draw(step, **place))
        for step in range(first, first + count)
      ]
      batch = batches[0]
      if count > 1:
        batch = jax.tree.map(lambda *x: np.stack(x, axis=1), *batches)
      yield count, parallel.to_devices(batch)

  def _open_stream(self) -> Iterator[tuple[int, types.Batch]]:
    """Starts preparing batches from the current step on."""
    batches = self._batch_stream()
    self._stream = self._batches.enter_context(
      prefetch.Prefetcher(
        lambda _: next(batches), queue_size=self.config.prefetch_batches
      )
    )
    return self._stream

  def _compile(self, count: int, args: tuple[Any, ...]) -> None:
    """Compiles ahead of the first use, to know how long and large it is."""

    def compile_step(chunk_cfg: models.ChunkConfig) -> Callable[..., Any]:
      fn = self._make_step(chunk_cfg)
      if count > 1:
        fn = step_lib.several_steps(fn)
      return parallel.compiled(parallel.pmap_step(fn, donate_state=True), args)

    with self._aside():
      start = time.perf_counter()
      self._compiled[count] = self.memory.fit_step(compile_step)
      # Nobody begins a step for which others are not ready for minutes.
      parallel.barrier('the first step', timeout=math.inf)
      self.compile_seconds += time.perf_counter() - start
