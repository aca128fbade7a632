"""Camera poses by COLMAP, through the official `pycolmap` package.

An optional dependency, imported only here. Its options are objects; all of its
random choices get a seed. Several threads add rounding noise to the
result, not other choices.
"""

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from multinerf import errors
from multinerf.capture import files, pairs, photos
from multinerf.capture import settings as settings_lib

Log = Callable[[str], None]
_REPORT_SECONDS = 15.0
_PAIRS_AT_ONCE = 100  # also how soon Ctrl-C is heard
_INSTALL = 'pip install "multinerf[colmap]"'
# What makes it the official package of a recent release.
_NEEDED = (
  *('extract_features', 'match_image_pairs', 'Database'),
  *('incremental_mapping', 'FeatureExtractionOptions', 'Reconstruction'),
  *('FeatureMatchingOptions', 'ImportedPairingOptions', 'set_random_seed'),
)
ADVICE = (
  'Take more photographs, each overlapping the next by two thirds; move '
  'sideways between them instead of turning on the spot; avoid blur and '
  'scenes without texture (white walls, glass, mirrors).'
)


@dataclasses.dataclass(frozen=True)
class Matching:
  """What comparing the images gave.

  Attributes:
    method: 'exhaustive', 'sequential' or 'similar'.
    num_pairs: Pairs compared.
    num_verified: Pairs found to show the same scene.
  """

  method: str
  num_pairs: int
  num_verified: int


def load_pycolmap(verbose: bool = False) -> Any:
  """The module pycolmap, checked to be the right one.

  Args:
    verbose: Whether COLMAP shall print what it does to standard error.

  Raises:
    ConfigError: It is missing, damaged, too old, or another package of that
      name is in its place.
  """
  try:
    import pycolmap
  except ImportError as error:
    if isinstance(error, ModuleNotFoundError) and error.name == 'pycolmap':
      why = 'Finding camera poses needs COLMAP'
    else:
      why = f'The installed pycolmap cannot be imported ({error})'
    raise errors.ConfigError(f'{why}: {_INSTALL}.') from error
  version = getattr(pycolmap, '__version__', '?')
  if hasattr(pycolmap, 'SceneManager'):
    raise errors.ConfigError(
      f'The installed pycolmap ({pycolmap.__file__}) is another package of the '
      'same name: a reader of COLMAP files, without COLMAP. Run: pip uninstall '
      f'pycolmap; {_INSTALL}.'
    )
  missing = [name for name in _NEEDED if not hasattr(pycolmap, name)]
  if missing:
    raise errors.ConfigError(
      f'The installed pycolmap {version} lacks {missing[0]}: it is too old or '
      f'not the official one. Run: pip install --upgrade "pycolmap>=4.0".'
    )
  pycolmap.logging.minloglevel = int(
    pycolmap.logging.INFO if verbose else pycolmap.logging.FATAL
  )
  return pycolmap


def extract(
  prepared: photos.Prepared,
  scene: pathlib.Path,
  settings: settings_lib.Settings,
  log: Log,
) -> None:
  """Finds SIFT features and writes them to scene/database.db.

  Images that have theirs from an interrupted run are passed over.

  Raises:
    ConfigError: One camera is asked for, and images differ in size.
    DataError: COLMAP fails.
  """
  colmap = load_pycolmap()
  options = colmap.FeatureExtractionOptions()
  options.max_image_size = settings.max_image_size
  options.num_threads = settings.num_threads
  options.use_gpu = False
  options.sift.max_num_features = settings.max_num_features
  reader = colmap.ImageReaderOptions(camera_model=settings.camera_model)
  mode = (
    colmap.CameraMode.PER_IMAGE
    if settings.camera_mode == 'per_image'
    else colmap.CameraMode.SINGLE
  )
  say = _Progress(log, f'of {len(prepared.names)} images have features')
  for group in group_by_camera(prepared, settings.camera_mode):
    for names in _chunks(group, 4 * (os.cpu_count() or 1)):
      if settings.camera_mode != 'per_image':
        reader.existing_camera_id = _camera_of(scene, group)
      _call(
        'finding features',
        scene,
        lambda names=names: colmap.extract_features(
          str(scene / 'database.db'),
          str(scene / 'images'),
          image_names=names,
          camera_mode=mode,
          reader_options=reader,
          extraction_options=options,
          device=colmap.Device.cpu,
        ),
      )
      say(len(names))


