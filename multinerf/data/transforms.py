"""Captures listed in one transforms.json, of instant-ngp or nerfstudio.

Both formats give a pose (camera-to-world, OpenGL axes) per image, and
intrinsics for all images, or for each. Keys as in instant-ngp's
src/nerf_loader.cu@090aed6 and nerfstudio's nerfstudio_dataparser.py (v1.1.5);
behaviour.md section 4.4. The file may come from a stranger: each fault is one
line that names the place in it.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from multinerf import errors
from multinerf.cameras import poses as pose_lib
from multinerf.data import (
  base,
  images,
  json_fields,
  photo_set,
  photographs,
  ply,
  transforms_lens,
)

FILE = 'transforms.json'
_SUFFIXES = ('', '.png', '.jpg', '.jpeg', '.PNG', '.JPG', '.JPEG')
_UNREAD_SUFFIXES = ('.exr', '.EXR')
# What would change the images' geometry or pixels, and is not used.
_UNUSED_KEYS = ('rolling_shutter', 'fisheye_crop_radius')
_SPLIT_KEYS = ('train_filenames', 'val_filenames', 'test_filenames')


@dataclasses.dataclass(frozen=True)
class _Frame:
  """One entry of the list of frames, and where its image is.

  Attributes:
    where: For messages.
    meta: The entry.
    path: file_path below the scene's folder, as given.
    file: The image found for it, or None.
  """

  where: str
  meta: dict[str, Any]
  path: pathlib.Path
  file: pathlib.Path | None


@base.SCENES.register('transforms')
def load_transforms(cfg: base.DataConfig, split: str) -> base.Scene:
  """Loads one split of the capture in <data_dir>/transforms.json.

  Frames without an image are left out, which the scene's notes say.

  Raises:
    DataError: A file is missing, malformed or unreadable.
  """
  photos, cfg = read_photographs(cfg)
  return photographs.make_scene(cfg, split, photos)


def read_photographs(
  cfg: base.DataConfig,
) -> tuple[photo_set.Photographs, base.DataConfig]:
  """What transforms.json says, in the frame of the capture.

  nerfstudio's `applied_transform` and `applied_scale` are undone: poses,
  depths and everything exported are in the frame they were captured in.

  Returns:
    The photographs, and the config with the depth scale of the file, if it
    gives one.

  Raises:
    DataError: The file is missing or malformed, or lists no existing image.
  """
  folder = base.scene_folder(cfg)
  path = folder / FILE
  meta = json_fields.read(path, hint=_hint(folder))
  frames = _read_frames(folder, path, meta)
  used, notes = _existing(path, frames)
  used, test_paths, split_notes = _split(folder, path, meta, frames, used)
  lenses = transforms_lens.read(
    [f.meta for f in used], meta, path, _sizer(used)
  )
  unused = [k for k in _UNUSED_KEYS if meta.get(k)]
  if unused:
    notes += (f'{FILE} has {", ".join(unused)}, which is not used.',)
  names = _names(used)
  camtoworlds = np.stack([_pose(f) for f in used])
  undo = _undo_applied(meta, path)
  points, point_notes = _points(folder, meta, path, undo)
  depths, cfg = _depths(folder, cfg, meta, path, used)
  masks, mask_keeps = _masks(folder, used)
  photos = photo_set.Photographs(
    folder=folder,
    names=names,
    files=tuple(f.file for f in used),
    camtoworlds=_moved(camtoworlds, undo),
    pixtocams=lenses.pixtocams,
    widths=lenses.widths,
    heights=lenses.heights,
    distortion=lenses.distortion,
    camtype=lenses.camtype,
    masks=masks,
    mask_keeps=mask_keeps,
    depths=depths,
    points=points,
    test_names=None
    if test_paths is None
    else frozenset(
      n for n, f in zip(names, used, strict=True) if f.path in test_paths
    ),
    notes=notes + split_notes + point_notes,
  )
  return photos, cfg


def _hint(folder: pathlib.Path) -> str:
  """What to do in a folder that has no transforms.json."""
  if (folder / 'transforms_train.json').exists():
    return "there is a transforms_train.json, so set Config.dataset_loader = 'blender'"
  return (
    'the transforms loader needs it (gin: Config.data_dir, '
    'Config.dataset_loader)'
  )


def _read_frames(
  folder: pathlib.Path, path: pathlib.Path, meta: dict[str, Any]
) -> list[_Frame]:
  """All entries, in the order of the file."""
  listed = json_fields.need(meta, 'frames', list, path)
  if not listed:
    raise errors.DataError(f'{path} lists no frames; one is needed at least.')
  frames = []
  for i, entry in enumerate(listed):
    where = f'{path}, frame {i}'
    name = json_fields.need(entry, 'file_path', str, where)
    wanted = json_fields.path_below(folder, name, where)
    where = f'{where} ({name})'
    frames.append(_Frame(where, entry, wanted, _find(wanted, where)))
  return frames


def _find(path: pathlib.Path, where: str) -> pathlib.Path | None:
  """The image of a file_path with or without extension."""
  for suffix in _SUFFIXES:
    file = path.with_name(path.name + suffix)
    if file.is_file() and file.suffix not in _UNREAD_SUFFIXES:
      return file
  for suffix in ('', *_UNREAD_SUFFIXES):
    file = path.with_name(path.name + suffix)
    if file.is_file():
      raise errors.DataError(
        f'{where}: {file} is OpenEXR, which is not read; convert the images '
        'to 16-bit PNG.'
      )
  return None


def _existing(
  path: pathlib.Path, frames: list[_Frame]
) -> tuple[list[_Frame], tuple[str, ...]]:
  """Frames that have an image, and a note on those that have not."""
  found = [f for f in frames if f.file is not None]
  missing = [f.meta['file_path'] for f in frames if f.file is None]
  if not found:
    raise errors.DataError(
      f'None of the {len(frames)} images of {path} exists; the first is '
      f'{frames[0].path} (gin: Config.data_dir).'
    )
  if not missing:
    return found, ()
  return found, (
    f'{len(missing)} of {len(frames)} frames of {FILE} have no image and were '
    f'left out: {photo_set.listed(missing)}.',
  )


def _split(folder, path, meta, frames, used):
  """Frames of any split, the paths of the test split or None, and notes.

  nerfstudio lists the splits by file_path; `test_filenames` are measured, or
  `val_filenames` if there are no others.
  """
  given = {}
  for key in _SPLIT_KEYS:
    if meta.get(key) is not None:
      names = json_fields.need(meta, key, list, path)
      given[key] = _listed_paths(folder, path, key, names, frames)
  train, val, test = (given.get(k) for k in _SPLIT_KEYS)
  held_out = test or val
  if not held_out and not train:
    return used, None, ()
  if not held_out:
    return used, {f.path for f in used} - train, ()
  kept = [f for f in used if train is None or f.path in train | held_out]
  notes = []
  both = len(held_out & train) if train else 0
  if both:
    notes.append(
      f'{both} frames of {FILE} are listed for training and for testing; they '
      'are held out.'
    )
  if len(kept) < len(used):
    notes.append(
      f'{len(used) - len(kept)} frames of {FILE} are in no split and were left '
      'out.'
    )
  return kept, held_out, tuple(notes)


def _listed_paths(folder, path, key, names, frames) -> set[pathlib.Path]:
  """The frames' paths that a list of names stands for."""
  known = {f.path for f in frames}
  found = set()
  for i, name in enumerate(names):
    where = f'{path}: {key}[{i}]'
    if not isinstance(name, str):
      raise errors.DataError(f'{where} is {str(name)[:40]!r}, not a file name.')
    wanted = json_fields.path_below(folder, name, where)
    if wanted not in known:
      raise errors.DataError(f'{where}: no frame is called {name!r}.')
    found.add(wanted)
  return found


