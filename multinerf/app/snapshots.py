"""What training writes down of its scene, and rendering without the data."""

import dataclasses
import hashlib
import pathlib

import numpy as np

from multinerf import errors
from multinerf.config import gin_setup, schema, views
from multinerf.data import base, snapshot
from multinerf.evaluation import paths, results
from multinerf.training import console


def record(
  setup: gin_setup.Setup,
  folder: str,
  shown: console.Console,
  scene: base.Scene,
  test_scene: base.Scene | None,
) -> None:
  """Writes the cameras of both splits into the run's folder, once.

  Views that cannot be loaded are left out, with a note: training does not
  need them.

  Args:
    setup: The configuration.
    folder: The run's folder.
    shown: For the note.
    scene: The training views.
    test_scene: The held-out views if they are loaded; else they are found
      among all cameras of a capture, or read.
  """
  path = pathlib.Path(folder) / snapshot.FILE
  cfg = views.view(setup.config, base.DataConfig)
  # New poses under the same options are another record, too; functions among
  # the options have no place in memory then.
  poses = np.asarray(scene.cameras.camtoworlds).tobytes()
  said = {k: getattr(v, '__qualname__', v) for k, v in vars(cfg).items()}
  key = hashlib.sha256(repr(said).encode() + poses).hexdigest()
  if _key_of(path) == key:
    return
  scenes = {'train': scene}
  wanted = {}
  if cfg.dataset_loader in paths.CAPTURE_LOADERS:
    whole = dataclasses.replace(
      cfg, render_path=True, multiscale_train_factors=None
    )
    wanted['path'] = lambda: base.load_scene(whole, 'test')
  elif cfg.dataset_loader in base.CAMERA_PATHS.names():
    wanted['own'] = lambda: base.CAMERA_PATHS.get(cfg.dataset_loader)(cfg)
  # Last: the cameras of a path tell those of a capture's test views.
  wanted['test'] = lambda: (
    test_scene
    or _held_out(cfg, scene, scenes.get('path'))
    or base.load_scene(cfg, 'test')
  )
  for name, load in wanted.items():
    try:
      found = load()
    except (errors.DataError, errors.ConfigError) as error:
      shown.line(
        f'note: {snapshot.FILE} has no {name} cameras, so that these can be '
        f'rendered only where the data are: {error}'
      )
      continue
    if found is not None:
      scenes[name] = found
  results.write_text(path, snapshot.to_text(snapshot.Snapshot(key, scenes)))


def _held_out(
  cfg: base.DataConfig, train: base.Scene, whole: base.Scene | None
) -> base.Scene | None:
  """A capture's cameras that do not train, without decoding their images.

  None where these are not the test split, or not of its sizes.
  """
  other = cfg.multiscale_train_factors or cfg.llff_use_all_images_for_training
  if whole is None or train.raw is not None or other:
    return None
  used = set(train.image_names)
  index = [i for i, name in enumerate(whole.image_names) if name not in used]
  if not index:
    return None
  names = tuple(whole.image_names[i] for i in index)
  cameras = whole.cameras.take(np.array(index))
  return dataclasses.replace(whole, cameras=cameras, image_names=names)


def _key_of(path: pathlib.Path) -> str | None:
  """The configuration of an earlier record; None if there is none to keep."""
  if not path.exists():
    return None
  try:
    return snapshot.read(path).key
  except errors.DataError:  # damaged: it is about to be replaced
    return None


def needed(config: schema.Config, folder: str) -> bool:
  """Whether the data set is gone and the run's folder knows its cameras."""
  if config.dataset_loader == 'synthetic' and not config.data_dir:
    return False
  data_dir = config.data_dir
  there = data_dir and pathlib.Path(data_dir).expanduser().is_dir()
  return not there and (pathlib.Path(folder) / snapshot.FILE).is_file()


def load_test_scene(config: schema.Config, folder: str) -> base.Scene:
  """What `cli.load_test_scene` gives, from the run's folder, without pixels.

  Raises:
    DataError: The file is damaged, or has not the cameras that are wanted.
  """
  path = pathlib.Path(folder) / snapshot.FILE
  scenes = snapshot.read(path).scenes
  render = views.view(config, paths.RenderConfig)
  if not config.render_path:
    if 'test' not in scenes:
      raise errors.DataError(
        f'{path} has no test views; set Config.render_path = True, or '
        f'Config.data_dir to the data set.'
      )
    return scenes['test']
  if 'own' in scenes and paths.path_kind(render) not in ('file', 'spline'):
    return paths.render_path_scene(render, scenes['own'], 'own')
  source = scenes.get('path') or scenes.get('train')
  if source is None:
    raise errors.DataError(f'{path} has no cameras to draw a path through.')
  return paths.render_path_scene(render, source)
