"""COLMAP's files are read as COLMAP means them, or refused in one line."""

import dataclasses
import pathlib
import shutil

import colmap_util
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from multinerf import errors
from multinerf.cameras import camera, projection
from multinerf.data import base, colmap, photographs
from multinerf.data import colmap_model as model_lib

WIDTH, HEIGHT = 640, 480


@pytest.fixture(scope='module')
def truth():
  return colmap_util.make_truth(num_images=4, num_points=12)


@pytest.fixture(scope='module', params=['binary', 'text'])
def model_folder(request, truth, tmp_path_factory):
  """sparse/0 of a small scene, without its pictures."""
  folder = tmp_path_factory.mktemp('colmap') / 'sparse' / '0'
  cam, shots, points = colmap_util.colmap_parts(truth)
  write = (
    colmap_util.write_binary
    if request.param == 'binary'
    else colmap_util.write_text
  )
  write(folder, {1: cam}, shots, points)
  return folder


def test_poses_points_and_observations_survive_the_files(model_folder, truth):
  model = colmap.read_model(model_folder)
  photos = colmap.to_photographs(model, model_folder)
  assert photos.names == truth.names[::-1]
  np.testing.assert_allclose(
    photos.camtoworlds, truth.camtoworlds[::-1], atol=1e-12
  )
  np.testing.assert_allclose(photos.points.xyz, truth.points, atol=1e-12)
  assert photos.points.rgb[0].tolist() == [200, 100, 50]
  np.testing.assert_allclose(photos.points.errors, np.linspace(0.5, 1.5, 12))
  seen = photos.observations
  assert len(seen.cam_idx) == truth.seen.sum()
  xy, t = projection.points_to_pixels(
    photos.points.xyz[seen.point_idx],
    photos.pixtocams[seen.cam_idx],
    photos.camtoworlds[seen.cam_idx],
  )
  assert (t > 0).all()
  # COLMAP's (0.5, 0.5) is the centre of the first pixel, ours is (0, 0).
  np.testing.assert_allclose(xy + 0.5, seen.xy, atol=1e-9)


def test_points_may_be_missing(model_folder, tmp_path):
  folder = shutil.copytree(model_folder, tmp_path / 'model')
  for file in folder.glob('points3D*'):
    file.unlink()
  photos = colmap.to_photographs(colmap.read_model(folder), folder)
  assert photos.points is None and photos.observations is None


# Each model with parameters that change the picture visibly.
REPRESENTABLE = {
  'SIMPLE_PINHOLE': [500, 310, 250],
  'PINHOLE': [500, 480, 310, 250],
  'SIMPLE_RADIAL': [500, 310, 250, 0.08],
  'RADIAL': [500, 310, 250, 0.08, -0.03],
  'OPENCV': [500, 480, 310, 250, 0.08, -0.03, 0.004, -0.006],
  'FULL_OPENCV': [500, 480, 310, 250, 0.08, -0.03, 0.004, -0.006, 0.02] + [0] * 3,
  'SIMPLE_FISHEYE': [300, 310, 250],
  'FISHEYE': [300, 290, 310, 250],
  'SIMPLE_RADIAL_FISHEYE': [300, 310, 250, 0.03],
  'RADIAL_FISHEYE': [300, 310, 250, 0.03, -0.01],
  'OPENCV_FISHEYE': [300, 290, 310, 250, 0.03, -0.01, 0.004, -0.001],
  'THIN_PRISM_FISHEYE': (
    [300, 290, 310, 250, 0.03, -0.01, 0.002, -0.003, 0.004, -0.001, 0, 0]
  ),
}  # fmt: skip


