"""Measures a checkpoint on the test split and writes what it found.

Knows neither models nor checkpoints: `render_view(i)` renders test view i.
On a render path, where there is no truth, it writes the frames and no metrics.
"""

import dataclasses
import math
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from multinerf import parallel, types
from multinerf.cameras import projection
from multinerf.data import base
from multinerf.evaluation import (
  export,
  lpips,
  metrics,
  raw_display,
  render_image,
  results,
  visualize,
)
from multinerf.ops import color

# View i of the split -> its rendering, numpy [H, W, ...].
RenderView = Callable[[int], types.Rendering]
# Flat pixels [n] -> the final rendering and the sampling levels of their rays.
RenderRays = Callable[
  [types.Pixels], tuple[types.Rendering, Sequence[types.Level]]
]
_SHOWCASE_SEED = 0
_NORMALS = ('normals', 'normals_pred')


@dataclasses.dataclass(frozen=True)
class EvalConfig:
  """What to measure and keep; the names and defaults are those of `Config`.

  Attributes:
    eval_save_output: Write images and metric files.
    eval_save_ray_data: Write the sampled rays of the showcase images.
    eval_render_interval: Write every N-th image; 0 writes none.
    eval_dataset_limit: Use only the first N test images.
    eval_quantize_metrics: Round predictions to 8 bits before metrics.
    eval_crop_borders: Pixels to cut off each side before metrics.
    eval_raw_affine_cc: Colour-corrected metrics by an affine fit per channel
      instead of a quadratic one.
    num_showcase_images: How many test images the summary writer gets.
    deterministic_showcase: The same ones at each step.
    vis_num_rays: Rays per showcase image in ray plots and ray data.
    vis_decimate: Keep every N-th pixel of summary images, if over 1.
    lpips_weights: File with LPIPS weights; None: no LPIPS.
  """

  eval_save_output: bool = True
  eval_save_ray_data: bool = False
  eval_render_interval: int = 1
  eval_dataset_limit: int = 2**31 - 1
  eval_quantize_metrics: bool = True
  eval_crop_borders: int = 0
  eval_raw_affine_cc: bool = False
  num_showcase_images: int = 5
  deterministic_showcase: bool = True
  vis_num_rays: int = 16
  vis_decimate: int = 0
  lpips_weights: str | None = None


@runtime_checkable
class SummaryWriter(Protocol):
  """Where curves and pictures go, e.g. TensorBoard."""

  def scalar(self, tag: str, value: float, step: int) -> None:
    """Adds one point of a curve."""

  def histogram(self, tag: str, values: np.ndarray, step: int) -> None:
    """Adds a distribution."""

  def image(self, tag: str, image: np.ndarray, step: int) -> None:
    """Adds a picture, [h, w, 3] in [0, 1]."""


