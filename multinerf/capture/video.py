"""A video -> the sharpest frame of each of equally long stretches of it.

Frames are decoded by ffmpeg, which `imageio-ffmpeg` ships: an optional
dependency, imported only here. ffmpeg turns frames upright by itself. The
video is read twice: small and grey to measure sharpness, then to take frames.
"""

import pathlib
import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO, cast

import numpy as np
from jaxtyping import Int, Num, UInt8

from multinerf import errors
from multinerf.capture import photos, shrink

# Sharpness is measured on grey images of at most this width: finer detail is
# mostly noise and compression.
_MEASURED_WIDTH = 800


def sharpness(grey: Num[np.ndarray, 'h w']) -> float:
  """Variance of the Laplacian; larger is sharper.

  Compares frames of one scene; it depends on what is seen as well.

  Args:
    grey: At least 3 pixels a side, any scale of values.
  """
  grey = grey.astype(np.float32)
  around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
  return float(np.var(around - 4.0 * grey[1:-1, 1:-1]))


def choose_frames(
  values: Num[np.ndarray, ' n'], num_frames: int
) -> Int[np.ndarray, ' k']:
  """Indices of the largest value in each of `num_frames` equal stretches.

  Args:
    values: Sharpness of every frame of a video.
    num_frames: How many to choose; all are if there are not more.
  """
  num_frames = min(num_frames, len(values))
  borders = np.linspace(0, len(values), num_frames + 1).astype(int)
  return np.array(
    [
      start + np.argmax(values[start:end])
      for start, end in zip(borders[:-1], borders[1:], strict=True)
    ],
    np.int64,
  )


def prepare(
  path: pathlib.Path,
  scene: pathlib.Path,
  *,
  num_frames: int,
  factors: tuple[int, ...] = (),
) -> photos.Prepared:
  """Fills images/ and images_<factor>/ with sharp frames of a video.

  The files are called frame_<index in the video>.jpg.

  Raises:
    ConfigError: imageio-ffmpeg is not installed.
    DataError: It is not a video, or holds fewer than two frames.
    OSError: A file cannot be written.
  """
  (scene / 'images').mkdir(exist_ok=True)
  values = np.array(
    [sharpness(f[..., 0]) for f in read_frames(path, grey=True)]
  )
  if len(values) < photos.MIN_IMAGES:
    raise errors.DataError(
      f'{path} has {len(values)} frames; a video of a walk around the scene, '
      '30 seconds or more, is needed.'
    )
  chosen = set(choose_frames(values, num_frames).tolist())
  names, label = [], ''
  for index, frame in enumerate(read_frames(path)):
    if index in chosen:
      names.append(f'frame_{index:06d}.jpg')
      label = f'{frame.shape[1]}x{frame.shape[0]}'
      shrink.write_image(scene / 'images' / names[-1], frame)
      shrink.write_copies(frame, scene, names[-1], factors)
  note = (
    f'{len(names)} of {len(values)} frames of {path.name} were taken, the '
    'sharpest of each stretch (--num_frames).'
  )
  return photos.Prepared(
    names=tuple(names),
    cameras=(label,) * len(names),
    ordered=True,
    notes=(note,),
  )


def read_frames(
  path: pathlib.Path, *, grey: bool = False
) -> Iterator[UInt8[np.ndarray, 'h w c']]:
  """The frames of a video, upright, one at a time.

  Args:
    path: The video.
    grey: Give one channel, at most _MEASURED_WIDTH wide, instead of RGB.

  Raises:
    ConfigError: imageio-ffmpeg is not installed.
    DataError: It is not a video, or damaged.
  """
  # Each frame comes as a PPM or PGM file, whose header tells its size.
  shape = ['-pix_fmt', 'gray', '-c:v', 'pgm'] if grey else ['-c:v', 'ppm']
  if grey:
    shape += ['-vf', f'scale=min({_MEASURED_WIDTH}\\,iw):-2:flags=area']
  command = [_ffmpeg(), '-nostdin', '-loglevel', 'error', '-i', str(path)]
  command += ['-map', '0:v:0', *shape, '-f', 'image2pipe', '-']
  with tempfile.TemporaryFile() as said:
    with subprocess.Popen(
      command, stdout=subprocess.PIPE, stderr=said, bufsize=2**20
    ) as process:
      stream = cast(IO[bytes], process.stdout)
      try:
        yield from _parse_frames(stream)
      finally:
        stream.close()
        process.terminate()
    if process.returncode > 0:
      said.seek(0)
      raise _unreadable(path, said.read().decode(errors='replace'))


def _parse_frames(stream: IO[bytes]) -> Iterator[np.ndarray]:
  """Decodes PPM and PGM pictures that follow each other."""
  while (magic := stream.readline().strip()) in (b'P5', b'P6'):
    width, height = map(int, stream.readline().split())
    stream.readline()  # the largest value, 255
    channels = 3 if magic == b'P6' else 1
    data = stream.read(width * height * channels)
    if len(data) < width * height * channels:
      return  # ffmpeg died; its exit status tells
    yield np.frombuffer(data, np.uint8).reshape(height, width, channels)


def _ffmpeg() -> str:
  """The ffmpeg program."""
  try:
    import imageio_ffmpeg
  except ImportError as error:
    raise errors.ConfigError(
      'Reading a video needs ffmpeg: pip install "multinerf[video]", or give a '
      'folder of frames as JPEG or PNG.'
    ) from error
  try:
    return imageio_ffmpeg.get_ffmpeg_exe()
  except RuntimeError as error:
    raise errors.ConfigError(
      'imageio-ffmpeg finds no ffmpeg program: install one (apt install '
      'ffmpeg) or name it in the environment variable IMAGEIO_FFMPEG_EXE.'
    ) from error


def _unreadable(path: pathlib.Path, said: str) -> errors.DataError:
  reason = (said.strip().splitlines() or ['no reason given'])[-1]
  return errors.DataError(
    f'{path} is not a video that ffmpeg can read ({reason}). Give a folder of '
    'photographs (JPEG, PNG) or a video such as .mp4 or .mov.'
  )