def written_down_projection(model, params, x, y, z):
  """Pixels of camera-frame points by the formulas of COLMAP's models.h."""
  names = model_lib.MODELS[model_lib.MODEL_IDS[model]][1].split()
  p = dict.fromkeys(('k1', 'k2', 'k3', 'k4', 'p1', 'p2'), 0.0)
  p |= dict(zip(names, params, strict=True))
  u, v = x / z, y / z
  if 'FISHEYE' in model:
    radius = np.hypot(u, v)
    theta = np.arctan2(radius, 1.0)
    u, v = u * theta / radius, v * theta / radius
  r2 = u * u + v * v
  radial = p['k1'] * r2 + p['k2'] * r2**2 + p['k3'] * r2**3 + p['k4'] * r2**4
  du = u * radial + 2 * p['p1'] * u * v + p['p2'] * (r2 + 2 * u * u)
  dv = v * radial + 2 * p['p2'] * u * v + p['p1'] * (r2 + 2 * v * v)
  fx, fy = p.get('fx', p.get('f')), p.get('fy', p.get('f'))
  return fx * (u + du) + p['cx'], fy * (v + dv) + p['cy']


def sensor(model, params):
  params = np.array(params, np.float64)
  return model_lib.ColmapCamera(model, WIDTH, HEIGHT, params)


def camera_points():
  """Points before a camera, OpenCV axes."""
  generator = np.random.default_rng(0)
  xy = generator.uniform(-0.6, 0.6, (40, 2))
  z = generator.uniform(1, 3, (40, 1))
  return np.concatenate([xy * z, z], -1)


def our_projection(cam, points):
  """Pixels of camera-frame points by our own lens, COLMAP's pixel origin."""
  lens = model_lib.intrinsics(cam, 'camera 1')
  xy, _ = projection.points_to_pixels(
    points * [1, -1, -1],  # our cameras have OpenGL axes
    lens.pixtocam,
    np.eye(3, 4),
    distortion=lens.distortion or None,
    camtype=lens.camtype,
  )
  return xy + 0.5


@pytest.mark.parametrize('model', REPRESENTABLE)
def test_camera_models_mean_what_colmap_means(model):
  cam, points = sensor(model, REPRESENTABLE[model]), camera_points()
  want = np.stack(
    written_down_projection(model, REPRESENTABLE[model], *points.T), -1
  )
  np.testing.assert_allclose(our_projection(cam, points), want, atol=1e-9)


@pytest.mark.parametrize('model', REPRESENTABLE)
def test_rays_invert_colmaps_projection(model):
  """Through the undistortion that training uses."""
  cam, points = sensor(model, REPRESENTABLE[model]), camera_points()
  lens = model_lib.intrinsics(cam, 'camera 1')
  x, y = written_down_projection(model, REPRESENTABLE[model], *points.T)
  rays = projection.pixels_to_rays(
    x - 0.5,
    y - 0.5,
    lens.pixtocam,
    np.eye(3, 4),
    distortion=lens.distortion or None,
    camtype=lens.camtype,
  )
  want = points * [1, -1, -1]
  want /= np.linalg.norm(want, axis=-1, keepdims=True)
  np.testing.assert_allclose(rays.viewdirs, want, atol=1e-7)


@pytest.mark.parametrize('model', REPRESENTABLE)
def test_camera_models_agree_with_colmap_itself(model):
  pycolmap = pytest.importorskip('pycolmap', reason='pip install pycolmap')
  points = camera_points()
  theirs = pycolmap.Camera(
    model=model, width=WIDTH, height=HEIGHT, params=REPRESENTABLE[model]
  )
  want = np.stack([theirs.img_from_cam(p) for p in points])
  cam = sensor(model, REPRESENTABLE[model])
  np.testing.assert_allclose(our_projection(cam, points), want, atol=1e-9)


def test_panoramas_look_where_colmap_says():
  pycolmap = pytest.importorskip('pycolmap', reason='pip install pycolmap')
  params = [WIDTH, HEIGHT]
  points = np.random.default_rng(1).normal(size=(40, 3))  # all around
  theirs = pycolmap.Camera(
    model='EQUIRECTANGULAR', width=WIDTH, height=HEIGHT, params=params
  )
  want = np.stack([theirs.img_from_cam(p) for p in points])
  ours = our_projection(sensor('EQUIRECTANGULAR', params), points)
  np.testing.assert_allclose(ours, want, atol=1e-9)


