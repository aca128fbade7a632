"""Copies of all images at smaller sizes: colours, rays, cones, order."""

import numpy as np
import pytest

from multinerf import errors
from multinerf.cameras import camera, projection
from multinerf.config import gin_setup, views
from multinerf.data import base, batching

FACTORS = (2, 3)
# One that the common multiple 6 divides, and two that it does not.
SIZES = ((24, 12), (25, 20), (6, 17))  # width, height


def colours(dtype, channels):
  """Pictures with every opacity there is."""
  generator = np.random.default_rng(0)
  top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
  pictures = []
  for width, height in SIZES:
    picture = generator.random((height, width, channels))
    if channels == 4:
      picture[..., 3] *= generator.random((height, width)) > 0.3
    pictures.append((picture * top).astype(dtype))
  return pictures


def make_scene(pictures, **fields):
  generator = np.random.default_rng(1)
  num = len(pictures)
  poses = np.linalg.qr(generator.normal(size=(num, 3, 3)))[0]
  poses *= np.sign(np.linalg.det(poses))[:, None, None]
  widths = np.array([p.shape[1] for p in pictures])
  heights = np.array([p.shape[0] for p in pictures])
  # Off-centre, not square, different in each camera.
  intrinsics = [
    projection.intrinsic_matrix(20 + i, 22 + i, 0.4 * w, 0.6 * h)
    for i, (w, h) in enumerate(zip(widths, heights, strict=True))
  ]
  options = dict(
    distortion=fields.pop('distortion', None),
    lossmult=fields.pop('lossmult', None),
    camtype=fields.pop('camtype', camera.ProjectionType.PERSPECTIVE),
    pixtocam_ndc=fields.pop('pixtocam_ndc', None),
  )
  return base.Scene(
    name='toy',
    split='train',
    cameras=camera.make_cameras(
      np.linalg.inv(intrinsics),
      np.concatenate([poses, generator.normal(size=(num, 3, 1))], -1),
      widths=widths,
      heights=heights,
      near=1.0 + np.arange(num),
      far=9.0,
      **options,
    ),
    image_names=tuple(f'sub.dir/r_{i}.png' for i in range(num)),
    images=base.PixelBuffer.from_images(pictures),
    **fields,
  )


GIVEN = {}


@base.SCENES.register('test_multiscale')
def given(cfg, split):
  """A loader of scenes that tests make."""
  del cfg
  return GIVEN[split]


def load(scene, factors=FACTORS):
  GIVEN[scene.split] = scene
  cfg = base.DataConfig(
    dataset_loader='test_multiscale', multiscale_train_factors=factors
  )
  return base.load_scene(cfg, scene.split)


def seen(stored):
  """Float RGB over white of stored pixels."""
  top = np.iinfo(stored.dtype).max if stored.dtype != np.float32 else 1
  values = stored.astype(np.float64) / top
  if values.shape[-1] == 3:
    return values
  return values[..., :3] * values[..., 3:] + 1 - values[..., 3:]


def boxes(full, factor, width, height):
  """[height, width, factor^2, c] what lies under each small pixel."""
  part = full[: height * factor, : width * factor]
  part = part.reshape(height, factor, width, factor, -1).swapaxes(1, 2)
  return part.reshape(height, width, factor**2, -1)


def rays(scene, i):
  """Rays of all pixels of image i, in float64."""
  cameras = scene.cameras.take(i)
  lens = cameras.distortion
  x, y = projection.pixel_coordinates(
    int(cameras.widths[0]), int(cameras.heights[0])
  )
  return projection.pixels_to_rays(
    x,
    y,
    cameras.pixtocams[0].astype(np.float64),
    cameras.camtoworlds[0].astype(np.float64),
    distortion=lens and {k: v[0] for k, v in lens.items()},
    pixtocam_ndc=cameras.pixtocam_ndc,
    camtype=cameras.camtype,
  )


def test_the_originals_come_first_and_unchanged_then_all_at_each_factor():
  pictures = colours(np.uint8, 3)
  scene = load(make_scene(pictures, lossmult=[1, 2, 3]))
  assert scene.scales == (1, 1, 1, 2, 2, 2, 3, 3, 3)
  assert scene.image_names == (
    *(f'sub.dir/r_{i}.png' for i in range(3)),
    *(f'sub.dir/r_{i}_2x.png' for i in range(3)),
    *(f'sub.dir/r_{i}_3x.png' for i in range(3)),
  )
  for i, picture in enumerate(pictures):
    np.testing.assert_array_equal(scene.images.image(i), picture)
  # The originals keep their size; all copies show what 6 divides.
  sizes = [*SIZES, (12, 6), (12, 9), (3, 6), (8, 4), (8, 6), (2, 4)]
  cameras = scene.cameras
  assert [*zip(cameras.widths, cameras.heights, strict=True)] == sizes
  np.testing.assert_array_equal(cameras.near, [1, 2, 3] * 3)
  np.testing.assert_array_equal(cameras.lossmult, [1, 2, 3, 2, 4, 6, 3, 6, 9])


