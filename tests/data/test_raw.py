"""Raw scenes: what DNG files hold becomes linear colours with exposures."""

import dataclasses

import dng_util
import numpy as np
import pytest
import raw_scene

from multinerf import errors
from multinerf.data import base, batching, raw
from multinerf.ops import raw as raw_ops

pytest.importorskip(
  'rawpy', reason='DNG files need rawpy: pip install "multinerf[raw]"'
)
SIZE = 32
# Half a stored value, and float32.
STEP = 0.51 / (raw_scene.WHITE - raw_scene.BLACK)


def config(**options):
  return base.DataConfig(rawnerf_mode=True, near=0.1, far=10.0, **options)


def make(photos, split, **options):
  scene = raw.make_scene(config(**options), split, photos)
  base.validate_scene(scene, source='here')
  return scene


@pytest.fixture(scope='module')
def captured(tmp_path_factory):
  """Nine photographs of the embedded scene and their linear colours."""
  return raw_scene.write(tmp_path_factory.mktemp('raw'), 9, SIZE)


# --- training split --------------------------------------------------------


def test_training_images_are_radiance_times_exposure(captured):
  photos, linear = captured
  scene = make(photos, 'train', factor=4)  # the factor is the test split's
  assert scene.image_names == photos.names[1:8]
  y, x = np.indices((SIZE, SIZE))
  measured = batching.bayer_mask(x, y)
  for k in range(7):
    want = linear[k + 1] * raw_scene.exposure(k + 1)
    error = np.abs(scene.images.image(k) - want) * measured
    assert error.max() < STEP


def test_batches_hold_what_the_images_hold(captured):
  photos, _ = captured
  scene = make(photos, 'train')
  cfg = batching.SamplerConfig(batch_size=512, apply_bayer_mask=True)
  batch = batching.RaySampler(scene, cfg).batch(3)
  assert batch.rgb.dtype == np.float32
  whole = np.stack([scene.images.image(i) for i in range(len(scene))])
  pixels = batch.pixels
  i, x, y = pixels.cam_idx[:, 0], pixels.pix_x_int, pixels.pix_y_int
  # float32 means of the same numbers in another order.
  np.testing.assert_allclose(batch.rgb, whole[i, y, x], rtol=1e-5, atol=1e-7)
  # The weights pick what was measured.
  stored = super(raw.MosaicBuffer, scene.images).at(i, x, y)[:, 0]
  linear = (stored - raw_scene.BLACK) / (raw_scene.WHITE - raw_scene.BLACK)
  chosen = (batch.rgb * batch.pixels.lossmult).sum(-1)
  np.testing.assert_allclose(chosen, linear, atol=1e-6)


def test_colours_at_the_edges_of_images_are_those_of_the_images(captured):
  photos, _ = captured
  images = make(photos, 'train').images
  y, x = np.indices((SIZE, SIZE))
  for i in (0, 3):
    np.testing.assert_allclose(
      images.at(np.array(i), x, y), images.image(i), rtol=1e-5, atol=1e-7
    )


def test_the_four_filters_may_have_levels_of_their_own():
  gen = np.random.default_rng(0)
  stored = base.PixelBuffer.allocate([6, 4], [4, 8], 1, np.uint16)
  stored.values[...] = gen.integers(0, 4096, stored.values.shape)
  images = raw.MosaicBuffer(
    **vars(stored),
    black=gen.random((2, 2, 2), np.float32) * 500,
    gain=gen.random((2, 2, 2), np.float32) / 4096,
  )
  for i in range(2):
    y, x = np.indices((images.heights[i], images.widths[i]))
    np.testing.assert_allclose(
      images.at(np.array(i), x, y), images.image(i), rtol=1e-4, atol=1e-5
    )


def test_a_training_pixel_takes_two_bytes(captured):
  photos, _ = captured
  images = make(photos, 'train').images
  assert images.values.dtype == np.uint16
  assert images.values.nbytes == 2 * 7 * SIZE**2