def test_the_table_of_models_is_that_of_colmap():
  pycolmap = pytest.importorskip('pycolmap', reason='pip install pycolmap')
  theirs = {
    int(number): (
      name,
      len(pycolmap.Camera.create_from_model_name(1, name, 1.0, 9, 9).params),
    )
    for name, number in pycolmap.CameraModelId.__members__.items()
    if int(number) >= 0
  }
  ours = {
    number: (name, model_lib.num_params(name))
    for number, (name, _) in model_lib.MODELS.items()
  }
  assert ours.items() >= theirs.items()


@pytest.mark.parametrize('suffix', ['bin', 'txt'])
def test_a_reconstruction_that_colmap_wrote_is_read(tmp_path, suffix):
  """With rigs and frames, as COLMAP writes them since 3.12."""
  pycolmap = pytest.importorskip('pycolmap', reason='pip install pycolmap')
  options = pycolmap.SyntheticDatasetOptions(
    num_rigs=2, num_cameras_per_rig=2, num_frames_per_rig=3, num_points3D=50
  )
  theirs = pycolmap.synthesize_dataset(options)
  write = theirs.write_binary if suffix == 'bin' else theirs.write_text
  write(str(tmp_path))
  assert (tmp_path / f'rigs.{suffix}').is_file()
  photos = colmap.to_photographs(colmap.read_model(tmp_path), tmp_path)
  assert len(photos) == theirs.num_reg_images() == 12
  by_name = {i.name: i for i in theirs.images.values()}
  # Text has 17 digits; COLMAP's quaternions are unit vectors up to rounding.
  for name, pose in zip(photos.names, photos.camtoworlds, strict=True):
    want = by_name[name].cam_from_world().inverse().matrix()
    want[:, 1:3] *= -1  # OpenCV to OpenGL
    np.testing.assert_allclose(pose, want, atol=1e-9)
  assert len(photos.points.xyz) == theirs.num_points3D()
  assert len(photos.observations.xy) == sum(
    i.num_points3D for i in theirs.images.values()
  )


UNREPRESENTABLE = {
  'FOV': [500, 480, 310, 250, 0.9],
  'FULL_OPENCV': [500, 480, 310, 250, 0, 0, 0, 0, 0, 0.1, 0, 0],
  'THIN_PRISM_FISHEYE': [500, 480, 310, 250, 0, 0, 0, 0, 0, 0, 0.1, 0],
  'RAD_TAN_THIN_PRISM_FISHEYE': [500, 480, 310, 250] + [0] * 12,
  'DIVISION': [500, 480, 310, 250, 0.1],
}


@pytest.mark.parametrize('model', UNREPRESENTABLE)
def test_models_that_cannot_be_represented_are_named(model, truth, tmp_path):
  """Defect 6: an unknown camera model was an UnboundLocalError."""
  _, shots, points = colmap_util.colmap_parts(truth)
  cam = sensor(model, UNREPRESENTABLE[model])
  colmap_util.write_binary(tmp_path, {1: cam}, shots, points)
  with pytest.raises(
    errors.DataError, match=f'camera 1 .*{model}.*image_undistorter'
  ):
    colmap.to_photographs(colmap.read_model(tmp_path), tmp_path)


def test_models_of_the_future_are_named(model_folder, tmp_path):
  """Defect 6."""
  folder = shutil.copytree(model_folder, tmp_path / 'model')
  binary = folder / 'cameras.bin'
  if binary.is_file():
    data = bytearray(binary.read_bytes())
    data[12] = 99
    binary.write_bytes(data)
    match = 'camera 1 .*unknown COLMAP model 99'
  else:
    text = folder / 'cameras.txt'
    text.write_text(text.read_text().replace('PINHOLE', 'KALEIDOSCOPE'))
    match = "unknown COLMAP model 'KALEIDOSCOPE'"
  with pytest.raises(errors.DataError, match=match):
    colmap.read_model(folder)


