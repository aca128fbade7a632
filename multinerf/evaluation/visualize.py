"""Renderings as pictures: colour maps, depth, normals, rays, contact sheets.

All pictures are float RGB [h, w, 3] in [0, 1]. Values that are not finite are
painted magenta rather than made to look like something.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from multinerf import types

Picture = Float[np.ndarray, 'h w 3']
CurveFn = Callable[[Any], Any]

# Degree-5 fit of the Turbo colour map, lowest power first, one row per
# channel (A. Mikhailov and R. Yong, Google, 2019, Apache-2.0:
# gist.github.com/mikhailov-work/0d177465a8151eb6ede1768d51d476c7).
_TURBO = np.array([
  [0.13572138, 4.61539260, -42.66032258, 132.13108234, -152.94239396, 59.28637943],
  [0.09140261, 2.19418839, 4.84296658, -14.18503333, 4.27729857, 2.82956604],
  [0.10667330, 12.64194608, -60.58204836, 110.36276771, -89.90310912, 27.34824973],
])  # fmt: skip
_MAGENTA = np.array([1.0, 0.0, 1.0])
# Columns of the ray plots, over normalised distance s in [0, 1].
_RAY_COLUMNS = 512
_RAY_HEIGHT = 8


def turbo(
  x: Float[np.ndarray, '*shape'],
) -> Float[np.ndarray, '*shape 3']:
  """Colours [0, 1] from dark blue over green to dark red; NaN is magenta."""
  finite = np.clip(np.nan_to_num(x, nan=0.0), 0.0, 1.0).astype(np.float64)
  powers = np.stack([finite**k for k in range(_TURBO.shape[1])], axis=-1)
  rgb = np.clip(powers @ _TURBO.T, 0.0, 1.0)
  return np.where(np.isnan(x)[..., None], _MAGENTA, rgb)


def depth_limits(
  depth: Float[np.ndarray, 'h w'],
  weights: Float[np.ndarray, 'h w'] | None = None,
  *,
  percentile: float = 0.5,
) -> tuple[float, float]:
  """Percentiles `percentile` and 100 - `percentile` of the finite depths.

  Args:
    depth: Distances t.
    weights: Opacity; a pixel counts as much as it is opaque. None: all alike.
    percentile: In [0, 50), percent (gin: Config.render_dist_percentile).

  Returns:
    Low and high limit; (0, 1) if nothing is finite and opaque.
  """
  values = np.ravel(depth).astype(np.float64)
  mass = np.ones_like(values) if weights is None else np.ravel(weights)
  keep = np.isfinite(values) & (mass > 0)
  if not np.any(keep):
    return 0.0, 1.0
  if weights is None:
    low, high = np.percentile(values[keep], [percentile, 100 - percentile])
    return float(low), float(high)
  order = np.argsort(values[keep], kind='stable')
  ordered, mass = values[keep][order], mass[keep][order].astype(np.float64)
  centres = (np.cumsum(mass) - 0.5 * mass) / np.sum(mass)
  ends = np.interp([percentile / 100, 1 - percentile / 100], centres, ordered)
  return float(ends[0]), float(ends[1])


def normalise_depth(
  depth: Float[np.ndarray, '*shape'],
  limits: tuple[float, float],
  curve_fn: CurveFn = np.log,
) -> Float[np.ndarray, '*shape']:
  """Maps depth through a curve to [0, 1] between two limits; NaN stays.

  Args:
    depth: Distances t.
    limits: Depths that become 0 and 1.
    curve_fn: Monotonic (gin: Config.render_dist_curve_fn); distances that it
      sends to +-inf, as log does with 0, land on 0 or 1.
  """
  tiny = float(np.finfo(np.float32).tiny)

  def curve(x):
    positive = np.maximum(np.asarray(x, np.float32), tiny)
    with np.errstate(over='ignore', divide='ignore'):
      return np.asarray(curve_fn(positive), np.float64)

  low, high = sorted(float(v) for v in (curve(limits[0]), curve(limits[1])))
  span = max(high - low, tiny)
  return np.clip((curve(depth) - low) / span, 0.0, 1.0)


def colour_depth(
  depth: Float[np.ndarray, 'h w'],
  weights: Float[np.ndarray, 'h w'] | None = None,
  *,
  limits: tuple[float, float] | None = None,
  percentile: float = 0.5,
  curve_fn: CurveFn = np.log,
) -> Picture:
  """Depth in Turbo colours, near in blue and far in red.

  Args:
    depth: Distances t.
    weights: Opacity for the percentiles; transparent pixels are matted.
    limits: Depths at the ends of the colour map; None: from percentiles.
    percentile: See `depth_limits`.
    curve_fn: See `normalise_depth`.
  """
  if limits is None:
    limits = depth_limits(depth, weights, percentile=percentile)
  rgb = turbo(normalise_depth(depth, limits, curve_fn))
  return rgb if weights is None else matte(rgb, weights)


def matte(rgb: Picture, acc: Float[np.ndarray, 'h w'], *, cell=8) -> Picture:
  """Blends over a checkerboard of 0.8 and 1.0, so that holes can be seen.

  Args:
    rgb: Colours, not multiplied by opacity.
    acc: Opacity in [0, 1].
    cell: Side of the board's cells in pixels.
  """
  rows, cols = np.indices(acc.shape) // cell
  board = np.where((rows + cols) % 2 == 0, 0.8, 1.0)[..., None]
  alpha = np.clip(acc, 0.0, 1.0)[..., None]
  return rgb * alpha + board * (1.0 - alpha)


def visualize_suite(
  rendering: types.Rendering,
  rays: types.Rays | None = None,
  *,
  levels: Sequence[types.Level] | None = None,
  ray_rgb: Float[np.ndarray, 'r 3'] | None = None,
) -> dict[str, np.ndarray]:
  """All pictures that a rendering allows.

  Args:
    rendering: One image, numpy [H, W, ...].
    rays: Its rays [H, W, ...], for `coords_mod`; None leaves that out.
    levels: Sampling levels of some rays, for `ray_weights` and `ray_colors`.
    ray_rgb: Final colours of those rays.

  Returns:
    Picture by name: color, and as far as their sources are there acc,
    color_matte, depth_mean, depth_median, depth_triplet, coords_mod,
    roughness, normals*, ray_weights, ray_colors.
  """
  rgb = np.asarray(rendering.rgb)
  acc = rendering.acc
  suite = {'color': rgb}
  if acc is None:
    return suite
  suite['acc'] = np.repeat(np.asarray(acc)[..., None], 3, axis=-1)
  suite['color_matte'] = matte(rgb, acc)
  suite |= _depth_pictures(rendering)
  if rays is not None and rendering.distance_mean is not None:
    depth = np.asarray(rendering.distance_mean)[..., None]
    points = np.asarray(rays.origins) + depth * np.asarray(rays.directions)
    suite['coords_mod'] = matte(_mark(((points + 1) % 2) / 2), acc)
  if rendering.roughness is not None:
    shade = np.tanh(np.asarray(rendering.roughness))
    suite['roughness'] = matte(_mark(np.repeat(shade, 3, axis=-1)), acc)
  for name in ('normals', 'normals_pred'):
    normals = getattr(rendering, name)
    if normals is not None:
      suite[name] = matte(_mark(np.asarray(normals) / 2 + 0.5), acc)
  if levels:
    suite |= visualize_rays(levels, ray_rgb)
  return suite


def visualize_rays(
  levels: Sequence[types.Level],
  ray_rgb: Float[np.ndarray, 'r 3'] | None = None,
) -> dict[str, np.ndarray]:
  """Where along some rays the samples put their weight, and which colour.

  Every ray is a band; columns run over normalised distance 0 .. 1; the
  levels' blocks are stacked, proposals on top.

  Args:
    levels: numpy levels of the same R rays.
    ray_rgb: The rays' final colours, for levels whose samples have none.

  Returns:
    'ray_weights', weight per column relative to the ray's largest, and
    'ray_colors', where every level has colours or `ray_rgb` is given.
  """
  edges = np.linspace(0.0, 1.0, _RAY_COLUMNS + 1)
  weights, colours = [], []
  for level in levels:
    sdist, w = np.asarray(level.sdist), np.asarray(level.weights)
    rgb = None if level.field.rgb is None else np.asarray(level.field.rgb)
    if rgb is None and ray_rgb is not None:
      rgb = np.broadcast_to(ray_rgb[:, None], w.shape + (3,))
    for r in range(w.shape[0]):
      total = np.concatenate([[0.0], np.cumsum(w[r])])
      mass = np.diff(np.interp(edges, sdist[r], total))
      peak = max(float(mass.max()), float(np.finfo(np.float32).tiny))
      weights.append(turbo(mass / peak))
      if rgb is not None:
        centres = 0.5 * (edges[1:] + edges[:-1])
        index = np.searchsorted(sdist[r], centres, side='right') - 1
        colours.append(rgb[r, np.clip(index, 0, w.shape[1] - 1)])
  out = {'ray_weights': _bands(weights)}
  if len(colours) == len(weights):
    out['ray_colors'] = _mark(_bands(colours))
  return out


def contact_row(
  rendering: types.Rendering, truth: Picture | None = None
) -> dict[str, np.ndarray]:
  """Labelled pictures of one view for `contact_sheet`.

  Returns:
    'truth', 'prediction', 'depth', 'normals', as far as there are sources.
  """
  row = {} if truth is None else {'truth': np.asarray(truth)}
  row['prediction'] = _mark(np.asarray(rendering.rgb))
  suite = visualize_suite(rendering)
  depth = suite.get('depth_median', suite.get('depth_mean'))
  normals = suite.get('normals_pred', suite.get('normals'))
  row |= {} if depth is None else {'depth': depth}
  return row | ({} if normals is None else {'normals': normals})


def contact_sheet(
  rows: Sequence[Mapping[str, np.ndarray]],
  *,
  cell_width: int = 256,
  gap: int = 6,
) -> Float[np.ndarray, 'sheet_h sheet_w 3']:
  """One picture of many, a view per row, each with its name on top.

  Args:
    rows: Pictures [h, w, 3] by label (`contact_row`); rows may differ in what they hold.
    cell_width: Width in pixels that every picture is scaled to.
    gap: White pixels between cells.

  Raises:
    ValueError: There are no rows, or all are empty.
  """
  if not any(rows):
    raise ValueError('A contact sheet needs at least one picture.')
  num_cols = max(len(row) for row in rows)
  bands = [_sheet_row(row, num_cols, cell_width, gap) for row in rows if row]
  sheet = np.concatenate(bands, axis=0)
  return np.pad(sheet, ((gap, 0), (gap, 0), (0, 0)), constant_values=1.0)


def _sheet_row(row, num_cols: int, width: int, gap: int) -> np.ndarray:
  """One row of a contact sheet, with a gap right of and below each cell."""
  cells = [_cell(label, image, width) for label, image in row.items()]
  height = max(cell.shape[0] for cell in cells)
  out = np.ones((height + gap, num_cols * (width + gap), 3), np.float32)
  for i, cell in enumerate(cells):
    left = i * (width + gap)
    out[: cell.shape[0], left : left + width] = cell
  return out


def _cell(label: str, image: np.ndarray, width: int) -> np.ndarray:
  """A picture scaled to a width, under its label."""
  height = max(1, round(image.shape[0] * width / image.shape[1]))
  levels = np.clip(_mark(image), 0.0, 1.0) * 255.0 + 0.5
  picture = Image.fromarray(levels.astype(np.uint8))
  # Enlarged pixels stay sharp: interpolation would look like quality.
  enlarging = width > image.shape[1]
  how = Image.Resampling.NEAREST if enlarging else Image.Resampling.BOX
  size = max(10, width // 16)
  canvas = Image.new('RGB', (width, height + size + 6), 'white')
  canvas.paste(picture.resize((width, height), how), (0, size + 6))
  font = ImageFont.load_default(size)
  ImageDraw.Draw(canvas).text((2, 1), label, fill='black', font=font)
  return np.asarray(canvas, np.float32) / 255.0


def _depth_pictures(rendering: types.Rendering) -> dict[str, np.ndarray]:
  """depth_mean, depth_median, and the percentiles 5, 50, 95 as one RGB."""
  acc = np.asarray(rendering.acc)
  out = {}
  for name in ('mean', 'median'):
    depth = getattr(rendering, f'distance_{name}')
    if depth is not None:
      out[f'depth_{name}'] = colour_depth(np.asarray(depth), acc)
  triplet = (
    rendering.distance_percentile_5,
    rendering.distance_median,
    rendering.distance_percentile_95,
  )
  if all(x is not None for x in triplet):
    # Grey where a ray meets one sharp surface, coloured where it does not.
    stack = np.stack(triplet, axis=-1)
    limits = depth_limits(np.asarray(triplet[1]), acc)
    near_is_bright = 1.0 - normalise_depth(stack, limits)
    out['depth_triplet'] = matte(_mark(near_is_bright), acc)
  return out


def _bands(lines: Sequence[np.ndarray]) -> np.ndarray:
  """Stacks lines [columns, 3] as bands of `_RAY_HEIGHT` pixels."""
  return np.repeat(np.stack(lines), _RAY_HEIGHT, axis=0)


def _mark(rgb: np.ndarray) -> np.ndarray:
  """Paints pixels with a value that is not finite magenta."""
  good = np.all(np.isfinite(rgb), axis=-1, keepdims=True)
  return np.where(good, rgb, _MAGENTA)
