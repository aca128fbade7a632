"""Scenes of raw photographs (RawNeRF, arXiv:2111.13679): linear colours.

Poses come from developed copies of the photographs; the colours from
<scene>/raw/<name>.dng, with metadata in <name>.json beside it. Training is at
full resolution on what the sensor measured, the test split at 1 / factor.

A scene with hdrplus_test/merged.dng is one of RawNeRF's test scenes: its first
photograph is the only test view, with the colours of that file, a merged burst
of raw/test/; all others are trained on, and are in raw/train/.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Int, Num, UInt16

from multinerf import errors
from multinerf.data import (
  base,
  photo_files,
  photo_set,
  photographs,
  raw_files,
)
from multinerf.ops import color, raw

# Percentiles of the first image that pictures of several brightnesses use.
LEVEL_PERCENTILES = (80, 90, 97, 99, 100)
_MERGED = pathlib.Path('hdrplus_test') / 'merged.dng'
_MERGED_SCALE = 0.25  # merging adds two bits


@dataclasses.dataclass(frozen=True)
class MosaicBuffer(base.PixelBuffer):
  """Demosaiced linear images, kept as the mosaics they are made from.

  Six times smaller than the float32 colours it stands for: the two channels
  that a pixel did not measure are interpolated when asked for
  (`ops.raw.bilinear_demosaic`). `values` are [num_pixels, 1] uint16 as stored
  by the camera; what is read is (value - black) * gain, float32, not clipped.

  Attributes:
    black: [n, 2, 2] value of no light by parity of row and column.
    gain: [n, 2, 2] 1 / (white - black).
  """

  black: Float32[np.ndarray, 'n 2 2']
  gain: Float32[np.ndarray, 'n 2 2']

  def image(self, i: int) -> Float32[np.ndarray, 'h w 3']:
    """Colours of image i; made anew on each call."""
    mosaic = super().image(i)[..., 0]
    linear = linearize(mosaic, self.black[i], self.gain[i])
    return raw.bilinear_demosaic(linear, np)

  def at(
    self,
    cam_idx: Int[np.ndarray, '...'],
    x: Int[np.ndarray, '...'],
    y: Int[np.ndarray, '...'],
  ) -> Float32[np.ndarray, '... 3']:
    """Colours at column x and row y of image cam_idx; the three broadcast."""
    self.forget()
    cam_idx, x, y = np.broadcast_arrays(cam_idx, x, y)
    widths, heights = self.widths[cam_idx], self.heights[cam_idx]
    columns = ((x - 1) % widths, x, (x + 1) % widths)
    first = self.offsets[cam_idx]
    up, mid, down = (
      first + row * widths for row in ((y - 1) % heights, y, (y + 1) % heights)
    )

    def linear(rows, columns, dy, dx):
      """Mean over some neighbours, all behind the same kind of filter."""
      taken = [self.values.take(r + c) for r in rows for c in columns]
      stored = sum(t.astype(np.float32) for t in taken) / np.float32(len(taken))
      kind = (cam_idx, (y + dy) % 2, (x + dx) % 2)
      return (stored - self.black[kind]) * self.gain[kind]

    left, centre, right = columns
    return raw.demosaic_at(
      linear((mid,), (centre,), 0, 0),
      linear((mid,), (left, right), 0, 1),
      linear((up, down), (centre,), 1, 0),
      linear((up, down), (left, right), 1, 1),
      x,
      y,
    )


def linearize(
  mosaic: UInt16[np.ndarray, 'h w'],
  black: Float32[np.ndarray, '2 2'],
  gain: Float32[np.ndarray, '2 2'],
) -> Float32[np.ndarray, 'h w']:
  """(mosaic - black) * gain for each of the four filters of a square.

  Raises:
    DataError: The height or width is odd.
  """
  height, width = mosaic.shape
  if height % 2 or width % 2:
    raise errors.DataError(
      f'A mosaic of {width}x{height} pixels is not made of 2x2 squares.'
    )
  squares = mosaic.reshape(height // 2, 2, width // 2, 2)
  linear = (squares - black[None, :, None]) * gain[None, :, None]
  return linear.reshape(height, width)


def make_scene(
  cfg: base.DataConfig, split: str, photos: photo_set.Photographs
) -> base.Scene:
  """Makes one split of a raw scene; see `photographs.make_scene`.

  Args:
    cfg: As there; factor applies to the test split and to camera paths.
    split: 'train' or 'test'.
    photos: The developed photographs; their files need not exist.

  Returns:
    Linear colours: 0 is black, 1 the sensor's white level; noise goes below
    0. Cameras have exposures, `raw` says how to show the colours.

  Raises:
    ConfigError: rawpy is not installed.
    DataError: A raw or metadata file is missing or unusable.
  """
  if cfg.load_alphabetical:
    photos = photos.reordered(np.argsort(np.array(photos.names)))
  shots = _find_shots(photos)
  if shots.merged:
    photos = dataclasses.replace(photos, test_names=frozenset(photos.names[:1]))
    cfg = dataclasses.replace(cfg, llff_use_all_images_for_training=False)
  photos = dataclasses.replace(photos, exposures=None)  # those of the copies
  full = split == 'train' and not cfg.render_path
  scene = photographs.make_scene(
    dataclasses.replace(cfg, load_alphabetical=False),
    split,
    photos,
    functools.partial(_open_pixels, shots=shots, full=full),
  )
  index = np.array([photos.names.index(name) for name in scene.image_names])
  cameras = scene.cameras.replace(
    exposure_idx=shots.exposure_idx[index],
    exposure_values=shots.exposure_values[index],
  )
  images = scene.images
  if images is not None and full:
    images = MosaicBuffer(
      **vars(images), black=shots.black[index], gain=shots.gain[index]
    )
  return dataclasses.replace(
    scene,
    cameras=cameras,
    images=images,
    raw=_display(shots, cfg.exposure_percentile),
    notes=scene.notes + shots.notes,
  )


def exposures(
  shutter_times: Float[np.ndarray, ' n'],
) -> tuple[Int[np.ndarray, ' n'], Float32[np.ndarray, ' n']]:
  """Numbers the exposure settings, 0 being the longest.

  Returns:
    [n] int32 number of each image's setting among the different ones, and [n]
    its time divided by the longest.
  """
  distinct, inverse = np.unique(-shutter_times, return_inverse=True)
  values = shutter_times / -distinct[0]
  return inverse.astype(np.int32), values.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class _Shots:
  """The raw files of all n photographs, in their order.

  Attributes:
    files: The raw files.
    black, gain: [n, 2, 2], see `MosaicBuffer`.
    cam2rgb: Of the first one.
    exposure_idx, exposure_values: [n], see `exposures`.
    shutter_times: Seconds, of each exposure_idx.
    merged: The first one is the merged test image.
    notes: What the user should hear.
  """

  files: tuple[pathlib.Path, ...]
  black: Float32[np.ndarray, 'n 2 2']
  gain: Float32[np.ndarray, 'n 2 2']
  cam2rgb: Float[np.ndarray, '3 3']
  exposure_idx: Int[np.ndarray, ' n']
  exposure_values: Float32[np.ndarray, ' n']
  shutter_times: tuple[float, ...]
  merged: bool
  notes: tuple[str, ...]

  def colours(self, i: int) -> Float32[np.ndarray, 'h w 3']:
    """Linear colours of photograph i at full resolution."""
    mosaic = raw_files.read_mosaic(self.files[i])
    linear = linearize(mosaic, self.black[i], self.gain[i])
    return raw.bilinear_demosaic(linear, np)


def _find_shots(photos: photo_set.Photographs) -> _Shots:
  """Finds the raw files of the photographs and reads their metadata."""
  merged = (photos.folder / _MERGED).is_file()
  folder = photos.folder / 'raw'
  if merged:
    folder = folder / 'train'
  files = tuple(_raw_file(folder, name) for name in photos.names)
  if merged:
    return _with_merged(photos, files[1:])
  photo_files.require_files(files, photos.folder)
  exif = raw_files.read_exif([f.with_suffix('.json') for f in files])
  number, values = exposures(exif.shutter_times)
  black, gain = _calibration(exif)
  return _Shots(
    files=files,
    black=black,
    gain=gain,
    cam2rgb=exif.cam2rgb(0),
    exposure_idx=number,
    exposure_values=values,
    shutter_times=_distinct(exif),
    merged=False,
    notes=_iso_note(exif),
  )


def _with_merged(
  photos: photo_set.Photographs, train_files: tuple[pathlib.Path, ...]
) -> _Shots:
  """The same of a test scene, whose first photograph is a merged burst.

  Its metadata are those of the first of the burst, but for two more bits, and
  it is as bright as if exposed as long as that one.
  """
  merged_file = photos.folder / _MERGED
  burst_files = sorted((photos.folder / 'raw' / 'test').glob('*.json'))
  if not burst_files:
    raise errors.DataError(
      f'{photos.folder} has {_MERGED} but no metadata of its burst in '
      'raw/test/*.json.'
    )
  photo_files.require_files((merged_file, *train_files), photos.folder)
  burst = raw_files.read_exif(burst_files)
  exif = raw_files.read_exif([f.with_suffix('.json') for f in train_files])
  number, values = exposures(exif.shutter_times)
  burst_black, burst_gain = _calibration(burst)
  black, gain = _calibration(exif)
  ratio = np.float32(burst.shutter_times[0] / burst.shutter_times[-1])
  return _Shots(
    files=(merged_file, *train_files),
    black=np.concatenate([burst_black[:1] / _MERGED_SCALE, black]),
    gain=np.concatenate([burst_gain[:1] * (_MERGED_SCALE * ratio), gain]),
    cam2rgb=burst.cam2rgb(0),
    exposure_idx=np.concatenate([[0], number]).astype(np.int32),
    exposure_values=np.concatenate([[1], values]).astype(np.float32),
    shutter_times=_distinct(exif),
    merged=True,
    notes=_iso_note(exif),
  )


def _raw_file(folder: pathlib.Path, name: str) -> pathlib.Path:
  """The raw file of a developed photograph."""
  path = folder / pathlib.PurePath(name).with_suffix('.dng')
  capital = path.with_suffix('.DNG')
  return capital if capital.is_file() and not path.is_file() else path


def _calibration(exif: raw_files.Exif) -> tuple[np.ndarray, np.ndarray]:
  """`black` and `gain` of `MosaicBuffer`."""
  gain = 1 / (exif.white_levels[:, None, None] - exif.black_levels)
  return exif.black_levels.astype(np.float32), gain.astype(np.float32)


def _distinct(exif: raw_files.Exif) -> tuple[float, ...]:
  """The different shutter times, longest first."""
  return tuple(float(t) for t in np.unique(exif.shutter_times)[::-1])


def _iso_note(exif: raw_files.Exif) -> tuple[str, ...]:
  isos = np.unique(exif.isos[np.isfinite(exif.isos)])
  if len(isos) < 2:
    return ()
  return (
    f'The ISO of the raw photographs differs ({isos[0]:g} to {isos[-1]:g}); '
    'exposures are shutter times only, so their brightness will not agree.',
  )


def _open_pixels(
  cfg: base.DataConfig,
  photos: photo_set.Photographs,
  *,
  shots: _Shots,
  full: bool,
) -> photo_set.PixelSource:
  """Mosaics at full resolution, or colours averaged down by the factor."""
  sizes = np.array([raw_files.read_size(f) for f in shots.files])
  _check_sizes(photos, shots.files, sizes)
  factor = 1 if full else max(cfg.factor, 1)
  for path, (width, height) in zip(shots.files, sizes, strict=True):
    if width % factor or height % factor:
      raise errors.DataError(
        f'{path} has {width}x{height} pixels, which cannot be averaged down '
        f'by {factor}; choose a divisor (gin: Config.factor).'
      )

  def read(i: int) -> Num[np.ndarray, 'h w c']:
    if full:
      return raw_files.read_mosaic(shots.files[i])[..., None]
    return color.downsample(shots.colours(i), factor)

  return photo_set.PixelSource(
    sizes[:, 0] // factor,
    sizes[:, 1] // factor,
    1 if full else 3,
    np.uint16 if full else np.float32,
    read,
    origin=(shots.files, shots.black, shots.gain, factor),
  )


def _check_sizes(
  photos: photo_set.Photographs,
  files: Sequence[pathlib.Path],
  sizes: Int[np.ndarray, 'n 2'],
):
  """Raises if a raw image is not its developed copy, but for a scale."""
  for i, (path, (width, height)) in enumerate(zip(files, sizes, strict=True)):
    w, h = int(photos.widths[i]), int(photos.heights[i])
    # Less than a pixel of the larger one apart after scaling.
    if abs(int(width) * h - int(height) * w) >= max(w, h):
      raise errors.DataError(
        f'{path} has {width}x{height} pixels, its developed copy '
        f'{photos.names[i]} {w}x{h}: one is cropped or turned. Develop the '
        'photographs without either.'
      )


def _display(shots: _Shots, percentile: float) -> base.RawDisplay:
  """How to show the scene, from the brightness of its first photograph.

  Raises:
    DataError: That is black.
  """
  linear = shots.colours(0) @ shots.cam2rgb.T.astype(np.float32)
  levels = np.percentile(linear, (*LEVEL_PERCENTILES, percentile))
  if levels[-1] <= 0:
    raise errors.DataError(
      f'{shots.files[0]} is black at percentile {percentile:g}; raise '
      'Config.exposure_percentile.'
    )
  # A dark photograph may have levels below black; white is above.
  levels = np.maximum(levels, np.finfo(np.float32).tiny)
  return base.RawDisplay(
    cam2rgb=shots.cam2rgb,
    exposure=float(levels[-1]),
    exposure_levels={
      p: float(x) for p, x in zip(LEVEL_PERCENTILES, levels, strict=False)
    },
    shutter_times=shots.shutter_times,
  )
