"""Multi-scale Blender scenes: four sizes, their weights, and who is drawn."""

import json
import math

import numpy as np
import pytest

from multinerf import errors
from multinerf.cameras import projection
from multinerf.data import base, batching, images

ANGLE = 0.69
WIDTH, HEIGHT = 24, 16
NUM_VIEWS = 3


def pose(i):
  c, s = math.cos(0.3 * i), math.sin(0.3 * i)
  return [[c, -s, 0, i], [s, c, 0, 2], [0, 0, 1, 4], [0, 0, 0, 1]]


def random_pictures(channels=4):
  generator = np.random.default_rng(0)
  shape = (NUM_VIEWS, HEIGHT, WIDTH, channels)
  return list(generator.integers(0, 256, shape, dtype=np.uint8))


def write_blender(folder, pictures):
  frames = []
  for i, picture in enumerate(pictures):
    images.write_png(folder / 'train' / f'r_{i}.png', picture)
    frames.append({'file_path': f'./train/r_{i}', 'transform_matrix': pose(i)})
  meta = {'camera_angle_x': ANGLE, 'frames': frames}
  (folder / 'transforms_train.json').write_text(json.dumps(meta))


def halved(picture):
  """One step of mip-NeRF's conversion, in floats."""
  h, w, c = picture.shape
  return picture.reshape(h // 2, 2, w // 2, 2, c).mean((1, 3))


def write_metadata(folder, pictures, **changes):
  """What google/mipnerf's conversion writes; returns the lists."""
  names = ('file_path', 'cam2world', 'width', 'height', 'focal', 'label')
  lists = {k: [] for k in (*names, 'near', 'far', 'lossmult', 'pix2cam')}
  for i, picture in enumerate(pictures):
    small = picture.astype(np.float64) / 255
    for k in range(4):
      h, w = small.shape[:2]
      focal = 0.5 * WIDTH / math.tan(0.5 * ANGLE) / 2**k
      name = f'images_train/{i:03d}_d{k}.png'
      images.write_png(folder / name, small)
      row = (name, pose(i), w, h, focal, k, 2.5, 6.5, 4.0**k)
      opengl = [
        [1 / focal, 0, -0.5 * w / focal],
        [0, -1 / focal, 0.5 * h / focal],
        [0, 0, -1],
      ]
      for key, value in zip(lists, (*row, opengl), strict=True):
        lists[key].append(value)
      small = halved(small) if k < 3 else small
  lists |= changes
  write_json(folder, {'train': lists})
  return lists


def write_json(folder, meta):
  (folder / 'metadata.json').write_text(json.dumps(meta))


def load(folder, **options):
  cfg = base.DataConfig(
    dataset_loader='multicam', data_dir=str(folder), **options
  )
  return base.load_scene(cfg, 'train')


@pytest.fixture(params=['metadata', 'in memory'])
def scene(request, tmp_path):
  """A scene of opaque pictures, from either source."""
  pictures = random_pictures(channels=3)
  write = {'metadata': write_metadata, 'in memory': write_blender}
  write[request.param](tmp_path, pictures)
  return load(tmp_path)


def test_every_view_has_four_sizes_and_weights(scene):
  assert len(scene) == 4 * NUM_VIEWS
  assert list(scene.cameras.widths[:5]) == [24, 12, 6, 3, 24]
  assert list(scene.cameras.heights[4:8]) == [16, 8, 4, 2]
  assert list(scene.cameras.lossmult[4:]) == [1, 4, 16, 64] * 2
  assert scene.scales == (1, 2, 4, 8) * NUM_VIEWS
  assert [name.split('_')[-1] for name in scene.image_names[:4]] == [
    f'd{k}.png' for k in range(4)
  ]


def test_images_are_area_averages(scene):
  for i, picture in enumerate(random_pictures(channels=3)):
    want = picture.astype(np.float64)
    for k in range(4):
      got = scene.images.image(4 * i + k)
      np.testing.assert_allclose(got, want, atol=0.5)  # rounding to 8 bits
      want = halved(want) if k < 3 else want


def test_all_scales_of_a_view_share_pose_and_field_of_view(scene):
  cameras = scene.cameras
  for i in range(len(scene)):
    w, h = cameras.widths[i], cameras.heights[i]
    corners = cameras.pixtocams[i] @ np.array([[0, w], [0, h], [1, 1]])
    half = math.tan(ANGLE / 2)
    np.testing.assert_allclose(corners[0], [-half, half], rtol=1e-5)
    np.testing.assert_allclose(corners[1] * WIDTH, corners[0] * HEIGHT)
    np.testing.assert_allclose(cameras.camtoworlds[i], pose(i // 4)[:3])


def test_small_images_have_wide_rays(scene):
  cameras, radii = scene.cameras, []
  for i in range(4):
    rays = projection.pixels_to_rays(
      *projection.pixel_coordinates(WIDTH // 2**i, HEIGHT // 2**i),
      cameras.pixtocams[i],
      cameras.camtoworlds[i],
    )
    radii.append(rays.radii.mean())
  np.testing.assert_allclose(np.divide(radii[1:], radii[:-1]), 2, rtol=1e-3)


def test_pixels_of_all_scales_are_drawn_alike_and_weighted_by_area(scene):
  num = 40_000
  sampler = batching.RaySampler(scene, batching.SamplerConfig(batch_size=num))
  batch = sampler.batch(0)
  cam_idx = batch.pixels.cam_idx[:, 0]
  drawn = np.bincount(cam_idx, minlength=len(scene))
  area = np.asarray(scene.cameras.widths) * np.asarray(scene.cameras.heights)
  expected = num * area / area.sum()
  # Binomial counts: four standard deviations.
  assert (np.abs(drawn - expected) < 4 * np.sqrt(expected) + 1).all()
  rays = projection.cast_ray_batch(scene.cameras, batch.pixels)
  lossmult = np.asarray(rays.lossmult)[:, 0]
  np.testing.assert_array_equal(lossmult, 4.0 ** (cam_idx % 4))
  # So that the scales weigh alike: a quarter each.
  share = [lossmult[cam_idx % 4 == k].sum() for k in range(4)]
  np.testing.assert_allclose(np.divide(share, np.sum(share)), 0.25, atol=0.05)


def test_opacity_weighs_colours_when_sizes_are_made_in_memory(tmp_path):
  pictures = random_pictures()
  write_blender(tmp_path, pictures)
  scene = load(tmp_path)
  assert scene.images.values.dtype == np.uint8
  for i, picture in enumerate(pictures):
    rgb, alpha = picture[..., :3] / 255, picture[..., 3:] / 255
    seen = rgb * alpha + 1 - alpha
    for k in range(4):
      got = scene.images.image(4 * i + k) / 255
      got = got[..., :3] * got[..., 3:] + 1 - got[..., 3:]
      # Colour and opacity are both rounded to 8 bits.
      np.testing.assert_allclose(got, seen, atol=1.5 / 255)
      seen = halved(seen) if k < 3 else seen


def test_bounds_and_poses_are_those_of_the_file(tmp_path):
  write_metadata(
    tmp_path, random_pictures(), near=[0.5 + k / 4 for k in range(12)]
  )
  scene = load(tmp_path)
  np.testing.assert_allclose(scene.cameras.near, 0.5 + np.arange(12) / 4)
  np.testing.assert_allclose(scene.cameras.far, 6.5)
  x, y = projection.pixel_coordinates(WIDTH, HEIGHT)
  # mip-NeRF's own ray of a pixel: pix2cam and the rotation, no axes flipped.
  lists = json.loads((tmp_path / 'metadata.json').read_text())['train']
  pixel = np.stack([x + 0.5, y + 0.5, np.ones_like(x)], -1)
  rotation = np.array(lists['cam2world'][4])[:3, :3]
  want = pixel @ np.array(lists['pix2cam'][4]).T @ rotation.T
  rays = projection.pixels_to_rays(
    x, y, scene.cameras.pixtocams[4], scene.cameras.camtoworlds[4]
  )
  np.testing.assert_allclose(rays.directions, want, atol=1e-5)


def test_ground_truth_shrinks_along(tmp_path):
  pictures = random_pictures()
  write_blender(tmp_path, pictures)
  disps = np.random.default_rng(1).random((NUM_VIEWS, HEIGHT, WIDTH))
  for i in range(NUM_VIEWS):
    path = tmp_path / 'train' / f'r_{i}_disp.tiff'
    images.write_tiff(path, disps[i].astype(np.float32))
  scene = load(tmp_path, compute_disp_metrics=True)
  np.testing.assert_allclose(
    scene.disps.image(5), halved(disps[1][..., None]), rtol=1e-5
  )


def _lists(**changes):
  def apply(folder):
    meta = json.loads((folder / 'metadata.json').read_text())
    for key, value in changes.items():
      meta['train'][key] = value
    write_json(folder, meta)

  return apply


FAULTS = {
  'no split': (
    lambda f: write_json(f, {'test': {}}),
    "'train' is missing; a dict",
  ),
  'broken': (
    lambda f: (f / 'metadata.json').write_bytes(b'{'),
    'metadata.json is not valid JSON',
  ),
  'no list': (_lists(width=7), "train: 'width' is '7'; a list"),
  'short list': (_lists(width=[24]), 'width is not 12 finite numbers'),
  'no images': (_lists(file_path=[]), 'lists no images'),
  'name': (_lists(file_path=[3] * 12), "file_path holds '3'"),
  'missing image': (
    lambda f: (f / 'images_train' / '001_d2.png').unlink(),
    '1 of 12 posed images are missing .*images_train/001_d2.png',
  ),
  'size': (
    _lists(height=[17] * 12),
    '000_d0.png is 24x16, but .*metadata.json says 24x17',
  ),
  'huge size': (_lists(width=[1e11] * 12), 'says 1e\\+11x16'),
  'bounds': (
    _lists(near=[2] * 11 + [7]),
    'near = 7 and far = 6.5 of 002_d3.png are not',
  ),
  'matrix': (_lists(pix2cam=[[1, 2]] * 12), 'pix2cam is not 12x3x3'),
  'weight': (_lists(lossmult=[-1] * 12), 'lossmult must not be negative'),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_each_fault_is_one_line_that_names_it(tmp_path, fault):
  write_metadata(tmp_path, random_pictures())
  apply, message = FAULTS[fault]
  apply(tmp_path)
  with pytest.raises(errors.DataError, match=message) as info:
    load(tmp_path)
  assert '\n' not in str(info.value) and str(tmp_path) in str(info.value)


def test_a_folder_of_another_kind_is_refused(tmp_path):
  with pytest.raises(errors.DataError, match='neither metadata.json nor'):
    load(tmp_path)


def test_sizes_that_eight_does_not_divide_are_refused(tmp_path):
  write_blender(tmp_path, [p[:12] for p in random_pictures()])
  with pytest.raises(errors.DataError, match='r_0.png is 24x12; .* by 8'):
    load(tmp_path)


@pytest.mark.parametrize(
  'options', [{'factor': 2}, {'compute_disp_metrics': True}]
)
def test_options_the_listed_images_cannot_serve_are_refused(tmp_path, options):
  write_metadata(tmp_path, random_pictures())
  with pytest.raises(errors.ConfigError, match=f'Config.{next(iter(options))}'):
    load(tmp_path, **options)
