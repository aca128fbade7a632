"""Measures one preset in this process: training, rendering, and around it."""

import dataclasses
import functools
import json
import math
import pathlib
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from multinerf import parallel
from multinerf.app import renderer as renderer_lib
from multinerf.app import trainer as trainer_lib
from multinerf.app.bench import peaks, work
from multinerf.cameras import camera
from multinerf.config import gin_setup, views
from multinerf.data import base, batching

# The embedded scene, small: speed does not depend on the size of the images.
SCENE_BINDINGS = (
  "Config.dataset_loader = 'synthetic'",
  'Config.data_dir = None',
  'Config.rawnerf_mode = False',
  'Config.synthetic_resolution = 64',
  'Config.synthetic_num_train = 20',
  'Config.synthetic_num_test = 4',
  'Config.train_render_every = 0',
  # A rate, not a result: nothing may stop or restart the run.
  'Config.max_steps = 1000000',
)
# What the first guess assumes of the peak; only the size of steps follows.
_GUESSED_UTILISATION = 0.6
_MIN_RAYS = 32
_MIN_ROUNDS = 3
_HOST_BATCHES = 20
_MAX_SIDE = 800


@dataclasses.dataclass(frozen=True)
class Options:
  """What to measure, and for how long.

  Attributes:
    preset: Gin file, by name or path.
    bindings: Gin statements applied after it.
    seconds: Of training steps measured; rendering gets half of it.
    step_seconds: About what a step takes on the CPU; sets the batch size.
    batch_size: Rays per step, rounded up to what the devices can share; 0:
      chosen.
    speed_only: Leave out everything but the rate of training.
    scene_bindings: Where the training views are from.
    matmul_size: Side of the matrices that the peak is measured with; 0: see
      `peaks.MatmulPeak`.
  """

  preset: str
  bindings: tuple[str, ...] = ()
  seconds: float = 10.0
  step_seconds: float = 1.0
  batch_size: int = 0
  speed_only: bool = False
  scene_bindings: tuple[str, ...] = SCENE_BINDINGS
  matmul_size: int = 0


def main(argv: list[str] | None = None) -> int:
  """Measures as a JSON file of options says, into another JSON file."""
  source, target = (argv or sys.argv)[1:]
  options = json.loads(pathlib.Path(source).read_text())
  num_cores = len(parallel.available_cores())
  parallel.configure_cpu_devices(num_cores)
  with tempfile.TemporaryDirectory() as folder:
    parallel.enable_compilation_cache(folder)
    if options:
      options = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in options.items()
      }
      found = preset(Options(**options), pathlib.Path(folder))
    else:
      found = machine()
  pathlib.Path(target).write_text(json.dumps(found))
  return 0


def machine() -> dict[str, Any]:
  """What the devices are, and what they can do at best."""
  kinds = ['float32']
  if not parallel.is_cpu():
    kinds += ['tensorfloat32', 'bfloat16']
  return {
    'platform': parallel.platform(),
    'devices': parallel.device_description(),
    'num_devices': parallel.local_device_count(),
    'num_cores': len(parallel.available_cores()),
    'matmul_gflops': {
      kind: peaks.MatmulPeak(kind).sample(10).clock for kind in kinds
    },
    'matmul_float32_gflops_by_size': peaks.survey(),
    'copy_gb_per_s': peaks.copy_gb_per_s(),
  }


def preset(options: Options, folder: pathlib.Path) -> dict[str, Any]:
  """Measures a preset on all devices of this process.

  Args:
    options: Which, and how.
    folder: For a checkpoint, which is removed again.

  Returns:
    JSON values by name, see `page`; rates are rays per second.
  """
  bindings = (*options.scene_bindings, *options.bindings)
  setup = gin_setup.load([options.preset], bindings)
  costs = work.of_preset(options.preset, setup.build_model())
  peak = Peaks(options.matmul_size)
  peak.sample()
  config = dataclasses.replace(
    setup.config,
    batch_size=_batch_size(options, setup.config, costs, peak),
    checkpoint_dir=str(folder / 'run'),
  )
  scene = _scene(setup)
  build = functools.partial(
    trainer_lib.Trainer, config, scene, setup.build_model()
  )
  start = time.perf_counter()
  with build() as trainer:
    start_seconds = time.perf_counter() - start
    found: dict[str, Any] = {
      'num_devices': parallel.local_device_count(),
      'num_cores': len(parallel.available_cores()),
      'num_params': costs.num_params,
      'batch_size': config.batch_size,
      'start_s': start_seconds,
    }
    parallel.wait(trainer.step())
    found['compile_cold_s'] = trainer.compile_seconds
    found['training'] = _rates(
      lambda: _train(trainer), peak, costs.training, options.seconds
    ) | {'source': costs.training_source}
    found['device_peak_bytes'] = parallel.peak_memory()
    if not options.speed_only:
      found |= _host(config, scene, found['training'])
      found |= _checkpoint(trainer)
      eval_setup = gin_setup.load([options.preset], bindings, scope='eval')
      found['rendering'] = _rendering(
        eval_setup,
        trainer.device_state.params,
        costs,
        peak,
        _side(options, costs, found['training']),
        options.seconds / 2,
      )
  if not options.speed_only:
    found['compile_warm_s'] = _compile_again(build)
  found['peak_rss_bytes'] = _peak_rss_bytes()
  return found