@pytest.mark.parametrize('channels', [3, 4])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
def test_a_small_pixel_is_the_mean_of_what_lies_under_it(dtype, channels):
  pictures = colours(dtype, channels)
  scene = load(make_scene(pictures))
  assert scene.images.values.dtype == dtype
  steps = {np.uint8: 255, np.uint16: 65535, np.float32: 2**23}[dtype]
  for i in range(3, 9):
    got = seen(scene.images.image(i))
    height, width = got.shape[:2]
    under = boxes(seen(pictures[i % 3]), scene.scales[i], width, height)
    # Half a step of colour, another half of opacity.
    rounding = (0.5 if channels == 3 else 1.0) * 1.01 / steps
    np.testing.assert_allclose(got, under.mean(2), rtol=0, atol=rounding)


def test_colours_under_nothing_do_not_bleed_into_edges():
  picture = np.zeros((2, 2, 4), np.uint8)  # black where there is nothing
  picture[0, 0] = (200, 100, 50, 255)
  scene = load(make_scene([picture]), factors=(2,))
  np.testing.assert_array_equal(scene.images.image(1)[0, 0], [200, 100, 50, 64])


def test_masks_and_opacities_follow_the_images():
  generator = np.random.default_rng(2)
  pictures = colours(np.uint8, 3)
  masks = [
    np.uint8(255 * (generator.random((*p.shape[:2], 1)) > 0.1))
    for p in pictures
  ]
  alphas = [
    generator.random((*p.shape[:2], 1)).astype(np.float32) for p in pictures
  ]
  scene = load(
    make_scene(
      pictures,
      masks=base.PixelBuffer.from_images(masks),
      alphas=base.PixelBuffer.from_images(alphas),
    )
  )
  for i in range(3, 9):
    factor, size = scene.scales[i], scene.masks.image(i).shape[1::-1]
    want = boxes(masks[i % 3], factor, *size).min(2)
    np.testing.assert_array_equal(scene.masks.image(i), want)
    np.testing.assert_allclose(
      scene.alphas.image(i),
      boxes(alphas[i % 3], factor, *size).mean(2),
      rtol=1e-6,
    )
  small = scene.masks.values[scene.masks.offsets[3] :]
  assert set(small.ravel()) == {0, 255}


def test_a_small_pixel_looks_along_the_middle_of_those_under_it():
  pictures = colours(np.uint8, 3)
  full = make_scene(pictures)
  scene = load(full)
  for i in range(3, 9):
    factor, small, large = scene.scales[i], rays(scene, i), rays(full, i % 3)
    height, width = small.radii.shape[:2]
    under = boxes(large.directions, factor, width, height).mean(2)
    # Directions of a pinhole are linear in the pixel; matrices are float32.
    np.testing.assert_allclose(small.directions, under, atol=1e-6)
    wide = boxes(large.radii, factor, width, height).mean(2)
    np.testing.assert_allclose(small.radii, factor * wide, rtol=1e-5)
    np.testing.assert_allclose(small.origins[0, 0], large.origins[0, 0])


@pytest.mark.parametrize('kind', ['distortion', 'fisheye', 'ndc'])
def test_the_middle_is_that_of_the_lens_and_space(kind):
  # Factor 3 has a pixel in its middle, whose ray must be the same.
  options = {
    'distortion': dict(distortion={'k1': 0.1, 'p2': 0.02}),
    'fisheye': dict(camtype=camera.ProjectionType.FISHEYE),
    'ndc': dict(pixtocam_ndc=projection.get_pixtocam(20.0, 24, 12)),
  }[kind]
  picture = colours(np.uint8, 3)[0]
  full = make_scene([picture], **options)
  scene = load(full, factors=(3,))
  small, large = rays(scene, 1), rays(full, 0)
  for field in ('origins', 'directions', 'viewdirs', 'imageplane'):
    middle = getattr(large, field)[1::3, 1::3]
    # float32 matrices; NDC of rays beside the view has large numbers.
    np.testing.assert_allclose(getattr(small, field), middle, rtol=3e-5)


def test_training_draws_all_sizes_and_weighs_them_by_their_factor():
  scene = load(make_scene(colours(np.uint8, 3)))
  batch = batching.RaySampler(
    scene, batching.SamplerConfig(batch_size=4096)
  ).batch(0)
  cam_idx = batch.pixels.cam_idx[:, 0]
  assert set(cam_idx) == set(range(9))
  lossmult = projection.cast_ray_batch(scene.cameras, batch.pixels).lossmult
  np.testing.assert_array_equal(
    np.asarray(lossmult)[:, 0], np.array(scene.scales)[cam_idx]
  )


