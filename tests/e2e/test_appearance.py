"""Appearance codes from training to the metrics."""

import numpy as np
import pytest
import run_util

from multinerf.app import eval as eval_lib
from multinerf.app import train


@pytest.mark.slow
def test_a_run_with_codes_is_evaluated_without_them_and_colour_corrected(
  tmp_path, capsys
):
  scene = run_util.render_scene(tmp_path / 'scene')
  args = run_util.arguments(
    scene,
    tmp_path / 'run',
    'Model.num_glo_features = 4',
    'Config.early_exit_steps = 8',
  )
  assert run_util.run(train.main, *args) == 0
  codes = "['params']['params']['Embed_0']['embedding']"
  before, after = (
    run_util.leaves(tmp_path / 'run', step)[codes] for step in (4, 8)
  )
  # The codes of the four training views have moved, no other has.
  moved = np.abs(after - before).max(axis=-1) > 0
  np.testing.assert_array_equal(np.flatnonzero(moved), range(4))
  assert run_util.run(eval_lib.main, *args) == 0
  out = tmp_path / 'run' / 'test_preds'
  plain, corrected = (
    np.loadtxt(out / f'metric_{name}_8.txt') for name in ('psnr', 'cc_psnr')
  )
  assert plain.shape == corrected.shape == (run_util.NUM_TEST,)
  assert np.all(np.isfinite([plain, corrected]))
  assert np.all(np.abs(corrected - plain) > 0.01)
