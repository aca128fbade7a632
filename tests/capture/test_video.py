"""Sharp frames of a video."""

import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from multinerf import errors
from multinerf.capture import video


def pattern(seed=0, size=(48, 64)):
  """A noisy colour image."""
  gen = np.random.default_rng(seed)
  return gen.integers(0, 256, (*size, 3), dtype=np.uint8)


def blurred(image, radius):
  """Means over windows of 2 radius + 1 pixels, across and down."""
  out = image.astype(np.float32)
  for axis in (0, 1):
    shifted = [np.roll(out, d, axis) for d in range(-radius, radius + 1)]
    out = np.mean(shifted, axis=0)
  return out.astype(np.uint8)


def test_sharpness_falls_with_blur_and_is_zero_on_a_flat_image():
  image = pattern()
  values = [video.sharpness(blurred(image, r)[..., 0]) for r in range(4)]
  assert values == sorted(values, reverse=True)
  assert video.sharpness(np.full((5, 7), 90, np.uint8)) == 0.0


def test_sharpness_is_the_variance_of_the_laplacian():
  grey = pattern(size=(6, 5))[..., 0].astype(np.float64)
  want = []
  for y in range(1, 5):
    for x in range(1, 4):
      around = grey[y - 1, x] + grey[y + 1, x] + grey[y, x - 1] + grey[y, x + 1]
      want.append(around - 4 * grey[y, x])
  # float32 against float64.
  np.testing.assert_allclose(video.sharpness(grey), np.var(want), rtol=1e-5)


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(st.integers(1, 500), st.integers(2, 60), st.integers(0, 9))
def test_the_sharpest_frame_of_each_stretch_is_chosen(num, num_frames, seed):
  values = np.random.default_rng(seed).random(num)
  chosen = video.choose_frames(values, num_frames)
  assert len(chosen) == min(num, num_frames)
  assert (np.diff(chosen) > 0).all()
  borders = np.linspace(0, num, len(chosen) + 1).astype(int)
  for i, start, end in zip(chosen, borders[:-1], borders[1:], strict=True):
    assert start <= i < end
    assert values[i] == values[start:end].max()


@pytest.fixture
def ffmpeg():
  """The module imageio_ffmpeg."""
  return pytest.importorskip(
    'imageio_ffmpeg', reason='needs multinerf[video], which brings ffmpeg'
  )


def write_mp4(ffmpeg, path, frames):
  """A short H.264 video."""
  height, width = frames[0].shape[:2]
  command = [ffmpeg.get_ffmpeg_exe(), '-loglevel', 'error', '-f', 'rawvideo']
  command += ['-pix_fmt', 'rgb24', '-s', f'{width}x{height}', '-r', '10']
  command += ['-i', '-', '-crf', '5', '-pix_fmt', 'yuv420p', str(path)]
  raw = b''.join(np.ascontiguousarray(f).tobytes() for f in frames)
  subprocess.run(command, input=raw, check=True)


def test_frames_of_a_video_file_become_images_named_by_their_index(
  ffmpeg, tmp_path
):
  # Smooth pictures survive the encoder; frames 2, 7, 12 .. are not blurred.
  gen = np.random.default_rng(1)
  frames = []
  for i in range(20):
    coarse = gen.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = np.repeat(np.repeat(coarse, 8, axis=0), 8, axis=1)
    frames.append(image if i % 5 == 2 else blurred(image, 4))
  write_mp4(ffmpeg, tmp_path / 'walk.mp4', frames)
  scene = tmp_path / 'scene'
  scene.mkdir()
  prepared = video.prepare(
    tmp_path / 'walk.mp4', scene, num_frames=4, factors=(2,)
  )
  assert prepared.names == tuple(f'frame_{i:06d}.jpg' for i in (2, 7, 12, 17))
  assert prepared.ordered
  assert set(prepared.cameras) == {'128x96'}
  assert '4 of 20 frames' in prepared.notes[0]
  for folder in ('images', 'images_2'):
    found = sorted(p.name for p in (scene / folder).iterdir())
    assert found == sorted(prepared.names)


def test_frames_are_read_in_order_and_in_colour(ffmpeg, tmp_path):
  colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]
  frames = [np.full((32, 48, 3), c, np.uint8) for c in colours]
  write_mp4(ffmpeg, tmp_path / 'a.mp4', frames)
  got = list(video.read_frames(tmp_path / 'a.mp4'))
  assert [f.shape for f in got] == [(32, 48, 3)] * 3
  # Flat colours; the codec's matrix may be taken for another one.
  for frame, colour in zip(got, colours, strict=True):
    assert np.abs(frame.mean(axis=(0, 1)) - colour).max() < 25
  grey = list(video.read_frames(tmp_path / 'a.mp4', grey=True))
  assert [f.shape for f in grey] == [(32, 48, 1)] * 3


def test_reading_may_stop_early(ffmpeg, tmp_path):
  write_mp4(ffmpeg, tmp_path / 'a.mp4', [pattern(i) for i in range(5)])
  stream = video.read_frames(tmp_path / 'a.mp4')
  next(stream)
  stream.close()  # an open pipe would be a ResourceWarning, an error here


@pytest.mark.usefixtures('ffmpeg')
def test_a_file_that_is_no_video_is_named(tmp_path):
  path = tmp_path / 'notes.mp4'
  path.write_bytes(b'no video at all' * 100)
  with pytest.raises(errors.DataError, match=r'notes\.mp4 is not a video'):
    video.prepare(path, tmp_path, num_frames=4)


def test_without_ffmpeg_the_extra_is_named(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', None)
  with pytest.raises(errors.ConfigError, match=r'multinerf\[video\]'):
    video.prepare(tmp_path / 'a.mp4', tmp_path, num_frames=4)


def test_a_video_of_one_frame_is_refused(ffmpeg, tmp_path):
  write_mp4(ffmpeg, tmp_path / 'a.mp4', [pattern()])
  with pytest.raises(errors.DataError, match='has 1 frames'):
    video.prepare(tmp_path / 'a.mp4', tmp_path, num_frames=4)


def test_without_the_ffmpeg_program_a_way_to_get_it_is_named(
  ffmpeg, tmp_path, monkeypatch
):
  def missing():
    raise RuntimeError('No ffmpeg exe could be found.')

  monkeypatch.setattr(ffmpeg, 'get_ffmpeg_exe', missing)
  with pytest.raises(errors.ConfigError, match='IMAGEIO_FFMPEG_EXE'):
    video.prepare(tmp_path / 'a.mp4', tmp_path, num_frames=4)
