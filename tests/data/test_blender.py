"""Blender scenes load exactly, small, or with one line that says why not."""

import json
import math
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from multinerf import errors
from multinerf.cameras import projection
from multinerf.data import base, images
from multinerf.ops import color

ANGLE = 0.69


def pose(i):
  """A different proper camera-to-world matrix for each i."""
  c, s = math.cos(0.3 * i), math.sin(0.3 * i)
  return [[c, -s, 0, i], [s, c, 0, 2], [0, 0, 1, 4], [0, 0, 0, 1]]


def write_scene(folder, pictures, *, names=None, suffix='.png'):
  """Writes uint8 pictures and transforms_train.json; returns the meta data."""
  names = names or [f'./train/r_{i}' for i in range(len(pictures))]
  for name, picture in zip(names, pictures, strict=True):
    images.write_png(folder / f'{name.removesuffix(suffix)}.png', picture)
  meta = {
    'camera_angle_x': ANGLE,
    'frames': [
      {'file_path': name, 'transform_matrix': pose(i)}
      for i, name in enumerate(names)
    ],
  }
  write_meta(folder, meta)
  return meta


def write_meta(folder, meta):
  (folder / 'transforms_train.json').write_text(json.dumps(meta))


def random_pictures(num=3, shape=(6, 8, 4), seed=0):
  generator = np.random.default_rng(seed)
  return list(generator.integers(0, 256, (num, *shape), dtype=np.uint8))


def load(folder, **options):
  cfg = base.DataConfig(
    dataset_loader='blender', data_dir=str(folder), **options
  )
  return base.load_scene(cfg, 'train')


def over_white(picture):
  """float64 twin of the compositing."""
  rgb, alpha = picture[..., :3] / 255, picture[..., 3:] / 255
  return rgb * alpha + 1 - alpha


def test_colours_stay_8_bit_rgba_and_poses_are_untouched(tmp_path):
  pictures = random_pictures()
  write_scene(tmp_path, pictures)
  scene = load(tmp_path, near=1.5, far=7.0)
  assert scene.images.values.dtype == np.uint8
  for i, picture in enumerate(pictures):
    np.testing.assert_array_equal(scene.images.image(i), picture)
    np.testing.assert_array_equal(
      scene.cameras.camtoworlds[i], np.array(pose(i), np.float32)[:3]
    )
  assert scene.image_names == ('r_0.png', 'r_1.png', 'r_2.png')
  assert (scene.name, scene.split) == (tmp_path.name, 'train')
  assert float(scene.cameras.near) == 1.5 and float(scene.cameras.far) == 7.0
  assert scene.disps is scene.normals is scene.alphas is None


def test_outermost_pixel_edges_span_the_field_of_view(tmp_path):
  write_scene(tmp_path, random_pictures())
  cameras = load(tmp_path).cameras
  edges = cameras.pixtocams[0] @ np.array([[0, 8], [3, 3], [1, 1]])
  angle = np.arctan(edges[0, 1]) - np.arctan(edges[0, 0])
  np.testing.assert_allclose(angle, ANGLE, rtol=1e-6)  # float32
  # Square pixels, principal point in the middle.
  pixtocam = projection.get_pixtocam(4 / math.tan(ANGLE / 2), 8.0, 6.0)
  np.testing.assert_allclose(cameras.pixtocams[0], pixtocam, rtol=1e-6)


@pytest.mark.parametrize(
  'names',
  [
    ['train/r_0', './train/r_1'],
    ['train/r_0.png', './train/r_1.png'],
    ['views/0.5', 'views/1.0'],  # a dot that is no extension
  ],
)
def test_file_path_with_or_without_prefix_and_extension(tmp_path, names):
  pictures = random_pictures(2)
  write_scene(tmp_path, pictures, names=names)
  scene = load(tmp_path)
  for i, picture in enumerate(pictures):
    np.testing.assert_array_equal(scene.images.image(i), picture)


