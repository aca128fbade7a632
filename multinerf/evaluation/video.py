"""Videos from the frames of a camera path, through ffmpeg.

`imageio-ffmpeg`, which ships the program, is an optional dependency, imported
only when a video is made. It is given raw frames through a pipe.
"""

import dataclasses
import functools
import itertools
import os
import pathlib
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from multinerf import errors, parallel
from multinerf.data import images
from multinerf.evaluation import export, visualize
from multinerf.ops import curves

# How ffmpeg encodes what; {crf} is filled in.
ENCODERS = {
  'mp4': '-c:v libx264 -pix_fmt yuv420p -crf {crf} -movflags +faststart',
  'webm': '-c:v libvpx-vp9 -pix_fmt yuv420p -crf {crf} -b:v 0',
  'gif': '-filter_complex split[a][b];[a]palettegen[p];[b][p]paletteuse',
}
TAGS = ('color', 'normals', 'acc', 'distance_mean', 'distance_median')


@dataclasses.dataclass(frozen=True)
class VideoConfig:
  """How videos look; the names are those of `Config`.

  Attributes:
    render_video_fps: Frames per second, > 0.
    render_video_crf: Quality, 0 (lossless) .. 51 (worst).
    render_video_exts: Formats to write, of `ENCODERS`.
    render_dist_percentile: Depth colours span the percentiles p and 100 - p
      of frame 0; in [0, 50).
    render_dist_curve_fn: Monotonic curve that depth is drawn on.
    render_dist_vis_params: Of a power ladder that is drawn on instead.
    render_dist_adaptive: False: depth colours go from near to far.
    near, far: Those bounds.
    render_looped_videos: Forwards, then backwards.
  """

  render_video_fps: int = 60
  render_video_crf: int = 18
  render_video_exts: tuple[str, ...] = ('mp4',)
  render_dist_percentile: float = 0.5
  render_dist_curve_fn: Callable[..., Any] = jnp.log
  render_dist_vis_params: Mapping[str, float] | None = None
  render_dist_adaptive: bool = True
  near: float = 2.0
  far: float = 6.0
  render_looped_videos: bool = False

  def curve_fn(self) -> Callable[..., Any]:
    """Returns the curve that depth is drawn on.

    Raises:
      ConfigError: `render_dist_vis_params` are none of a power ladder.
    """
    params = self.render_dist_vis_params
    if params is None:
      return self.render_dist_curve_fn
    if set(params) - {'p', 'premult'} or 'p' not in params:
      raise errors.ConfigError(
        "Config.render_dist_vis_params has entries 'p' and 'premult'; got "
        f'{dict(params)}.'
      )
    return functools.partial(curves.power_ladder, **params)


def write_video(
  path: str | os.PathLike,
  frames: Iterable[UInt8[np.ndarray, 'h w 3']],
  *,
  fps: int = 60,
  crf: int = 18,
) -> None:
  """Encodes frames, atomically.

  As H.264 (mp4, plays everywhere), VP9 (webm) or a GIF. Odd sizes, which the
  former do not have, are made even by repeating the last row or column.

  Args:
    path: A file to write or replace, .mp4, .webm or .gif; missing folders are
      made.
    frames: At least one, all of one size; drawn one at a time.
    fps: Frames per second.
    crf: Constant rate factor, 0 (lossless) .. 51; a GIF has none.

  Raises:
    ConfigError: imageio-ffmpeg is not installed, ffmpeg fails, `fps` or `crf`
      is out of range, or the format is unknown.
    ValueError: There are no frames, or they differ in size.
  """
  if fps <= 0 or not 0 <= crf <= 51:
    raise errors.ConfigError(
      f'Config.render_video_fps = {fps} must be positive and '
      f'Config.render_video_crf = {crf} in 0 .. 51.'
    )
  path = pathlib.Path(path)
  encoder = ENCODERS.get(path.suffix[1:])
  if encoder is None:
    raise errors.ConfigError(
      f'Videos are {", ".join(ENCODERS)}, not {path.suffix!r} '
      '(gin: Config.render_video_exts).'
    )
  ffmpeg = _ffmpeg()
  path.parent.mkdir(parents=True, exist_ok=True)
  temp = path.with_name(f'.{path.stem}.{secrets.token_hex(4)}.tmp{path.suffix}')
  frames = map(_even, frames)
  first = next(frames, None)
  if first is None:
    raise ValueError(f'No frames for the video {path}.')
  height, width = first.shape[:2]
  # fmt: off
  command = [
    ffmpeg, '-y', '-loglevel', 'error',
    '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', f'{width}x{height}',
    '-r', str(fps), '-i', '-',
    '-an', *encoder.format(crf=crf).split(), os.fspath(temp),
  ]
  # fmt: on
  try:
    _encode(command, itertools.chain([first], frames), first.shape)
    os.replace(temp, path)
  finally:
    temp.unlink(missing_ok=True)


