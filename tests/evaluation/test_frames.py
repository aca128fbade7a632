"""Render jobs: sharing, resuming, videos, failures."""

import numpy as np
import pytest

from multinerf import errors
from multinerf.data import images
from multinerf.evaluation import frames, paths, video


@pytest.fixture
def run(make_scene, full_rendering, tmp_path, monkeypatch):
  """Returns a function: job options -> report; `run.rendered` lists frames."""
  made = []
  monkeypatch.setattr(
    video,
    'write_path_videos',
    lambda manifest, prefix, cfg: made.append(manifest) or [prefix],
  )

  def go(job_id=0, num_jobs=1, run_id='a', render=full_rendering, **options):
    def view(i):
      go.rendered.append(i)
      return render(i)

    return frames.render_frames(
      make_scene(5).cameras,
      view,
      tmp_path / 'frames',
      paths.RenderConfig(
        render_job_id=job_id, render_num_jobs=num_jobs, **options
      ),
      run_id=run_id,
      video_prefix=tmp_path / 'video',
    )

  go.rendered, go.made, go.folder = [], made, tmp_path / 'frames'
  return go


@pytest.mark.parametrize('render_save_async', [True, False])
def test_one_job_renders_everything_and_makes_the_video(
  run, render_save_async, full_rendering
):
  report = run(render_save_async=render_save_async)
  assert run.rendered == [0, 1, 2, 3, 4] == list(report.rendered)
  assert len(report.videos) == len(run.made) == 1
  for i in range(5):
    stored = images.read_tiff(run.folder / f'acc_{i:03d}.tiff')
    np.testing.assert_array_equal(stored, full_rendering(i).acc)


def test_the_job_that_ends_last_makes_the_video(run):
  first = run(job_id=1, num_jobs=2)
  assert first.waiting_for == (0, 2, 4) and first.videos == ()
  assert not run.made
  last = run(job_id=0, num_jobs=2)
  assert last.waiting_for == () and len(last.videos) == 1
  assert sorted(run.rendered) == [0, 1, 2, 3, 4]


def test_a_job_goes_on_where_it_was_killed(run, full_rendering):
  def dies(i):
    if i == 3:
      raise KeyboardInterrupt
    return full_rendering(i)

  with pytest.raises(KeyboardInterrupt):
    run(render=dies, render_save_async=False)
  run.rendered.clear()
  report = run()
  assert run.rendered == [3, 4]
  assert report.skipped == (0, 1, 2)
  assert len(run.made) == 1


def test_frames_of_another_network_are_rendered_again(run):
  run()
  run.rendered.clear()
  assert run(run_id='b').skipped == ()
  assert run.rendered == [0, 1, 2, 3, 4]


def test_frames_of_options_that_do_not_show_are_kept(run):
  run()
  kept = run(render_save_async=False, render_video_fps=3)
  assert kept.skipped == (0, 1, 2, 3, 4)


def test_what_a_writing_thread_met_is_raised(run, monkeypatch):
  def fail(*args, **kwargs):
    raise OSError('disk full')

  monkeypatch.setattr(frames.export, 'write_frame', fail)
  with pytest.raises(OSError, match='disk full'):
    run()
  assert not run.made


def test_a_frame_that_vanishes_is_an_error_that_names_it(run, full_rendering):
  def loses_frame_0(i):
    if i == 4:
      (run.folder / 'color_000.png').unlink()
    return full_rendering(i)

  with pytest.raises(errors.DataError, match='missing: 0'):
    run(render=loses_frame_0, render_save_async=False)
  assert not run.made


def test_nonfinite_pixels_are_counted(run, make_rendering):
  def spoilt(i):
    rgb = np.zeros((16, 20, 3))
    rgb[0, : i + 1] = np.nan
    return make_rendering(rgb=rgb)

  assert run(render=spoilt).nonfinite == {'rgb': 1 + 2 + 3 + 4 + 5}


def test_processes_that_render_together_do_what_the_lead_finds(
  run, monkeypatch
):
  # Another process may not even see the folder, and must not decide by it.
  monkeypatch.setattr(frames.parallel, 'on_lead', lambda fn, name: [1, 4])
  monkeypatch.setattr(frames.parallel, 'is_lead', lambda: False)
  run()
  assert run.rendered == [1, 4]
