"""What training writes down of its scene."""

from unittest import mock

import colmap_util
import pytest

from multinerf.app import snapshots
from multinerf.config import gin_setup, schema, views
from multinerf.data import base, images, snapshot
from multinerf.training import console

OPTIONS = {
  'every eighth': {},
  'smaller': {'factor': 2},
  'forward-facing': {'forward_facing': True},
  'unsorted': {'load_alphabetical': False},
}
# There the cameras alone do not tell the test split.
READ = {
  'all train': {'llff_use_all_images_for_training': True},
  'several sizes': {'multiscale_train_factors': (2,)},
}


@pytest.fixture(scope='module')
def scene_folder(tmp_path_factory):
  return colmap_util.write_llff_scene(
    tmp_path_factory.mktemp('scene') / 'a', exif=True, poses_bounds=True
  )


def recorded(config, folder, scene, test_scene):
  """The file, without its key."""
  folder.mkdir()
  setup = mock.Mock(spec=gin_setup.Setup)
  setup.config = config
  shown = mock.Mock(spec=console.Console)
  snapshots.record(setup, str(folder), shown, scene, test_scene)
  shown.line.assert_not_called()  # no view is left out
  found = snapshot.read(folder / snapshot.FILE).scenes
  return snapshot.to_text(snapshot.Snapshot('', dict(sorted(found.items()))))


@pytest.mark.parametrize('case', [*OPTIONS, *READ])
def test_test_cameras_of_a_capture_are_written_without_decoding_images(
  case, scene_folder, tmp_path, monkeypatch
):
  config = schema.Config(
    dataset_loader='llff',
    data_dir=str(scene_folder),
    near=0.1,
    far=10.0,
    **(OPTIONS | READ)[case],
  )
  cfg = views.view(config, base.DataConfig)
  scene, test_scene = (base.load_scene(cfg, s) for s in base.SPLITS)
  want = recorded(config, tmp_path / 'loaded', scene, test_scene)
  spy = mock.Mock(wraps=images.read_image)
  monkeypatch.setattr(images, 'read_image', spy)
  assert recorded(config, tmp_path / 'found', scene, None) == want
  assert spy.called == (case in READ)
