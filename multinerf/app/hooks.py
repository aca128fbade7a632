"""What runs beside the training steps: checkpoints, test views, reports."""

import time
from typing import Any

import numpy as np

from multinerf import parallel
from multinerf.app import trainer as trainer_lib
from multinerf.cameras import projection
from multinerf.data import base
from multinerf.evaluation import metrics, raw_display, visualize
from multinerf.ops import color
from multinerf.training import console, loop, report, writer
from multinerf.training import saver as saver_lib
from multinerf.training import stats as stats_lib

# A gap between training and held-out PSNR beyond this is worth a warning:
# over-fitting, wrong poses of the test views, or another exposure.
_MAX_GAP_DB = 4.0


class CheckpointHook:
  """Saves in the background every `checkpoint_every` steps and at the end.

  Only the last one must succeed: see `saver.CheckpointWriter`.
  """

  def __init__(
    self,
    trainer: trainer_lib.Trainer,
    saver: saver_lib.CheckpointWriter,
    last: int,
  ):
    self._trainer = trainer
    self._saver = saver
    self._period = trainer.config.checkpoint_every
    self._first = trainer.config.checkpoint_init
    self._last = last

  def __call__(
    self, step: int, state: Any, stats: stats_lib.PackedStats
  ) -> None:
    """Saves when due."""
    del stats
    if loop.due(step, self._period, last=self._last, first=self._first):
      with self._trainer.clock.paused(state):
        self.save(step, required=step == self._last)

  def save(self, step: int, *, required: bool = True) -> None:
    """Starts saving the trainer's state, which is that of `step`."""
    if not parallel.is_lead():
      return
    self._saver.save(
      self._trainer.state,
      step,
      manifest=self._trainer.manifest(),
      required=required,
    )


class ReportWriter:
  """Listener that shows reports on the console and in TensorBoard."""

  def __init__(
    self,
    trainer: trainer_lib.Trainer,
    shown: console.Console,
    summaries: writer.Writer,
    last: int,
  ):
    self._trainer = trainer
    self._console = shown
    self._writer = summaries
    self._last = last
    self._num_params = trainer.num_params
    self.train_psnr: float | None = None  # of the latest report

  def __call__(self, rep: report.Report) -> None:
    """Shows one report."""
    config = self._trainer.config
    steps_per_sec = rep.num_steps / max(rep.seconds, 1e-9)
    rays_per_sec = steps_per_sec * config.batch_size
    self.train_psnr = rep.mean('psnr')
    rate = float(rep.table['learning_rate'][-1])
    terms = {
      name.removeprefix('losses/'): rep.mean(name)
      for name in rep.table
      if name.startswith('losses/')
    }
    self._console.report(
      console.Progress(
        step=rep.step,
        max_steps=config.max_steps,
        loss=rep.mean('loss'),
        psnr=self.train_psnr,
        learning_rate=rate,
        losses=terms,
        rays_per_sec=rays_per_sec,
        eta_sec=(self._last - rep.step) / steps_per_sec,
      )
    )
    writer.write_train_stats(
      self._writer,
      rep.table,
      rep.step,
      learning_rate=rate,
      steps_per_sec=steps_per_sec,
      rays_per_sec=rays_per_sec,
      num_params=self._num_params,
      elapsed_sec=rep.total_seconds,
      approx_elapsed_sec=rep.step / steps_per_sec,
    )
    self._write_exposures(rep.step)

  def _write_exposures(self, step: int) -> None:
    """Curves of the learned gains less 1 of a raw scene's exposures."""
    numbers = self._trainer.scene.cameras.exposure_idx
    learned = self._trainer.device_state.params['params'].get(
      'exposure_scaling_offsets'
    )
    if numbers is None or learned is None:
      return
    offsets = parallel.unreplicate(learned)['embedding']
    for i in range(int(np.max(numbers)) + 1):
      for c, offset in enumerate(offsets[i]):
        self._writer.scalar(f'exposure/scaling_{i}_{c}', offset, step)


def write_exposures(
  summaries: writer.Writer, scene: base.Scene | None, step: int
) -> None:
  """Texts about the exposures of a raw split; nothing for other scenes."""
  if scene is None or scene.raw is None:
    return
  for name, values in {
    'exposure_idx': scene.cameras.exposure_idx,
    'exposure_values': scene.cameras.exposure_values,
    'unique_shutters': scene.raw.shutter_times,
  }.items():
    text = ', '.join(f'{v:g}' for v in values)
    summaries.text(f'{scene.split}_{name}', text, step)