def test_unused_cameras_of_any_model_do_no_harm(truth, tmp_path):
  cam, shots, points = colmap_util.colmap_parts(truth)
  odd = sensor('FOV', UNREPRESENTABLE['FOV'])
  colmap_util.write_binary(tmp_path, {1: cam, 2: odd}, shots, points)
  photos = colmap.to_photographs(colmap.read_model(tmp_path), tmp_path)
  assert photos.camtype is camera.ProjectionType.PERSPECTIVE


def test_mixed_perspective_and_fisheye_cameras_are_refused(truth, tmp_path):
  cam, shots, points = colmap_util.colmap_parts(truth)
  fisheye = sensor('OPENCV_FISHEYE', REPRESENTABLE['OPENCV_FISHEYE'])
  shots[0] = dataclasses.replace(shots[0], camera_id=2)
  colmap_util.write_binary(tmp_path, {1: cam, 2: fisheye}, shots, points)
  with pytest.raises(errors.DataError, match='mixes fisheye and perspective'):
    colmap.to_photographs(colmap.read_model(tmp_path), tmp_path)


def test_cameras_without_a_distortion_have_zero_beside_those_with(
  truth, tmp_path
):
  cam, shots, points = colmap_util.colmap_parts(truth)
  radial = sensor('RADIAL', REPRESENTABLE['RADIAL'])
  shots[0] = dataclasses.replace(shots[0], camera_id=2)
  colmap_util.write_binary(tmp_path, {1: cam, 2: radial}, shots, points)
  photos = colmap.to_photographs(colmap.read_model(tmp_path), tmp_path)
  assert {k: v.tolist() for k, v in photos.distortion.items()} == {
    'k1': [0.08, 0, 0, 0],
    'k2': [-0.03, 0, 0, 0],
  }


def write_part(folder, truth, num_images):
  """A model of the first images only."""
  cam, shots, points = colmap_util.colmap_parts(truth)
  colmap_util.write_binary(folder, {1: cam}, shots[:num_images], points)


def test_of_several_models_the_one_with_most_images_is_used(truth, tmp_path):
  for i, num in enumerate((1, 3, 2)):
    write_part(tmp_path / 'sparse' / str(i), truth, num)
  found, [note] = colmap.find_model(tmp_path)
  assert found == tmp_path / 'sparse' / '1'
  assert '0 with 1, 2 with 2' in note
  chosen, notes = colmap.find_model(tmp_path, 'sparse/2')
  assert chosen == tmp_path / 'sparse' / '2' and not notes


@pytest.mark.parametrize(
  'place', ['sparse/0', 'sparse', 'colmap/sparse/0', 'colmap', '.', 'sparse/10']
)
def test_models_are_found_where_tools_leave_them(place, truth, tmp_path):
  write_part(tmp_path / place, truth, 2)
  found, notes = colmap.find_model(tmp_path)
  assert found.resolve() == (tmp_path / place).resolve() and not notes


def test_a_named_folder_without_a_model_is_an_error(tmp_path):
  assert colmap.find_model(tmp_path) is None
  with pytest.raises(errors.DataError, match='mine.*Config.colmap_subdir'):
    colmap.find_model(tmp_path, 'mine')


@pytest.mark.parametrize(
  'name', ['/etc/passwd', '../up.png', 'a/../../b.png', '', 'a//b.png', 'x\ny']
)
def test_names_that_leave_the_image_folder_are_refused(name, truth, tmp_path):
  cam, shots, points = colmap_util.colmap_parts(truth)
  shots[1] = dataclasses.replace(shots[1], name=name)
  colmap_util.write_binary(tmp_path, {1: cam}, shots, points)
  with pytest.raises(errors.DataError, match='no path below'):
    colmap.read_model(tmp_path)


