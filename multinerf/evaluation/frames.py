"""Renders the frames of a camera path, alone or as one of several jobs."""

import collections
import concurrent.futures
import dataclasses
import pathlib
from collections.abc import Callable

from multinerf import parallel, types
from multinerf.cameras import camera
from multinerf.evaluation import (
  export,
  paths,
  raw_display,
  render_image,
  video,
)

_WRITERS = 4


@dataclasses.dataclass(frozen=True)
class FramesReport:
  """What one job has done.

  Attributes:
    rendered: Frames rendered now.
    skipped: Frames that an earlier run of this job had finished.
    waiting_for: Frames that other jobs have yet to finish.
    nonfinite: Pixels with NaN or infinite values, by `Rendering` field.
    videos: The videos made, if the path was complete.
  """

  rendered: tuple[int, ...]
  skipped: tuple[int, ...]
  waiting_for: tuple[int, ...]
  nonfinite: dict[str, int]
  videos: tuple[pathlib.Path, ...]


def render_frames(
  cameras: camera.Cameras,
  render_view: Callable[[int], types.Rendering],
  folder: str | pathlib.Path,
  cfg: paths.RenderConfig,
  *,
  run_id: str,
  video_prefix: str | pathlib.Path | None = None,
  log: Callable[[str], None] = lambda message: None,
  postprocess: raw_display.Postprocess | None = None,
) -> FramesReport:
  """Renders this job's frames of a path; the last job to end makes the videos.

  Jobs share the folder and need not know of each other: each records what it
  has written (`export.FrameManifest`), and the one that finds all frames
  complete makes the videos. A job that is started again goes on where it
  stopped.

  Args:
    cameras: One per frame.
    render_view: Renders frame i of all frames, numpy [H, W, ...]; if it is a
      `render_image.Views`, ahead of being asked.
    folder: Where the frames go.
    cfg: Job number, number of jobs, look of the videos.
    run_id: Tells this network from another one, e.g. the checkpoint's path
      and digest and the options that show; frames of another one are rendered
      again.
    video_prefix: Beginning of the videos' names; None makes none.
    log: Gets one line of text at a time.
    postprocess: Makes raw colours displayable; these are kept as linear TIFFs.

  Returns:
    What was done.

  Raises:
    ConfigError: Job numbers, or no video encoder (frames are kept).
    DataError: Frames of this job are not there although they were written.
  """
  manifest = export.FrameManifest(
    folder=pathlib.Path(folder),
    num_frames=len(cameras),
    path_id=export.fingerprint(cameras, str(cameras.camtype), run_id),
    job_id=cfg.render_job_id,
    num_jobs=cfg.render_num_jobs,
  )
  mine = export.job_frames(
    len(cameras), job_id=cfg.render_job_id, num_jobs=cfg.render_num_jobs
  )
  # Several processes of one job render together: one of them knows the list.
  todo = parallel.on_lead(
    lambda: [int(i) for i in manifest.pending()], 'looking for frames'
  )
  skipped = tuple(i for i in mine if i not in set(todo))
  if skipped:
    log(f'{len(skipped)} frames are already there.')
  nonfinite = _render(todo, render_view, manifest, cfg, log, postprocess)
  for field, count in nonfinite.items():
    log(f'WARNING: {count} pixels of {field} are not finite.')
  waiting, videos = (), ()
  if parallel.is_lead():
    waiting = _waiting_for(manifest, mine)
    if waiting:
      log(f'{len(waiting)} frames of other jobs are not finished yet.')
    elif video_prefix is not None:
      look = _video_look(cfg)
      videos = tuple(video.write_path_videos(manifest, video_prefix, look))
  return FramesReport(tuple(todo), skipped, waiting, nonfinite, videos)


def _video_look(cfg: paths.RenderConfig) -> video.VideoConfig:
  """The options of videos among those of rendering."""
  names = [f.name for f in dataclasses.fields(video.VideoConfig)]
  return video.VideoConfig(**{name: getattr(cfg, name) for name in names})


def _render(
  todo, render_view, manifest, cfg, log, postprocess
) -> dict[str, int]:
  """Renders frames, writing them from threads; returns non-finite counts."""
  nonfinite: collections.Counter[str] = collections.Counter()
  writing: collections.deque = collections.deque()

  def settle():
    idx, future = writing.popleft()
    manifest.record(idx, future.result())  # re-raises what a thread met

  views = render_image.as_views(render_view)
  views.expect(todo)
  with concurrent.futures.ThreadPoolExecutor(_WRITERS) as pool:
    for n, idx in enumerate(todo):
      log(f'Rendering frame {idx} ({n + 1}/{len(todo)})')
      rendering = views(idx)
      nonfinite.update(export.count_nonfinite(rendering))
      linear = None
      if postprocess is not None:
        linear = rendering.rgb
        rendering = rendering.replace(rgb=postprocess(linear))
      future = pool.submit(
        export.write_frame,
        manifest.folder,
        idx,
        rendering,
        digits=manifest.digits,
        color_raw=linear,
      )
      writing.append((idx, future))
      # Bounded, so that slow disks do not fill the memory with frames.
      while len(writing) > (_WRITERS if cfg.render_save_async else 0):
        settle()
    while writing:
      settle()
  return dict(nonfinite)


def _waiting_for(manifest, mine: range) -> tuple[int, ...]:
  """Frames of other jobs that are missing; own missing ones are an error."""
  missing = manifest.missing()
  if any(i in mine for i in missing):
    manifest.require_complete()
  return tuple(missing)
