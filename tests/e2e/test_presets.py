"""Every preset trains, resumes, evaluates and renders on data of its own kind.

The scenes are tiny and the networks small; everything else is the preset's.
"""

import json
import math
import re
import shutil

import colmap_util
import numpy as np
import PIL.Image
import pytest
import raw_scene
import run_util
import scene_writers

from multinerf.app import eval as eval_lib
from multinerf.app import render, train

STEPS, FRAMES = 20, 3
# Those of the other tests, so that programs are shared with them.
SMALL = (
  *run_util.BINDINGS,
  'Config.checkpoint_every = 10',
  f'Config.early_exit_steps = {STEPS}',
)
# (gin files, kind of scene, more bindings)
CASES = {
  'llff_256': (['llff_256.gin'], 'llff', ()),
  'llff_512': (['llff_512.gin'], 'llff', ()),
  '360': (['360.gin'], 'around', ()),
  '360_glo4': (['360_glo4.gin'], 'around', ()),
  '360_robustnerf': (
    ['360_robustnerf.gin'],
    'around',
    # A patch for each of the tests' eight devices, on 12x12 pixels.
    (
      'Config.batch_size = 512',
      'Config.patch_size = 8',
      'Config.robustnerf_inner_patch_size = 4',
    ),
  ),
  'llff_raw': (['llff_raw.gin'], 'raw', ()),
  'llff_raw_test': (['llff_raw_test.gin'], 'raw_test', ()),
  'blender': (['blender.gin'], 'blender', ()),
  'blender_256': (['blender_256.gin'], 'blender', ()),
  'blender_512': (['blender_512.gin'], 'blender', ()),
  'blender_refnerf': (
    ['blender_refnerf.gin'],
    'blender',
    ('NerfMLP.net_depth_viewdirs = 2', 'NerfMLP.deg_view = 3'),
  ),
  'tat': (['360.gin', 'tat.gin'], 'tat_nerfpp', ()),
  'tat_fvs': (
    ['360.gin'],
    'tat_fvs',
    ("Config.dataset_loader = 'tat_fvs'", 'Config.factor = 0'),
  ),
  'dtu': (
    ['360.gin'],
    'dtu',
    ("Config.dataset_loader = 'dtu'", 'Config.factor = 1'),
  ),
  'debug': (
    ['blender_256.gin', 'debug.gin'],
    'blender',
    # Of 16x16 pixels, debug.gin's quarter would leave nothing to measure.
    ('Config.factor = 1',),
  ),
}


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
  """Writes a scene of a kind once; returns its folder."""
  made = {}

  def write(kind):
    folder = tmp_path_factory.mktemp('data') / kind
    if kind == 'blender':
      return run_util.render_scene(folder)
    if kind in ('llff', 'around'):
      return colmap_util.write_llff_scene(
        folder, size=48, factors=(4,), forward_facing=kind == 'llff'
      )
    if kind.startswith('raw'):
      raw_scene.write_llff_scene(folder, 9, 48)
      if kind == 'raw_test':
        as_raw_test_scene(folder)
      return folder
    if kind == 'tat_nerfpp':
      scene_writers.write_tat_nerfpp(folder, frames=FRAMES)
      return folder
    if kind == 'tat_fvs':
      scene_writers.write_tat_fvs(folder, sizes=('1.00',))
      return folder
    return scene_writers.write_dtu(folder)[0]

  def get(kind):
    if kind not in made:
      made[kind] = write(kind)
    return made[kind]

  return get


def as_raw_test_scene(folder):
  """Rearranges a raw scene as RawNeRF's test scenes are."""
  (folder / 'raw').rename(folder / 'train')
  (folder / 'raw' / 'test').mkdir(parents=True)
  (folder / 'train').rename(folder / 'raw' / 'train')
  first = folder / 'raw' / 'train' / 'view_00'
  shutil.copy(f'{first}.json', folder / 'raw' / 'test' / 'burst_0.json')
  (folder / 'hdrplus_test').mkdir()
  shutil.copy(f'{first}.dng', folder / 'hdrplus_test' / 'merged.dng')


def losses(out):
  """What the console said the loss was, by step."""
  lines = re.findall(r'^\s*(\d+)/60: loss=(\S+),', out, re.MULTILINE)
  return {int(step): float(loss) for step, loss in lines}


def frames(folder):
  """Distances [H, W] of the frames of a rendering, which has colours, too."""
  paths = sorted(folder.glob('distance_mean_*.tiff'))
  assert len(list(folder.glob('color_*.png'))) == len(paths)
  return [np.asarray(PIL.Image.open(path)) for path in paths]


@pytest.mark.slow  # test_programs.py does the same for blender_256 by default
@pytest.mark.parametrize('name', CASES)
def test_preset_trains_resumes_evaluates_and_renders(
  name, scenes, tmp_path, capsys
):
  files, kind, bindings = CASES[name]
  if kind.startswith('raw'):
    pytest.importorskip('rawpy', reason='pip install "multinerf[raw]"')

  def call(main, folder, *more, configs=()):
    capsys.readouterr()
    status = run_util.run(
      main,
      *(f'--gin_configs={f}' for f in [*files, *configs]),
      f'--data_dir={scenes(kind)}',
      f'--checkpoint_dir={folder}',
      *(f'--gin_bindings={b}' for b in (*SMALL, *bindings, *more)),
    )
    out, err = capsys.readouterr()
    assert status == 0, err
    return out

  straight, resumed = tmp_path / 'straight', tmp_path / 'resumed'
  loss = losses(call(train.main, straight))
  assert loss[STEPS] < loss[1] and math.isfinite(loss[STEPS])

  resumed.mkdir()
  for file in ('checkpoint_10', 'manifest_10.json'):
    shutil.copy(straight / file, resumed)
  assert 'Resumed from step 10.' in call(train.main, resumed)
  got, want = (run_util.leaves(f, STEPS) for f in (resumed, straight))
  assert got.keys() == want.keys()
  for leaf in want:
    np.testing.assert_array_equal(got[leaf], want[leaf], err_msg=leaf)

  call(eval_lib.main, straight)
  found = json.loads((straight / 'results.json').read_text())
  assert found['step'] == STEPS and found['nonfinite_pixels'] == 0
  measured = {'psnr', 'ssim'}
  if 'refnerf' in name:
    measured |= {'normals_mae', 'normals_pred_mae'}
  for metric in measured:
    assert math.isfinite(found['mean'][metric]), metric

  call(render.main, straight)
  views = frames(straight / 'render' / f'test_preds_step_{STEPS}')
  assert len(views) == len(found['test_names'])
  call(
    render.main,
    straight,
    f'Config.render_path_frames = {FRAMES}',
    configs=['render_config.gin'],
  )
  path = frames(straight / 'render' / f'path_renders_step_{STEPS}')
  assert len(path) == FRAMES and path[0].shape == views[0].shape
  assert np.isfinite(path).all()
  assert not np.array_equal(path[0], path[1])


def test_every_preset_of_multinerf_is_among_the_cases():
  originals = {
    *('360', '360_glo4', '360_robustnerf', 'blender_256', 'blender_512'),
    *('blender_refnerf', 'llff_256', 'llff_512', 'tat', 'debug'),
    *('llff_raw', 'llff_raw_test'),  # and render_config.gin, in all of them
  }
  assert originals <= set(CASES)
