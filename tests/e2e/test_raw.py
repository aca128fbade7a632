"""RawNeRF from DNG files to pictures: train.py, eval.py, render.py."""

import json
import math

import numpy as np
import pytest
import raw_scene
import run_util
from PIL import Image

from multinerf.app import eval as eval_lib
from multinerf.app import render, train
from multinerf.data import base
from multinerf.evaluation import raw_display

pytest.importorskip(
  'rawpy', reason='DNG files need rawpy: pip install "multinerf[raw]"'
)
SIZE, FACTOR, NUM, STEPS = 32, 2, 17, 400
LATE = 1.1  # what the shortest exposures are longer than their files say
# llff_raw.gin with a network for a wall of smooth colours.
BINDINGS = (
  f'Config.factor = {FACTOR}',
  'Config.batch_size = 512',
  f'Config.max_steps = {STEPS}',
  f'Config.checkpoint_every = {STEPS}',
  'Config.print_every = 50',
  f'Config.train_render_every = {STEPS // 2}',
  'Config.render_chunk_size = 512',
  'Config.lr_init = 1e-2',
  'Config.lr_final = 1e-3',
  'Config.lr_delay_steps = 20',
  'Config.eval_raw_affine_cc = True',
  'Config.eval_crop_borders = 1',
  'Config.render_path_frames = 2',
  'Config.compilation_cache_dir = None',
  'Model.num_prop_samples = 8',
  'Model.num_nerf_samples = 8',
  'NerfMLP.net_depth = 2',
  'NerfMLP.net_width = 32',
  'NerfMLP.max_deg_point = 4',
  'NerfMLP.bottleneck_width = 16',
  'NerfMLP.net_width_viewdirs = 16',
)


@pytest.fixture(scope='module')
def scene_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('data') / 'wall'
  raw_scene.write_llff_scene(folder, NUM, SIZE, look=raw_scene.wall, late=LATE)
  return folder


def arguments(scene_dir, run_dir, *bindings):
  return [
    '--gin_configs=llff_raw.gin',
    f'--data_dir={scene_dir}',
    f'--checkpoint_dir={run_dir}',
    *(f'--gin_bindings={b}' for b in (*BINDINGS, *bindings)),
  ]


@pytest.fixture(scope='module')
def run_dir(scene_dir, tmp_path_factory):
  """Trained, evaluated, test views and a path rendered."""
  folder = tmp_path_factory.mktemp('runs') / 'raw' / 'wall'
  args = arguments(scene_dir, folder)
  assert run_util.run(train.main, *args) == 0
  assert run_util.run(eval_lib.main, *args) == 0
  path = '--gin_bindings=Config.render_path = True'
  assert run_util.run(render.main, *args, path) == 0
  return folder


@pytest.fixture(scope='module')
def summaries(run_dir):
  return run_util.summaries(run_dir)


def load(scene_dir, split):
  cfg = base.DataConfig(
    dataset_loader='llff',
    data_dir=str(scene_dir),
    rawnerf_mode=True,
    forward_facing=True,
    factor=FACTOR,
    near=0.0,
    far=1.0,
  )
  return base.load_scene(cfg, split)


def test_the_loader_of_the_preset_finds_poses_and_raw_files(scene_dir):
  train_scene, test_scene = (load(scene_dir, s) for s in base.SPLITS)
  assert test_scene.image_names == ('view_00.png', 'view_08.png', 'view_16.png')
  assert len(train_scene) == NUM - 3
  assert train_scene.cameras.widths[0] == SIZE
  assert test_scene.cameras.widths[0] == SIZE // FACTOR
  np.testing.assert_array_equal(test_scene.cameras.exposure_idx, [0, 1, 2])


@pytest.mark.slow
def test_held_out_views_are_recovered_from_mosaics(scene_dir, run_dir):
  found = json.loads((run_dir / 'results.json').read_text())
  scene = load(scene_dir, 'test')
  show = raw_display.postprocessor(scene)
  for i, image in enumerate(found['images']):
    truth = show(scene.images.image(i))[1:-1, 1:-1]
    # The best that a field showing one colour everywhere could do.
    flat = -10 * math.log10(np.mean((truth - truth.mean((0, 1))) ** 2))
    # Measured: 32.8, 36.5, 34.6, corrected 31.8, 37.2, 34.5; flat up to 15.8.
    for measured in (image['metrics'], image['metrics_cc']):
      assert measured['psnr'] > max(28, flat + 10)


@pytest.mark.slow
def test_gains_are_learned_for_exposures_that_are_not_what_they_say(
  summaries,
):
  offsets = np.array(
    [
      [
        summaries[f'exposure/scaling_{i}_{c}'][STEPS].simple_value
        for c in range(3)
      ]
      for i in range(3)
    ]
  )
  np.testing.assert_array_equal(offsets[0], 0)  # the reference
  # Measured: below 0.03, and 0.076, 0.151 and 0.114. In so few steps a part of
  # the truth, 0 and 0.1, is explained by colours that depend on the direction
  # of view.
  np.testing.assert_allclose(offsets[1], 0, atol=0.03)
  np.testing.assert_allclose(offsets[2], LATE - 1, atol=0.07)


@pytest.mark.slow
def test_tensorboard_shows_raw_views_at_several_brightnesses(summaries):
  levels = (80, 90, 97, 99, 100)
  wanted = {'test_true_auto', 'test_true_color', 'test_output_color'}
  wanted |= {'test_output_color_raw', 'test_output_color_auto'}
  wanted |= {f'test_true_color/{p}' for p in levels}
  wanted |= {f'test_output_color/{p}' for p in levels}
  wanted |= {'train_exposure_idx', 'train_exposure_values'}
  wanted |= {'train_unique_shutters', 'test_unique_shutters'}
  assert wanted <= set(summaries)


@pytest.mark.slow
def test_pictures_are_shown_colours_and_tiffs_are_linear(scene_dir, run_dir):
  show = raw_display.postprocessor(load(scene_dir, 'test'))
  side = SIZE // FACTOR
  frames = next((run_dir / 'render').glob('path_renders_step_*'))
  for folder in (run_dir / 'test_preds', frames):
    data = (folder / 'color_raw_000.tiff').read_bytes()
    linear = np.frombuffer(data[8 : 8 + 12 * side**2], '<f4')
    linear = linear.reshape(side, side, 3)
    np.testing.assert_allclose(
      np.asarray(Image.open(folder / 'color_000.png')) / 255,
      show(linear),
      atol=0.51 / 255,  # rounding to 8 bits
    )
