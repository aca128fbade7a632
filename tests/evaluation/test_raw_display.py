"""Raw scenes: metrics and PNGs are of what is shown, TIFFs stay linear."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from multinerf.data import base
from multinerf.evaluation import evaluator, frames, paths, raw_display
from multinerf.ops import raw

CAM2RGB = np.array([[1.5, -0.3, -0.2], [-0.2, 1.4, -0.2], [0.0, -0.5, 1.5]])
DISPLAY = base.RawDisplay(CAM2RGB, 2.0, {80: 0.5, 100: 4.0}, (0.1, 0.05))


@pytest.fixture
def linear():
  return np.random.default_rng(0).uniform(-0.1, 3, (16, 20, 3)).astype('f')


@pytest.fixture
def raw_scene(make_scene, linear):
  scene = make_scene(1, disps=None, normals=None, alphas=None)
  images = base.PixelBuffer.from_images([linear])
  return dataclasses.replace(scene, images=images, raw=DISPLAY)


def png(path):
  return np.asarray(Image.open(path), np.float64) / 255


def tiff_values(path, shape):
  """Pixels of our own uncompressed TIFF (tests/data/test_tiff_rgb.py)."""
  data = path.read_bytes()
  return np.frombuffer(data[8 : 8 + 4 * np.prod(shape)], '<f4').reshape(shape)


def test_scenes_of_developed_images_are_shown_as_they_are(make_scene):
  assert raw_display.postprocessor(make_scene(1)) is None


def test_evaluation_shows_raw_colours_and_keeps_them(
  raw_scene, linear, make_rendering, tmp_path
):
  predicted = 0.9 * linear + 0.05
  found = evaluator.evaluate(
    raw_scene,
    lambda i: make_rendering(rgb=predicted),
    7,
    tmp_path,
    evaluator.EvalConfig(eval_raw_affine_cc=True, eval_crop_borders=2),
    postprocess=raw_display.postprocessor(raw_scene),
  )
  folder = tmp_path / 'test_preds'
  shown = raw.postprocess_raw(predicted, CAM2RGB, 2.0)
  np.testing.assert_allclose(
    png(folder / 'color_000.png'), shown, atol=0.51 / 255
  )
  truth = raw.postprocess_raw(linear, CAM2RGB, 2.0)
  np.testing.assert_allclose(
    png(folder / 'color_cc_000.png'), truth, atol=0.51 / 255
  )
  stored = tiff_values(folder / 'color_raw_000.tiff', linear.shape)
  np.testing.assert_array_equal(stored, predicted)
  cropped = (slice(2, -2), slice(2, -2))
  quantised = np.floor(255 * shown + 0.5) / 255
  mse = np.mean((quantised - truth)[cropped] ** 2)
  np.testing.assert_allclose(found.mean['psnr'], -10 * np.log10(mse))
  assert found.mean_cc['psnr'] > 55  # rounding to 8 bits is left


def test_rendered_frames_are_shown_and_kept(
  raw_scene, linear, make_rendering, tmp_path
):
  frames.render_frames(
    raw_scene.cameras,
    lambda i: make_rendering(rgb=linear),
    tmp_path,
    paths.RenderConfig(),
    run_id='a',
    postprocess=raw_display.postprocessor(raw_scene),
  )
  shown = raw.postprocess_raw(linear, CAM2RGB, 2.0)
  np.testing.assert_allclose(
    png(tmp_path / 'color_000.png'), shown, atol=0.51 / 255
  )
  stored = tiff_values(tmp_path / 'color_raw_000.tiff', linear.shape)
  np.testing.assert_array_equal(stored, linear)


def test_pictures_are_exposed_for_each_level_and_for_the_image(linear):
  found = raw_display.pictures(DISPLAY, linear)
  assert set(found) == {'auto', 'color/80', 'color/100'}
  for name, level in {'color/80': 0.5, 'color/100': 4.0, 'auto': None}.items():
    want = raw.postprocess_raw(linear, CAM2RGB, level)
    np.testing.assert_array_equal(found[name], want)
