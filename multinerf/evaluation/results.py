"""The record of one evaluation: per image, means, protocol, machine.

`results.json` is for papers and scripts; the `metric_*.txt` files are those
of MultiNeRF. A number that does not exist is null, and the reason stands
beside it.
"""

import dataclasses
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import secrets
from collections.abc import Mapping, Sequence

import numpy as np

from multinerf import parallel

FORMAT_VERSION = 1
_PACKAGES = ('multinerf', 'jax', 'jaxlib', 'flax', 'numpy')


@dataclasses.dataclass(frozen=True)
class ImageResult:
  """What was measured on one test view.

  Attributes:
    index: Position in the test split; also in the names of files.
    name: The image's file name.
    metrics: Values by name; NaN where they are undefined.
    metrics_cc: The same after colour correction.
    nonfinite: Pixels with NaN or infinite values, by `Rendering` field; only
      fields that have some.
    num_rays: Pixels rendered.
    render_seconds: Wall time of rendering; the first includes compilation.
    scale: How many times smaller than the largest image of its view.
  """

  index: int
  name: str
  metrics: Mapping[str, float]
  metrics_cc: Mapping[str, float]
  nonfinite: Mapping[str, int]
  num_rays: int
  render_seconds: float
  scale: int = 1


@dataclasses.dataclass(frozen=True)
class Results:
  """One evaluation of one checkpoint.

  Attributes:
    step: Of the checkpoint.
    images: In the order of the test split.
    protocol: Settings on which the numbers depend (scene, factor, ...).
    test_names: Names of the evaluated images.
    lpips_reason: Why there is no LPIPS; None if there is.
    wall_seconds: Of the whole evaluation.
    device: E.g. '2 x cpu'.
  """

  step: int
  images: tuple[ImageResult, ...]
  protocol: Mapping[str, object]
  test_names: tuple[str, ...]
  lpips_reason: str | None
  wall_seconds: float
  device: str

  @property
  def mean(self) -> dict[str, float]:
    """Means over images by metric; NaN if an image's value is."""
    return _means([image.metrics for image in self.images])

  @property
  def mean_cc(self) -> dict[str, float]:
    """Means over images of the colour-corrected metrics."""
    return _means([image.metrics_cc for image in self.images])

  @property
  def mean_by_scale(self) -> dict[int, dict[str, float]]:
    """Means over the images of each scale, largest images first.

    Empty where all images are of full size.
    """
    return self._by_scale('metrics')

  @property
  def mean_cc_by_scale(self) -> dict[int, dict[str, float]]:
    """The same of the colour-corrected metrics."""
    return self._by_scale('metrics_cc')

  def _by_scale(self, kind: str) -> dict[int, dict[str, float]]:
    scales = sorted({image.scale for image in self.images})
    if scales in ([], [1]):
      return {}
    return {
      scale: _means([getattr(i, kind) for i in self.images if i.scale == scale])
      for scale in scales
    }

  @property
  def nonfinite(self) -> int:
    """How many values' pixels, over images and fields, are not finite."""
    return sum(sum(image.nonfinite.values()) for image in self.images)

  @property
  def rays_per_sec(self) -> float:
    """Median over images, so that compilation does not count."""
    if not self.images:
      return math.nan
    rates = [i.num_rays / max(i.render_seconds, 1e-9) for i in self.images]
    return float(np.median(rates))

  @property
  def median_render_seconds(self) -> float:
    """Median wall time of an image."""
    if not self.images:
      return math.nan
    return float(np.median([image.render_seconds for image in self.images]))

  def to_json(self) -> dict[str, object]:
    """Returns the content of `results.json`; non-finite numbers are null."""
    return _plain(
      {
        'format_version': FORMAT_VERSION,
        'step': self.step,
        'protocol': dict(self.protocol),
        'mean': self.mean,
        'mean_cc': self.mean_cc,
        'mean_by_scale': self.mean_by_scale,
        'mean_cc_by_scale': self.mean_cc_by_scale,
        'lpips': self.mean.get('lpips'),
        'lpips_reason': self.lpips_reason,
        'nonfinite_pixels': self.nonfinite,
        'test_names': list(self.test_names),
        'images': [dataclasses.asdict(image) for image in self.images],
        'rays_per_sec': self.rays_per_sec,
        'median_render_seconds': self.median_render_seconds,
        'wall_seconds': self.wall_seconds,
        'device': self.device,
        'versions': versions(),
      }
    )


def scale_name(metric: str, scale: int) -> str:
  """What a metric's mean over the images of one scale is called: psnr_2x."""
  return f'{metric}_{scale}x'


def write_results(path: str | os.PathLike, results: Results) -> None:
  """Writes `results.json`, atomically; missing folders are made."""
  text = json.dumps(results.to_json(), indent=2, allow_nan=False) + '\n'
  write_text(path, text)


def write_metric_files(folder: str | os.PathLike, results: Results) -> None:
  """Writes MultiNeRF's text files, one value per image, space separated.

  `metric_{name}_{step}.txt`, `metric_cc_{name}_{step}.txt` and
  `render_times_{step}.txt` (seconds).
  """
  folder = pathlib.Path(folder)
  step = results.step
  for infix, kind in (('', 'metrics'), ('cc_', 'metrics_cc')):
    rows = [getattr(image, kind) for image in results.images]
    for name in _names(rows):
      values = [row.get(name, math.nan) for row in rows]
      path = folder / f'metric_{infix}{name}_{step}.txt'
      write_text(path, ' '.join(str(v) for v in values))
  seconds = ' '.join(str(image.render_seconds) for image in results.images)
  write_text(folder / f'render_times_{step}.txt', seconds)


def versions() -> dict[str, str | None]:
  """Returns the versions that numbers may depend on; None: not installed."""
  found: dict[str, str | None] = {'python': platform.python_version()}
  for package in _PACKAGES:
    try:
      found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      found[package] = None  # e.g. multinerf run from a checkout
  return found


def write_text(path: str | os.PathLike, text: str) -> None:
  """Replaces a text file atomically; only the lead process writes."""
  if not parallel.is_lead():
    return
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  temp = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.tmp')
  try:
    temp.write_text(text)
    os.replace(temp, path)
  finally:
    temp.unlink(missing_ok=True)


def _names(rows: Sequence[Mapping[str, float]]) -> list[str]:
  """All keys, in order of appearance."""
  return list(dict.fromkeys(name for row in rows for name in row))


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
  # fsum, as numpy warns of inf - inf; a missing value makes the mean NaN.
  out = {}
  for name in _names(rows):
    values = [row.get(name, math.nan) for row in rows]
    finite = all(math.isfinite(v) for v in values)
    out[name] = math.fsum(values) / len(values) if finite else math.nan
  return out


def _plain(x):
  """JSON types only: arrays and numpy scalars converted, NaN and inf null."""
  if isinstance(x, Mapping):
    return {str(k): _plain(v) for k, v in x.items()}
  if isinstance(x, list | tuple):
    return [_plain(v) for v in x]
  if isinstance(x, np.ndarray | np.generic):
    return _plain(x.tolist())
  if isinstance(x, float):
    return x if math.isfinite(x) else None
  if x is None or isinstance(x, str | int | bool):
    return x
  return str(x)
