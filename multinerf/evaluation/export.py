"""Rendered frames on disk, and who has rendered which.

File names are MultiNeRF's (`color_000.png`, `distance_mean_000.tiff`, ...).
PNGs are rounded, so they reproduce the metrics. Several render jobs may share
one folder: each keeps a manifest of the frames it has finished, and a frame
is complete when a manifest of the same path lists it and its files exist.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable

import jax
import numpy as np
from jaxtyping import Float

from multinerf import errors, parallel, types
from multinerf.cameras import poses
from multinerf.data import images
from multinerf.evaluation import results

# Tag in file names -> how it is stored.
_PNG_TAGS = ('color', 'color_cc', 'normals', 'normals_pred')
_TIFF_TAGS = ('color_raw', 'distance_mean', 'distance_median', 'acc')


def num_digits(num_frames: int) -> int:
  """How many digits frame numbers have: 3, or more if there are more frames."""
  return max(3, len(str(num_frames - 1)))


def frame_path(
  folder: str | os.PathLike, tag: str, idx: int, *, digits: int = 3
) -> pathlib.Path:
  """Returns `<folder>/<tag>_<idx>.png`, or .tiff for distances and opacity.

  Raises:
    ValueError: There is no such tag.
  """
  if tag not in _PNG_TAGS + _TIFF_TAGS:
    raise ValueError(f'No files are called {tag!r}.')
  suffix = 'png' if tag in _PNG_TAGS else 'tiff'
  return pathlib.Path(folder) / f'{tag}_{idx:0{digits}d}.{suffix}'


def frame_images(
  rendering: types.Rendering,
  color_cc: Float[np.ndarray, 'h w 3'] | None = None,
  color_raw: Float[np.ndarray, 'h w 3'] | None = None,
) -> dict[str, np.ndarray]:
  """Returns what is stored of a rendering, by tag, as far as it exists."""
  out = {
    'color': rendering.rgb,
    'color_cc': color_cc,
    'color_raw': color_raw,
    'distance_mean': rendering.distance_mean,
    'distance_median': rendering.distance_median,
    'acc': rendering.acc,
  }
  for name in ('normals', 'normals_pred'):
    normals = getattr(rendering, name)
    out[name] = None if normals is None else np.asarray(normals) / 2 + 0.5
  return {k: np.asarray(v) for k, v in out.items() if v is not None}


def write_frame(
  folder: str | os.PathLike,
  idx: int,
  rendering: types.Rendering,
  *,
  digits: int = 3,
  color_cc: Float[np.ndarray, 'h w 3'] | None = None,
  color_raw: Float[np.ndarray, 'h w 3'] | None = None,
) -> tuple[str, ...]:
  """Writes the files of one frame, each atomically, by the lead process.

  Values that are not finite become black in a PNG and stay what they are in a
  TIFF; `count_nonfinite` tells how many there are.

  Returns:
    The tags written.
  """
  pictures = frame_images(rendering, color_cc, color_raw)
  if parallel.is_lead():
    for tag, picture in pictures.items():
      path = frame_path(folder, tag, idx, digits=digits)
      write = images.write_png if tag in _PNG_TAGS else images.write_tiff
      write(path, picture)
  return tuple(pictures)


def count_nonfinite(rendering: types.Rendering) -> dict[str, int]:
  """Pixels with a NaN or infinite value, by field; only fields that have any.

  Args:
    rendering: One image, numpy [H, W, ...].
  """
  counts = {}
  for field in dataclasses.fields(rendering):
    values = getattr(rendering, field.name)
    if values is None:
      continue
    bad = ~np.isfinite(np.asarray(values))
    pixels = bad if bad.ndim == 2 else np.any(bad, axis=-1)
    if np.any(pixels):
      counts[field.name] = int(np.count_nonzero(pixels))
  return counts


def to_input_frame(
  camtoworlds: Float[np.ndarray, 'n 3 4'],
  world_transform: Float[np.ndarray, '4 4'],
) -> Float[np.ndarray, 'n 3 4']:
  """Takes poses of a scene back to the frame of its files.

  Args:
    camtoworlds: Rigid poses in the scene's frame, OpenGL axes.
    world_transform: Similarity from the input's frame to the scene's.

  Returns:
    Rigid poses in the input's frame and units, OpenGL axes.
  """
  back = np.linalg.inv(world_transform)
  moved = poses.unpad_poses(
    back @ poses.pad_poses(np.asarray(camtoworlds, np.float64))
  )
  moved[:, :, :3] /= np.cbrt(np.linalg.det(back[:3, :3]))
  return moved


def write_poses(
  folder: str | os.PathLike,
  camtoworlds: Float[np.ndarray, 'n 3 4'],
  world_transform: Float[np.ndarray, '4 4'],
) -> None:
  """Writes where the frames were rendered from, in both frames.

  `render_poses.npy` (scene frame) can be given back as
  Config.render_path_file; `render_poses_input.npy` is in the frame and units
  of the capture, e.g. of its COLMAP model; `scene_transform.json` has the
  similarity between them, with which depths and points go back, too.
  """
  if not parallel.is_lead():
    return
  folder = pathlib.Path(folder)
  world_transform = np.asarray(world_transform, np.float64)
  scene = np.asarray(camtoworlds, np.float64)
  images.write_npy(folder / 'render_poses.npy', scene)
  images.write_npy(
    folder / 'render_poses_input.npy', to_input_frame(scene, world_transform)
  )
  scale = float(np.cbrt(np.linalg.det(world_transform[:3, :3])))
  text = json.dumps(
    {'input_to_scene': world_transform.tolist(), 'scale': scale}, indent=1
  )
  results.write_text(folder / 'scene_transform.json', text)


def write_ray_data(
  folder: str | os.PathLike, step: int, idx: int, levels: Iterable[types.Level]
) -> None:
  """Writes `ray_data_{step}_{idx}.txt`: repr of samples per level as lists."""
  data: dict[str, list] = {'ray_sdist': [], 'ray_weights': [], 'ray_rgbs': []}
  for level in levels:
    data['ray_sdist'].append(np.asarray(level.sdist).tolist())
    data['ray_weights'].append(np.asarray(level.weights).tolist())
    rgb = level.field.rgb
    data['ray_rgbs'].append(None if rgb is None else np.asarray(rgb).tolist())
  path = pathlib.Path(folder) / f'ray_data_{step}_{idx}.txt'
  results.write_text(path, repr(data))


def fingerprint(tree: object, *labels: str) -> str:
  """Returns a short digest of all arrays of a tree, e.g. of `Cameras`.

  Frames of another camera path in the same folder are not taken for ours.

  Args:
    tree: Any pytree of arrays.
    *labels: What else tells one set of frames from another.
  """
  digest = hashlib.sha256(repr(labels).encode())
  for leaf in jax.tree.leaves(tree):
    array = np.ascontiguousarray(leaf)
    digest.update(f'{array.shape}{array.dtype}'.encode())
    digest.update(array.tobytes())
  return digest.hexdigest()[:16]


def job_frames(num_frames: int, *, job_id: int, num_jobs: int) -> range:
  """Returns the frames of one of several jobs: idx % num_jobs == job_id.

  Raises:
    ConfigError: `job_id` is not one of 0 .. num_jobs - 1.
  """
  if not 0 <= job_id < num_jobs:
    raise errors.ConfigError(
      f'Config.render_job_id = {job_id}; must be 0 .. {num_jobs - 1}, as '
      f'Config.render_num_jobs = {num_jobs}.'
    )
  return range(job_id, num_frames, num_jobs)


@dataclasses.dataclass(frozen=True)
class FrameManifest:
  """Which frames of a camera path are finished, over all jobs.

  Every job replaces only its own file `manifest_{job_id}_of_{num_jobs}.json`,
  so there is nothing to lock; reading merges the files of all jobs.

  Attributes:
    folder: Where the frames are.
    num_frames: Of the whole path.
    path_id: `fingerprint` of the path; other paths' manifests do not count.
    job_id, num_jobs: Which job this process is, of how many.
  """

  folder: pathlib.Path
  num_frames: int
  path_id: str
  job_id: int = 0
  num_jobs: int = 1

  @property
  def digits(self) -> int:
    """Digits of the frame numbers in file names."""
    return num_digits(self.num_frames)

  def record(self, idx: int, tags: Iterable[str]) -> None:
    """Adds a frame whose files are all written."""
    frames = self._read(self._own_path) | {idx: tuple(tags)}
    text = json.dumps(
      {
        'path_id': self.path_id,
        'num_frames': self.num_frames,
        'frames': {str(i): list(t) for i, t in sorted(frames.items())},
      }
    )
    results.write_text(self._own_path, text)

  def complete(self) -> dict[int, tuple[str, ...]]:
    """Returns the tags of all frames that are recorded and on disk."""
    frames: dict[int, tuple[str, ...]] = {}
    for path in sorted(self.folder.glob('manifest_*_of_*.json')):
      frames |= self._read(path)
    return {i: t for i, t in sorted(frames.items()) if self._on_disk(i, t)}

  def pending(self) -> list[int]:
    """Returns this job's frames that are still to be rendered."""
    done = self.complete()
    mine = job_frames(
      self.num_frames, job_id=self.job_id, num_jobs=self.num_jobs
    )
    return [i for i in mine if i not in done]

  def missing(self) -> list[int]:
    """Returns the frames of all jobs that are not complete."""
    done = self.complete()
    return [i for i in range(self.num_frames) if i not in done]

  def require_complete(self) -> tuple[str, ...]:
    """Returns the tags that every frame has.

    Raises:
      DataError: Frames are missing; names them.
    """
    done = self.complete()
    missing = [i for i in range(self.num_frames) if i not in done]
    if missing:
      raise errors.DataError(
        f'{self.folder}: {len(missing)} of {self.num_frames} frames are '
        f'missing: {_ranges(missing)}. Run the render jobs that own them '
        '(idx % Config.render_num_jobs == Config.render_job_id).'
      )
    first, *others = done.values()
    return tuple(t for t in first if all(t in other for other in others))

  @property
  def _own_path(self) -> pathlib.Path:
    name = f'manifest_{self.job_id}_of_{self.num_jobs}.json'
    return self.folder / name

  def _on_disk(self, idx: int, tags: tuple[str, ...]) -> bool:
    return all(
      frame_path(self.folder, tag, idx, digits=self.digits).is_file()
      for tag in tags
    )

  def _read(self, path: pathlib.Path) -> dict[int, tuple[str, ...]]:
    """Frames of one manifest; none if it is absent or of another path."""
    if not path.is_file():
      return {}
    try:
      data = json.loads(path.read_text())
      if data['path_id'] != self.path_id:
        return {}
      return {int(i): tuple(t) for i, t in data['frames'].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as e:
      raise errors.DataError(
        f'{path} is not a frame manifest ({e}); delete it, its frames will '
        'be rendered again.'
      ) from e


def _ranges(numbers: Iterable[int]) -> str:
  """'0-2, 5' for 0, 1, 2, 5."""
  runs: list[list[int]] = []
  for n in numbers:
    if runs and n == runs[-1][1] + 1:
      runs[-1][1] = n
    else:
      runs.append([n, n])
  return ', '.join(str(a) if a == b else f'{a}-{b}' for a, b in runs)
