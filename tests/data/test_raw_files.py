"""DNG files and their metadata: read exactly, or refused in one line."""

import json
import sys

import dng_util
import numpy as np
import pytest

from multinerf import errors
from multinerf.data import raw_files


@pytest.fixture
def rawpy():
  return pytest.importorskip(
    'rawpy', reason='DNG files need rawpy: pip install "multinerf[raw]"'
  )


def random_mosaic(shape=(24, 32)):
  generator = np.random.default_rng(0)
  return generator.integers(0, 2**16, shape, dtype=np.uint16)


# --- pixels ----------------------------------------------------------------


def test_the_stored_values_of_a_dng_file_are_read_exactly(rawpy, tmp_path):
  mosaic = random_mosaic()
  dng_util.write(tmp_path / 'a.dng', mosaic, black=64, white=65535)
  np.testing.assert_array_equal(
    raw_files.read_mosaic(tmp_path / 'a.dng'), mosaic
  )
  assert raw_files.read_size(tmp_path / 'a.dng') == (32, 24)


@pytest.mark.parametrize('pattern', ['BGGR', 'GRBG', 'GBRG'])
def test_another_order_of_filters_is_refused(rawpy, tmp_path, pattern):
  dng_util.write(tmp_path / 'a.dng', random_mosaic(), pattern=pattern)
  with pytest.raises(errors.DataError, match=f'a.dng .*{pattern}.*RGGB'):
    raw_files.read_mosaic(tmp_path / 'a.dng')


def test_damaged_and_missing_files_are_named(rawpy, tmp_path):
  path = tmp_path / 'a.dng'
  for read in (raw_files.read_mosaic, raw_files.read_size):
    with pytest.raises(errors.DataError, match='a.dng does not exist'):
      read(path)
  path.write_bytes(b'II*\0' + bytes(1000))
  with pytest.raises(errors.DataError, match='Cannot read raw file .*a.dng'):
    raw_files.read_mosaic(path)
  whole = dng_util.encode(random_mosaic(), black=0, white=4095)
  path.write_bytes(whole[:1000])  # without the directory at the end
  with pytest.raises(errors.DataError, match='Cannot read raw file .*a.dng'):
    raw_files.read_mosaic(path)


def test_without_rawpy_the_extra_is_named(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, 'rawpy', None)
  with pytest.raises(errors.ConfigError, match=r'multinerf\[raw\]'):
    raw_files.read_mosaic(tmp_path / 'a.dng')


# --- metadata --------------------------------------------------------------


def test_metadata_match_the_reference(golden):
  data = golden('raw_utils').case('process_exif', 'c0')
  exif = raw_files.parse_exif(json.loads(str(data['in_json'])))
  np.testing.assert_array_equal(
    exif.black_levels, np.tile(data['out_BlackLevel'][:, None, None], (2, 2))
  )
  np.testing.assert_array_equal(exif.white_levels, data['out_WhiteLevel'])
  np.testing.assert_array_equal(exif.as_shot_neutral, data['out_AsShotNeutral'])
  np.testing.assert_array_equal(
    exif.color_matrices.reshape(-1, 9), data['out_ColorMatrix2']
  )
  np.testing.assert_allclose(
    exif.shutter_times, data['out_ShutterSpeed'], rtol=1e-12
  )
  for i, want in enumerate(data['out_cam2rgb']):
    np.testing.assert_allclose(exif.cam2rgb(i), want, rtol=1e-12)


def entry(**changes):
  made = {
    'BlackLevel': 528,
    'WhiteLevel': 4095,
    'AsShotNeutral': '0.5 1 0.6',
    'ColorMatrix2': ' '.join(['1 0 0', '0 1 0', '0 0 1']),
    'ShutterSpeed': '1/50',
  }
  made |= changes
  return {k: v for k, v in made.items() if v is not None}


def test_numbers_strings_and_lists_are_the_same():
  plain = raw_files.parse_exif([entry()])
  other = raw_files.parse_exif(
    [
      entry(
        BlackLevel='528 528 528 528',
        WhiteLevel='4095',
        AsShotNeutral=[0.5, 1, '0.6'],
        ShutterSpeed=None,
        ExposureTime=0.02,
        ISO=100,
      )
    ]
  )
  for name in ('black_levels', 'white_levels', 'as_shot_neutral'):
    np.testing.assert_array_equal(getattr(plain, name), getattr(other, name))
  np.testing.assert_allclose(plain.shutter_times, other.shutter_times)
  assert np.isnan(plain.isos[0]) and other.isos[0] == 100


def test_black_levels_of_the_four_filters_are_told_apart():
  exif = raw_files.parse_exif([entry(BlackLevel='1 2 3 4')])
  np.testing.assert_array_equal(exif.black_levels, [[[1, 2], [3, 4]]])


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'BlackLevel': None}, 'photo.json has no BlackLevel'),
    ({'BlackLevel': '1 2'}, 'BlackLevel is .1 2.; 1 or 4'),
    ({'BlackLevel': 4095}, 'not below WhiteLevel'),
    ({'WhiteLevel': 'many'}, 'WhiteLevel is .many.'),
    ({'WhiteLevel': 'nan'}, 'WhiteLevel is .nan.'),
    ({'AsShotNeutral': '1 1'}, 'AsShotNeutral .* 3 finite'),
    ({'ColorMatrix2': {}}, 'ColorMatrix2 .* 9 finite'),
    ({'ShutterSpeed': '1/0'}, 'ShutterSpeed is .1/0.'),
    ({'ShutterSpeed': 0}, 'ShutterSpeed 0 is not positive'),
    ({'ShutterSpeed': None}, 'no ExposureTime'),
    ({'ISO': 'auto'}, 'ISO is .auto.'),
  ],
)
def test_metadata_that_cannot_be_used_are_refused(tmp_path, changes, message):
  path = tmp_path / 'photo.json'
  path.write_text(json.dumps([entry(**changes)]))
  with pytest.raises(errors.DataError, match=message):
    raw_files.read_exif([path])


@pytest.mark.parametrize(
  'text', ['', '{}', '[]', '[1]', '[{}, {}]', '[' * 100_000, '\x00']
)
def test_files_that_exiftool_would_not_write_are_refused(tmp_path, text):
  (tmp_path / 'photo.json').write_text(text)
  with pytest.raises(errors.DataError, match='photo.json is not what'):
    raw_files.read_exif([tmp_path / 'photo.json'])


def test_a_missing_metadata_file_says_how_to_make_it(tmp_path):
  with pytest.raises(errors.DataError, match='exiftool -json photo.dng'):
    raw_files.read_exif([tmp_path / 'photo.json'])