def _camera_of(scene: pathlib.Path, group: Sequence[str]) -> int:
  """The camera of the images of a group that have one; -1: none has."""
  with contextlib.closing(_open_database(scene)) as db:
    known = {image.name: image.camera_id for image in db.read_all_images()}
  return next((known[name] for name in group if name in known), -1)


def group_by_camera(prepared: photos.Prepared, mode: str) -> list[list[str]]:
  """Names of the images, in groups that share intrinsics if `mode` says so.

  Raises:
    ConfigError: mode is 'single', and sizes differ.
  """
  if mode == 'per_image':
    return [list(prepared.names)]
  groups: dict[str, list[str]] = {}
  for name, label in zip(prepared.names, prepared.cameras, strict=True):
    groups.setdefault(label, []).append(name)
  if mode == 'single':
    sizes = sorted({label.split()[0] for label in groups})
    if len(sizes) > 1:
      raise errors.ConfigError(
        f'--camera_mode=single, but the images have sizes {", ".join(sizes)}: '
        'use --camera_mode=auto, which takes one camera per size.'
      )
    return [list(prepared.names)]
  return list(groups.values())


def match(
  prepared: photos.Prepared,
  scene: pathlib.Path,
  settings: settings_lib.Settings,
  log: Log,
) -> Matching:
  """Compares images and keeps what agrees with a common rigid scene.

  Raises:
    DataError: COLMAP fails, or no two images show the same scene.
  """
  colmap = load_pycolmap()
  num = len(prepared.names)
  method = pairs.choose(settings.matching, num, ordered=prepared.ordered)
  chosen = choose_pairs(scene, prepared, settings, method)
  log(f'Matching {len(chosen)} pairs of images ({method})')
  say = _Progress(log, f'of {len(chosen)} pairs are matched')
  for some in _chunks(pairs.by_blocks(chosen), _PAIRS_AT_ONCE):
    names = [(prepared.names[i], prepared.names[j]) for i, j in some]
    _call(
      'matching',
      scene,
      lambda names=names: _match_pairs(colmap, scene, names, settings),
    )
    say(len(some))
  with contextlib.closing(_open_database(scene)) as db:
    # A pair that does not agree has a row too, of 0 inliers.
    _, inliers = db.read_two_view_geometry_num_inliers()
  num_verified = sum(count > 0 for count in inliers)
  if not num_verified:
    raise errors.DataError(
      f'No two of the {num} images show the same thing from different places, '
      f'as far as COLMAP can tell. {ADVICE}'
    )
  return Matching(method, len(chosen), num_verified)


def choose_pairs(
  scene: pathlib.Path,
  prepared: photos.Prepared,
  settings: settings_lib.Settings,
  method: str,
) -> Int[np.ndarray, 'm 2']:
  """Pairs of indices into `prepared.names` to be compared.

  Args:
    scene: Its database holds the features of all images.
    prepared: The images.
    settings: overlap, num_similar, seed.
    method: 'exhaustive', 'sequential' or 'similar'.
  """
  num = len(prepared.names)
  if method == 'exhaustive':
    return np.stack(np.triu_indices(num, 1), axis=1)
  with contextlib.closing(_open_database(scene)) as db:
    image_ids = {image.name: image.image_id for image in db.read_all_images()}
    vectors = pairs.describe(
      [_descriptors(db, image_ids.get(name)) for name in prepared.names],
      settings.seed,
    )
  if method == 'similar':
    # Names mostly follow the order in which photographs were taken.
    return pairs.union(
      pairs.similar(vectors, settings.num_similar),
      pairs.sequential(num, 2),
    )
  return pairs.union(
    pairs.sequential(num, settings.overlap),
    pairs.similar(vectors, pairs.NUM_LOOP_FRAMES, min_gap=settings.overlap + 1),
  )