def test_cameras_have_the_exposures_of_their_shots(captured):
  photos, _ = captured
  train, test = make(photos, 'train'), make(photos, 'test')
  # 1/25, 1/100, 1/50 s in turn: the longest is number 0.
  np.testing.assert_array_equal(
    train.cameras.exposure_idx, [2, 1, 0, 2, 1, 0, 2]
  )
  np.testing.assert_allclose(
    train.cameras.exposure_values, [0.25, 0.5, 1, 0.25, 0.5, 1, 0.25]
  )
  np.testing.assert_array_equal(test.cameras.exposure_idx, [0, 1])
  np.testing.assert_allclose(test.cameras.exposure_values, [1, 0.5])
  np.testing.assert_allclose(test.raw.shutter_times, [1 / 25, 1 / 50, 1 / 100])


def test_equal_exposures_share_a_number():
  number, values = raw.exposures(np.array([0.1, 0.4, 0.1, 0.2]))
  np.testing.assert_array_equal(number, [2, 0, 2, 1])
  np.testing.assert_allclose(values, [0.25, 1, 0.25, 0.5])


# --- test split ------------------------------------------------------------


@pytest.mark.parametrize('factor', [0, 1, 4])
def test_test_images_are_box_averages_of_demosaiced_ones(captured, factor):
  photos, linear = captured
  scene = make(photos, 'test', factor=factor)
  assert scene.image_names == (photos.names[0], photos.names[8])
  side = SIZE // max(factor, 1)
  y, x = np.indices((SIZE, SIZE))
  for k, i in enumerate((0, 8)):
    mosaic = (linear[i] * batching.bayer_mask(x, y)).sum(-1)
    full = raw_ops.bilinear_demosaic(mosaic * raw_scene.exposure(i), np)
    boxes = full.reshape(side, SIZE // side, side, SIZE // side, 3)
    np.testing.assert_allclose(
      scene.images.image(k), boxes.mean((1, 3)), atol=STEP
    )
  # Intrinsics follow the size.
  corner = scene.cameras.pixtocams[0] @ [side, side, 1]
  whole = make(photos, 'train').cameras.pixtocams[0] @ [SIZE, SIZE, 1]
  np.testing.assert_allclose(corner, whole, rtol=1e-6)


def test_a_camera_path_is_made_of_all_cameras_without_pixels(captured):
  photos, _ = captured
  scene = make(photos, 'train', factor=4, render_path=True)
  assert scene.images is None and len(scene) == 9
  assert scene.cameras.widths[0] == SIZE // 4
  assert scene.raw is not None


def test_display_is_exposed_for_a_percentile_of_the_first_image(captured):
  photos, _ = captured
  shown = make(photos, 'test', exposure_percentile=90.0).raw
  np.testing.assert_allclose(shown.cam2rgb, raw_scene.CAM2RGB, rtol=1e-6)
  first = make(photos, 'test').images.image(0) @ raw_scene.CAM2RGB.T
  for p in raw.LEVEL_PERCENTILES:
    np.testing.assert_allclose(
      shown.exposure_levels[p], np.percentile(first, p), rtol=1e-5
    )
  assert shown.exposure == shown.exposure_levels[90]
  # The same for the training split, to which that image does not belong.
  train = make(photos, 'train', exposure_percentile=90.0).raw
  assert train.exposure == shown.exposure


# --- RawNeRF's test scenes -------------------------------------------------


@pytest.fixture(scope='module')
def merged(tmp_path_factory):
  """The same with a merged test image, four times finer and longer exposed."""
  folder = tmp_path_factory.mktemp('merged')
  photos, linear = raw_scene.write(folder, 5, SIZE, 'raw/train')
  (folder / 'raw/train/i_00.dng').unlink()
  (folder / 'raw/train/i_00.json').unlink()
  # Black 256 and white 4095 in 12 bits, with two more; as dark as the last.
  values = 4 * 256 + 4 * (4095 - 256) * (linear[0] / 8)
  y, x = np.indices((SIZE, SIZE))
  mosaic = (values * batching.bayer_mask(x, y)).sum(-1)
  dng_util.write(
    folder / 'hdrplus_test/merged.dng',
    np.floor(mosaic + 0.5).astype(np.uint16),
  )
  (folder / 'raw/test').mkdir()
  for k, shutter in enumerate(['1/10', '1/20', '1/80']):
    dng_util.write_exif(
      folder / f'raw/test/t_{k}.json', black=256, white=4095, shutter=shutter
    )
  return photos, linear


def test_merged_test_image_is_as_bright_as_the_first_of_its_burst(merged):
  photos, linear = merged
  scene = make(photos, 'test')
  assert scene.image_names == ('i_00.jpg',)
  y, x = np.indices((SIZE, SIZE))
  measured = batching.bayer_mask(x, y)
  error = (scene.images.image(0) - linear[0]) * measured
  # Half a stored value of a quarter of a twelve-bit one, times 8.
  assert np.abs(error).max() < 8 * 0.51 / (4 * (4095 - 256))
  np.testing.assert_array_equal(scene.cameras.exposure_idx, [0])
  np.testing.assert_array_equal(scene.cameras.exposure_values, [1])


def test_all_other_images_of_a_test_scene_are_trained_on(merged):
  photos, linear = merged
  options = dict(llffhold=2, llff_use_all_images_for_training=True)
  scene = make(photos, 'train', **options)
  assert scene.image_names == photos.names[1:]
  y, x = np.indices((SIZE, SIZE))
  error = scene.images.image(3) - linear[4] * raw_scene.exposure(4)
  assert np.abs(error * batching.bayer_mask(x, y)).max() < STEP
  np.testing.assert_array_equal(scene.cameras.exposure_idx, [2, 1, 0, 2])


def test_a_merged_image_without_its_burst_is_refused(merged, tmp_path):
  photos, _ = merged
  (tmp_path / 'hdrplus_test').mkdir()
  (tmp_path / 'hdrplus_test/merged.dng').write_bytes(b'')
  photos = dataclasses.replace(photos, folder=tmp_path)
  with pytest.raises(errors.DataError, match='raw/test'):
    make(photos, 'test')


# --- what can be wrong -----------------------------------------------------


def test_missing_raw_files_are_counted_and_named(captured, tmp_path):
  photos, _ = captured
  photos = dataclasses.replace(photos, folder=tmp_path)
  with pytest.raises(errors.DataError, match='9 of 9 .*raw/i_00.dng'):
    make(photos, 'train')


def test_cropped_developed_copies_are_refused(captured):
  photos, _ = captured
  photos = dataclasses.replace(photos, heights=photos.heights - 2)
  with pytest.raises(errors.DataError, match='i_00.dng has 32x32.*32x30'):
    make(photos, 'train')


def test_developed_copies_may_be_smaller(captured):
  photos, _ = captured
  half = np.array([2.0, 2.0, 1.0])
  small = dataclasses.replace(
    photos,
    widths=photos.widths // 2,
    heights=photos.heights // 2,
    pixtocams=photos.pixtocams * half,
  )
  np.testing.assert_allclose(
    make(small, 'train').cameras.pixtocams,
    make(photos, 'train').cameras.pixtocams,
    rtol=1e-6,
  )


def test_a_factor_that_does_not_divide_is_refused(captured):
  photos, _ = captured
  with pytest.raises(errors.DataError, match='i_00.dng.*32x32.*Config.factor'):
    make(photos, 'test', factor=5)


def test_a_mixture_of_isos_is_told(tmp_path):
  photos, _ = raw_scene.write(tmp_path, 2, SIZE)
  assert make(photos, 'train').notes == ()
  dng_util.write_exif(
    tmp_path / 'raw/i_01.json',
    black=raw_scene.BLACK,
    white=raw_scene.WHITE,
    iso=400,
  )
  assert 'ISO' in make(photos, 'train').notes[0]


def test_a_black_first_photograph_cannot_set_the_exposure(captured, tmp_path):
  photos, _ = raw_scene.write(tmp_path, 2, SIZE)
  dng_util.write(
    tmp_path / 'raw/i_00.dng',
    np.full((SIZE, SIZE), raw_scene.BLACK, np.uint16),
    black=raw_scene.BLACK,
    white=raw_scene.WHITE,
  )
  with pytest.raises(errors.DataError, match='Config.exposure_percentile'):
    make(photos, 'test')


def test_noise_goes_below_black():
  mosaic = np.array([[90, 100], [110, 300]], np.uint16)
  black = np.full((2, 2), 100, np.float32)
  linear = raw.linearize(mosaic, black, np.full((2, 2), 0.01, np.float32))
  np.testing.assert_allclose(linear, [[-0.1, 0], [0.1, 2]], rtol=1e-6)