def write_path_videos(
  manifest: export.FrameManifest, prefix: str | os.PathLike, cfg: VideoConfig
) -> list[pathlib.Path]:
  """Makes `<prefix>_<tag>.mp4` (or webm, gif) of everything the frames hold.

  Looped ones, which end where they begin, are `<prefix>_looped_<tag>.mp4`.

  Several jobs that find the path complete at the same moment make the same
  videos; each replaces the file in one go, so that does no harm.

  Args:
    manifest: The frames; all must be complete.
    prefix: Path and beginning of the videos' names.
    cfg: Look.

  Returns:
    The videos written; empty on processes other than the lead.

  Raises:
    DataError: Frames are missing; names them.
    ConfigError: See `write_video`.
  """
  if not parallel.is_lead():
    return []
  present = manifest.require_complete()
  written = []
  for tag in TAGS:
    if tag not in present:
      continue
    looped = 'looped_' * cfg.render_looped_videos
    for ext in cfg.render_video_exts:
      path = pathlib.Path(f'{prefix}_{looped}{tag}.{ext}')
      write_video(
        path,
        path_frames(manifest, tag, cfg),
        fps=cfg.render_video_fps,
        crf=cfg.render_video_crf,
      )
      written.append(path)
  return written


def path_frames(
  manifest: export.FrameManifest, tag: str, cfg: VideoConfig
) -> Iterator[np.ndarray]:
  """Reads the frames of one tag as uint8 RGB [h, w, 3], in playing order.

  Distances are coloured, with the limits of frame 0 for all frames, so that a
  colour means the same distance throughout.
  """
  limits = None if cfg.render_dist_adaptive else (cfg.near, cfg.far)
  order = list(range(manifest.num_frames))
  if cfg.render_looped_videos:
    order += order[::-1]
  for idx in order:
    path = export.frame_path(manifest.folder, tag, idx, digits=manifest.digits)
    if path.suffix == '.png':
      yield images.read_image(path)[..., :3]
      continue
    plane = images.read_tiff(path)
    if tag == 'acc':
      picture = np.repeat(plane[..., None], 3, axis=-1)
    else:
      if limits is None:
        limits = visualize.depth_limits(
          plane, percentile=cfg.render_dist_percentile
        )
      picture = visualize.colour_depth(
        plane, limits=limits, curve_fn=cfg.curve_fn()
      )
    yield images.to_uint8(picture)


def _ffmpeg() -> str:
  """Path of the ffmpeg program that imageio-ffmpeg ships."""
  try:
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()
  except (ImportError, RuntimeError) as e:
    raise errors.ConfigError(
      f'Videos need ffmpeg ({e}): pip install multinerf[video]. The frames '
      'are written; render again to make the video only.'
    ) from e


def _encode(command: list[str], frames: Iterable[np.ndarray], shape) -> None:
  """Runs ffmpeg on raw frames; its complaints become the error message."""
  with tempfile.TemporaryFile() as messages:
    process = subprocess.Popen(
      command, stdin=subprocess.PIPE, stderr=messages, stdout=messages
    )
    try:
      with process.stdin as pipe:
        for frame in frames:
          if frame.shape != shape:
            raise ValueError(
              f'Frames of a video differ in size: {shape}, then {frame.shape}.'
            )
          pipe.write(np.ascontiguousarray(frame).data)
      failed = process.wait() != 0
    except BrokenPipeError:  # ffmpeg has stopped; what it said follows
      failed = True
    finally:
      if process.poll() is None:
        process.kill()
      process.wait()
    if failed:
      messages.seek(0)
      said = messages.read().decode(errors='replace').strip()
      raise errors.ConfigError(f'ffmpeg could not make the video: {said}')


def _even(frame: np.ndarray) -> np.ndarray:
  """Repeats the last row and column where a side is odd."""
  height, width = frame.shape[:2]
  return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge')