def test_keypoints_stay_on_the_originals():
  points = base.Keypoints(
    cam_idx=np.array([0, 1]),
    x=np.array([23, 24]),
    y=np.array([11, 19]),
    depths=np.array([2, 3], np.float32),
    weights=np.ones(2, np.float32),
  )
  scene = load(make_scene(colours(np.uint8, 3), keypoints=points))
  assert scene.keypoints is points
  assert len(scene) == 9


def test_a_scene_without_images_has_no_copies():
  full = make_scene(colours(np.uint8, 3))
  path = base.Scene('toy', 'test', full.cameras, full.image_names, None)
  found = load(path)
  assert found.image_names == path.image_names
  assert len(found.cameras) == 3 and found.scales is None


def buffer(pictures, channels):
  return base.PixelBuffer.from_images(
    [np.ones((*p.shape[:2], channels), np.float32) for p in pictures]
  )


@pytest.mark.parametrize(
  ('field', 'channels', 'words'),
  [
    ('disps', 1, 'compute_disp_metrics = False'),
    ('normals', 3, 'compute_normal_metrics = False'),
    ('depths', 2, "Config.depth_source = 'points'"),
  ],
)
def test_ground_truth_that_cannot_be_averaged_is_refused(
  field, channels, words
):
  pictures = colours(np.uint8, 3)
  scene = make_scene(pictures, **{field: buffer(pictures, channels)})
  with pytest.raises(errors.ConfigError, match=words) as info:
    load(scene)
  assert 'Config.multiscale_train_factors' in str(info.value)


def test_raw_scenes_and_scenes_of_several_sizes_are_refused():
  pictures = colours(np.uint8, 3)
  raw = make_scene(pictures, raw=base.RawDisplay(np.eye(3), 1.0))
  with pytest.raises(errors.ConfigError, match='rawnerf_mode = False'):
    load(raw)
  again = load(make_scene(pictures))
  with pytest.raises(errors.ConfigError, match='dataset_loader to another'):
    load(again)


@pytest.mark.parametrize('factors', [(2, 2), (1, 2), (0,)])
def test_factors_must_be_different_and_above_one(factors):
  with pytest.raises(errors.ConfigError, match='different numbers > 1'):
    load(make_scene(colours(np.uint8, 3)), factors)


def test_an_image_that_is_too_small_is_named():
  with pytest.raises(errors.DataError, match='r_2.png is 6x17.* least 8 pix'):
    load(make_scene(colours(np.uint8, 3)), (2, 4, 8))


FILES = (
  ['blender_256.gin', 'multiscale.gin'],
  ['360.gin', 'multiscale.gin'],
  ['quickstart.gin', 'multiscale.gin'],
  ['zipnerf_blender.gin', 'multiscale.gin'],
  ['zipnerf_multiscale.gin'],
)


@pytest.mark.parametrize('files', FILES, ids=lambda f: f[0])
def test_multiscale_gin_goes_with_any_preset(files, tmp_path):
  bindings = (
    "Config.dataset_loader = 'synthetic'",
    f"Config.data_dir = '{tmp_path / 'scene'}'",
    'Config.factor = 1',
    'Config.synthetic_resolution = 16',
    'Config.synthetic_num_train = 2',
    'Config.synthetic_num_test = 1',
  )
  config = gin_setup.load(files, bindings).config
  cfg = views.view(config, base.DataConfig)
  for split, num in (('train', 2), ('test', 1)):
    scene = base.load_scene(cfg, split)
    sides = [side for side in (16, 8, 4, 2) for _ in range(num)]
    assert list(scene.cameras.widths) == sides
    # One box of white background or object: mean over mean.
    full = seen(scene.images.image(0)).mean((0, 1))
    for i in range(0, len(scene), num):
      got = seen(scene.images.image(i)).mean((0, 1))
      np.testing.assert_allclose(got, full, atol=1 / 255)


def test_the_chair_at_four_scales(shared_data):
  config = gin_setup.load(
    ['blender_256.gin', 'multiscale.gin'],
    [f"Config.data_dir = '{shared_data('chair_200')}'"],
  ).config
  scene = base.load_scene(views.view(config, base.DataConfig), 'test')
  num = len(scene) // 4
  assert scene.scales == tuple(np.repeat([1, 2, 4, 8], num).tolist())
  assert list(scene.cameras.widths[::num]) == [200, 100, 50, 25]
  assert scene.image_names[3 * num].endswith('_8x.png')
  for k in range(1, 4):
    want = boxes(seen(scene.images.image(0)), 2**k, *[200 >> k] * 2).mean(2)
    got = seen(scene.images.image(k * num))
    np.testing.assert_allclose(got, want, rtol=0, atol=1.01 / 255)