class Peaks:
  """Matrix peaks measured in turns with whatever else is measured."""

  def __init__(self, size: int = 0):
    self._float32 = peaks.MatmulPeak('float32', size)
    self._bfloat16 = None
    if not parallel.is_cpu():
      self._bfloat16 = peaks.MatmulPeak('bfloat16', size)

  def sample(self) -> tuple[peaks.Seconds, float | None]:
    """float32 GFLOP/s of both clocks, and bfloat16 on accelerators."""
    half = None if self._bfloat16 is None else self._bfloat16.sample().clock
    return self._float32.sample(), half

  @property
  def best(self) -> float:
    """Best float32 GFLOP/s so far."""
    return self._float32.best

  @property
  def best_busy(self) -> float:
    """The same of one core, by processor time; only on a CPU."""
    return max(rate.busy for rate in self._float32.samples)


def _rates(
  run: Callable[[], int], peak: Peaks, mflop_per_ray: float, budget: float
) -> dict[str, Any]:
  """Runs again and again, each time between two measurements of the peak.

  Args:
    run: Does a piece of work; returns of how many rays.
    peak: What to compare with.
    mflop_per_ray: Work per ray.
    budget: Seconds to spend, about; at least three rounds are measured.

  Returns:
    Median and best rates, and effective utilisations: the median over the
    rounds by the clock, the same by processor time (CPU only), and the best
    rate over the best peak.
  """
  run()  # the first call may compile
  rounds, before = [], peak.sample()
  end = time.perf_counter() + budget
  while len(rounds) < _MIN_ROUNDS or time.perf_counter() < end:
    rays, took = _long_enough(run)
    after = peak.sample()
    rounds.append(
      (rays / took.clock, rays / max(took.busy, 1e-9), before, after)
    )
    before = after

  def utilisation(rate, index):
    values = [
      1e-3 * mflop_per_ray * r[index] / ((rate(r[2]) + rate(r[3])) / 2)
      for r in rounds
    ]
    return statistics.median(values)

  best = max(r[0] for r in rounds)
  found = {
    'rays_per_s': statistics.median(r[0] for r in rounds),
    'rays_per_s_best': best,
    'mflop_per_ray': mflop_per_ray,
    'utilisation': utilisation(lambda p: p[0].clock, 0),
    'utilisation_of_best': 1e-3 * mflop_per_ray * best / peak.best,
    'matmul_gflops_best': peak.best,
    'num_rounds': len(rounds),
  }
  if parallel.is_cpu():
    found['utilisation_busy'] = utilisation(lambda p: p[0].busy, 1)
  else:
    found['utilisation_bfloat16'] = utilisation(lambda p: p[1], 0)
  return found


def _long_enough(run: Callable[[], int]) -> tuple[int, peaks.Seconds]:
  """Repeats until a third of a second is over; rays in all and time."""
  rays, clock, busy = 0, time.perf_counter(), time.process_time()
  while rays == 0 or time.perf_counter() - clock < 0.3:
    rays += run()
  return rays, peaks.Seconds(
    time.perf_counter() - clock, time.process_time() - busy
  )


def _train(trainer: trainer_lib.Trainer) -> int:
  """One step, or as many as are needed to be worth waiting for."""
  first, start = trainer.step_number, time.perf_counter()
  while True:
    stats = trainer.step()
    if time.perf_counter() - start > 0.05:
      break
  parallel.wait((stats, trainer.device_state.step))
  return (trainer.step_number - first) * trainer.config.batch_size


