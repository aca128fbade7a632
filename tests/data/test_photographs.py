"""Posed photographs become scenes: frames, splits, sizes, masks, depths."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from multinerf import errors
from multinerf.cameras import camera, poses, projection
from multinerf.data import base, images, photographs, resize
from multinerf.ops import color

SIZE = (12, 10)  # width, height
FISHEYE = camera.ProjectionType.FISHEYE


def random_pictures(num, size=SIZE, channels=3, seed=0):
  generator = np.random.default_rng(seed)
  shape = (num, size[1], size[0], channels)
  return list(generator.integers(0, 256, shape, dtype=np.uint8))


def ring_poses(num, seed=1):
  """Cameras on a wobbly ring that look at a point, in no special frame."""
  generator = np.random.default_rng(seed)
  angle = 2 * np.pi * np.arange(num) / num
  back = np.stack([np.cos(angle), np.sin(angle), 0.2 * np.ones(num)], -1)
  back += generator.normal(0, 0.05, back.shape)
  up = np.array([0.1, 0.0, 1.0])
  target = np.array([5.0, -3.0, 2.0])
  return np.stack([poses.viewmatrix(b, up, target + 3 * b) for b in back])


def write_photos(folder, num=9, pictures=None, **changes):
  """Photographs of random pictures below <folder>/images."""
  pictures = random_pictures(num) if pictures is None else pictures
  num = len(pictures)
  names = tuple(f'p{i:02d}.png' for i in range(num))
  for name, picture in zip(names, pictures, strict=True):
    images.write_png(folder / 'images' / name, picture)
  widths = np.array([p.shape[1] for p in pictures])
  heights = np.array([p.shape[0] for p in pictures])
  pixtocams = np.stack(
    [
      projection.get_pixtocam(14.0 + i, w, h)
      for i, (w, h) in enumerate(zip(widths, heights, strict=True))
    ]
  )
  photos = photographs.Photographs(
    folder,
    names,
    tuple(folder / 'images' / n for n in names),
    ring_poses(num),
    pixtocams,
    widths,
    heights,
  )
  return dataclasses.replace(photos, **changes)


def config(**options):
  return base.DataConfig(**({'near': 0.1, 'far': 10.0} | options))


def make(photos, split='train', **options):
  scene = photographs.make_scene(config(**options), split, photos)
  base.validate_scene(scene, source='here')
  return scene


def write_grey16(path, values):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(values.astype(np.uint16)).save(path)
  return path


def over_white(image):
  """float64 [H, W, 3] of straight RGBA."""
  alpha = image[..., 3:] / 255
  return image[..., :3] / 255 * alpha + 1 - alpha


def averaged(image, width, height):
  """Slow twin of `resize.area_average` for [H, W] float64."""
  old_h, old_w = image.shape
  # Repeating makes both sizes divide.
  fine = np.repeat(np.repeat(image, height, 0), width, 1)
  return fine.reshape(height, old_h, width, old_w).mean((1, 3))


def test_every_eighth_image_is_a_test_image_and_pixels_are_as_stored(tmp_path):
  pictures = random_pictures(9)
  photos = write_photos(tmp_path, pictures=pictures)
  train, test = make(photos, 'train'), make(photos, 'test')
  assert test.image_names == ('p00.png', 'p08.png')
  assert train.image_names == tuple(f'p{i:02d}.png' for i in range(1, 8))
  assert train.images.values.dtype == np.uint8
  for i in range(7):
    np.testing.assert_array_equal(train.images.image(i), pictures[i + 1])
  np.testing.assert_array_equal(test.images.image(1), pictures[8])


def test_splits_follow_the_config_or_the_format(tmp_path):
  photos = write_photos(tmp_path)
  assert len(make(photos, 'test', llffhold=4)) == 3
  everything = make(photos, llff_use_all_images_for_training=True)
  assert everything.image_names == photos.names
  own = dataclasses.replace(photos, test_names=frozenset({'p05.png'}))
  assert make(own, 'test').image_names == ('p05.png',)
  assert 'p05.png' not in make(own).image_names and len(make(own)) == 8
  with pytest.raises(errors.DataError, match='train split.*Config.llffhold'):
    make(photos, llffhold=1)


@pytest.mark.parametrize('mode', ['pca', 'focus', 'none'])
def test_world_transform_takes_input_poses_to_the_scene(mode, tmp_path):
  photos = write_photos(tmp_path)
  scene = make(
    photos, normalize_poses=mode, llff_use_all_images_for_training=True
  )
  matrix = scene.world_transform
  scale = np.cbrt(np.linalg.det(matrix[:3, :3]))
  np.testing.assert_allclose(  # a similarity
    matrix[:3, :3] @ matrix[:3, :3].T, scale**2 * np.eye(3), atol=1e-9
  )
  want = poses.unpad_poses(matrix @ poses.pad_poses(photos.camtoworlds))
  want[:, :, :3] /= scale
  np.testing.assert_allclose(scene.cameras.camtoworlds, want, atol=1e-6)
  extent = np.abs(want[:, :, 3]).max()
  assert extent == pytest.approx(1.0) or mode == 'none'


def test_images_of_different_sizes_channels_and_bits_share_a_scene(tmp_path):
  pictures = random_pictures(4)
  pictures[1] = random_pictures(1, (7, 5))[0]
  pictures[2] = random_pictures(1, SIZE, 4)[0]
  photos = write_photos(tmp_path, pictures=pictures)
  deep = np.arange(120).reshape(10, 12) * 500
  write_grey16(photos.files[3], deep)
  scene = make(photos, llff_use_all_images_for_training=True)
  assert scene.images.values.dtype == np.uint16
  assert scene.images.widths.tolist() == [12, 7, 12, 12]
  np.testing.assert_array_equal(
    scene.images.image(1)[..., :3], pictures[1].astype(np.uint16) * 257
  )
  assert (scene.images.image(1)[..., 3] == 65535).all()
  np.testing.assert_array_equal(
    scene.images.image(2), pictures[2].astype(np.uint16) * 257
  )
  np.testing.assert_array_equal(scene.images.image(3)[..., 0], deep)


@pytest.mark.parametrize('factor', [2, 3, 4])
def test_images_are_averaged_down_and_intrinsics_scaled_by_the_true_ratio(
  factor, tmp_path
):
  pictures = random_pictures(2, (13, 10))
  photos = write_photos(tmp_path, pictures=pictures)
  scene = make(photos, factor=factor, llff_use_all_images_for_training=True)
  width, height = int(13 / factor + 0.5), int(10 / factor + 0.5)
  for i, picture in enumerate(pictures):
    got = scene.images.image(i)
    assert got.dtype == np.uint8 and got.shape == (height, width, 3)
    want = averaged(picture[..., 1].astype(np.float64), width, height)
    # Half up; the twin's mean is exact to 1e-13.
    np.testing.assert_array_equal(got[..., 1], np.floor(want + 0.5 + 1e-9))
  # The corners of the image see what they saw before.
  for corner in ((0, 0, 1), (1, 1, 1)):
    new = scene.cameras.pixtocams[0] @ (np.array([width, height, 1]) * corner)
    old = photos.pixtocams[0] @ (np.array([13, 10, 1]) * corner)
    np.testing.assert_allclose(new, old, rtol=1e-6)


def test_averages_of_sixteen_bit_images_are_exact():
  generator = np.random.default_rng(0)
  image = generator.integers(0, 65536, (9, 11, 1), dtype=np.uint16)
  got = resize.area_average(image, 5, 4)
  want = averaged(image[..., 0].astype(np.float64), 5, 4)
  np.testing.assert_array_equal(got[..., 0], np.floor(want + 0.5 + 1e-9))


def test_large_images_are_averaged_in_strips():
  generator = np.random.default_rng(0)
  image = generator.integers(0, 256, (301, 8000, 3), dtype=np.uint8)
  got = resize.area_average(image, 1000, 10)
  fine = np.repeat(image[..., 2], 10, 0)
  want = fine.reshape(10, 301, 1000, 8).mean((1, 3))
  np.testing.assert_array_equal(got[..., 2], np.floor(want + 0.5 + 1e-9))


def test_averages_weigh_colours_with_opacity():
  """What is seen over white is the average of what was seen over white."""
  generator = np.random.default_rng(0)
  image = generator.integers(0, 256, (8, 8, 4), dtype=np.uint8)
  image[:4, :4, 3] = 0
  small = resize.area_average(image, 2, 2)
  want = color.downsample(over_white(image), 4)
  got = over_white(small)
  # Colours and opacity are each rounded to 8 bits.
  np.testing.assert_allclose(got, want, atol=1.5 / 255)
  assert small[0, 0].tolist() == [255, 255, 255, 0]


def test_masks_are_found_by_name_or_stem_and_are_optional(tmp_path):
  photos = write_photos(tmp_path)
  mask = np.full((10, 12), 255, np.uint8)
  mask[:, :3] = 0
  images.write_png(tmp_path / 'masks' / 'p01.png.png', mask)
  images.write_png(tmp_path / 'masks' / 'p02.png', mask)
  scene = make(photos)
  for i in (0, 1):
    np.testing.assert_array_equal(scene.masks.image(i)[..., 0], mask > 0)
  assert scene.masks.image(2).all()
  [note] = scene.notes
  assert note.startswith('Masks of 2 of 7 images keep 92.9%')
  inverted = make(photos, mask_keeps='black')
  np.testing.assert_array_equal(inverted.masks.image(0)[..., 0], mask == 0)
  assert make(photos, mask_dir=None).masks is None


def test_a_folder_of_masks_that_is_named_must_exist(tmp_path):
  """A name with a typing error trained on everything, in silence."""
  photos = write_photos(tmp_path)
  assert make(photos).masks is None  # the default need not exist
  with pytest.raises(errors.DataError, match='/mask;.*Config.mask_dir'):
    make(photos, mask_dir='mask')
  mask = np.full((10, 12), 255, np.uint8)
  mask[:, :3] = 0
  images.write_png(tmp_path / 'mask' / 'p01.png', mask)
  got = make(photos, mask_dir='mask').masks
  np.testing.assert_array_equal(got.image(0)[..., 0], mask > 0)


def test_a_smaller_pixel_is_kept_only_if_all_its_pixels_are(tmp_path):
  generator = np.random.default_rng(3)
  mask = (generator.uniform(size=(10, 12)) < 0.9).astype(np.uint8) * 255
  photos = write_photos(tmp_path)
  images.write_png(tmp_path / 'masks' / 'p01.png', mask)
  got = make(photos, factor=3).masks.image(0)[..., 0]
  # 10 rows become 3: each new row touches rows 10/3 apart, whole ones too.
  for y in range(3):
    top, bottom = int(np.floor(y * 10 / 3)), int(np.ceil((y + 1) * 10 / 3))
    for x in range(4):
      want = mask[top:bottom, 3 * x : 3 * x + 3].all()
      assert got[y, x] == want, (x, y)
  assert 0 < got.sum() < got.size


def test_useless_masks_are_refused(tmp_path):
  photos = write_photos(tmp_path)
  images.write_png(tmp_path / 'masks' / 'other.png', np.ones((10, 12)))
  with pytest.raises(errors.DataError, match='None of the masks.*mask_dir'):
    make(photos)
  images.write_png(tmp_path / 'masks' / 'p01.png', np.zeros((10, 12)))
  with pytest.raises(errors.DataError, match='p01.png keeps no pixel'):
    make(photos)
  images.write_png(tmp_path / 'masks' / 'p01.png', np.ones((9, 12)))
  with pytest.raises(
    errors.DataError, match='p01.png is 12x9, its image 12x10'
  ):
    make(photos)


def test_masks_of_the_format_have_their_own_meaning(tmp_path):
  mask = np.zeros((10, 12), np.uint8)
  mask[2:4] = 200
  path = tmp_path / 'dynamic.png'
  images.write_png(path, mask)
  photos = write_photos(
    tmp_path, masks=(None, path) + (None,) * 7, mask_keeps='black'
  )
  got = make(photos).masks.image(0)[..., 0]
  np.testing.assert_array_equal(got, mask == 0)


def write_depths(tmp_path, depth):
  """The same depths in each of the three formats, in units of 0.01."""
  tiff, npy = tmp_path / 'd.tiff', tmp_path / 'd.npy'
  images.write_tiff(tiff, depth.astype(np.float32))
  np.save(npy, depth)
  png = write_grey16(tmp_path / 'd.png', np.round(depth * 100))
  return png, tiff, npy


DEPTHS = {'depth_loss_mult': 1.0, 'depth_scale': 0.01}


def random_depth(seed=0):
  """Depths in hundredths, some unknown."""
  generator = np.random.default_rng(seed)
  depth = generator.integers(100, 900, (10, 12)) / 100
  depth[generator.uniform(size=depth.shape) < 0.2] = 0
  return depth


def test_depth_images_of_every_kind_are_ray_parameters(tmp_path):
  depth = random_depth()
  files = write_depths(tmp_path, depth)
  photos = write_photos(
    tmp_path, depths=(None, *files, None, None, None, None, None)
  )
  scene = make(photos, **DEPTHS)
  scale = np.cbrt(np.linalg.det(scene.world_transform[:3, :3]))
  for k in range(3):
    t, weight = np.moveaxis(scene.depths.image(k), -1, 0)
    np.testing.assert_array_equal(weight, depth > 0)
    np.testing.assert_allclose(t, depth * scale, rtol=1e-6)
  assert not scene.depths.image(3).any()
  assert make(photos, depth_loss_mult=0.0).depths is None
  small = make(photos, factor=2, **DEPTHS)
  t, weight = np.moveaxis(small.depths.image(0), -1, 0)
  # Never a mixture: every depth is one of the file's.
  np.testing.assert_allclose(t, depth[1::2, 1::2] * scale, rtol=1e-6)
  np.testing.assert_array_equal(weight, depth[1::2, 1::2] > 0)


def points_of_depth(photos, i, depth):
  """World points of image i, one for each pixel."""
  x, y = projection.pixel_coordinates(*SIZE)
  rays = projection.pixels_to_rays(
    x, y, photos.pixtocams[i], photos.camtoworlds[i], camtype=photos.camtype
  )
  gain = -rays.directions @ photos.camtoworlds[i][:, 2]
  return rays.origins + (depth / gain)[..., None] * rays.directions


def test_depths_before_a_fisheye_become_distances(tmp_path):
  depth = random_depth()
  files = write_depths(tmp_path, depth)
  photos = write_photos(
    tmp_path, depths=(None, files[1]) + (None,) * 7, camtype=FISHEYE
  )
  scene = make(photos, normalize_poses='none', **DEPTHS)
  t, weight = np.moveaxis(scene.depths.image(0), -1, 0)
  points = points_of_depth(photos, 1, depth)
  distance = np.linalg.norm(points - photos.camtoworlds[1, :, 3], axis=-1)
  np.testing.assert_array_equal(weight, depth > 0)
  np.testing.assert_allclose(t, np.where(depth > 0, distance, 0), rtol=1e-5)


def test_depths_under_ndc_are_ndc_parameters(tmp_path):
  depth = random_depth()
  files = write_depths(tmp_path, depth)
  generator = np.random.default_rng(5)
  facing = np.tile(ring_poses(1), (9, 1, 1))
  facing[:, :, 3] += generator.normal(0, 0.1, (9, 3))
  photos = write_photos(
    tmp_path,
    depths=(None, files[1]) + (None,) * 7,
    camtoworlds=facing,
    bounds=np.tile([1.0, 9.0], (9, 1)),
  )
  scene = make(photos, forward_facing=True, near=0.0, far=1.0, **DEPTHS)
  t, weight = np.moveaxis(scene.depths.image(0), -1, 0)
  matrix = scene.world_transform
  points = points_of_depth(photos, 1, depth) @ matrix[:3, :3].T + matrix[:3, 3]
  z = points[..., 2]
  known = depth > 0
  np.testing.assert_array_equal(weight > 0, known)
  # In NDC z runs from -1 to 1 while t runs from 0 to 1.
  np.testing.assert_allclose(2 * t[known] - 1, (1 + 2 / z)[known], atol=1e-5)


def test_depth_loss_without_depths_says_so(tmp_path):
  photos = write_photos(tmp_path)
  with pytest.raises(errors.DataError, match='no depth images'):
    make(photos, depth_loss_mult=1.0)
  with pytest.raises(errors.DataError, match='no points'):
    make(photos, depth_loss_mult=1.0, depth_source='points')
  eight_bit = dataclasses.replace(photos, depths=photos.files)
  with pytest.raises(errors.DataError, match='p0..png has 8 bits'):
    make(eight_bit, depth_loss_mult=1.0)


def test_forward_facing_without_depths_is_refused(tmp_path):
  photos = write_photos(tmp_path)
  with pytest.raises(errors.DataError, match='poses_bounds.npy'):
    make(photos, forward_facing=True)
  fisheye = dataclasses.replace(photos, camtype=FISHEYE)
  with pytest.raises(errors.ConfigError, match='perspective'):
    make(fisheye, forward_facing=True)


def test_unusable_poses_name_their_image(tmp_path):
  photos = write_photos(tmp_path)

  def broken(change):
    bad = photos.camtoworlds.copy()
    bad[3] = change(bad[3])
    return dataclasses.replace(photos, camtoworlds=bad)

  for change, why in (
    (lambda p: p * [-1, 1, 1, 1], 'mirrored'),
    (lambda p: p * np.nan, 'not finite'),
    (lambda p: p * [1.2, 1.2, 1.2, 1], 'rotation is none'),
    (lambda p: p + 1e14 * np.eye(4)[3], 'is at'),
  ):
    with pytest.raises(errors.DataError, match=f'p03.png.*{why}'):
      make(broken(change))


def test_unusable_lenses_name_their_image(tmp_path):
  photos = write_photos(tmp_path)
  for place, value, why in (
    ((2, 0, 0), -0.1, 'focal length that is not positive'),
    ((2, 1, 1), np.inf, 'not finite'),
    ((2, 0, 0), 1e-9, 'focal lengths'),
    ((2, 0, 2), 1e6, 'principal point'),
  ):
    pixtocams = photos.pixtocams.copy()
    pixtocams[place] = value
    with pytest.raises(errors.DataError, match=f'p02.png.*{why}'):
      make(dataclasses.replace(photos, pixtocams=pixtocams))


def test_an_axis_outside_of_the_picture_is_only_mentioned(tmp_path):
  photos = write_photos(tmp_path)
  photos.pixtocams[4, 0, 2] = 0.1
  [note] = make(photos).notes
  assert 'p04.png' in note


def test_two_images_of_one_name_are_refused(tmp_path):
  photos = write_photos(tmp_path)
  names = ('p01.png', *photos.names[1:])
  with pytest.raises(errors.DataError, match='called p01.png'):
    make(dataclasses.replace(photos, names=names))


def test_an_image_turned_by_exif_is_explained(tmp_path):
  photos = write_photos(tmp_path)
  turned = dataclasses.replace(
    photos, widths=photos.heights, heights=photos.widths
  )
  with pytest.raises(errors.DataError, match='p00.png is 12x10.*EXIF'):
    make(turned)
  other = dataclasses.replace(photos, widths=photos.widths + 3)
  with pytest.raises(errors.DataError, match='camera 15x10.*resized'):
    make(other)


def test_pictures_that_are_not_rgb_are_one_line(tmp_path):
  photos = write_photos(tmp_path)
  cmyk = Image.fromarray(np.zeros((10, 12, 4), np.uint8), 'CMYK')
  cmyk.save(photos.files[2], format='JPEG')
  with pytest.raises(errors.DataError, match='p02.png.*CMYK'):
    make(photos)
  photos.files[2].write_bytes(b'nothing')
  with pytest.raises(errors.DataError, match='Cannot read image .*p02.png'):
    make(photos)


def test_pixels_may_come_from_elsewhere_in_the_final_order(tmp_path):
  """As raw images do: the source sees the sorted photographs."""
  photos = write_photos(tmp_path).reordered(np.arange(9)[::-1])

  def open_raw(cfg, sorted_photos):
    def read(i):
      return np.full((3, 4, 3), sorted_photos.names.index(f'p{i:02d}.png'))

    shape = np.ones(9, np.int64)
    return photographs.PixelSource(
      4 * shape, 3 * shape, 3, np.float32, read, ('raw',)
    )

  scene = photographs.make_scene(config(), 'train', photos, open_raw)
  assert scene.notes == ('raw',)
  assert scene.images.values.dtype == np.float32
  assert [scene.images.image(k)[0, 0, 0] for k in range(7)] == list(range(1, 8))
  assert (np.asarray(scene.cameras.widths) == 4).all()
