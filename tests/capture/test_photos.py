"""A folder of photographs: what is taken, what is named, what is turned."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from multinerf import errors
from multinerf.capture import photos
from multinerf.data import images

_ROTATED = {1: 0, 6: 3, 3: 2, 8: 1}  # EXIF orientation -> np.rot90 by


def write_photo(path, *, seed=0, size=(24, 32), orientation=None, focal=None):
  """A smooth random picture; returns its pixels as stored."""
  gen = np.random.default_rng(seed)
  coarse = gen.integers(0, 256, (3, 4, 3), dtype=np.uint8)
  pixels = np.asarray(Image.fromarray(coarse).resize(size[::-1]))
  exif = Image.Exif()
  if orientation is not None:
    exif[ExifTags.Base.Orientation] = orientation
  if focal is not None:
    exif[ExifTags.Base.FocalLength] = focal
  path.parent.mkdir(exist_ok=True, parents=True)
  Image.fromarray(pixels).save(path, exif=exif.tobytes(), quality=95)
  return pixels


def prepare(folder, scene, **kwargs):
  """Both steps."""
  scene.mkdir()
  found, notes = photos.list_photos(folder)
  return photos.prepare(found, scene, notes=notes, num_threads=2, **kwargs)


def test_photographs_are_copied_byte_for_byte_sorted_by_name(tmp_path):
  for i, name in enumerate(['b.jpg', 'a.PNG', 'c.JPEG']):
    write_photo(tmp_path / 'in' / name, seed=i)
  prepared = prepare(tmp_path / 'in', tmp_path / 'out', factors=(2,))
  assert prepared.names == ('a.PNG', 'b.jpg', 'c.JPEG')
  assert not prepared.ordered and prepared.notes == ()
  for name in prepared.names:
    source, copy = (tmp_path / d / name for d in ('in', 'out/images'))
    assert source.read_bytes() == copy.read_bytes()
    small = images.read_image(tmp_path / 'out' / 'images_2' / name)
    assert small.shape == (12, 16, 3)


def test_stray_files_are_ignored_and_other_formats_named(tmp_path):
  for name in ('a.jpg', 'b.jpg', 'sub/c.jpg', '._a.jpg'):
    write_photo(tmp_path / name)
  for name in ('.DS_Store', 'Thumbs.db', 'IMG_1.HEIC', 'IMG_2.DNG'):
    (tmp_path / name).write_bytes(b'x')
  found, (note,) = photos.list_photos(tmp_path)
  assert [p.name for p in found] == ['a.jpg', 'b.jpg']
  assert '2 files (.dng, .heic)' in note


@pytest.mark.parametrize('orientation', sorted(_ROTATED))
@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_a_photograph_rotated_by_exif_becomes_upright(
  tmp_path, orientation, suffix
):
  folder = tmp_path / 'in'
  name = f'a{suffix}'
  stored = write_photo(folder / name, orientation=orientation, focal=4.25)
  write_photo(folder / 'z.png')
  prepared = prepare(folder, tmp_path / 'out', factors=(2,))
  upright = np.rot90(stored, _ROTATED[orientation])
  # `read_image` ignores EXIF, as COLMAP does: what both see is upright.
  got = images.read_image(tmp_path / 'out' / 'images' / name).astype(int)
  assert got.shape == upright.shape
  # Two passes of JPEG on saturated colours; another turn would be off by 60.
  tolerance = 0 if suffix == '.png' else 4
  assert np.abs(got - upright).mean() <= tolerance
  small = images.read_image(tmp_path / 'out' / 'images_2' / name)
  assert small.shape[:2] == tuple(side // 2 for side in upright.shape[:2])
  with Image.open(tmp_path / 'out' / 'images' / name) as picture:
    exif = picture.getexif()
  assert exif.get(ExifTags.Base.Orientation, 1) == 1
  assert exif[ExifTags.Base.FocalLength] == 4.25  # COLMAP starts from it
  assert any('rotated' in n for n in prepared.notes) == (orientation != 1)


@pytest.mark.filterwarnings('ignore:Tag data larger|Corrupt EXIF:UserWarning')
@pytest.mark.parametrize(
  'damaged',
  [
    b'Exif\0\0no tags',
    b'Exif\0\0II*\0\x08\0\0\0\xff\xff' + b'\x12\x01\x07\0' * 9,
    b'Exif\0\0II*\0\xff\xff\0\0',
  ],
)
def test_damaged_exif_is_as_good_as_none(tmp_path, damaged):
  folder = tmp_path / 'in'
  write_photo(folder / 'a.jpg')
  gen = np.random.default_rng(0)
  pixels = gen.integers(0, 256, (8, 8, 3), dtype=np.uint8)
  Image.fromarray(pixels).save(folder / 'b.jpg', exif=damaged)
  prepared = prepare(folder, tmp_path / 'out')
  assert prepared.names == ('a.jpg', 'b.jpg')
  assert prepared.cameras == ('32x24', '8x8')


def test_images_of_equal_size_and_focal_length_share_a_camera(tmp_path):
  folder = tmp_path / 'in'
  write_photo(folder / 'a.jpg', focal=4.0)
  write_photo(folder / 'b.jpg', focal=4.0, orientation=6)
  write_photo(folder / 'c.jpg', focal=4.0)
  write_photo(folder / 'd.jpg', focal=8.0)
  write_photo(folder / 'e.jpg', focal=4.0, size=(24, 40))
  a, b, c, d, e = prepare(folder, tmp_path / 'out').cameras
  assert a == c
  assert len({a, b, d, e}) == 4
  assert [x.split()[0] for x in (a, b, e)] == ['32x24', '24x32', '40x24']


def test_unreadable_photographs_are_left_out_and_named(tmp_path):
  folder = tmp_path / 'in'
  for i in range(3):
    write_photo(folder / f'{i}.jpg', seed=i, size=(300, 400))
  whole = (folder / '1.jpg').read_bytes()
  (folder / '1.jpg').write_bytes(whole[: len(whole) // 2])
  (folder / '9.png').write_bytes(b'garbage')
  prepared = prepare(folder, tmp_path / 'out', factors=(2,))
  assert prepared.names == ('0.jpg', '2.jpg')
  assert '2 photographs cannot be read' in prepared.notes[0]
  assert '1.jpg, 9.png' in prepared.notes[0]
  assert not (tmp_path / 'out' / 'images' / '1.jpg').exists()


def test_too_few_readable_photographs_are_an_error(tmp_path):
  write_photo(tmp_path / 'in' / 'a.jpg')
  (tmp_path / 'in' / 'b.jpg').write_bytes(b'garbage')
  with pytest.raises(errors.DataError, match=r'1 of 2 .* cannot .*b\.jpg'):
    prepare(tmp_path / 'in', tmp_path / 'out')


def test_spaces_in_names_become_underscores(tmp_path):
  for name in ('IMG 2 (1).jpg', 'IMG_1.jpg'):
    write_photo(tmp_path / 'in' / name)
  prepared = prepare(tmp_path / 'in', tmp_path / 'out')
  assert prepared.names == ('IMG_1.jpg', 'IMG_2_(1).jpg')
  for name in prepared.names:
    assert (tmp_path / 'out' / 'images' / name).exists()


@pytest.mark.parametrize(
  ('files', 'message'),
  [
    ([], 'no JPEG or PNG photographs; it is empty'),
    (['a.jpg'], r'one photograph \(a\.jpg\).*take 30 or more'),
    (['a.HEIC'], r'1 files like a\.HEIC: convert'),
    (['sub/a.jpg'], r'its sub-folder .*sub does: give that one'),
    (['walk.mp4'], r'it has walk\.mp4.*or the video file itself'),
    (['a.jpg', 'a.png'], 'differ only in ending'),
    (['a.jpg', 'A.JPG'], 'differ only in ending'),
    (['a b.jpg', 'a_b.jpg'], 'differ only in ending'),
  ],
)
def test_a_folder_that_is_no_scene_says_why(tmp_path, files, message):
  for name in files:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b'x')
  with pytest.raises(errors.DataError, match=message):
    photos.list_photos(tmp_path)


def test_prepared_images_survive_json():
  prepared = photos.Prepared(('a.jpg', 'b.jpg'), ('x', 'y'), True, ('note',))
  assert photos.Prepared.from_json(prepared.to_json()) == prepared
