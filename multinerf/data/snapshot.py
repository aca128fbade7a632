"""The cameras of a run as one JSON file, so that rendering needs no data set.

Numbers are float32 written in full, and come back bit for bit. The file may
come from a stranger: it is read as suspiciously as any other.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from multinerf import errors
from multinerf.cameras import camera
from multinerf.data import base, json_fields

FILE = 'cameras.json'
_VERSION = 1
# Fields of `camera.Cameras` and the shape of one camera's.
_PER_CAMERA = {
  'pixtocams': (3, 3),
  'camtoworlds': (3, 4),
  'widths': (),
  'heights': (),
  'near': (),
  'far': (),
  'lossmult': (),
  'exposure_idx': (),
  'exposure_values': (),
}
_SHARED = {'pixtocam_ndc': (3, 3), 'scene_bbox': (2, 3), 'z_range': (2,)}
_MAX_NAME = 4096  # characters


@dataclasses.dataclass(frozen=True)
class Snapshot:
  """What a run's folder knows about its scene.

  Attributes:
    key: Names the options of the data and the poses that it was made with.
    scenes: Scenes without pixels by what they are for: 'train', 'test', and
      perhaps 'path' (all cameras of a capture) or 'own' (the data set's path).
  """

  key: str
  scenes: Mapping[str, base.Scene]


def to_text(snapshot: Snapshot) -> str:
  """Returns the file's content."""
  return json.dumps(
    {
      'format_version': _VERSION,
      'key': snapshot.key,
      'scenes': {k: _plain(v) for k, v in snapshot.scenes.items()},
    },
    allow_nan=False,
  )


def read(path: pathlib.Path) -> Snapshot:
  """Reads the file.

  Raises:
    DataError: It is missing, damaged, or of another version.
  """
  meta = json_fields.read(path, hint='training writes it')
  if meta.get('format_version') != _VERSION:
    raise errors.DataError(
      f'{path}: format_version is {str(meta.get("format_version"))[:40]}; '
      f'{_VERSION} is read. Train or render with the version that wrote it.'
    )
  listed = json_fields.need(meta, 'scenes', dict, path)
  return Snapshot(
    json_fields.need(meta, 'key', str, path),
    {k: _scene(v, f'{path}: {k[:40]}') for k, v in listed.items()},
  )


def _plain(scene: base.Scene) -> dict[str, Any]:
  """A scene without pixels as JSON types."""
  cameras = scene.cameras
  table = {
    name: np.asarray(value).tolist()
    for name in (*_PER_CAMERA, *_SHARED)
    if (value := getattr(cameras, name)) is not None
  }
  if cameras.distortion is not None:
    table['distortion'] = {
      k: np.asarray(v).tolist() for k, v in cameras.distortion.items()
    }
  out = {
    'name': scene.name,
    'split': scene.split,
    'image_names': list(scene.image_names),
    'camtype': cameras.camtype.value,
    'cameras': table,
    'world_transform': np.asarray(scene.world_transform).tolist(),
  }
  if scene.depth_bounds is not None:
    out['depth_bounds'] = [float(x) for x in scene.depth_bounds]
  if scene.raw is not None:
    out['raw'] = {
      'cam2rgb': np.asarray(scene.raw.cam2rgb).tolist(),
      'exposure': scene.raw.exposure,
      'exposure_levels': [list(x) for x in scene.raw.exposure_levels.items()],
      'shutter_times': list(scene.raw.shutter_times),
    }
  return out


def _scene(entry: Any, where: str) -> base.Scene:
  """One scene, checked as one that a loader returns."""
  names = json_fields.need(entry, 'image_names', list, where)
  if not all(isinstance(n, str) and len(n) <= _MAX_NAME for n in names):
    raise errors.DataError(f'{where}: image_names are not names.')
  bounds = entry.get('depth_bounds')
  if bounds is not None:
    bounds = json_fields.array(bounds, (2,), 'depth_bounds', where)
  scene = base.Scene(
    name=json_fields.need(entry, 'name', str, where)[:_MAX_NAME],
    split=json_fields.need(entry, 'split', str, where)[:_MAX_NAME],
    cameras=_cameras(entry, where),
    image_names=tuple(names),
    images=None,
    depth_bounds=None if bounds is None else tuple(bounds.tolist()),
    raw=_raw(entry.get('raw'), where),
    world_transform=json_fields.array(
      entry.get('world_transform'), (4, 4), 'world_transform', where
    ),
  )
  base.validate_scene(scene, source=where)
  return scene


def _cameras(entry: dict[str, Any], where: str) -> camera.Cameras:
  table = json_fields.need(entry, 'cameras', dict, where)
  known = {t.value: t for t in camera.ProjectionType}
  camtype = json_fields.need(entry, 'camtype', str, where)
  if camtype not in known:
    raise errors.DataError(
      f'{where}: camtype {camtype[:40]!r} is none of {list(known)}.'
    )
  found = {}
  for name, shape in _PER_CAMERA.items():
    value = table.get(name)
    if value is not None:
      # Bounds may be one number for all cameras.
      full = (-1, *shape) if isinstance(value, list) else ()
      found[name] = json_fields.array(value, full, name, where)
  for name, shape in _SHARED.items():
    if table.get(name) is not None:
      found[name] = json_fields.array(table[name], shape, name, where)
  missing = {'pixtocams', 'camtoworlds', 'widths', 'heights', 'near', 'far'}
  missing -= set(found)
  if missing:
    raise errors.DataError(f'{where}: cameras lack {sorted(missing)}.')
  distortion = table.get('distortion')
  if distortion is not None:
    distortion = {
      k: json_fields.array(v, (-1,), k[:40], where)
      for k, v in json_fields.need(table, 'distortion', dict, where).items()
    }
  return camera.make_cameras(
    **found, distortion=distortion, camtype=known[camtype]
  )


def _raw(entry: Any, where: str) -> base.RawDisplay | None:
  if entry is None:
    return None
  if not isinstance(entry, dict):
    raise errors.DataError(f'{where}: raw is no object.')
  where = f'{where}, raw'
  levels = entry.get('exposure_levels') or np.zeros((0, 2))
  levels = json_fields.array(levels, (-1, 2), 'exposure_levels', where)
  times = entry.get('shutter_times') or np.zeros(0)
  exposure = json_fields.positive(entry, 'exposure', where)
  if exposure is None:
    raise errors.DataError(f'{where}: there is no exposure.')
  return base.RawDisplay(
    cam2rgb=json_fields.array(entry.get('cam2rgb'), (3, 3), 'cam2rgb', where),
    exposure=exposure,
    exposure_levels={int(p): float(x) for p, x in levels},
    shutter_times=tuple(
      json_fields.array(times, (-1,), 'shutter_times', where).tolist()
    ),
  )