def test_jpeg_is_found_when_there_is_no_png(tmp_path):
  meta = write_scene(tmp_path, random_pictures(1))
  meta['frames'][0]['file_path'] = 'photo'
  write_meta(tmp_path, meta)
  Image.new('RGB', (8, 6), (255, 0, 0)).save(tmp_path / 'photo.jpg')
  assert load(tmp_path).images.values.shape == (48, 3)


def test_rgb_and_grey_images_join_rgba_ones_as_opaque(tmp_path):
  pictures = random_pictures(3)
  write_scene(tmp_path, pictures)
  images.write_png(tmp_path / 'train' / 'r_1.png', pictures[1][..., :3])
  images.write_png(tmp_path / 'train' / 'r_2.png', pictures[2][..., 0])
  scene = load(tmp_path)
  got = scene.images.image(1)
  np.testing.assert_array_equal(got[..., :3], pictures[1][..., :3])
  grey = scene.images.image(2)
  np.testing.assert_array_equal(
    grey[..., :3], np.repeat(pictures[2][..., :1], 3, -1)
  )
  assert (got[..., 3] == 255).all() and (grey[..., 3] == 255).all()


def test_one_16_bit_image_keeps_its_bits_and_lifts_the_others(tmp_path):
  pictures = random_pictures(2, (6, 8, 3))
  write_scene(tmp_path, pictures)
  deep = np.random.default_rng(0).integers(0, 65536, (6, 8)).astype(np.uint16)
  Image.fromarray(deep).save(tmp_path / 'train' / 'r_1.png')
  scene = load(tmp_path)
  assert scene.images.values.dtype == np.uint16
  np.testing.assert_array_equal(scene.images.image(1)[..., 0], deep)
  lifted = np.asarray(color.decode_rgb(scene.images.image(0)))
  np.testing.assert_allclose(lifted, pictures[0] / 255, rtol=1e-6)


def test_factor_averages_boxes_then_composites_into_16_bits(tmp_path):
  pictures = random_pictures()
  write_scene(tmp_path, pictures)
  scene = load(tmp_path, factor=2)
  assert scene.images.values.dtype == np.uint16
  assert scene.images.values.shape == (3 * 3 * 4, 3)
  boxes = np.stack(pictures)[1].reshape(3, 2, 4, 2, 4).mean((1, 3))
  got = scene.images.image(1) / 65535
  # Half a step of 16 bits, plus float32 rounding.
  np.testing.assert_allclose(got, over_white(boxes), atol=0.5 / 65535 + 1e-6)
  assert list(scene.cameras.widths) == [4] * 3
  edge = scene.cameras.pixtocams[0] @ np.array([4, 1.5, 1])
  np.testing.assert_allclose(edge[0], math.tan(ANGLE / 2), rtol=1e-6)


def test_training_split_takes_at_most_4_5_bytes_a_pixel(tmp_path):
  num, side = 12, 128
  write_scene(tmp_path, random_pictures(num, (side, side, 4)))
  load(tmp_path)  # imports and caches are not part of the measurement
  tracemalloc.start()
  scene = load(tmp_path)
  now, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  num_pixels = num * side * side
  assert scene.images.values.nbytes / num_pixels == 4
  assert now / num_pixels < 4.5
  # While loading: the buffer, and in each of at most 8 threads one picture
  # with one or two copies; never all pictures as floats (16 bytes a pixel).
  assert peak / num_pixels < 4.5 + 8 * 3 * 4 / num


def test_reduced_training_split_takes_6_bytes_a_reduced_pixel(tmp_path):
  write_scene(tmp_path, random_pictures(2, (16, 16, 4)))
  values = load(tmp_path, factor=4).images.values
  assert values.nbytes == 6 * 2 * 4 * 4


def write_tiffs(folder, stems, shape, seed=0):
  """Linear RGBA planes for each stem; returns them as [n, H, W, 4]."""
  planes = np.random.default_rng(seed).random((len(stems), *shape, 4))
  planes = planes.astype(np.float32)
  for stem, four in zip(stems, planes, strict=True):
    for c, name in enumerate('RGBA'):
      images.write_tiff(folder / f'{stem}_{name}.tiff', four[..., c])
  return planes


