"""COLMAP: which package it is, what it is asked, what its errors become."""

import contextlib
import pathlib
import sys
import types

import capture_util
import numpy as np
import pytest

from multinerf import errors
from multinerf.capture import model as model_lib
from multinerf.capture import photos, settings, sfm, shrink


@pytest.fixture
def colmap():
  """The official pycolmap."""
  return pytest.importorskip(
    'pycolmap', reason='needs multinerf[colmap], which brings pycolmap'
  )


def silent(_):
  """Logs nothing."""


def put_module(monkeypatch, **names):
  """Puts a package called pycolmap in place of the real one."""
  fake = types.SimpleNamespace(__file__='/site/pycolmap.py', **names)
  monkeypatch.setitem(sys.modules, 'pycolmap', fake)


def test_without_pycolmap_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'pycolmap', None)
  with pytest.raises(errors.ConfigError, match=r'pip install "multinerf\[colm'):
    sfm.load_pycolmap()


def test_a_pycolmap_that_does_not_load_says_why(monkeypatch, tmp_path):
  monkeypatch.delitem(sys.modules, 'pycolmap', raising=False)
  (tmp_path / 'pycolmap.py').write_text(
    'raise ImportError("libGL.so.1: cannot open shared object file")'
  )
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(errors.ConfigError, match=r'libGL\.so\.1'):
    sfm.load_pycolmap()


def test_the_other_pycolmap_is_told_from_the_official_one(monkeypatch):
  put_module(monkeypatch, SceneManager=object, Camera=object)
  with pytest.raises(errors.ConfigError, match='another package .*uninstall'):
    sfm.load_pycolmap()


def test_an_old_pycolmap_is_to_be_upgraded(monkeypatch):
  put_module(monkeypatch, extract_features=len, __version__='0.6.1')
  with pytest.raises(errors.ConfigError, match=r'0\.6\.1 lacks .*--upgrade'):
    sfm.load_pycolmap()


def test_images_are_grouped_by_camera():
  prepared = photos.Prepared(
    ('a', 'b', 'c', 'd'), ('9x9 X', '9x9 Y', '9x9 X', '8x8 X'), False
  )
  auto = sfm.group_by_camera(prepared, 'auto')
  assert auto == [['a', 'c'], ['b'], ['d']]
  each = sfm.group_by_camera(prepared, 'per_image')
  assert each == [['a', 'b', 'c', 'd']]
  with pytest.raises(errors.ConfigError, match='sizes 8x8, 9x9'):
    sfm.group_by_camera(prepared, 'single')
  same_size = photos.Prepared(('a', 'b'), ('9x9 X', '9x9 Y'), False)
  assert sfm.group_by_camera(same_size, 'single') == [['a', 'b']]


def make_scene(folder, pictures, label='a'):
  """images/ of a scene, as the first step leaves it."""
  (folder / 'images').mkdir(parents=True)
  names = tuple(f'{i:02d}.png' for i in range(len(pictures)))
  for name, picture in zip(names, pictures, strict=True):
    shrink.write_image(folder / 'images' / name, picture)
  return photos.Prepared(names, (label,) * len(names), False)


def small_noise(num, side=96):
  """Pictures with features."""
  return [
    capture_util.texture(i, 128)[:side, :side].astype(np.uint8)
    for i in range(num)
  ]


def test_images_without_texture_do_not_match(colmap, tmp_path):
  walls = [np.full((96, 96, 3), 60 * i, np.uint8) for i in range(3)]
  prepared = make_scene(tmp_path, walls)
  options = settings.Settings(num_threads=1)
  sfm.extract(prepared, tmp_path, options, silent)
  with pytest.raises(errors.DataError, match='No two of the 3 images.*overlap'):
    sfm.match(prepared, tmp_path, options, silent)