def evaluate(
  scene: base.Scene,
  render_view: RenderView,
  step: int,
  out_dir: str | pathlib.Path | None,
  cfg: EvalConfig,
  *,
  writer: SummaryWriter | None = None,
  log: Callable[[str], None] = lambda message: None,
  render_rays: RenderRays | None = None,
  postprocess: raw_display.Postprocess | None = None,
  protocol: Mapping[str, Any] | None = None,
) -> results.Results:
  """Renders and measures the views of a scene.

  Args:
    scene: The split to evaluate; `images` None for a render path.
    render_view: Renders view i; `render_image.Views` do so ahead.
    step: Of the checkpoint, for the names of files and summaries.
    out_dir: The run's folder: images and metric files go to `test_preds` (or
      `path_renders`) in it, the record to `record_path`. None: no files.
    cfg: What to measure and keep.
    writer: Gets curves, and pictures of the showcase images.
    log: Gets one line of text at a time.
    render_rays: For ray plots and ray data; None leaves them out.
    postprocess: Makes raw colours displayable, before metrics and files; the
      linear ones are written beside them.
    protocol: What else the numbers depend on (data set, factor, ...).

  Returns:
    All measurements, in float64.

  Raises:
    ConfigError: The LPIPS weights or the cropping are not usable.
    DataError: The images are too small for a metric.
  """
  start = time.monotonic()
  measure = _metrics(cfg)
  run = _Run(
    scene=scene,
    step=step,
    folder=None if out_dir is None else _folder(scene, out_dir),
    cfg=cfg,
    metrics=measure,
    writer=writer,
    log=log,
    render_rays=render_rays,
    postprocess=postprocess,
  )
  num = min(len(scene), cfg.eval_dataset_limit)
  views = render_image.as_views(render_view)
  views.expect(range(num))
  showcase = showcase_indices(num, step, cfg)
  found = []
  for i in range(num):
    log(f'Evaluating image {i + 1}/{num}')
    slot = showcase.index(i) if i in showcase else None
    found.append(run.view(views.timed(i), i, slot))
  reason = None if measure.lpips else lpips.NO_WEIGHTS
  out = results.Results(
    step=step,
    images=tuple(found),
    protocol=_protocol(scene, cfg, measure.lpips) | dict(protocol or {}),
    test_names=tuple(image.name for image in found),
    lpips_reason=reason if scene.images is not None else 'no ground truth',
    wall_seconds=time.monotonic() - start,
    device=parallel.device_description(),
  )
  _report(out, run, out_dir)
  return out


def record_path(scene: base.Scene, out_dir: str | os.PathLike) -> pathlib.Path:
  """Where the record of an evaluation goes: `results.json` of the run.

  That of a camera path, which measures nothing, is beside its frames and leaves
  the run's alone.
  """
  measured = scene.images is not None
  folder = pathlib.Path(out_dir) if measured else _folder(scene, out_dir)
  return folder / 'results.json'


def showcase_indices(num: int, step: int, cfg: EvalConfig) -> list[int]:
  """Returns which of `num` views are shown; the order gives the tags' index."""
  seed = _SHOWCASE_SEED if cfg.deterministic_showcase else step
  order = np.random.default_rng(seed).permutation(num)
  return [int(i) for i in order[: cfg.num_showcase_images]]


