"""Pixels in files are those in memory, complete or not there, and read late."""

import concurrent.futures
import dataclasses
import errno
import os
import pathlib
import threading
import time

import colmap_util
import numpy as np
import pytest
import raw_scene
import sampler_util

from multinerf import errors
from multinerf.cameras import camera, projection
from multinerf.data import (
  base,
  batching,
  host_memory,
  inspection,
  pixel_buffer,
  pixel_cache,
  positions,
  synthetic,
)

SIZES = ([7, 5, 6], [5, 9, 6])
KINDS = {
  'images': pixel_cache.Kind(3, np.uint8),
  'depths': pixel_cache.Kind(2, np.float32),
}


def pictures(i):
  """What image i is to hold, by kind."""
  generator = np.random.default_rng(i)
  shape = (SIZES[1][i], SIZES[0][i])
  return {
    'images': generator.integers(0, 256, (*shape, 3), np.uint8),
    'depths': generator.random((*shape, 2)).astype(np.float32),
  }


class Loader:
  """Fills images and counts them."""

  def __init__(self, wrong=None, seconds=0.0):
    self.loaded = []
    self._wrong, self._seconds = wrong, seconds

  def __call__(self, i, targets):
    time.sleep(self._seconds)
    if i == self._wrong:
      raise errors.DataError('a broken file')
    for name, values in pictures(i).items():
      targets[name][...] = values
    self.loaded.append(i)


def build(folder, load, origin=('x',)):
  return pixel_cache.build(
    SIZES,
    KINDS,
    load,
    folder=None if folder is None else str(folder),
    origin=origin,
  )


def assert_filled(buffers):
  for i in range(3):
    for name, values in pictures(i).items():
      np.testing.assert_array_equal(buffers[name].image(i), values)


def anonymous_and_file():
  """Resident memory of this process that is its own, and that is of files."""
  text = pathlib.Path('/proc/self/status').read_text()
  lines = dict(line.split(':', 1) for line in text.splitlines())
  return tuple(1024 * int(lines[k].split()[0]) for k in ('RssAnon', 'RssFile'))


def test_what_is_built_once_is_found_again(tmp_path):
  first, second = Loader(), Loader()
  assert_filled(build(tmp_path, first))
  assert sorted(first.loaded) == [0, 1, 2]
  again = build(tmp_path, second)
  assert_filled(again)
  assert second.loaded == []
  assert all(buffer.file is not None for buffer in again.values())
  with pytest.raises(ValueError, match='read-only'):
    again['images'].image(0)[...] = 0


def test_another_file_time_or_option_is_another_entry(tmp_path):
  source = tmp_path / 'a.png'
  source.write_bytes(b'1')
  arrays = {'k1': np.zeros(2000)}
  origin = (source, 2, None, arrays)
  first = pixel_cache.fingerprint(origin)
  assert pixel_cache.fingerprint(origin) == first
  os.utime(source, ns=(0, 12345))
  touched = pixel_cache.fingerprint(origin)
  arrays['k1'][1000] = 1  # where repr() shows '...'
  other = pixel_cache.fingerprint(origin)
  missing = pixel_cache.fingerprint((tmp_path / 'b.png', 2, None, arrays))
  nested = pixel_cache.fingerprint(((source, 2), None, arrays))
  assert len({first, touched, other, missing, nested}) == 5
  cache = tmp_path / 'cache'
  build(cache, Loader(), ('x', 1))
  load = Loader()
  assert_filled(build(cache, load, ('x', 2)))
  assert len(load.loaded) == 3


def test_a_build_that_fails_or_is_killed_leaves_nothing_to_be_found(tmp_path):
  with pytest.raises(errors.DataError, match='a broken file'):
    build(tmp_path, Loader(wrong=2))
  assert [p.suffix for p in tmp_path.iterdir()] == ['.lock']
  key = next(tmp_path.iterdir()).stem
  # What a killed process leaves behind, and a file cut short by a full disk.
  left_over = tmp_path / f'{key}.tmp'
  left_over.mkdir()
  (left_over / 'images').write_bytes(b'part')
  load = Loader()
  assert_filled(build(tmp_path, load))
  assert len(load.loaded) == 3 and not left_over.exists()
  with open(tmp_path / key / 'depths', 'r+b') as file:
    file.truncate(100)
  load = Loader()
  assert_filled(build(tmp_path, load))
  assert len(load.loaded) == 3