@pytest.mark.parametrize('factor', [0, 2])
def test_tiffs_are_averaged_encoded_and_composited_as_floats(tmp_path, factor):
  stems = ['train/r_0', 'train/r_1']
  write_scene(tmp_path, random_pictures(2))
  planes = write_tiffs(tmp_path, stems, (6, 8))
  scene = load(
    tmp_path, use_tiffs=True, factor=factor, compute_disp_metrics=False
  )
  if factor:
    planes = planes.reshape(2, 3, 2, 4, 2, 4).mean((2, 4))
  encoded = np.where(
    planes <= 0.0031308, 12.92 * planes, 1.055 * planes ** (1 / 2.4) - 0.055
  )
  want = encoded[..., :3] * encoded[..., 3:] + 1 - encoded[..., 3:]
  assert scene.images.values.dtype == np.float32
  for i in range(2):
    np.testing.assert_allclose(scene.images.image(i), want[i], atol=1e-5)


@pytest.mark.parametrize('factor', [0, 2])
def test_disparities_are_read_as_stored(tmp_path, factor):
  write_scene(tmp_path, random_pictures(2))
  disps = np.random.default_rng(0).random((2, 6, 8)).astype(np.float32)
  for i in range(2):
    images.write_tiff(tmp_path / 'train' / f'r_{i}_disp.tiff', disps[i])
  scene = load(tmp_path, compute_disp_metrics=True, factor=factor)
  if factor:
    disps = disps.reshape(2, 3, 2, 4, 2).mean((2, 4))
  assert scene.disps.values.dtype == np.float32
  for i in range(2):
    np.testing.assert_allclose(
      scene.disps.image(i)[..., 0], disps[i], rtol=1e-6
    )


def test_signed_normals_are_read_as_stored_with_the_image_alpha(tmp_path):
  pictures = random_pictures(2)
  write_scene(tmp_path, pictures)
  encoded = random_pictures(2, seed=5)  # with an alpha channel, ignored
  for i in range(2):
    images.write_png(tmp_path / 'train' / f'r_{i}_normal.png', encoded[i])
  scene = load(tmp_path, compute_normal_metrics=True)
  for i in range(2):
    np.testing.assert_allclose(
      scene.normals.image(i), encoded[i][..., :3] * 2.0 / 255 - 1, atol=1e-6
    )
    np.testing.assert_allclose(
      scene.alphas.image(i)[..., 0], pictures[i][..., 3] / 255, rtol=1e-6
    )
    np.testing.assert_array_equal(scene.images.image(i), pictures[i])


@pytest.mark.parametrize('suffix', ['_normal_0001', '_normal_0000'])
def test_clipped_normals_are_restored_or_do_not_count(tmp_path, suffix):
  generator = np.random.default_rng(0)
  truth = generator.normal(size=(6, 8, 3))
  truth /= np.linalg.norm(truth, axis=-1, keepdims=True)
  linear = np.maximum(truth, 0)
  encoded = np.where(
    linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
  )
  write_scene(tmp_path, [np.full((6, 8, 4), 255, np.uint8)])
  images.write_png(tmp_path / 'train' / f'r_0{suffix}.png', encoded)
  scene = load(tmp_path, compute_normal_metrics=True)
  counts = scene.alphas.image(0)[..., 0]
  one_lost = (truth < 0).sum(-1) <= 1
  assert (counts[one_lost] == 1).all() and (counts == 0).any()
  error = np.degrees(
    np.arccos(np.clip((scene.normals.image(0) * truth).sum(-1), -1, 1))
  )
  # 8-bit steps of the kept components; a lost one near 0 is the least sure.
  assert np.median(error[one_lost]) < 1 and error[one_lost].max() < 8


def test_reduced_alphas_are_box_averages(tmp_path):
  pictures = random_pictures(1)
  write_scene(tmp_path, pictures)
  images.write_png(tmp_path / 'train' / 'r_0_normal.png', pictures[0])
  scene = load(tmp_path, compute_normal_metrics=True, factor=2)
  want = pictures[0][..., 3].reshape(3, 2, 4, 2).mean((1, 3)) / 255
  np.testing.assert_allclose(scene.alphas.image(0)[..., 0], want, rtol=1e-5)


