"""The fuzzer of benchmarks/, on a few inputs; and what it has found so far."""

import contextlib
import pathlib
import struct
import sys
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest

from multinerf import errors
from multinerf.cameras import keyframes, paths
from multinerf.config import gin_setup
from multinerf.data import exif, files, images, raw_files

BENCHMARKS = pathlib.Path(__file__).resolve().parents[1] / 'benchmarks'
INPUTS = 12  # of each parser


@pytest.fixture(scope='module')
def fuzz():
  sys.path.insert(0, str(BENCHMARKS))
  try:
    import fuzz
    import fuzz_targets
  finally:
    sys.path.remove(str(BENCHMARKS))
  fuzz.targets = fuzz_targets.make
  return fuzz


@pytest.fixture(scope='module')
def targets(fuzz, tmp_path_factory):
  return fuzz.targets(tmp_path_factory.mktemp('fuzz'))


def test_parsers_return_or_raise_our_errors(fuzz, targets):
  assert len(targets) == 30
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # e.g. Pillow's about odd files
    bad = [
      (target.name, k, kind, trace)
      for target in targets
      for k in range(INPUTS)
      for kind, trace in [fuzz.outcome(target, fuzz.input_of(target, 7, k))]
      if trace
    ]
  assert bad == []


def test_sound_inputs_are_read(fuzz, targets):
  """Else mutations of them would not get past the first check."""
  bad = [
    target.name
    for target in targets
    if fuzz.outcome(target, target.seeds[0])[0] != 'read'
  ]
  assert bad == ['.npz: LPIPS weights']  # the true file has 60 MB


def test_inputs_follow_from_seed_target_and_number(fuzz, targets):
  inputs = lambda seed: [fuzz.input_of(targets[0], seed, k) for k in range(9)]
  assert inputs(1) == inputs(1) and inputs(1) != inputs(2)
  assert len(set(inputs(1))) > 5


def test_a_finding_is_one(fuzz, targets):
  def parser(data):
    if data == b'hang':
      while True:
        pass
    return {b'a': 1}[data]

  target = targets[0].__class__('x', 'bytes', [b'a'], parser)
  assert fuzz.outcome(target, b'a') == ('read', '')
  assert fuzz.outcome(target, b'b')[0] == 'KeyError'
  fuzz.SECONDS, before = 0.05, fuzz.SECONDS
  try:
    assert fuzz.outcome(target, b'hang')[0] == 'TooSlowError'
  finally:
    fuzz.SECONDS = before


@pytest.mark.parametrize('word', ['1e999999999', '1/1e-400', '1e400', '1/0'])
def test_found_numbers_with_a_thousand_million_digits(word, tmp_path):
  entry = {'BlackLevel': word}
  with pytest.raises(errors.DataError, match='BlackLevel'):
    raw_files.parse_exif([entry])


def test_found_names_of_key_frames_that_are_no_text(tmp_path):
  path = tmp_path / 'keys.txt'
  path.write_bytes(b'\xff\xfe\x00')
  with pytest.raises(errors.DataError, match='no text'):
    keyframes.listed_names(path)
  with pytest.raises(errors.DataError, match='no text'):
    paths.keyframe_indices(path, ('a', 'b'))


def test_found_headers_that_ask_for_more_than_the_file_has(tmp_path):
  path = tmp_path / 'path.npy'
  np.save(path, np.tile(np.eye(4)[:3], (2, 1, 1)))
  whole = path.read_bytes()
  for size in (2**28, 2**50, 2**62):
    wrong = whole.replace(b'(2, 3, 4)', b'(%d, 3, 4)' % size)
    path.write_bytes(wrong)
    with pytest.raises(errors.DataError, match='bytes'):
      paths.load_poses(path)
    with pytest.raises(errors.DataError, match='bytes'):
      files.read_npy(path, (None, 3, 4))


def chunk(kind, body, size=None):
  size = len(body) if size is None else size
  check = struct.pack('>I', zlib.crc32(kind + body))
  return struct.pack('>I', size) + kind + body + check


def png(*chunks):
  head = chunk(b'IHDR', struct.pack('>IIBBBBB', 5, 7, 8, 2, 0, 0, 0))
  return b'\x89PNG\r\n\x1a\n' + head + b''.join(chunks)


PIXELS = zlib.compress(bytes(7 * 16))
BROKEN_PNGS = {
  'a chunk of 2 GB': png(chunk(b'IDAT', PIXELS, 2**31 - 1)),
  'a profile without a method': png(
    chunk(b'IDAT', PIXELS), chunk(b'iCCP', b'name'), chunk(b'IEND', b'')
  ),
}


@pytest.mark.parametrize('name', BROKEN_PNGS)
def test_found_pictures_that_pillow_stumbles_over(name, tmp_path):
  path = tmp_path / 'x.png'
  path.write_bytes(BROKEN_PNGS[name])
  tracemalloc.start()
  try:
    with contextlib.suppress(errors.DataError):  # later Pillows may read them
      images.read_image(path)
    exif.read_exposure(path)
    assert tracemalloc.get_traced_memory()[1] < 1e7
  finally:
    tracemalloc.stop()


@pytest.mark.parametrize('depth', [90, 500])
def test_found_gin_values_nested_too_deeply(depth):
  deep = 'N = ' + '[' * depth + ']' * depth
  with contextlib.suppress(errors.ConfigError):  # 90 are fine
    gin_setup.load([], [deep])
  with pytest.raises(errors.ConfigError):
    gin_setup.load([], [f'Config.factor = %N\n{deep}'])
