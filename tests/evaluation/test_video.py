"""Videos have all frames, the right size and the right colours."""

import builtins
import subprocess

import jax
import numpy as np
import pytest

from multinerf import errors
from multinerf.data import images
from multinerf.evaluation import export, video, visualize

imageio_ffmpeg = pytest.importorskip(
  'imageio_ffmpeg', reason='pip install multinerf[video]'
)


def read_video(path, height, width):
  """All frames, decoded by ffmpeg."""
  command = [imageio_ffmpeg.get_ffmpeg_exe(), '-loglevel', 'error', '-i', path]
  command += ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-']
  raw = subprocess.run(command, check=True, capture_output=True).stdout
  return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def grey_frames(num, shape=(32, 48, 3)):
  return [np.full(shape, 40 + 20 * i, np.uint8) for i in range(num)]


def test_a_video_has_as_many_frames_as_were_given(tmp_path):
  video.write_video(tmp_path / 'a.mp4', iter(grey_frames(7)), fps=10, crf=10)
  found = read_video(tmp_path / 'a.mp4', 32, 48)
  assert found.shape == (7, 32, 48, 3)
  # YUV with 8 bits and compression: a few levels.
  np.testing.assert_allclose(
    found.mean((1, 2, 3)), 40 + 20 * np.arange(7), atol=4
  )
  assert [p.name for p in tmp_path.iterdir()] == ['a.mp4']


def test_odd_sizes_are_made_even_by_repeating_the_edge(tmp_path):
  frame = np.full((31, 47, 3), 40, np.uint8)
  frame[-8:], frame[:, -8:] = 200, 200
  video.write_video(tmp_path / 'a.mp4', [frame] * 3, crf=1)
  found = read_video(tmp_path / 'a.mp4', 32, 48)
  assert found.shape == (3, 32, 48, 3)
  # 8-bit YUV: a few levels; black padding would be 200 away.
  np.testing.assert_allclose(found[:, -1], 200, atol=8)
  np.testing.assert_allclose(found[:, :, -1], 200, atol=8)


def test_frames_of_different_size_are_an_error(tmp_path):
  frames = grey_frames(1) + grey_frames(1, (16, 48, 3))
  with pytest.raises(ValueError, match='differ in size'):
    video.write_video(tmp_path / 'a.mp4', frames)
  assert not list(tmp_path.iterdir())


def test_what_ffmpeg_complains_about_is_in_the_error(tmp_path, monkeypatch):
  real = video._ffmpeg()
  fake = tmp_path / 'ffmpeg'
  fake.write_text(f'#!/bin/sh\nexec {real} -loglevel error -i /no/such/file\n')
  fake.chmod(0o755)
  monkeypatch.setattr(video, '_ffmpeg', lambda: str(fake))
  with pytest.raises(errors.ConfigError, match='/no/such/file'):
    video.write_video(tmp_path / 'a.mp4', grey_frames(1) * 400)


@pytest.mark.parametrize('fps,crf', [(0, 18), (60, -1), (60, 52)])
def test_options_out_of_range_are_errors(tmp_path, fps, crf):
  with pytest.raises(errors.ConfigError, match='render_video_crf'):
    video.write_video(tmp_path / 'a.mp4', grey_frames(1), fps=fps, crf=crf)


def test_a_video_of_nothing_is_an_error_and_leaves_no_file(tmp_path):
  with pytest.raises(ValueError, match='No frames'):
    video.write_video(tmp_path / 'a.mp4', [])
  assert not list(tmp_path.iterdir())


def test_frames_that_fail_to_load_leave_no_file(tmp_path):
  def frames():
    yield from grey_frames(2)
    raise errors.DataError('frame 2 is damaged')

  with pytest.raises(errors.DataError, match='frame 2'):
    video.write_video(tmp_path / 'a.mp4', frames())
  assert not list(tmp_path.iterdir())


def test_without_ffmpeg_the_error_names_the_extra(tmp_path, monkeypatch):
  original = builtins.__import__

  def no_ffmpeg(name, *args, **kwargs):
    if name == 'imageio_ffmpeg':
      raise ImportError('No module named imageio_ffmpeg')
    return original(name, *args, **kwargs)

  monkeypatch.setattr(builtins, '__import__', no_ffmpeg)
  with pytest.raises(
    errors.ConfigError, match=r'pip install multinerf\[video\]'
  ):
    video.write_video(tmp_path / 'a.mp4', grey_frames(1))


@pytest.fixture
def complete_path(tmp_path, full_rendering):
  """Four frames on disk; the depth of frame k is (k + 1) times as large."""
  manifest = export.FrameManifest(tmp_path / 'frames', 4, 'id')
  for k in range(4):
    rendering = full_rendering(0)
    rendering.distance_mean[...] *= k + 1
    manifest.record(k, export.write_frame(manifest.folder, k, rendering))
  return manifest


@pytest.fixture
def full_rendering(full_rendering):
  """As in conftest, with arrays that can be written to."""

  def make(seed):
    return jax.tree.map(np.array, full_rendering(seed))

  return make