def test_of_several_builders_one_works_and_the_others_wait(tmp_path):
  load, start = Loader(seconds=0.05), threading.Barrier(4)

  def one(_):
    start.wait()
    return build(tmp_path, load)

  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    found = list(pool.map(one, range(4)))
  assert sorted(load.loaded) == [0, 1, 2]
  for buffers in found:
    assert_filled(buffers)


def test_pixels_go_to_files_only_where_memory_is_short(tmp_path, monkeypatch):
  monkeypatch.setattr(pixel_cache, 'DEFAULT_FOLDER', str(tmp_path))
  num_bytes = sum(w * h for w, h in zip(*SIZES, strict=True)) * (3 + 8)
  enough = int(num_bytes / pixel_cache.MEMORY_SHARE) + 1
  for memory, in_file in ((enough, False), (enough - 4, True)):
    monkeypatch.setattr(host_memory, 'available', lambda m=memory: m)
    found = build(None, Loader())
    assert_filled(found)
    assert {b.file is not None for b in found.values()} == {in_file}
  unknown = build(tmp_path, Loader(), None)
  assert all(buffer.file is None for buffer in unknown.values())


def test_a_full_disk_or_a_file_in_the_way_names_the_option(
  tmp_path, monkeypatch
):
  (tmp_path / 'file').write_text('')
  with pytest.raises(errors.DataError, match='Config.pixel_cache_dir'):
    build(tmp_path / 'file', Loader())

  def full(*_):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(os, 'posix_fallocate', full)
  with pytest.raises(errors.DataError, match='No space left'):
    build(tmp_path / 'disk', Loader())
  assert [p.suffix for p in (tmp_path / 'disk').iterdir()] == ['.lock']


def assert_same_pixels(got, want):
  for kind in base.PIXEL_KINDS:
    a, b = getattr(got, kind), getattr(want, kind)
    assert (a is None) == (b is None), kind
    if a is not None:
      assert a.file is not None and b.file is None
      assert type(a) is type(b) and a.values.dtype == b.values.dtype
      for i in range(len(b)):
        np.testing.assert_array_equal(a.image(i), b.image(i), err_msg=kind)


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
  """Folders by loader."""
  folder = tmp_path_factory.mktemp('scenes')
  raw_scene.write_llff_scene(folder / 'raw', 9, 48)
  return {
    'synthetic': synthetic.render_scene(folder / 'synthetic', 16, 3, 2),
    'llff': colmap_util.write_llff_scene(folder / 'llff', 9, 16, masks=True),
    'raw': folder / 'raw',
  }


@pytest.mark.parametrize(
  'name, options',
  [
    (
      'synthetic',
      dict(
        compute_disp_metrics=True,
        compute_normal_metrics=True,
        depth_loss_mult=1,
      ),
    ),
    ('synthetic', dict(factor=2, compute_normal_metrics=True)),
    ('multicam', {}),
    ('llff', dict(multiscale_train_factors=(2, 4))),
    ('llff', dict(factor=2)),
    ('raw', dict(rawnerf_mode=True, forward_facing=True, near=0.0, far=1.0)),
  ],
)
def test_a_scene_from_the_cache_is_the_scene(name, options, scenes, tmp_path):
  folder = scenes['synthetic' if name == 'multicam' else name]
  cfg = base.DataConfig(
    dataset_loader='llff' if name == 'raw' else name,
    data_dir=str(folder),
    synthetic_resolution=16,
    synthetic_num_train=3,
    synthetic_num_test=2,
    **({'near': 0.1, 'far': 9.0} | options),
  )
  want = base.load_scene(cfg, 'train')
  cached = dataclasses.replace(cfg, pixel_cache_dir=str(tmp_path / 'cache'))
  built = base.load_scene(cached, 'train')
  assert_same_pixels(built, want)
  entries = {p: p.stat().st_mtime_ns for p in tmp_path.glob('cache/*/*')}
  assert_same_pixels(base.load_scene(cached, 'train'), want)
  assert {
    p: p.stat().st_mtime_ns for p in tmp_path.glob('cache/*/*')
  } == entries
  sampler_cfg = batching.SamplerConfig(batch_size=64)
  samplers = [batching.RaySampler(s, sampler_cfg) for s in (built, want)]
  got, expected = (sampler.batch(3) for sampler in samplers)
  np.testing.assert_array_equal(got.rgb, expected.rgb)
  assert inspection.inspect(built) == inspection.inspect(want)