@dataclasses.dataclass(frozen=True)
class _Run:
  """What one evaluation needs for each of its views."""

  scene: base.Scene
  step: int
  folder: pathlib.Path | None
  cfg: EvalConfig
  metrics: metrics.Metrics
  writer: SummaryWriter | None
  log: Callable[[str], None]
  render_rays: RenderRays | None
  postprocess: raw_display.Postprocess | None

  def view(
    self, view: render_image.View, i: int, slot: int | None
  ) -> results.ImageResult:
    """Measures and saves view i; `slot` is its showcase number."""
    rendering, seconds = view.rendering, view.seconds
    self.log(f'Rendered in {seconds:0.3f}s')
    name = self.scene.image_names[i]
    nonfinite = export.count_nonfinite(rendering)
    for field, count in nonfinite.items():
      self.log(f'WARNING: {name}: {count} pixels of {field} are not finite.')
    truth = self._truth(i)
    corrected, linear = None, None
    measured, measured_cc = {}, {}
    masks = self.scene.masks
    mask = None if masks is None else masks.image(i)[..., 0]
    if truth is not None:
      corrected = self._correct(rendering, truth, mask, nonfinite)
      if self.postprocess is not None:
        truth = self.postprocess(truth)
    if self.postprocess is not None:
      linear = np.asarray(rendering.rgb)
      rendering = rendering.replace(rgb=self.postprocess(linear))
    if truth is not None and corrected is not None:
      measured = self.metrics(np.asarray(rendering.rgb), truth, mask)
      measured |= self._geometry_metrics(rendering, i)
      measured_cc = self.metrics(corrected, truth, mask)
      for key, value in measured.items():
        self.log(f'{key:30s} = {value:.4f}')
    self._save(i, rendering, corrected, linear)
    if slot is not None:
      self._showcase(slot, i, rendering, truth, corrected)
    return results.ImageResult(
      index=i,
      name=name,
      metrics=measured,
      metrics_cc=measured_cc,
      nonfinite=nonfinite,
      num_rays=math.prod(np.shape(rendering.rgb)[:2]),
      render_seconds=seconds,
      scale=1 if self.scene.scales is None else self.scene.scales[i],
    )

  def _truth(self, i: int) -> np.ndarray | None:
    """True colours of view i, float64 over white; None on a render path."""
    if self.scene.images is None:
      return None
    stored = self.scene.images.image(i)
    return np.asarray(color.decode_rgb(stored), np.float64)

  def _correct(self, rendering, truth, mask, nonfinite) -> np.ndarray:
    """The prediction after colour correction, ready to be shown."""
    start = time.monotonic()
    pred = np.asarray(rendering.rgb, np.float64)
    if 'rgb' in nonfinite:
      corrected = np.full_like(pred, np.nan)  # nothing can be fitted to it
    elif self.cfg.eval_raw_affine_cc:
      corrected = metrics.affine_correct(pred, truth, mask)
    else:
      corrected = metrics.quadratic_correct(pred, truth, mask)
    if self.postprocess is not None:
      corrected = self.postprocess(corrected)
    self.log(f'Color corrected in {time.monotonic() - start:0.3f}s')
    return corrected

  def _geometry_metrics(self, rendering, i: int) -> dict[str, float]:
    """Errors of distance and normals, where their truth is known."""
    out = {}
    scene = self.scene
    if scene.disps is not None:
      disps = scene.disps.image(i)[..., 0]
      for name in ('mean', 'median'):
        distance = getattr(rendering, f'distance_{name}')
        if distance is not None:
          value = metrics.disparity_mse(np.asarray(distance), disps)
          out[f'disparity_{name}_mse'] = value
    if scene.normals is not None and rendering.acc is not None:
      weights = np.asarray(rendering.acc, np.float64)
      if scene.alphas is not None:
        weights = weights * scene.alphas.image(i)[..., 0]
      for name in _NORMALS:
        normals = getattr(rendering, name)
        if normals is not None:
          out[f'{name}_mae'] = metrics.normals_mae(
            np.asarray(normals), scene.normals.image(i), weights
          )
    return out

  def _save(self, i: int, rendering, corrected, linear) -> None:
    """Writes the images of view i, if this one is to be kept."""
    interval = self.cfg.eval_render_interval
    keep = self.cfg.eval_save_output and interval > 0 and i % interval == 0
    if self.folder is not None and keep:
      digits = export.num_digits(len(self.scene))
      export.write_frame(
        self.folder,
        i,
        rendering,
        digits=digits,
        color_cc=corrected,
        color_raw=linear,
      )

  def _showcase(self, slot: int, i: int, rendering, truth, corrected) -> None:
    """Sends pictures of one view to the writer, and its rays to a file."""
    save_rays = self.cfg.eval_save_ray_data and self.folder is not None
    if self.writer is None and not save_rays:
      return
    pixels = projection.image_pixels(self.scene.cameras, i)
    levels, ray_rgb = None, None
    if self.render_rays is not None and self.cfg.vis_num_rays > 0:
      chosen = render_image.choose_rays(pixels, self.cfg.vis_num_rays)
      final, levels = self.render_rays(chosen)
      ray_rgb = np.asarray(final.rgb)
      if save_rays:
        export.write_ray_data(self.folder, self.step, slot, levels)
    if self.writer is None:
      return
    rays = projection.cast_ray_batch(self.scene.cameras, pixels)
    suite = visualize.visualize_suite(
      rendering, rays, levels=levels, ray_rgb=ray_rgb
    )
    pictures = {f'output_{name}_{slot}': x for name, x in suite.items()}
    if truth is not None:
      residual = np.clip(np.asarray(rendering.rgb) - truth + 0.5, 0.0, 1.0)
      pictures[f'output_color_corrected_{slot}'] = corrected
      pictures[f'true_color_{slot}'] = truth
      pictures[f'true_residual_{slot}'] = residual
    if self.scene.normals is not None:
      normals = self.scene.normals.image(i)
      pictures[f'true_normals_{slot}'] = normals / 2 + 0.5
    stride = max(1, self.cfg.vis_decimate)
    for tag, picture in pictures.items():
      shown = np.clip(picture[::stride, ::stride], 0.0, 1.0)
      self.writer.image(tag, shown.astype(np.float32), self.step)