def test_a_complete_path_makes_one_video_per_tag(complete_path, tmp_path):
  cfg = video.VideoConfig(render_video_fps=12)
  found = video.write_path_videos(complete_path, tmp_path / 'toy_run', cfg)
  assert [p.name for p in found] == [f'toy_run_{t}.mp4' for t in video.TAGS]
  for path in found:
    assert read_video(path, 16, 20).shape == (4, 16, 20, 3)


def test_a_missing_frame_is_an_error_and_no_video_is_made(
  complete_path, tmp_path
):
  (complete_path.folder / 'color_002.png').unlink()
  with pytest.raises(errors.DataError, match='1 of 4 frames are missing: 2'):
    video.write_path_videos(
      complete_path, tmp_path / 'toy', video.VideoConfig()
    )
  assert not list(tmp_path.glob('*.mp4'))


def test_depth_is_coloured_with_the_limits_of_frame_0(complete_path):
  cfg = video.VideoConfig(render_dist_percentile=5.0)
  frames = list(video.path_frames(complete_path, 'distance_mean', cfg))
  depth = [
    images.read_tiff(complete_path.folder / f'distance_mean_00{k}.tiff')
    for k in range(4)
  ]
  limits = visualize.depth_limits(depth[0], percentile=5.0)
  for frame, plane in zip(frames, depth, strict=True):
    want = images.to_uint8(visualize.colour_depth(plane, limits=limits))
    # The default curve is jnp.log, the twin's np.log: one level of rounding.
    assert np.abs(frame.astype(int) - want).max() <= 1
  assert not np.array_equal(frames[0], frames[3])


def test_depth_may_go_from_near_to_far_along_a_power_ladder(complete_path):
  cfg = video.VideoConfig(
    render_dist_adaptive=False,
    render_dist_vis_params={'p': -1.5, 'premult': 2.0},
    near=0.0,
    far=1e6,
  )
  frames = list(video.path_frames(complete_path, 'distance_mean', cfg))
  for k, frame in enumerate(frames):
    t = images.read_tiff(complete_path.folder / f'distance_mean_00{k}.tiff')
    # P(2 t) = 5/3 (1 - (2 t / 2.5 + 1)^-1.5), over its value at the far bound.
    ladder = lambda x: 1 - (2 * x / 2.5 + 1) ** -1.5
    want = images.to_uint8(visualize.turbo(ladder(t) / ladder(1e6)))
    assert np.abs(frame.astype(int) - want).max() <= 2


def test_a_mistaken_power_ladder_is_refused(complete_path):
  cfg = video.VideoConfig(render_dist_vis_params={'q': 1.0})
  with pytest.raises(errors.ConfigError, match='render_dist_vis_params'):
    list(video.path_frames(complete_path, 'distance_mean', cfg))


def test_opacity_is_grey(complete_path):
  frame = next(video.path_frames(complete_path, 'acc', video.VideoConfig()))
  acc = images.read_tiff(complete_path.folder / 'acc_000.tiff')
  np.testing.assert_array_equal(frame[..., 1], images.to_uint8(acc))


def test_a_looped_video_plays_forwards_and_backwards(complete_path):
  cfg = video.VideoConfig(render_looped_videos=True)
  frames = list(video.path_frames(complete_path, 'color', cfg))
  plain = list(video.path_frames(complete_path, 'color', video.VideoConfig()))
  np.testing.assert_array_equal(frames, plain + plain[::-1])


@pytest.mark.slow
def test_a_looped_video_says_so_in_its_name(complete_path, tmp_path):
  cfg = video.VideoConfig(render_looped_videos=True)
  found = video.write_path_videos(complete_path, tmp_path / 'toy', cfg)
  assert [p.name for p in found] == [f'toy_looped_{t}.mp4' for t in video.TAGS]
  assert len(read_video(found[0], 16, 20)) == 8


@pytest.mark.slow
@pytest.mark.parametrize('ext', ['webm', 'gif'])
def test_other_formats_have_the_frames_too(tmp_path, ext):
  path = tmp_path / f'a.{ext}'
  video.write_video(path, iter(grey_frames(5)), fps=10)
  found = read_video(path, 32, 48)
  # A palette of 256 colours, or VP9.
  np.testing.assert_allclose(
    found[:5].mean((1, 2, 3)), 40 + 20 * np.arange(5), atol=6
  )


@pytest.mark.slow
def test_every_format_asked_for_is_written(complete_path, tmp_path):
  cfg = video.VideoConfig(render_video_exts=('mp4', 'gif'))
  found = video.write_path_videos(complete_path, tmp_path / 'toy', cfg)
  assert [p.name for p in found[:2]] == ['toy_color.mp4', 'toy_color.gif']
  assert all(p.stat().st_size for p in found)


def test_an_unknown_format_is_refused(tmp_path):
  with pytest.raises(errors.ConfigError, match="mp4, webm, gif, not '.avi'"):
    video.write_video(tmp_path / 'a.avi', grey_frames(1))