def test_images_are_written_one_by_one(tmp_path):
  """Of 96 MB, no more is in memory than what the threads work on."""
  num, side = 96, 577
  before, _ = anonymous_and_file()
  peak = []

  def load(i, targets):
    targets['images'][...] = i
    peak.append(anonymous_and_file()[0])

  found = pixel_cache.build(
    ([side] * num, [side] * num),
    {'images': pixel_cache.Kind(3, np.uint8)},
    load,
    folder=str(tmp_path),
    origin=('x',),
  )['images']
  assert found.values.nbytes > 95e6
  assert max(peak) - before < 40e6  # 8 threads, 1 MB each, and their stacks
  for i in (0, 57, 95):
    assert (found.image(i) == i).all()


def large_scene(path, num=10_000, side=1000):
  """Images of a megapixel in a sparse file; only their corners are written."""
  num_bytes = num * side * side * 3
  with open(path, 'wb') as file:
    file.truncate(num_bytes)
    for i in range(0, num, num // 100):
      file.seek(i * side * side * 3)
      file.write(i.to_bytes(4, 'little'))
  file = pixel_buffer.MappedFile(path, key='sparse')
  size = np.full(num, side)
  images = base.PixelBuffer(
    file.array(3, np.uint8),
    size,
    size,
    np.arange(num + 1) * side * side,
    file=file,
  )
  cameras = camera.make_cameras(
    projection.get_pixtocam(1000.0, side, side),
    np.tile(np.eye(4), (num, 1, 1)),
    widths=size,
    heights=size,
    near=2.0,
    far=6.0,
  )
  names = tuple(f'{i}.png' for i in range(num))
  return base.Scene('large', 'train', cameras, names, images)


@pytest.mark.parametrize(
  'num_batches', [10, pytest.param(100, marks=pytest.mark.slow)]
)
def test_batches_from_30_gb_of_pixels_take_no_memory(tmp_path, num_batches):
  scene = large_scene(tmp_path / 'pixels')
  assert scene.images.values.nbytes == 30e9
  found = positions.find(scene, 1, 0)
  assert found.index is None and found.starts[-1] == 10**10
  own, of_files = anonymous_and_file()
  sampler = batching.RaySampler(scene, batching.SamplerConfig())
  most_own = most_of_files = 0
  for step in range(num_batches):
    batch = sampler.batch(step)
    now = anonymous_and_file()
    most_own = max(most_own, now[0] - own)
    most_of_files = max(most_of_files, now[1] - of_files)
  assert batch.rgb.shape == (16384, 3)
  # A page of 4 KiB per ray; and once the file is in the page cache, those
  # beside it (64 KiB) are mapped as well.
  assert most_of_files < 16384 * 2**16 + 2**20
  assert most_own < 64 * 2**20
  # From everywhere, and written corners are found where they belong.
  pixels = batch.pixels
  assert pixels.cam_idx.max() > 9900 and pixels.pix_y_int.max() > 990
  zero = np.zeros(1, np.int64)
  corner = scene.images.at(np.array([9900]), zero, zero)
  assert corner[0].tolist() == list((9900).to_bytes(3, 'little'))


def test_reading_from_a_file_is_reading_from_memory(tmp_path):
  scene = sampler_util.make_scene(sampler_util.SIZES)
  scene.images.values.tofile(tmp_path / 'pixels')
  file = pixel_buffer.MappedFile(tmp_path / 'pixels', key='x')
  mapped = dataclasses.replace(
    scene.images, values=file.array(4, np.uint8), file=file
  )
  patches = batching.SamplerConfig(batch_size=64, patch_size=2)
  for cfg in (patches, batching.SamplerConfig(batch_size=3)):
    samplers = [
      batching.RaySampler(dataclasses.replace(scene, images=images), cfg)
      for images in (scene.images, mapped)
    ]
    want, got = (sampler.batch(1).rgb for sampler in samplers)
    np.testing.assert_array_equal(got, want)
