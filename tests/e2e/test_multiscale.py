"""Training, measuring and rendering at several sizes of the images."""

import json

import pytest
import run_util

from multinerf.app import eval as eval_lib
from multinerf.app import render, table, train
from multinerf.data import synthetic

# Of 32x32 pixels half remain enough for a structural similarity.
RESOLUTION, FACTOR = 32, 2


@pytest.mark.slow
def test_all_programs_know_images_of_several_sizes(tmp_path, capsys):
  scene = synthetic.render_scene(
    tmp_path / 'scene', RESOLUTION, run_util.NUM_TRAIN, run_util.NUM_TEST
  )
  run_dir = tmp_path / 'runs' / 'small' / 'scene'
  args = run_util.arguments(
    scene,
    run_dir,
    'Config.early_exit_steps = 4',
    f'Config.multiscale_train_factors = [{FACTOR}]',
  )
  for main in (train.main, eval_lib.main, render.main):
    assert run_util.run(main, *args) == 0
  shown = capsys.readouterr().out
  assert 'No video: the frames are of several sizes.' in shown
  assert f'psnr_{FACTOR}x' in shown
  found = json.loads((run_dir / 'results.json').read_text())
  assert found['test_names'] == [
    'r_0.png',
    'r_1.png',
    f'r_0_{FACTOR}x.png',
    f'r_1_{FACTOR}x.png',
  ]
  assert [i['scale'] for i in found['images']] == [1, 1, FACTOR, FACTOR]
  rays = [i['num_rays'] for i in found['images']]
  assert rays == [RESOLUTION**2] * 2 + [RESOLUTION**2 // FACTOR**2] * 2
  by_scale = found['mean_by_scale']
  assert set(by_scale) == {'1', str(FACTOR)}
  assert table.main(['table', str(run_dir), '--by_scale']) == 0
  assert f'{by_scale[str(FACTOR)]["psnr"]:.2f}' in capsys.readouterr().out
