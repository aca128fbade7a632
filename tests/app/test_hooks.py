"""Hooks of a run that need no run."""

import contextlib
import dataclasses
from unittest import mock

import colmap_util
import numpy as np
import pytest

from multinerf import types
from multinerf.app import hooks
from multinerf.app import trainer as trainer_lib
from multinerf.config import schema
from multinerf.data import base
from multinerf.ops import color
from multinerf.training import console, stats, writer

SIZE = 20


def show_test_view(scene, rgb, train_psnr=32.0):
  """The console and the summaries, after the hook has rendered view 0."""
  plane = np.ones(rgb.shape[:2], np.float32)
  trainer = mock.Mock(spec=trainer_lib.Trainer)
  trainer.config = schema.Config(train_render_every=1)
  trainer.test_scene = scene
  trainer.render.return_value = types.Rendering(
    rgb=rgb, acc=plane, distance_mean=plane, distance_median=plane
  )
  trainer.clock = mock.Mock(paused=contextlib.nullcontext)
  reports = mock.Mock(spec=hooks.ReportWriter)
  reports.train_psnr = train_psnr
  shown = mock.Mock(spec=console.Console)
  summaries = mock.Mock(spec=writer.Writer)
  hook = hooks.TestViewHook(trainer, reports, shown, summaries, last=100)
  hook(len(scene), None, mock.Mock(spec=stats.PackedStats))
  return shown, summaries


def psnr_of(summaries):
  """The curve's point."""
  calls = [call.args for call in summaries.scalar.mock_calls]
  [value] = [v for tag, v, _ in calls if tag == 'train_metrics/psnr']
  return value


def test_masked_pixels_of_test_views_are_not_measured(tmp_path):
  """A passer-by in a masked quarter looked like over-fitting."""
  folder = colmap_util.write_llff_scene(
    tmp_path / 'scene', size=SIZE, masks=True
  )
  cfg = base.DataConfig(data_dir=str(folder), near=0.1, far=10.0)
  scene = base.load_scene(cfg, 'test')
  truth = np.asarray(color.decode_rgb(scene.images.image(0)))
  rgb = np.clip(truth + 8 / 255 * np.where(truth < 0.5, 1, -1), 0, 1)
  rgb[:, : SIZE // 4] = 1 - truth[:, : SIZE // 4]  # what the masks drop
  shown, summaries = show_test_view(scene, rgb)
  # Eight levels off everywhere that counts.
  want = -20 * np.log10(8 / 255)
  assert psnr_of(summaries) == pytest.approx(want, abs=1e-3)  # rounding
  shown.warn.assert_not_called()
  # The same rendering of a scene without masks is far off.
  plain = dataclasses.replace(scene, masks=None)
  shown, summaries = show_test_view(plain, rgb)
  assert psnr_of(summaries) < 15
  assert 'over-fits' in shown.warn.call_args.args[0]