@pytest.mark.parametrize('space', ['\u00a0', '\u202f', '\u3000'])
@pytest.mark.parametrize('kind', ['binary', 'text'])
def test_names_may_hold_any_kind_of_space(kind, space, truth, tmp_path):
  """macOS: 'Screenshot ... 9.41.00<U+202F>AM.png'."""
  cam, shots, points = colmap_util.colmap_parts(truth)
  name = f'Screenshot 9.41.00{space}AM.png'
  shots[1] = dataclasses.replace(shots[1], name=name)
  write = getattr(colmap_util, f'write_{kind}')
  write(tmp_path, {1: cam}, shots, points)
  assert name in [i.name for i in colmap.read_model(tmp_path).images]


def test_an_image_without_its_camera_is_named(truth, tmp_path):
  cam, shots, points = colmap_util.colmap_parts(truth)
  colmap_util.write_text(tmp_path, {2: cam}, shots, points)
  with pytest.raises(errors.DataError, match='view_03.png has the camera 1'):
    colmap.read_model(tmp_path)


def test_no_registered_images_is_an_error(truth, tmp_path):
  write_part(tmp_path, truth, 0)
  with pytest.raises(errors.DataError, match='no registered images'):
    colmap.to_photographs(colmap.read_model(tmp_path), tmp_path)


def no_pixels(cfg, photos):
  """Instead of images: the scene is made without any file."""
  shape = np.ones_like(photos.widths)
  return photographs.PixelSource(
    shape, shape, 3, np.uint8, lambda i: np.zeros((1, 1, 3), np.uint8)
  )


def load_or_refuse(folder):
  """Runs every stage that sees the numbers of the files."""
  cfg = base.DataConfig(
    near=0.1, far=9.0, depth_loss_mult=1.0, depth_source='points'
  )
  try:
    photos = colmap.to_photographs(colmap.read_model(folder), folder)
    scene = photographs.make_scene(cfg, 'train', photos, no_pixels)
    base.validate_scene(scene, source='here')
  except errors.DataError as e:
    assert '\n' not in str(e)
    return False
  return True


@pytest.mark.parametrize('name', ['cameras.bin', 'images.bin', 'points3D.bin'])
def test_truncated_files_are_refused_at_any_length(name, truth, tmp_path):
  write_part(tmp_path, truth, 3)
  data = (tmp_path / name).read_bytes()
  assert load_or_refuse(tmp_path)
  for length in range(0, len(data), 5):
    (tmp_path / name).write_bytes(data[:length])
    with pytest.raises(errors.DataError, match=f'{name} is damaged'):
      colmap.read_model(tmp_path)


def test_announced_sizes_are_checked_before_they_are_allocated(truth, tmp_path):
  write_part(tmp_path, truth, 3)
  for name in ('cameras.bin', 'images.bin', 'points3D.bin'):
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(b'\xff' * 8 + data[8:])
    with pytest.raises(
      errors.DataError, match='announces 18446744073709551615'
    ):
      colmap.read_model(tmp_path)
    (tmp_path / name).write_bytes(data)


@hypothesis.settings(
  max_examples=40,
  deadline=None,
  derandomize=True,
  suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(data=strategies.data())
def test_damaged_bytes_give_a_scene_or_one_line(data, model_folder, tmp_path):
  """No other exception, no warning, whatever the files hold."""
  folder = pathlib.Path(tmp_path / 'model')
  shutil.copytree(model_folder, folder, dirs_exist_ok=True)
  file = data.draw(strategies.sampled_from(sorted(folder.iterdir())))
  content = bytearray(file.read_bytes())
  for _ in range(data.draw(strategies.integers(1, 4))):
    at = data.draw(strategies.integers(0, len(content) - 1))
    new = data.draw(
      strategies.sampled_from(
        [b'\0', b'\xff', b'\x7f\xf0', b'\xff\xff\xff\xff', b'9', b'-', b'e308']
        + [b'nan ', b'\n', b' ', b'\x00\x00\x00\x00\x00\x00\xf8\x7f', b'#']
      )
    )
    content[at : at + len(new)] = new
  file.write_bytes(content)
  load_or_refuse(folder)