@pytest.mark.parametrize('mode', ['auto', 'per_image'])
def test_interrupted_extraction_goes_on_with_the_same_cameras(
  colmap, tmp_path, mode
):
  prepared = make_scene(tmp_path, small_noise(4))
  options = settings.Settings(
    num_threads=1, camera_mode=mode, camera_model='SIMPLE_RADIAL'
  )
  first = photos.Prepared(prepared.names[:2], prepared.cameras[:2], False)
  sfm.extract(first, tmp_path, options, silent)
  sfm.extract(prepared, tmp_path, options, silent)
  sfm.extract(prepared, tmp_path, options, silent)
  with contextlib.closing(
    colmap.Database.open(str(tmp_path / 'database.db'))
  ) as db:
    found = {image.name: image.camera_id for image in db.read_all_images()}
    models = {camera.model_name for camera in db.read_all_cameras()}
  assert sorted(found) == list(prepared.names)
  assert len(set(found.values())) == (1 if mode == 'auto' else 4)
  assert models == {'SIMPLE_RADIAL'}


def test_an_error_of_colmap_becomes_one_line(colmap, tmp_path):
  prepared = make_scene(tmp_path, small_noise(2))
  (tmp_path / 'database.db').write_bytes(b'not a database' * 100)
  options = settings.Settings(num_threads=1)
  with pytest.raises(errors.DataError, match='COLMAP failed while') as caught:
    sfm.extract(prepared, tmp_path, options, silent)
  assert '\n' not in str(caught.value)


def look_around(num):
  """Poses in a room: on an arc, looking at the opposite walls."""
  angles = np.linspace(-0.7, 0.7, num)
  return np.stack(
    [
      capture_util.look_at(
        np.array([1.2 * np.sin(a), -1.2 * np.cos(a), 0.3 * np.sin(3 * a)]),
        np.array([0.3 * np.sin(a), 2.0, -0.2]),
      )
      for a in angles
    ]
  )


@pytest.mark.slow
@pytest.mark.parametrize('matching', ['exhaustive', 'similar', 'sequential'])
def test_poses_of_a_rendered_room_are_found(colmap, tmp_path, matching):
  true = look_around(14)
  walls = [capture_util.texture(i) for i in range(6)]
  pictures = [capture_util.render_room(pose, walls) for pose in true]
  prepared = make_scene(tmp_path, pictures)
  options = settings.Settings(
    camera_model='SIMPLE_PINHOLE', matching=matching, num_similar=8, overlap=4
  )
  sfm.extract(prepared, tmp_path, options, silent)
  found = sfm.match(prepared, tmp_path, options, silent)
  assert found.method == matching
  assert found.num_verified <= found.num_pairs
  reconstructions = sfm.reconstruct(prepared, tmp_path, options, silent)
  model_lib.write(reconstructions, tmp_path)
  model = model_lib.from_pycolmap(reconstructions[0])
  check_room(model, prepared, true)
  assert (tmp_path / 'sparse' / '0' / 'cameras.bin').stat().st_size > 0
  again = colmap.Reconstruction(str(tmp_path / 'sparse' / '0'))
  assert again.num_reg_images() == len(true)


def check_room(model, prepared, true):
  """Cameras, points and focal length against what was rendered."""
  assert model.names == prepared.names
  assert model.mean_reprojection < 1.0
  assert model.mean_track_length > 2.5
  assert abs(model.lenses[0].params['f'] / 300.0 - 1) < 0.02
  scale, rotation, shift = capture_util.similarity(
    model.camtoworlds[:, :, 3], true[:, :, 3]
  )
  centres = scale * model.camtoworlds[:, :, 3] @ rotation.T + shift
  # 1 % of the room: features are found to a fraction of a pixel of 1 / 300.
  assert np.abs(centres - true[:, :, 3]).max() < 0.04
  turned = rotation @ model.camtoworlds[:, :, :3]
  cosine = (np.einsum('nij,nij->n', turned, true[:, :, :3]) - 1) / 2
  assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 1.0
  # Points are on the walls of the cube.
  points = scale * model.xyz @ rotation.T + shift
  off_wall = np.abs(np.abs(points).max(axis=1) - 2.0)
  assert np.median(off_wall) < 0.04
  # Half the field of view, from the picture's size and focal length.
  np.testing.assert_allclose(
    model.tangents, np.tile([160 / 300, 120 / 300], (len(true), 1)), rtol=0.02
  )


def test_pycolmap_is_imported_only_when_needed():
  source = pathlib.Path(sfm.__file__).parent
  for path in source.glob('*.py'):
    for line in path.read_text().splitlines():
      assert not line.startswith(('import pycolmap', 'from pycolmap')), path