def _sizer(frames: list[_Frame]):
  """Index of a frame -> (width, height) of its image."""

  def size(i: int) -> tuple[int, int]:
    head = images.read_header(frames[i].file)
    return head.width, head.height

  return size


def _names(frames: list[_Frame]) -> tuple[str, ...]:
  """Files below the folder that all of them share, e.g. images/."""
  folders = [f.file.parent.parts for f in frames]
  shared = 0
  while all(len(p) > shared for p in folders) and (
    len({p[shared] for p in folders}) == 1
  ):
    shared += 1
  return tuple('/'.join(f.file.parts[shared:]) for f in frames)


def _pose(frame: _Frame) -> np.ndarray:
  """[3, 4] camera to world, of a 4x4 or 3x4 matrix."""
  rows = json_fields.need(frame.meta, 'transform_matrix', list, frame.where)
  shape = (min(max(len(rows), 3), 4), 4)
  matrix = json_fields.array(rows, shape, 'transform_matrix', frame.where)
  return matrix[:3]


def _undo_applied(meta: dict[str, Any], path: pathlib.Path) -> np.ndarray:
  """[4, 4] similarity back from where nerfstudio's tools moved the capture."""
  applied = np.eye(4)
  if meta.get('applied_transform') is not None:
    rows = json_fields.need(meta, 'applied_transform', list, path)
    shape = (min(max(len(rows), 3), 4), 4)
    applied[:3] = json_fields.array(rows, shape, 'applied_transform', path)[:3]
  size = np.cbrt(np.linalg.det(applied[:3, :3]))
  turn = applied[:3, :3] / (size if size > 0 else 1.0)
  if size <= 0 or np.abs(turn @ turn.T - np.eye(3)).max() > 1e-3:
    raise errors.DataError(
      f'{path}: applied_transform is no rotation with a scale and a shift: '
      f'{applied[:3].tolist()}.'
    )
  scale = json_fields.positive(meta, 'applied_scale', path) or 1.0
  return np.linalg.inv(np.diag([scale, scale, scale, 1.0]) @ applied)