class TestViewHook:
  """Renders a held-out view now and then, and compares with training.

  The views take turns, so that a run sees all of them.
  """

  def __init__(
    self,
    trainer: trainer_lib.Trainer,
    reports: ReportWriter,
    shown: console.Console,
    summaries: writer.Writer,
    last: int,
  ):
    self._trainer = trainer
    self._reports = reports
    self._console = shown
    self._writer = summaries
    self._last = last
    self._period = trainer.config.train_render_every
    self._warned = False

  def __call__(
    self, step: int, state: Any, stats: stats_lib.PackedStats
  ) -> None:
    """Renders when due."""
    del state, stats
    scene = self._trainer.test_scene
    if scene is None or not loop.due(step, self._period, last=self._last):
      return
    index = (step // self._period) % len(scene)
    start = time.perf_counter()
    rendering = self._trainer.render(scene.cameras, index)
    seconds = time.perf_counter() - start
    if not parallel.is_lead():
      return
    with self._trainer.clock.paused():
      self._show(step, index, rendering, seconds)

  def _show(self, step, index, rendering, seconds) -> None:
    """Console lines, curves and pictures of one view."""
    scene = self._trainer.test_scene
    truth = np.asarray(color.decode_rgb(scene.images.image(index)))
    rendering, truth, pictures = _displayable(scene, rendering, truth)
    num_rays = truth.shape[0] * truth.shape[1]
    self._console.line(console.format_test_render(step, seconds, num_rays))
    masks = scene.masks
    mask = None if masks is None else masks.image(index)[..., 0]
    values = metrics.Metrics()(np.asarray(rendering.rgb), truth, mask)
    for name in ('psnr', 'ssim'):
      self._console.line(console.format_metric(name, values[name]))
      self._writer.scalar(f'train_metrics/{name}', values[name], step)
    self._writer.scalar('test_rays_per_sec', num_rays / seconds, step)
    rays = projection.cast_ray_batch(
      scene.cameras, projection.image_pixels(scene.cameras, index)
    )
    pictures |= {
      f'test_output_{name}': picture
      for name, picture in visualize.visualize_suite(rendering, rays).items()
    }
    pictures['test_true_color'] = truth
    if scene.normals is not None:
      pictures['test_true_normals'] = scene.normals.image(index) / 2 + 0.5
    stride = max(1, self._trainer.config.vis_decimate)
    for tag, picture in pictures.items():
      small = np.asarray(picture, np.float32)[::stride, ::stride]
      self._writer.image(tag, np.clip(small, 0, 1), step)
    if scene.raw is None:  # else training is measured on linear colours
      self._compare(values['psnr'])

  def _compare(self, test_psnr: float) -> None:
    """Warns once when training views fit much better than held-out ones."""
    train_psnr = self._reports.train_psnr
    if self._warned or train_psnr is None:
      return
    gap = train_psnr - test_psnr
    if gap > _MAX_GAP_DB:
      self._warned = True
      self._console.warn(
        f'Training PSNR is {gap:.1f} dB above this held-out view: the field '
        'over-fits, or the test poses or exposures differ '
        '(docs/troubleshooting.md).'
      )


def _displayable(scene, rendering, truth):
  """Rendering and truth in sRGB, and extra pictures if they were linear."""
  postprocess = raw_display.postprocessor(scene)
  if postprocess is None:
    return rendering, truth, {}
  linear = np.asarray(rendering.rgb)
  output = raw_display.pictures(scene.raw, linear)
  output['color_auto'], output['color_raw'] = output.pop('auto'), linear
  true = raw_display.pictures(scene.raw, truth)
  pictures = {f'test_output_{name}': x for name, x in output.items()}
  pictures |= {f'test_true_{name}': x for name, x in true.items()}
  shown = rendering.replace(rgb=postprocess(linear))
  return shown, postprocess(truth), pictures


class Advance:
  """Hook that moves the progress bar."""

  def __init__(self, shown: console.Console):
    self._console = shown

  def __call__(
    self, step: int, state: Any, stats: stats_lib.PackedStats
  ) -> None:
    """Moves the bar."""
    del state, stats
    self._console.advance(step)