def _descriptors(db: Any, image_id: int | None) -> np.ndarray:
  """[m, 128] descriptors of an image; none if COLMAP could not read it."""
  if image_id is None or not db.exists_descriptors(image_id):
    return np.zeros((0, 128), np.uint8)
  return np.asarray(db.read_descriptors(image_id).data)


def _match_pairs(colmap, scene, names, settings) -> None:
  """Compares pairs of names; COLMAP passes over those done before."""
  options = colmap.FeatureMatchingOptions()
  options.num_threads = settings.num_threads
  options.use_gpu = False
  verification = colmap.TwoViewGeometryOptions()
  verification.ransac.random_seed = settings.seed
  listed = scene / 'pairs.txt'
  listed.write_text(
    ''.join(f'{first} {second}\n' for first, second in names),
    encoding='utf-8',
  )
  colmap.match_image_pairs(
    str(scene / 'database.db'),
    matching_options=options,
    pairing_options=colmap.ImportedPairingOptions(match_list_path=listed),
    verification_options=verification,
    device=colmap.Device.cpu,
  )
  listed.unlink()


def reconstruct(
  prepared: photos.Prepared,
  scene: pathlib.Path,
  settings: settings_lib.Settings,
  log: Log,
) -> list[Any]:
  """Places cameras and points, one image after another.

  Returns:
    pycolmap.Reconstruction objects, the one with most images first; more than
    one if parts of the scene could not be joined.

  Raises:
    DataError: COLMAP fails, or finds none.
  """
  colmap = load_pycolmap()
  colmap.set_random_seed(settings.seed)
  options = colmap.IncrementalPipelineOptions()
  options.num_threads = settings.num_threads
  options.random_seed = settings.seed
  target = scene / 'mapping'
  target.mkdir(exist_ok=True)
  say = _Progress(log, f'of {len(prepared.names)} images are placed')
  found = _call(
    'placing cameras',
    scene,
    lambda: colmap.incremental_mapping(
      str(scene / 'database.db'),
      str(scene / 'images'),
      str(target),
      options=options,
      next_image_callback=lambda: say(1),
    ),
  )
  if not found:
    raise errors.DataError(
      'Some images match, but COLMAP finds no pair from which a scene in three '
      f'dimensions follows. {ADVICE}'
    )
  return sorted(
    found.values(),
    key=lambda r: (r.num_reg_images(), r.num_points3D()),
    reverse=True,
  )


def _open_database(scene: pathlib.Path) -> Any:
  """COLMAP's database of a scene, made if need be; the caller closes it."""
  colmap = load_pycolmap()
  path = str(scene / 'database.db')
  return _call(
    'opening its database', scene, lambda: colmap.Database.open(path)
  )


def _call(what: str, scene: pathlib.Path, fn: Callable[[], Any]) -> Any:
  """fn(), with COLMAP's exceptions turned into a DataError."""
  try:
    return fn()
  except (RuntimeError, ValueError, IndexError) as error:
    if files.is_full(scene):
      raise files.disk_full(scene) from error
    reason = ' '.join(str(error).split())
    raise errors.DataError(
      f'COLMAP failed while {what}: {reason}. --verbose shows what it says; '
      f'remove {scene} to start afresh.'
    ) from error


def _chunks(items: Any, size: int) -> Iterator[Any]:
  """Slices of at most `size` items, in order."""
  for start in range(0, len(items), size):
    yield items[start : start + size]


class _Progress:
  """Logs a count now and then.

  Work is given to COLMAP in portions for this. To watch its database instead
  is not safe: it brings an SQLite of its own, and two of them in one process
  break each other's locks (sqlite.org/howtocorrupt.html, 2.2.1). Python's
  made COLMAP crash with SIGBUS.
  """

  def __init__(self, log: Log, text: str):
    self._log, self._text = log, text
    self._count, self._said = 0, time.monotonic()

  def __call__(self, num: int) -> None:
    """Counts `num` more."""
    self._count += num
    if time.monotonic() - self._said > _REPORT_SECONDS:
      self._said = time.monotonic()
      self._log(f'  {self._count} {self._text}')