def _metrics(cfg: EvalConfig) -> metrics.Metrics:
  """What to measure on each pair of images."""
  return metrics.Metrics(
    quantize=cfg.eval_quantize_metrics,
    crop_borders=cfg.eval_crop_borders,
    lpips=lpips.load(cfg.lpips_weights) if cfg.lpips_weights else None,
  )


def _folder(scene: base.Scene, out_dir) -> pathlib.Path:
  """Where images and metric files go."""
  name = 'path_renders' if scene.images is None else 'test_preds'
  return pathlib.Path(out_dir) / name


def _protocol(scene, cfg: EvalConfig, perceptual) -> dict[str, Any]:
  """Settings on which the numbers depend."""
  return {
    'scene': scene.name,
    'split': scene.split,
    'num_images': min(len(scene), cfg.eval_dataset_limit),
    'quantized_to_8_bits': cfg.eval_quantize_metrics,
    'cropped_borders': cfg.eval_crop_borders,
    'color_correction': 'affine' if cfg.eval_raw_affine_cc else 'quadratic',
    'psnr': '-10 log10(mean squared error) per image, then averaged',
    'ssim': '11x11 Gaussian, sigma 1.5, k1 0.01, k2 0.03, valid region',
    'lpips_backbone': None if perceptual is None else perceptual.backbone,
  }


def _report(out: results.Results, run: _Run, out_dir) -> None:
  """Logs the means and writes files and summaries."""
  if out.images and run.scene.images is not None:
    run.log(f'Means over {len(out.images)} images:')
  for prefix, means in (('', out.mean), ('cc_', out.mean_cc)):
    _log_means(run, prefix, means)
  for scale, means in out.mean_by_scale.items():
    run.log(f'Means over the images at 1/{scale} of full size:')
    for prefix, kind in (('', means), ('cc_', out.mean_cc_by_scale[scale])):
      _log_means(run, prefix, _suffixed(kind, scale))
  if out.nonfinite:
    run.log(f'WARNING: {out.nonfinite} pixels in all are not finite.')
  if run.folder is not None:
    if run.cfg.eval_save_output:
      results.write_metric_files(run.folder, out)
    results.write_results(record_path(run.scene, out_dir), out)
  if run.writer is None or not out.images:
    return
  step, writer = out.step, run.writer
  writer.scalar('eval_median_render_time', out.median_render_seconds, step)
  for tag, means, by_scale, kind in (
    ('eval_metrics', out.mean, out.mean_by_scale, 'metrics'),
    ('eval_metrics_cc', out.mean_cc, out.mean_cc_by_scale, 'metrics_cc'),
  ):
    for name, value in means.items():
      per_image = np.array([getattr(image, kind)[name] for image in out.images])
      writer.scalar(f'{tag}/{name}', value, step)
      if np.all(np.isfinite(per_image)):  # TensorBoard refuses NaN histograms
        writer.histogram(f'{tag}/perimage_{name}', per_image, step)
    for scale, means in by_scale.items():
      for name, value in _suffixed(means, scale).items():
        writer.scalar(f'{tag}/{name}', value, step)


def _suffixed(means: Mapping[str, float], scale: int) -> dict[str, float]:
  return {results.scale_name(name, scale): v for name, v in means.items()}


def _log_means(run: _Run, prefix: str, means: Mapping[str, float]) -> None:
  for name, value in means.items():
    run.log(f'{prefix + name:30s} = {value:.4f}')