def _edit(change):
  def apply(folder):
    path = folder / 'transforms_train.json'
    meta = json.loads(path.read_text())
    change(meta)
    path.write_text(json.dumps(meta))

  return apply


def _write(name, content):
  return lambda folder: (folder / name).write_bytes(content)


def _frame(**changes):
  return _edit(lambda meta: meta['frames'][1].update(changes))


FAULTS = {
  'no transforms': (
    lambda folder: (folder / 'transforms_train.json').unlink(),
    'transforms_train.json does not exist.*Config.data_dir',
  ),
  'broken json': (
    _write('transforms_train.json', b'{"frames": ['),
    'transforms_train.json is not valid JSON',
  ),
  'binary json': (
    _write('transforms_train.json', b'\x80\x03c'),
    'transforms_train.json is not valid JSON',
  ),
  'deep json': (
    _write('transforms_train.json', b'[' * 100_000),
    'transforms_train.json is not valid JSON',
  ),
  'json list': (
    _write('transforms_train.json', b'[]'),
    'transforms_train.json is not valid JSON: it holds a list',
  ),
  'no angle': (_edit(lambda m: m.pop('camera_angle_x')), 'camera_angle_x'),
  'text angle': (_edit(lambda m: m.update(camera_angle_x='wide')), "'wide'"),
  'angle 4': (_edit(lambda m: m.update(camera_angle_x=4)), 'is 4; it must'),
  'nan angle': (
    _edit(lambda m: m.update(camera_angle_x=math.nan)),
    'is nan; it must',
  ),
  'no frames key': (_edit(lambda m: m.pop('frames')), "'frames' is missing"),
  'zero frames': (_edit(lambda m: m.update(frames=[])), 'lists no frames'),
  'frame no dict': (
    _edit(lambda m: m['frames'].insert(1, 7)),
    "frame 1: 'file_path' is missing",
  ),
  'no file_path': (_frame(file_path=None), "frame 1: 'file_path' is missing"),
  'empty path': (_frame(file_path='./'), 'frame 1: .* no file path'),
  'long path': (_frame(file_path='x' * 5000), 'frame 1: .* no file path'),
  'no matrix': (_frame(transform_matrix=None), "'transform_matrix' is missing"),
  '3x4 matrix': (_frame(transform_matrix=pose(1)[:3]), 'not 4x4 finite'),
  'ragged matrix': (_frame(transform_matrix=[[1], [2, 3]]), 'not 4x4 finite'),
  'nan matrix': (
    _frame(transform_matrix=[*pose(1)[:3], [0, 0, math.nan, 1]]),
    r'frame 1 \(./train/r_1\): transform_matrix is not 4x4 finite',
  ),
  'huge integer': (
    _frame(transform_matrix=[*pose(1)[:3], [0, 0, 10**400, 1]]),
    'not 4x4 finite',
  ),
  'singular pose': (
    _frame(transform_matrix=[[0, 0, 0, 1]] * 4),
    'pose of r_1.png is singular',
  ),
  'missing image': (
    lambda folder: (folder / 'train' / 'r_1.png').unlink(),
    '1 of 3 images .* are missing, the first is .*r_1.png',
  ),
  'unreadable image': (
    _write('train/r_1.png', b'not an image'),
    'Cannot read image .*r_1.png',
  ),
  'wrong size': (
    lambda folder: images.write_png(
      folder / 'train' / 'r_2.png', np.zeros((5, 8, 4))
    ),
    'r_2.png is 8x5, but .*r_0.png is 8x6',
  ),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_each_fault_is_one_line_that_names_it(tmp_path, fault):
  write_scene(tmp_path, random_pictures())
  apply, message = FAULTS[fault]
  apply(tmp_path)
  with pytest.raises(errors.DataError, match=message) as info:
    load(tmp_path)
  assert '\n' not in str(info.value)
  assert str(tmp_path) in str(info.value)


def test_damaged_pixels_found_in_a_thread_are_reported(tmp_path):
  write_scene(tmp_path, random_pictures(3, (64, 64, 4)))
  path = tmp_path / 'train' / 'r_1.png'
  path.write_bytes(path.read_bytes()[:4000])
  with pytest.raises(errors.DataError, match='Cannot read image .*r_1.png'):
    load(tmp_path)


@pytest.mark.parametrize(
  'options, message',
  [
    ({'factor': 4}, 'r_0.png is 8x6, not divisible .* Config.factor'),
    ({'use_tiffs': True}, '12 of 12 TIFF .* Config.use_tiffs'),
    ({'compute_disp_metrics': True}, '3 of 3 disp.*compute_disp_metrics'),
    ({'compute_normal_metrics': True}, '3 of 3 norm.*compute_normal_metrics'),
    ({'near': 6.0}, 'Config.near'),
  ],
)
def test_options_the_files_cannot_serve_name_the_gin_key(
  tmp_path, options, message
):
  write_scene(tmp_path, random_pictures())
  with pytest.raises(errors.DataError, match=message):
    load(tmp_path, **options)


def test_disparity_of_another_size_is_refused(tmp_path):
  write_scene(tmp_path, random_pictures(1))
  images.write_tiff(tmp_path / 'train' / 'r_0_disp.tiff', np.ones((3, 4)))
  with pytest.raises(errors.DataError, match='r_0_disp.tiff is 4x3, but'):
    load(tmp_path, compute_disp_metrics=True)


def test_tiff_that_is_not_finite_is_refused(tmp_path):
  write_scene(tmp_path, random_pictures(1))
  images.write_tiff(
    tmp_path / 'train' / 'r_0_disp.tiff', np.full((6, 8), np.nan)
  )
  with pytest.raises(errors.DataError, match='r_0_disp.tiff .*not finite'):
    load(tmp_path, compute_disp_metrics=True)


def test_camera_path_is_refused_with_its_gin_key(tmp_path):
  write_scene(tmp_path, random_pictures())
  with pytest.raises(errors.ConfigError, match='Config.render_path'):
    load(tmp_path, render_path=True)


def test_real_scene_loads_whole_and_small(shared_data):
  folder = shared_data('chair_200')
  scene = load(folder)
  assert len(scene) == 100
  num_pixels = 100 * 200 * 200
  assert scene.images.values.nbytes <= 4.5 * num_pixels
  with Image.open(folder / 'train' / 'r_7.png') as picture:
    np.testing.assert_array_equal(scene.images.image(7), np.asarray(picture))
  focal = 100 / math.tan(0.6911112070083618 / 2)  # nerf_synthetic's angle
  np.testing.assert_allclose(
    scene.cameras.pixtocams[:, 0, 0], 1 / focal, rtol=1e-6
  )
  distance = np.linalg.norm(scene.cameras.camtoworlds[:, :, 3], axis=-1)
  np.testing.assert_allclose(distance, 4.03, atol=0.01)  # its cameras' sphere


def test_real_normals_point_to_the_camera(shared_data, tmp_path):
  folder = shared_data('chair')
  meta = json.loads((folder / 'transforms_test.json').read_text())
  frame = meta['frames'][0]
  frame['file_path'] = str(folder / frame['file_path'])
  write_meta(tmp_path, {**meta, 'frames': [frame]})
  scene = load(tmp_path, compute_normal_metrics=True, factor=4)
  solid = scene.alphas.values[:, 0] == 1  # and known
  assert solid.sum() > 3000
  normals = scene.normals.values[solid]
  to_camera = scene.cameras.camtoworlds[0, :, 2]
  # World-space normals of visible surfaces face the camera, nearly all; -0.35
  # is the sine of the half angle of view.
  assert np.mean(normals @ to_camera > -0.35) > 0.99
  lengths = np.linalg.norm(normals, axis=-1)
  assert abs(np.median(lengths) - 1) < 0.02