def _batch_size(options, config, costs: work.Work, peak: Peaks) -> int:
  """What the options say, else what takes `step_seconds` on the CPU."""
  count = parallel.local_device_count()
  wanted = options.batch_size
  if not wanted:
    wanted = config.batch_size
    if parallel.is_cpu():
      rate = 1e3 * peak.best_busy * count * _GUESSED_UTILISATION
      rays = max(1.0, rate / costs.training * options.step_seconds)
      # Below some rays a device, what does not depend on their number counts.
      rays = max(_MIN_RAYS * count, 2 ** round(math.log2(rays)))
      wanted = min(wanted, rays)
  unit = count * config.patch_size**2
  return math.ceil(wanted / unit) * unit


def _scene(setup: gin_setup.Setup) -> base.Scene:
  """The training views, with exposures if the model asks for them."""
  scene = base.load_scene(views.view(setup.config, base.DataConfig), 'train')
  if not setup.model_fields['Model'].get('learned_exposure_scaling'):
    return scene
  count = len(scene)
  cameras = scene.cameras.replace(
    exposure_idx=np.arange(count, dtype=np.int32) % 4,
    exposure_values=np.ones(count, np.float32),
  )
  return dataclasses.replace(scene, cameras=cameras)


def _host(config, scene, training: dict[str, Any]) -> dict[str, Any]:
  """What a batch costs the host, and how much of a step that is."""
  sampler = batching.RaySampler(
    scene, views.view(config, batching.SamplerConfig)
  )
  sampler.batch(0)
  found = [
    peaks.seconds(functools.partial(sampler.batch, step)).clock
    for step in range(_HOST_BATCHES)
  ]
  batch = statistics.median(found)
  step = config.batch_size / training['rays_per_s']
  return {'host_batch_s': batch, 'host_share_of_step': batch / step}


def _checkpoint(trainer: trainer_lib.Trainer) -> dict[str, Any]:
  """Seconds to save durably and to restore, and the size of the file."""
  start = time.perf_counter()
  trainer.save()
  saved = time.perf_counter()
  trainer.load()
  restored = time.perf_counter()
  folder = pathlib.Path(trainer.config.checkpoint_dir)
  size = sum(p.stat().st_size for p in folder.glob('checkpoint_*'))
  return {
    'checkpoint_save_s': saved - start,
    'checkpoint_restore_s': restored - saved,
    'checkpoint_bytes': size,
  }


def _side(options, costs: work.Work, training: dict[str, Any]) -> int:
  """Pixels per side of the views to render: a view takes about a step."""
  if not parallel.is_cpu():
    return _MAX_SIDE
  rate = training['rays_per_s'] * costs.training / costs.rendering
  side = (rate * options.step_seconds) ** 0.5
  return min(_MAX_SIDE, 8 * max(2, math.floor(side / 8)))


def _rendering(setup, params, costs, peak, side, budget) -> dict[str, Any]:
  """Rates of rendering square views as render.py does."""
  cameras = square(_scene(setup).cameras, side)
  renderer = renderer_lib.Renderer(setup.build_model(), setup.config)
  turn = 0

  def render():
    nonlocal turn
    turn += 1
    image = renderer.view(params, cameras, turn % len(cameras))
    return image.rgb.shape[0] * image.rgb.shape[1]

  start = time.perf_counter()
  render()
  found = {'side': side, 'first_view_s': time.perf_counter() - start}
  found |= _rates(render, peak, costs.rendering, budget)
  return found | {'source': costs.rendering_source}


def square(cameras: camera.Cameras, side: int) -> camera.Cameras:
  """The same cameras with side x side pixels."""
  scale = np.asarray(cameras.widths, np.float32) / side
  rescale = np.stack([scale, scale, np.ones_like(scale)], axis=-1)
  size = np.full(len(cameras), side, np.int32)
  return cameras.replace(
    pixtocams=np.asarray(cameras.pixtocams) * rescale[:, None, :],
    widths=size,
    heights=size,
  )


def _compile_again(build: Callable[[], trainer_lib.Trainer]) -> float:
  """Seconds that compiling the step takes when it is in the cache."""
  jax.clear_caches()
  with build() as trainer:
    parallel.wait(trainer.step())
    return trainer.compile_seconds


def _peak_rss_bytes() -> int:
  """Most memory that this process ever had, on the host."""
  return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == '__main__':
  sys.exit(main())
