"""Images on disk: every kind reads right, every fault names its file."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from multinerf import errors
from multinerf.data import images, png16


def _generator(seed=0):
  return np.random.default_rng(seed)


def _chunk(kind, body):
  check = struct.pack('>I', zlib.crc32(kind + body))
  return struct.pack('>I', len(body)) + kind + body + check


def _encode_png16(values, filters, interlace=0):
  """Slow independent 16-bit PNG encoder, one row and filter at a time."""
  height, width, channels = values.shape
  bpp = 2 * channels
  rows = values.astype('>u2').view(np.uint8).reshape(height, -1).astype(int)
  stream = b''
  for y in range(height):
    here = rows[y]
    up = rows[y - 1] if y else np.zeros_like(here)
    left = np.concatenate([np.zeros(bpp, int), here[:-bpp]])
    diag = np.concatenate([np.zeros(bpp, int), up[:-bpp]])
    paeth = []
    for a, b, c in zip(left, up, diag, strict=True):
      distances = [abs(a + b - c - v) for v in (a, b, c)]
      paeth.append((a, b, c)[int(np.argmin(distances))])
    guess = [0, left, up, (left + up) // 2, np.array(paeth)][filters[y]]
    stream += bytes([filters[y]])
    stream += ((here - guess) % 256).astype(np.uint8).tobytes()
  colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
  head = struct.pack('>IIBBBBB', width, height, 16, colour, 0, 0, interlace)
  return b''.join(
    [
      b'\x89PNG\r\n\x1a\n',
      _chunk(b'IHDR', head),
      _chunk(b'IDAT', zlib.compress(stream)[:9]),
      _chunk(b'IDAT', zlib.compress(stream)[9:]),  # split, as writers may
      _chunk(b'IEND', b''),
    ]
  )


@pytest.mark.parametrize(
  'mode, channels',
  [('L', 3), ('LA', 4), ('RGB', 3), ('RGBA', 4), ('P', 3), ('1', 3)],
)
def test_png_of_every_8_bit_mode_reads_as_rgb_or_rgba(tmp_path, mode, channels):
  values = _generator().integers(0, 256, (7, 5, 4), dtype=np.uint8)
  picture = Image.fromarray(values)
  if mode != 'RGBA':
    picture = picture.convert('RGB').convert(mode)
  picture.save(tmp_path / 'a.png')
  got = images.read_image(tmp_path / 'a.png')
  want = np.asarray(picture.convert('RGBA'))[..., :channels]
  assert got.dtype == np.uint8
  np.testing.assert_array_equal(got, want)
  header = images.read_header(tmp_path / 'a.png')
  assert header == images.ImageHeader(5, 7, channels, 8)


def test_palette_with_transparency_reads_as_rgba(tmp_path):
  picture = Image.new('P', (3, 2), 1)
  picture.putpalette([10, 20, 30, 200, 100, 50])
  picture.putpixel((0, 0), 0)
  picture.save(tmp_path / 'a.png', transparency=0)
  got = images.read_image(tmp_path / 'a.png')
  assert got.shape == (2, 3, 4)
  np.testing.assert_array_equal(got[0, 0], [10, 20, 30, 0])
  np.testing.assert_array_equal(got[1, 2], [200, 100, 50, 255])


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_16_bit_png_keeps_all_bits_under_every_row_filter(tmp_path, channels):
  values = _generator(channels).integers(0, 65536, (13, 9, channels))
  data = _encode_png16(values.astype(np.uint16), np.arange(13) % 5)
  (tmp_path / 'a.png').write_bytes(data)
  got = images.read_image(tmp_path / 'a.png')
  want = values if channels > 2 else values[..., [0, 0, 0, 1][: channels + 2]]
  if channels == 1:
    want = values[..., [0, 0, 0]]
  assert got.dtype == np.uint16
  np.testing.assert_array_equal(got, want)
  assert images.read_header(tmp_path / 'a.png') == images.ImageHeader(
    9, 13, got.shape[-1], 16
  )


def test_16_bit_reader_agrees_with_pillow_on_what_pillow_keeps(tmp_path):
  values = _generator().integers(0, 65536, (6, 8, 3)).astype(np.uint16)
  (tmp_path / 'a.png').write_bytes(_encode_png16(values, [4] * 6))
  with Image.open(tmp_path / 'a.png') as picture:
    high_bytes = np.asarray(picture)
  np.testing.assert_array_equal(
    images.read_image(tmp_path / 'a.png') >> 8, high_bytes
  )


def test_grey_16_bit_written_by_pillow_reads_exactly(tmp_path):
  values = _generator().integers(0, 65536, (4, 6)).astype(np.uint16)
  Image.fromarray(values).save(tmp_path / 'a.png')
  got = images.read_image(tmp_path / 'a.png')
  np.testing.assert_array_equal(got, np.repeat(values[..., None], 3, -1))


def _damaged(kind):
  values = _generator().integers(0, 65536, (6, 8, 3)).astype(np.uint16)
  good = _encode_png16(values, [1] * 6)
  if kind == 'truncated':
    return good[: len(good) // 2]
  if kind == 'flipped byte':
    return good[:60] + bytes([good[60] ^ 1]) + good[61:]
  if kind == 'interlaced':
    return _encode_png16(values, [1] * 6, interlace=1)
  head = good.index(b'IDAT')
  return good[: head - 4] + _chunk(b'IDAT', b'junk') + _chunk(b'IEND', b'')


@pytest.mark.parametrize(
  'kind', ['truncated', 'flipped byte', 'interlaced', 'not zlib']
)
def test_damaged_16_bit_png_is_one_error_that_names_it(tmp_path, kind):
  (tmp_path / 'bad.png').write_bytes(_damaged(kind))
  with pytest.raises(errors.DataError, match='bad.png') as info:
    images.read_image(tmp_path / 'bad.png')
  assert '\n' not in str(info.value)


def test_16_bit_png_claiming_a_huge_size_is_refused_unread(tmp_path):
  head = struct.pack('>IIBBBBB', 2**30, 2**30, 16, 2, 0, 0, 0)
  bomb = b'\x89PNG\r\n\x1a\n' + _chunk(b'IHDR', head)
  (tmp_path / 'bomb.png').write_bytes(bomb)
  with pytest.raises(errors.DataError, match='at most'):
    images.read_image(tmp_path / 'bomb.png')


def test_8_bit_png_claiming_a_huge_size_is_refused_unread(tmp_path):
  head = struct.pack('>IIBBBBB', 2**20, 2**20, 8, 2, 0, 0, 0)
  bomb = b'\x89PNG\r\n\x1a\n' + _chunk(b'IHDR', head)
  bomb += _chunk(b'IDAT', b'') + _chunk(b'IEND', b'')
  (tmp_path / 'bomb.png').write_bytes(bomb)
  with pytest.raises(errors.DataError, match='bomb.png'):
    images.read_image(tmp_path / 'bomb.png')


def test_more_image_data_than_the_header_says_is_not_inflated():
  values = np.zeros((2, 2, 3), np.uint16)
  data = _encode_png16(values, [0, 0])
  head = data.index(b'IDAT') - 4
  longer = zlib.compress(bytes(10_000_000))
  data = data[:head] + _chunk(b'IDAT', longer) + _chunk(b'IEND', b'')
  np.testing.assert_array_equal(png16.decode(data), values)


@pytest.mark.parametrize(
  'content', [b'', b'not an image', b'\x89PNG\r\n\x1a\n']
)
def test_unreadable_image_is_a_data_error_naming_the_file(tmp_path, content):
  (tmp_path / 'bad.png').write_bytes(content)
  for read in (images.read_image, images.read_header, images.read_tiff):
    with pytest.raises(errors.DataError, match='bad.png'):
      read(tmp_path / 'bad.png')


def test_truncated_8_bit_png_is_a_data_error(tmp_path):
  noise = _generator().integers(0, 256, (64, 64, 3), dtype=np.uint8)
  images.write_png(tmp_path / 'a.png', noise)
  data = (tmp_path / 'a.png').read_bytes()
  (tmp_path / 'a.png').write_bytes(data[: len(data) // 2])
  with pytest.raises(errors.DataError, match='a.png'):
    images.read_image(tmp_path / 'a.png')


def test_missing_image_is_a_data_error_naming_the_file(tmp_path):
  with pytest.raises(errors.DataError, match='gone.png does not exist'):
    images.read_image(tmp_path / 'gone.png')


def _encode_tiff(values):
  """Slow independent encoder of [H, W, C] integers, one strip."""
  height, width, channels = values.shape
  bits = 8 * values.itemsize
  pixels = values.astype(f'<u{values.itemsize}').tobytes()
  fields = [
    (256, [width]),
    (257, [height]),
    (258, [bits] * channels),
    (259, [1]),
    (262, [1 if channels == 1 else 2]),
    (273, [8]),
    (277, [channels]),
    (278, [height]),
    (279, [len(pixels)]),
    (284, [1]),
    *([(338, [2])] if channels == 4 else []),  # the fourth is opacity
  ]
  extra_start = 8 + len(pixels) + 2 + 12 * len(fields) + 4
  directory, extra = struct.pack('<H', len(fields)), b''
  for tag, numbers in fields:
    data = struct.pack(f'<{len(numbers)}H', *numbers)
    if len(data) > 4:
      extra, data = extra + data, struct.pack('<I', extra_start + len(extra))
    directory += struct.pack('<HHI', tag, 3, len(numbers)) + data.ljust(
      4, b'\0'
    )
  head = struct.pack('<2sHI', b'II', 42, 8 + len(pixels))
  return head + pixels + directory + bytes(4) + extra


@pytest.mark.parametrize('channels', [3, 4])
def test_colour_tiffs_of_16_bits_are_refused_as_pillow_reads_8(
  tmp_path, channels
):
  values = _generator().integers(0, 65536, (4, 6, channels))
  path = tmp_path / 'a.tif'
  path.write_bytes(_encode_tiff((values // 256).astype(np.uint8)))
  np.testing.assert_array_equal(images.read_image(path), values // 256)
  path.write_bytes(_encode_tiff(values.astype(np.uint16)))
  for read in (images.read_image, images.read_header):
    with pytest.raises(errors.DataError, match='a.tif .*16 bits.*16-bit PNG'):
      read(path)
  grey = values[..., :1].astype(np.uint16)
  path.write_bytes(_encode_tiff(grey))
  np.testing.assert_array_equal(
    images.read_image(path), np.repeat(grey, 3, axis=-1)
  )


def test_float_tiff_is_no_colour_image_and_png_is_no_float_tiff(tmp_path):
  images.write_tiff(tmp_path / 'a.tiff', np.ones((2, 3)))
  with pytest.raises(errors.DataError, match='float'):
    images.read_image(tmp_path / 'a.tiff')
  images.write_png(tmp_path / 'a.png', np.ones((2, 3)))
  with pytest.raises(errors.DataError, match='float'):
    images.read_tiff(tmp_path / 'a.png')


def test_png_rounds_and_so_inverts_division_by_255(tmp_path):
  every = np.arange(256, dtype=np.uint8).reshape(16, 16)
  floats = every.astype(np.float32) / 255  # truncation would lose some of them
  assert images.write_png(tmp_path / 'a.png', floats) == 0
  got = images.read_image(tmp_path / 'a.png')
  np.testing.assert_array_equal(got[..., 0], every)
  np.testing.assert_array_equal(
    images.to_uint8(np.array([0.4999, 0.5001, 254.5001]) / 255), [0, 1, 255]
  )


def test_png_counts_values_that_are_not_finite_and_clips(tmp_path):
  values = np.array([[np.nan, np.inf, -np.inf], [-0.5, 1.5, 0.2]])
  assert images.write_png(tmp_path / 'a.png', values) == 3
  got = images.read_image(tmp_path / 'a.png')[..., 0]
  np.testing.assert_array_equal(got, [[0, 255, 0], [0, 255, 51]])


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_uint8_png_round_trip_is_exact_and_makes_folders(tmp_path, channels):
  values = _generator().integers(0, 256, (5, 4, channels), dtype=np.uint8)
  path = tmp_path / 'new' / 'folder' / 'a.png'
  images.write_png(path, values)
  got = images.read_image(path)
  np.testing.assert_array_equal(got[..., :channels], values)


def test_png_of_two_channels_is_refused(tmp_path):
  with pytest.raises(ValueError, match='1, 3 or 4'):
    images.write_png(tmp_path / 'a.png', np.zeros((2, 2, 2)))


@pytest.mark.parametrize('dtype', [np.float32, np.float64, np.float16])
def test_tiff_round_trip_is_float32_exact_with_nan_and_inf(tmp_path, dtype):
  values = _generator().normal(size=(5, 7)).astype(dtype)
  values[0, 0], values[1, 1] = np.nan, np.inf
  assert images.write_tiff(tmp_path / 'a.tiff', values[..., None]) == 2
  got = images.read_tiff(tmp_path / 'a.tiff')
  assert got.dtype == np.float32
  np.testing.assert_array_equal(got, values.astype(np.float32))


def test_tiff_with_opacity_is_refused(tmp_path):
  with pytest.raises(ValueError, match='1 or 3 channels'):
    images.write_tiff(tmp_path / 'a.tiff', np.zeros((2, 2, 4)))


def test_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
  images.write_png(tmp_path / 'a.png', np.zeros((2, 2)))
  before = (tmp_path / 'a.png').read_bytes()

  def fail(*args, **kwargs):
    raise OSError('disk full')

  monkeypatch.setattr(Image.Image, 'save', fail)
  with pytest.raises(OSError, match='disk full'):
    images.write_png(tmp_path / 'a.png', np.ones((2, 2)))
  assert (tmp_path / 'a.png').read_bytes() == before
  assert [p.name for p in tmp_path.iterdir()] == ['a.png']


def test_real_renderings_have_the_sizes_they_claim(shared_data):
  path = shared_data('chair_200') / 'train' / 'r_0.png'
  assert images.read_header(path) == images.ImageHeader(200, 200, 4, 8)
  with Image.open(path) as picture:
    np.testing.assert_array_equal(images.read_image(path), np.asarray(picture))


@pytest.mark.parametrize('mode', ['CMYK', 'LAB'])
def test_colours_that_would_have_to_be_guessed_are_refused(tmp_path, mode):
  path = tmp_path / 'print.tif'
  Image.new(mode, (4, 4)).save(path)
  with pytest.raises(errors.DataError, match=f'{mode}; convert it to RGB'):
    images.read_image(path)
