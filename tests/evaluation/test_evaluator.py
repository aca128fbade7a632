"""An evaluation from end to end, with a renderer that is told what to see."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import errors, types
from multinerf.data import base, images
from multinerf.evaluation import evaluator, lpips, metrics
from multinerf.ops import color

STEP = 250


class Recorder:
  """A summary writer that keeps what it is given."""

  def __init__(self):
    self.scalars, self.histograms, self.images = {}, {}, {}

  def scalar(self, tag, value, step):
    self.scalars[tag] = (value, step)

  def histogram(self, tag, values, step):
    self.histograms[tag] = values

  def image(self, tag, image, step):
    self.images[tag] = image


@pytest.fixture
def scene(make_scene):
  return make_scene(3)


@pytest.fixture
def render_view(scene, full_rendering):
  """View i is the truth, darker by a tenth."""

  def render(i):
    truth = np.asarray(color.decode_rgb(scene.images.image(i)))
    return full_rendering(i, truth * 0.9)

  return render


def render_rays(pixels):
  num = len(pixels.pix_x_int)
  edges = jnp.tile(jnp.array([0.0, 0.5, 1.0]), (num, 1))
  half = jnp.full((num, 2), 0.5)
  rgb = jnp.full((num, 2, 3), 0.5)
  level = types.Level(edges, edges, half, types.FieldOutput(half, rgb=rgb))
  return types.Rendering(rgb=jnp.full((num, 3), 0.5)), [level]


def test_metrics_are_those_of_the_files_that_were_written(
  scene, render_view, tmp_path
):
  found = evaluator.evaluate(
    scene, render_view, STEP, tmp_path, evaluator.EvalConfig()
  )
  folder = tmp_path / 'test_preds'
  for i, image in enumerate(found.images):
    truth = np.asarray(color.decode_rgb(scene.images.image(i)), np.float64)
    for tag, values in (
      ('color', image.metrics),
      ('color_cc', image.metrics_cc),
    ):
      stored = images.read_image(folder / f'{tag}_{i:03d}.png') / 255.0
      assert values['psnr'] == metrics.psnr(stored, truth)
      assert values['ssim'] == metrics.ssim(stored, truth)
  # A dark tenth is a matter of colour: correction removes nearly all of it.
  assert found.mean_cc['psnr'] > found.mean['psnr'] + 10
  assert found.mean['psnr'] == np.mean(
    [i.metrics['psnr'] for i in found.images]
  )


@pytest.mark.parametrize('quantized', [True, False])
def test_predictions_are_rounded_to_8_bits_only_if_asked_for(
  scene, render_view, quantized
):
  cfg = evaluator.EvalConfig(eval_quantize_metrics=quantized)
  found = evaluator.evaluate(scene, render_view, STEP, None, cfg)
  for i, image in enumerate(found.images):
    truth = np.asarray(color.decode_rgb(scene.images.image(i)), np.float64)
    rgb = render_view(i).rgb  # float32, as ties are rounded by it
    want = [metrics.psnr(x, truth) for x in (rgb, metrics.quantize(rgb))]
    assert abs(want[0] - want[1]) > 1e-5
    # float32 colours on one side.
    assert image.metrics['psnr'] == pytest.approx(want[quantized], abs=1e-6)
  assert found.protocol['quantized_to_8_bits'] == quantized


def test_all_files_of_multinerf_are_there(scene, render_view, tmp_path):
  cfg = evaluator.EvalConfig(eval_render_interval=2)
  evaluator.evaluate(scene, render_view, STEP, tmp_path, cfg)
  tags = ('color', 'color_cc', 'normals', 'normals_pred')
  tiffs = ('distance_mean', 'distance_median', 'acc')
  names = ('psnr', 'ssim', 'mae')
  extra = ('disparity_mean_mse', 'disparity_median_mse')
  extra += ('normals_mae', 'normals_pred_mae')
  want = {f'{tag}_{i:03d}.png' for tag in tags for i in (0, 2)}
  want |= {f'{tag}_{i:03d}.tiff' for tag in tiffs for i in (0, 2)}
  want |= {f'metric_{name}_{STEP}.txt' for name in names + extra}
  want |= {f'metric_cc_{name}_{STEP}.txt' for name in names}
  want |= {f'render_times_{STEP}.txt'}
  assert {p.name for p in (tmp_path / 'test_preds').iterdir()} == want
  text = (tmp_path / 'test_preds' / f'metric_psnr_{STEP}.txt').read_text()
  assert len(text.split()) == 3  # metrics cover the images not written, too


def test_the_record_says_what_was_measured_and_why_there_is_no_lpips(
  scene, render_view, tmp_path
):
  evaluator.evaluate(
    scene,
    render_view,
    STEP,
    tmp_path,
    evaluator.EvalConfig(eval_dataset_limit=2, eval_crop_borders=2),
    protocol={'factor': 4},
  )
  data = json.loads((tmp_path / 'results.json').read_text())
  assert data['test_names'] == ['view_0.png', 'view_1.png']
  assert len(data['images']) == 2
  assert data['protocol']['factor'] == 4
  assert data['protocol']['cropped_borders'] == 2
  assert data['lpips'] is None
  assert data['lpips_reason'] == lpips.NO_WEIGHTS
  assert data['rays_per_sec'] > 0 and data['wall_seconds'] > 0


def test_disparity_and_normals_are_compared_with_their_truth(
  make_scene, render_view, full_rendering
):
  rendering = full_rendering(0)
  scene = make_scene(3)
  scene.disps.image(0)[..., 0] = 1 / (1 + rendering.distance_median)
  scene.normals.image(0)[...] = 3 * rendering.normals
  found = evaluator.evaluate(
    scene, render_view, STEP, None, evaluator.EvalConfig()
  ).images[0]
  # float32 inputs; arccos near 1 keeps half their digits.
  assert found.metrics['disparity_median_mse'] < 1e-12
  assert found.metrics['disparity_mean_mse'] > 1e-8
  assert found.metrics['normals_mae'] < 0.05
  assert found.metrics['normals_pred_mae'] > 30


def test_nan_pixels_are_counted_reported_and_spoil_only_their_image(
  scene, render_view, tmp_path
):
  def render(i):
    rendering = jax.tree.map(np.array, render_view(i))
    if i == 1:
      rendering.rgb[2, 3] = np.nan
      rendering.acc[:2] = np.inf
    return rendering

  lines = []
  found = evaluator.evaluate(
    scene, render, STEP, tmp_path, evaluator.EvalConfig(), log=lines.append
  )
  assert found.images[1].nonfinite == {'rgb': 1, 'acc': 40}
  assert math.isnan(found.images[1].metrics['psnr'])
  assert math.isnan(found.images[1].metrics_cc['psnr'])
  assert math.isfinite(found.images[0].metrics['psnr'])
  assert math.isnan(found.mean['psnr'])
  assert any('view_1.png: 1 pixels of rgb' in line for line in lines)
  data = json.loads((tmp_path / 'results.json').read_text())
  assert data['nonfinite_pixels'] == 41
  assert data['mean']['psnr'] is None
  text = (tmp_path / 'test_preds' / f'metric_psnr_{STEP}.txt').read_text()
  assert text.split()[1] == 'nan'


def test_a_render_path_has_frames_but_no_metrics(
  make_scene, render_view, tmp_path
):
  path = make_scene(3, images=None, disps=None, normals=None, alphas=None)
  writer = Recorder()
  (tmp_path / 'results.json').write_text('measured')
  found = evaluator.evaluate(
    path, render_view, STEP, tmp_path, evaluator.EvalConfig(), writer=writer
  )
  folder = tmp_path / 'path_renders'
  names = {p.name for p in folder.iterdir()}
  assert {'color_000.png', 'color_002.png', f'render_times_{STEP}.txt'} <= names
  assert not any('metric' in n or 'cc' in n.split('_') for n in names)
  assert found.mean == {} and found.lpips_reason == 'no ground truth'
  assert (tmp_path / 'results.json').read_text() == 'measured'
  assert 'results.json' in names
  assert 'output_color_0' in writer.images
  assert not any('true' in tag for tag in writer.images)


def test_the_writer_gets_curves_and_the_showcase(scene, render_view, tmp_path):
  cfg = evaluator.EvalConfig(
    num_showcase_images=2, vis_decimate=2, eval_save_ray_data=True
  )
  writer = Recorder()
  found = evaluator.evaluate(
    scene, render_view, STEP, tmp_path, cfg, writer=writer,
    render_rays=render_rays,
  )  # fmt: skip
  assert writer.scalars['eval_metrics/psnr'] == (found.mean['psnr'], STEP)
  assert 'eval_metrics_cc/ssim' in writer.scalars
  assert 'eval_median_render_time' in writer.scalars
  assert writer.histograms['eval_metrics/perimage_psnr'].shape == (3,)
  for slot in (0, 1):
    for tag in (
      'true_color', 'true_residual', 'true_normals', 'output_color',
      'output_acc', 'output_color_matte', 'output_depth_mean',
      'output_depth_median', 'output_depth_triplet', 'output_coords_mod',
      'output_ray_colors', 'output_ray_weights', 'output_normals',
      'output_roughness', 'output_color_corrected',
    ):  # fmt: skip
      assert f'{tag}_{slot}' in writer.images, tag
  assert 'output_color_2' not in writer.images
  assert writer.images['output_color_0'].shape == (8, 10, 3)
  first = evaluator.showcase_indices(3, STEP, cfg)[0]
  truth = np.asarray(color.decode_rgb(scene.images.image(first)))
  np.testing.assert_array_equal(writer.images['true_color_0'], truth[::2, ::2])
  rays = tmp_path / 'test_preds' / f'ray_data_{STEP}_0.txt'
  assert "'ray_weights'" in rays.read_text()


def test_the_showcase_is_fixed_or_follows_the_step():
  fixed = evaluator.EvalConfig()
  free = dataclasses.replace(fixed, deterministic_showcase=False)
  chosen = [tuple(evaluator.showcase_indices(50, s, fixed)) for s in range(5)]
  assert len(set(chosen)) == 1 and len(chosen[0]) == 5
  chosen = {tuple(evaluator.showcase_indices(50, s, free)) for s in range(5)}
  assert len(chosen) == 5


def test_no_folder_and_no_output_write_nothing_but_the_record(
  scene, render_view, tmp_path
):
  cfg = evaluator.EvalConfig(eval_save_output=False)
  evaluator.evaluate(scene, render_view, STEP, tmp_path, cfg)
  assert [p.name for p in tmp_path.iterdir()] == ['results.json']


def test_raw_colours_are_fitted_before_they_are_made_displayable(
  make_scene, make_rendering
):
  gen = np.random.default_rng(0)
  scene = make_scene(1, disps=None, normals=None, alphas=None)
  linear = gen.uniform(0, 4, (16, 20, 3)).astype(np.float32)
  scene = dataclasses.replace(
    scene, images=type(scene.images).from_images([linear])
  )

  def render(i):
    return make_rendering(rgb=linear * 1.5 + 0.25)

  def display(x):
    return np.clip(np.asarray(x, np.float64) / 4, 0, 1)

  found = evaluator.evaluate(
    scene, render, STEP, None, evaluator.EvalConfig(eval_raw_affine_cc=True),
    postprocess=display,
  )  # fmt: skip
  # An exact fit leaves the rounding to 8 bits: 1 / (255 sqrt(12)) is 58.9 dB.
  assert 58 < found.mean_cc['psnr'] < 60
  assert found.mean['psnr'] < 25


@pytest.mark.parametrize('affine', [False, True])
def test_masked_pixels_do_not_bias_the_colour_correction(
  affine, scene, full_rendering
):
  """Something passed in front of the right half of every view."""
  mask = np.ones((16, 20, 1), np.uint8)
  mask[:, 10:] = 0
  masked = dataclasses.replace(
    scene, masks=base.PixelBuffer.from_images([mask] * len(scene))
  )

  def render(i):
    truth = np.asarray(color.decode_rgb(scene.images.image(i)))
    other = np.random.default_rng(i).uniform(size=truth.shape)
    return full_rendering(i, np.where(mask > 0, 0.8 * truth + 0.1, other))

  cfg = evaluator.EvalConfig(eval_raw_affine_cc=affine)
  found = evaluator.evaluate(masked, render, STEP, None, cfg)
  # Rounding to 8 bits alone: 1 / (255 sqrt(12)) is 58.9 dB.
  assert found.mean_cc['psnr'] > 58
  assert found.mean['psnr'] < 25


def test_lpips_is_measured_when_there_are_weights(
  scene, render_view, monkeypatch
):
  loaded = lpips.Lpips('vgg', {})
  monkeypatch.setattr(lpips.Lpips, '__call__', lambda self, a, b: 0.125)
  monkeypatch.setattr(lpips, 'load', lambda path: loaded)
  found = evaluator.evaluate(
    scene, render_view, STEP, None, evaluator.EvalConfig(lpips_weights='w.npz')
  )
  data = found.to_json()
  assert data['lpips'] == 0.125 and data['lpips_reason'] is None
  assert data['protocol']['lpips_backbone'] == 'vgg'


def test_missing_lpips_weights_stop_the_evaluation_before_rendering(scene):
  def render(i):
    raise AssertionError('rendered')

  cfg = evaluator.EvalConfig(lpips_weights='/no/such/file.npz')
  with pytest.raises(errors.ConfigError, match='lpips_weights'):
    evaluator.evaluate(scene, render, STEP, None, cfg)


def test_each_scale_has_its_means_in_the_log_the_record_and_the_curves(
  make_scene, full_rendering, tmp_path
):
  scene = dataclasses.replace(make_scene(4), scales=(1, 1, 4, 4))

  def render(i):  # the small ones are better
    truth = np.asarray(color.decode_rgb(scene.images.image(i)))
    return full_rendering(i, truth * (0.8 if i < 2 else 0.98))

  writer, lines = Recorder(), []
  found = evaluator.evaluate(
    scene,
    render,
    STEP,
    tmp_path,
    evaluator.EvalConfig(),
    writer=writer,
    log=lines.append,
  )
  by_scale = found.mean_by_scale
  assert by_scale[4]['psnr'] > by_scale[1]['psnr'] + 10
  data = json.loads((tmp_path / 'results.json').read_text())
  assert data['mean_by_scale']['4']['psnr'] == by_scale[4]['psnr']
  for tag, means in (
    ('eval_metrics', by_scale),
    ('eval_metrics_cc', found.mean_cc_by_scale),
  ):
    for scale in (1, 4):
      assert writer.scalars[f'{tag}/psnr_{scale}x'] == (
        means[scale]['psnr'],
        STEP,
      )
  assert f'{"psnr_4x":30s} = {by_scale[4]["psnr"]:.4f}' in lines
  assert writer.scalars['eval_metrics/psnr'] == (found.mean['psnr'], STEP)
  # Files of single images are as ever: one number each.
  text = (tmp_path / 'test_preds' / f'metric_psnr_{STEP}.txt').read_text()
  assert len(text.split()) == 4
