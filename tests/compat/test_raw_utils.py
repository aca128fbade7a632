"""`raw_utils`: reference vectors, and scenes of DNG files."""

import json

import golden_util
import jax.numpy as jnp
import numpy as np
import pytest
import raw_scene

from multinerf import errors
from multinerf.compat.multinerf import raw_utils, utils
from multinerf.data import base, batching, raw

SIZE = 32  # LibRaw refuses much smaller ones


@pytest.mark.parametrize(('name', 'xnp'), [('np', np), ('jnp', jnp)])
def test_images_answer_the_reference(golden, name, xnp):
  file = golden('raw_utils')
  for exposure in (None, 0.5):
    data = file.case('postprocess_raw', f'{name}_{exposure}')
    out = raw_utils.postprocess_raw(
      xnp.asarray(data['in_raw']), data['in_camtorgb'], exposure, xnp
    )
    np.testing.assert_allclose(out, data['out'], atol=1e-6)
  data = file.case('bilinear_demosaic', name)
  out = raw_utils.bilinear_demosaic(xnp.asarray(data['in_bayer']), xnp)
  np.testing.assert_allclose(out, data['out'], atol=1e-6)


def test_affine_fits_and_masks_answer_the_reference(golden):
  file = golden('raw_utils')
  golden_util.check_case(
    file,
    'best_fit_affine',
    'c0',
    raw_utils.best_fit_affine,
    params={'axis': (0, 1)},
  )
  golden_util.check_case(
    file, 'match_images_affine', 'c0', raw_utils.match_images_affine
  )
  data = file.case('pixels_to_bayer_mask', 'c0')
  mask = raw_utils.pixels_to_bayer_mask(data['in_pix_x'], data['in_pix_y'])
  np.testing.assert_array_equal(mask, data['out'])


def test_metadata_answer_the_reference(golden):
  data = golden('raw_utils').case('process_exif', 'c0')
  got = raw_utils.process_exif(json.loads(str(data['in_json'])))
  assert {f'out_{k}' for k in got} == {k for k in data if 'out_' in k}
  for name, value in got.items():
    np.testing.assert_allclose(value, data[f'out_{name}'], rtol=1e-12)


# --- files --------------------------------------------------------------------


@pytest.fixture(scope='module')
def captured(tmp_path_factory):
  """A raw scene of four photographs: folder, photographs, linear colours."""
  pytest.importorskip(
    'rawpy', reason='DNG files need rawpy: pip install "multinerf[raw]"'
  )
  folder = tmp_path_factory.mktemp('raw')
  return folder, *raw_scene.write(folder, 4, SIZE)


def test_raw_images_are_found_and_read_with_their_metadata(captured):
  folder, photos, _ = captured
  mosaics, exifs = raw_utils.load_raw_images(folder / 'raw')
  assert mosaics.shape == (4, SIZE, SIZE) and mosaics.dtype == np.float32
  assert [e['ShutterSpeed'] for e in exifs[:3]] == [*raw_scene.SHUTTERS]
  some, _ = raw_utils.load_raw_images(folder / 'raw', photos.names[2:0:-1])
  np.testing.assert_array_equal(some, mosaics[2:0:-1])


def test_a_folder_without_raw_images_is_named(tmp_path):
  with pytest.raises(errors.DataError, match=tmp_path.name):
    raw_utils.load_raw_images(tmp_path)


@pytest.mark.parametrize(('split', 'factor'), [('train', 1), ('test', 2)])
def test_a_raw_data_set_is_what_the_loader_makes(captured, split, factor):
  folder, photos, linear = captured
  images, meta, is_test_scene = raw_utils.load_raw_dataset(
    utils.DataSplit(split), folder, photos.names, 90.0, 2
  )
  assert not is_test_scene
  assert images.shape == (4, SIZE // factor, SIZE // factor, 3)
  cfg = base.DataConfig(
    rawnerf_mode=True, near=0.1, far=10.0, factor=2, exposure_percentile=90.0
  )
  scene = raw.make_scene(cfg, split, photos)
  for i, name in enumerate(scene.image_names):
    k = photos.names.index(name)
    np.testing.assert_allclose(images[k], scene.images.image(i), atol=1e-6)
    for key in ('exposure_idx', 'exposure_values'):
      assert meta[key][k] == getattr(scene.cameras, key)[i]
  np.testing.assert_allclose(meta['cam2rgb'][0], scene.raw.cam2rgb)
  # The percentile of float32 colours, there multiplied in float32.
  np.testing.assert_allclose(meta['exposure'], scene.raw.exposure, rtol=1e-5)
  assert list(meta['exposure_levels']) == list(scene.raw.exposure_levels)
  if split == 'train':
    y, x = np.indices((SIZE, SIZE))
    error = images[1] - linear[1] * raw_scene.exposure(1)
    measured = batching.bayer_mask(x, y)
    assert np.abs(error * measured).max() < 1e-5
