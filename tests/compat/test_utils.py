"""Files, structures and sharding under upstream's names."""

import jax
import numpy as np
import PIL.Image
import pytest

from multinerf import errors, models
from multinerf.compat.multinerf import image, utils


def test_dummy_rays_have_the_exposures_that_are_asked_for():
  plain, full = utils.dummy_rays(), utils.dummy_rays(True, True)
  assert plain.exposure_idx is plain.exposure_values is None
  assert full.exposure_idx.shape == full.exposure_values.shape == (1, 1)
  assert plain.origins.shape == (1, 3) and plain.cam_idx.dtype == np.int32


def test_structures_survive_transformations_and_are_frozen():
  rays = utils.dummy_rays()
  twice = jax.jit(lambda r: jax.tree.map(lambda x: x + 1, r))(rays)
  assert type(twice) is utils.Rays
  np.testing.assert_array_equal(twice.near, [[1]])
  assert twice.exposure_idx is None
  with pytest.raises(AttributeError):
    twice.near = 2


def test_sharding_is_undone_less_the_padding():
  count = jax.local_device_count()
  x = np.arange(6 * count).reshape(2 * count, 3)
  shards = utils.shard({'x': x, 'none': None})
  assert shards['x'].shape == (count, 2, 3) and shards['none'] is None
  np.testing.assert_array_equal(utils.unshard(shards['x']), x)
  np.testing.assert_array_equal(utils.unshard(shards['x'], 3), x[:-3])


def test_files_are_made_found_and_listed(tmp_path):
  folder = tmp_path / 'a' / 'b'
  utils.makedirs(folder)
  utils.makedirs(folder)
  for name in ('z.txt', 'y.txt'):
    with utils.open_file(folder / name, 'w') as f:
      f.write(name)
  assert utils.listdir(folder) == ['y.txt', 'z.txt']
  assert utils.isdir(folder) and not utils.isdir(folder / 'z.txt')
  assert utils.file_exists(folder / 'z.txt')
  assert not utils.file_exists(folder / 'x.txt')
  with utils.open_file(folder / 'z.txt') as f:
    assert f.read() == 'z.txt'


def test_images_are_written_and_read_on_the_scale_of_files(tmp_path):
  picture = np.linspace(0, 1, 60).reshape(4, 5, 3)
  utils.save_img_u8(picture, tmp_path / 'a.png')
  got = utils.load_img(tmp_path / 'a.png')
  assert got.dtype == np.float32
  np.testing.assert_array_equal(got, np.floor(picture * 255 + 0.5))
  utils.save_img_f32(picture[..., 0], tmp_path / 'a.tiff')
  stored = np.asarray(PIL.Image.open(tmp_path / 'a.tiff'))
  np.testing.assert_array_equal(stored, picture[..., 0].astype(np.float32))


def test_exif_entries_have_their_names(tmp_path):
  exif = PIL.Image.Exif()
  exif[0x010F] = 'Maker'
  exif.get_ifd(0x8769)[0x829A] = 0.25  # exposure time
  picture = PIL.Image.new('RGB', (4, 4))
  picture.save(tmp_path / 'a.jpg', exif=exif)
  picture.save(tmp_path / 'plain.png')
  found = utils.load_exif(tmp_path / 'a.jpg')
  assert found['Make'] == 'Maker' and float(found['ExposureTime']) == 0.25
  assert utils.load_exif(tmp_path / 'plain.png') == {}
  with pytest.raises(errors.DataError, match='missing.jpg'):
    utils.load_exif(tmp_path / 'missing.jpg')


def test_dissimilarity_is_undone():
  assert image.ssim_to_dssim(1.0) == 0
  assert image.dssim_to_ssim(image.ssim_to_dssim(0.3)) == pytest.approx(0.3)


def test_networks_are_the_ones_of_the_package():
  from multinerf.compat.multinerf import models as upstream

  assert upstream.NerfMLP is models.NerfMLP
  assert upstream.PropMLP is models.PropMLP