def _moved(camtoworlds: np.ndarray, similarity: np.ndarray) -> np.ndarray:
  """Poses [n, 3, 4] under a similarity; rotations stay rotations."""
  moved = pose_lib.unpad_poses(similarity @ pose_lib.pad_poses(camtoworlds))
  moved[:, :, :3] /= np.cbrt(np.linalg.det(similarity[:3, :3]))
  return moved


def _points(
  folder: pathlib.Path,
  meta: dict[str, Any],
  path: pathlib.Path,
  similarity: np.ndarray,
) -> tuple[base.Points | None, tuple[str, ...]]:
  """nerfstudio's `ply_file_path` under a similarity, and notes."""
  name = json_fields.text(meta, 'ply_file_path', path)
  if name is None:
    return None, ()
  file = json_fields.path_below(folder, name, f'{path}, ply_file_path')
  if not file.is_file():
    return None, (f'{FILE} names points in {name}, which does not exist.',)
  points = ply.read_points(file)
  xyz = points.xyz @ similarity[:3, :3].T + similarity[:3, 3]
  return dataclasses.replace(points, xyz=xyz), ()


def _masks(
  folder: pathlib.Path, frames: list[_Frame]
) -> tuple[tuple[pathlib.Path | None, ...] | None, str]:
  """Mask files, and which of their pixels are used.

  nerfstudio names them (`mask_path`, white is used); instant-ngp finds
  dynamic_mask_<stem>.png beside the image (black is used).
  """
  named = [_optional_path(folder, f, 'mask_path') for f in frames]
  if any(named):
    return tuple(named), 'white'
  beside = [f.file.with_name(f'dynamic_mask_{f.file.stem}.png') for f in frames]
  found = tuple(b if b.is_file() else None for b in beside)
  return (found, 'black') if any(found) else (None, 'white')


def _depths(folder, cfg, meta, path, frames):
  """Depth files or None, and the config with their scale.

  nerfstudio's `depth_file_path` is in Config.depth_scale; instant-ngp's
  `depth_path` in the file's own `integer_depth_scale`.
  """
  named = [_optional_path(folder, f, 'depth_file_path') for f in frames]
  if any(named):
    return tuple(named), cfg
  scale = json_fields.positive(meta, 'integer_depth_scale', path)
  if scale is None:
    return None, cfg
  named = [_optional_path(folder, f, 'depth_path') for f in frames]
  if not any(named):
    return None, cfg
  return tuple(named), dataclasses.replace(cfg, depth_scale=scale)


def _optional_path(
  folder: pathlib.Path, frame: _Frame, key: str
) -> pathlib.Path | None:
  name = json_fields.text(frame.meta, key, frame.where)
  if name is None:
    return None
  return json_fields.path_below(folder, name, f'{frame.where}, {key}')
