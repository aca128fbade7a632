"""Names of `internal/raw_utils.py`."""

import fractions
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from multinerf import errors
from multinerf.compat.multinerf import utils
from multinerf.data import batching, raw, raw_files
from multinerf.ops import color
from multinerf.ops import raw as ops

postprocess_raw = ops.postprocess_raw
best_fit_affine = ops.best_fit_affine
match_images_affine = ops.match_images_affine

# What RawNeRF needs of exiftool's output.
_EXIF_KEYS = (
  'BlackLevel',
  'WhiteLevel',
  'AsShotNeutral',
  'ColorMatrix2',
  'NoiseProfile',
  'ShutterSpeed',
)


def pixels_to_bayer_mask(pix_x: np.ndarray, pix_y: np.ndarray) -> np.ndarray:
  """[..., 3] of 0 and 1: the channel that an RGGB mosaic measures."""
  return batching.bayer_mask(np.asarray(pix_x), np.asarray(pix_y))


def bilinear_demosaic(bayer: Any, xnp: ModuleType) -> Any:
  """[H, W] RGGB mosaic to [H, W, 3]; what was measured stays."""
  return ops.bilinear_demosaic(bayer, xnp)


def load_raw_images(
  image_dir: str | os.PathLike, image_names: Sequence[str] | None = None
) -> tuple[np.ndarray, list[dict[str, Any]]]:
  """Reads `<name>.dng` with the `<name>.json` that exiftool made.

  Args:
    image_dir: Their folder.
    image_names: Which, with any extension; None: every .dng, sorted.

  Returns:
    [n, H, W] float32 mosaics (the visible pixels), and the JSON entries.

  Raises:
    DataError: There is none, or a file is missing, damaged or of another size.
  """
  folder = pathlib.Path(image_dir)
  if image_names is None:
    image_names = sorted(
      p.name for p in folder.glob('*') if p.suffix.lower() == '.dng'
    )
  if not image_names:
    raise errors.DataError(f'{folder} has no .dng files.')
  paths = [folder / pathlib.Path(name).stem for name in image_names]
  notes = [p.with_name(p.name + '.json') for p in paths]
  raw_files.read_exif(notes)  # refuses what is not exiftool's
  mosaics = [raw_files.read_mosaic(p.with_name(p.name + '.dng')) for p in paths]
  sizes = sorted({m.shape for m in mosaics})
  if len(sizes) > 1:
    raise errors.DataError(f'{folder}: raw images have several sizes: {sizes}.')
  exifs = [json.loads(p.read_bytes())[0] for p in notes]
  return np.stack(mosaics).astype(np.float32), exifs


def process_exif(
  exifs: Sequence[Mapping[str, Any]],
) -> dict[str, np.ndarray]:
  """Numbers of exiftool's entries, [n] or [n, k] by key, and `cam2rgb`.

  Args:
    exifs: One entry per image; a key that one of them lacks is left out.

  Raises:
    DataError: What the colour matrix needs is missing, or is no number.
  """
  checked = raw_files.parse_exif(exifs)
  found = {
    key: np.array([_numbers(entry[key]) for entry in exifs])
    for key in _EXIF_KEYS
    if all(key in entry for entry in exifs)
  }
  cam2rgb = [checked.cam2rgb(i) for i in range(len(checked))]
  return found | {'cam2rgb': np.stack(cam2rgb)}


def _numbers(value: Any) -> Any:
  """A number, or a list of them, out of a number or a string."""
  if isinstance(value, int | float):
    return value
  words = value if isinstance(value, list) else value.split()
  numbers = [float(fractions.Fraction(str(word))) for word in words]
  return numbers[0] if len(numbers) == 1 else numbers


def load_raw_dataset(
  split: utils.DataSplit | str,
  data_dir: str | os.PathLike,
  image_names: Sequence[str],
  exposure_percentile: float,
  n_downsample: int,
) -> tuple[np.ndarray, dict[str, Any], bool]:
  """Linear colours of a raw scene, see `data.raw`; poses are not read.

  Args:
    split: 'train' or 'test'. Of a test scene, one with a merged burst
      hdrplus_test/merged.dng, 'test' is that image and 'train' is all images
      but the first; of others both are all images.
    data_dir: The scene's folder.
    image_names: Names of its images, of which the first one of a test scene
      is the test image; with any extension.
    exposure_percentile: What `exposure`, the level shown as white, is of the
      first image.
    n_downsample: The test split is averaged down by this.

  Returns:
    [n, H, W, 3] float32 colours, 1 at the sensor's white level; metadata: that
    of `process_exif`, `exposure_idx`, `exposure_values`, `unique_shutters`,
    `exposure` and `exposure_levels`; and whether it is a test scene.

  Raises:
    ConfigError: rawpy is not installed.
    DataError: A file is missing or unusable.
  """
  split = utils.DataSplit(split)
  folder = pathlib.Path(data_dir)
  merged = folder / 'hdrplus_test' / 'merged.dng'
  is_test_scene, is_test = merged.is_file(), split is utils.DataSplit.TEST
  image_dir = folder / 'raw'
  if is_test_scene:
    image_dir, image_names = image_dir / split.value, image_names[1:]
  stems = [pathlib.Path(name).stem for name in image_names]
  if is_test_scene and is_test:  # the burst
    stems = sorted(p.stem for p in image_dir.glob('*.json'))
  files = [image_dir / f'{stem}.dng' for stem in stems]
  notes = [f.with_suffix('.json') for f in files]
  exif = raw_files.read_exif(notes)
  meta: dict[str, Any] = process_exif(
    [json.loads(p.read_bytes())[0] for p in notes]
  )
  scale, ratio = 1.0, 1.0
  times = exif.shutter_times
  if is_test_scene and is_test:
    files = [merged]
    meta = {key: value[:1] for key, value in meta.items()}
    # Merging adds two bits; the result is as bright as the first of the burst.
    scale, ratio = 0.25, times[0] / times[-1]
    times = times[:1]
  meta['exposure_idx'], meta['exposure_values'] = raw.exposures(times)
  meta['unique_shutters'] = np.unique(times)[::-1]
  images = []
  for i, file in enumerate(files):
    black, white = exif.black_levels[i], exif.white_levels[i]
    linear = raw.linearize(
      raw_files.read_mosaic(file),
      (black / scale).astype(np.float32),
      (scale * ratio / (white - black)).astype(np.float32),
    )
    images.append(ops.bilinear_demosaic(linear, np))
  meta |= _levels(images[0] @ meta['cam2rgb'][0].T, exposure_percentile)
  if is_test:
    images = [color.downsample(image, n_downsample) for image in images]
  return np.stack(images), meta, is_test_scene


def _levels(linear: np.ndarray, percentile: float) -> dict[str, Any]:
  """Brightness of an image: one level to show as white, and some others."""
  levels = np.percentile(linear, (*raw.LEVEL_PERCENTILES, percentile))
  return {
    'exposure': float(levels[-1]),
    'exposure_levels': dict(
      zip(raw.LEVEL_PERCENTILES, map(float, levels), strict=False)
    ),
  }
