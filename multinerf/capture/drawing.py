"""The picture of a reconstruction: cameras and points from above and aside."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from multinerf.capture import model as model_lib

_PANEL = 560  # pixels, a side
_MARGIN, _HEADER, _FOOTER = 16, 40, 60
_OVERSAMPLE = 2
_BACKGROUND, _INK, _FAINT = (255, 255, 255), (40, 40, 40), (150, 150, 150)
# First and last image by name; cameras between are drawn in between.
_FIRST, _LAST = np.array([220, 50, 30]), np.array([30, 80, 220])
# Points beyond so many times the extent of the cameras are not drawn.
_MAX_EXTENT = 4.0
_PERCENTILES = (3.0, 97.0)


@dataclasses.dataclass(frozen=True)
class View:
  """An orthographic look at the scene.

  Attributes:
    across, up: Unit vectors that point right and up in the picture.
    centre: [3] what is in the middle.
    scale: Pixels per unit of the scene.
    size: Pixels a side.
  """

  across: Float[np.ndarray, '3']
  up: Float[np.ndarray, '3']
  centre: Float[np.ndarray, '3']
  scale: float
  size: int

  def project(
    self, xyz: Float[np.ndarray, '*n 3']
  ) -> Float[np.ndarray, '*n 2']:
    """Column and row of points."""
    offset = (xyz - self.centre) * self.scale
    return self.size / 2 + np.stack(
      [offset @ self.across, -(offset @ self.up)], axis=-1
    )


def scene_axes(
  camtoworlds: Float[np.ndarray, 'n 3 4'],
) -> Float[np.ndarray, '3 3']:
  """Guesses which way is up, from how photographers hold cameras.

  Args:
    camtoworlds: OpenCV axes.

  Returns:
    Rows: the level direction in which the cameras are spread most, the level
    direction across, and up (the mean of the cameras' own; if these cancel,
    that in which the cameras are spread least). A right-handed orthonormal
    frame.
  """
  centres = camtoworlds[:, :, 3] - camtoworlds[:, :, 3].mean(axis=0)
  spread = np.linalg.svd(centres.T @ centres)[0].T
  up = -camtoworlds[:, :, 1].mean(axis=0)
  up = up if np.linalg.norm(up) > 0.1 else spread[2]
  up = up / np.linalg.norm(up)
  level = centres - (centres @ up)[:, None] * up
  first = np.linalg.svd(level.T @ level)[0][:, 0]
  first = first - (first @ up) * up
  if np.linalg.norm(first) < 0.5:  # cameras in one place, or above each other
    first = np.eye(3)[np.argmin(np.abs(up))]
    first = first - (first @ up) * up
  first = first / np.linalg.norm(first)
  return np.stack([first, np.cross(up, first), up])


def visible_points(
  xyz: Float[np.ndarray, 'm 3'], centres: Float[np.ndarray, 'n 3']
) -> Bool[np.ndarray, ' m']:
  """Which points are worth drawing: not the few that are far off.

  Within the central percentiles of all points along each axis (widened by
  half), and within _MAX_EXTENT times the extent of the cameras.
  """
  if not len(xyz):
    return np.zeros(0, bool)
  middle = centres.mean(axis=0)
  extent = np.linalg.norm(centres - middle, axis=1).max()
  low, high = np.percentile(xyz, _PERCENTILES, axis=0)
  pad = 0.25 * (high - low)
  near = np.linalg.norm(xyz - middle, axis=1) <= _MAX_EXTENT * max(extent, 1e-9)
  return near & ((xyz >= low - pad) & (xyz <= high + pad)).all(axis=1)


def draw(
  model: model_lib.Model, caption: str = ''
) -> UInt8[np.ndarray, 'h w 3']:
  """Draws a model from above and from the side.

  Args:
    model: At least one camera.
    caption: A line below; the numbers of the report.

  Returns:
    The picture. Each camera is a wedge that opens the way it looks, red for
    the first image by name to blue for the last.
  """
  axes = scene_axes(model.camtoworlds)
  centres = model.camtoworlds[:, :, 3]
  keep = visible_points(model.xyz, centres)
  xyz, rgb = model.xyz[keep], model.rgb[keep]
  every = np.concatenate([xyz, centres]) @ axes.T
  low, high = every.min(axis=0), every.max(axis=0)
  size = _PANEL * _OVERSAMPLE
  # Wedges reach beyond the outermost camera.
  scale = 0.86 * size / max((high - low).max(), 1e-9)
  centre = (low + high) / 2 @ axes
  panels = [
    _panel(View(axes[0], up, centre, scale, size), model, xyz, rgb)
    for up in (axes[1], axes[2])
  ]
  return _compose(panels, caption)


def _panel(view: View, model, xyz, rgb) -> Image.Image:
  """One look at the scene."""
  canvas = np.full((view.size, view.size, 3), 255, np.uint8)
  at = np.round(view.project(xyz)).astype(int)
  inside = ((at >= 0) & (at < view.size - 1)).all(axis=1)
  at, rgb = at[inside], rgb[inside]
  for dx in range(_OVERSAMPLE):
    for dy in range(_OVERSAMPLE):
      canvas[at[:, 1] + dy, at[:, 0] + dx] = rgb
  picture = Image.fromarray(canvas)
  pen = ImageDraw.Draw(picture)
  num = len(model.names)
  length = 0.045 * view.size / view.scale
  for i in range(num):
    blend = i / max(num - 1, 1)
    colour = tuple(int(c) for c in (1 - blend) * _FIRST + blend * _LAST)
    corners = view.project(_frustum(model, i, length))
    for a, b in _EDGES:
      pen.line([tuple(corners[a]), tuple(corners[b])], fill=colour, width=2)
  return picture.resize((_PANEL, _PANEL), Image.Resampling.BOX)


_EDGES = ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1))


def _frustum(model: model_lib.Model, i: int, length: float) -> np.ndarray:
  """[5, 3] tip and corners of the pyramid that camera i sees."""
  x, y = np.minimum(model.tangents[i], 2.0)
  signs = np.array([[0, 0], [-1, -1], [1, -1], [1, 1], [-1, 1]])
  local = np.concatenate([signs * [x, y], np.ones((5, 1))], axis=1) * length
  local[0] = 0.0
  pose = model.camtoworlds[i]
  return local @ pose[:, :3].T + pose[:, 3]


def _compose(panels: list[Image.Image], caption: str) -> np.ndarray:
  """Puts the panels side by side, with titles, a legend and the caption."""
  width = len(panels) * (_PANEL + _MARGIN) + _MARGIN
  height = _HEADER + _PANEL + _FOOTER
  sheet = Image.new('RGB', (width, height), _BACKGROUND)
  pen = ImageDraw.Draw(sheet)
  large, small = ImageFont.load_default(18), ImageFont.load_default(14)
  for i, (panel, title) in enumerate(
    zip(panels, ('From above', 'From the side'), strict=True)
  ):
    left = _MARGIN + i * (_PANEL + _MARGIN)
    sheet.paste(panel, (left, _HEADER))
    pen.rectangle(
      (left - 1, _HEADER - 1, left + _PANEL, _HEADER + _PANEL), outline=_FAINT
    )
    pen.text((left, 10), title, fill=_INK, font=large)
  bottom = _HEADER + _PANEL + 8
  pen.text((_MARGIN, bottom), caption, fill=_INK, font=small)
  x = _MARGIN
  for text, colour in (
    ('first image', _FIRST),
    ('last image', _LAST),
  ):
    fill = tuple(int(c) for c in colour)
    pen.rectangle((x, bottom + 28, x + 12, bottom + 40), fill=fill)
    pen.text((x + 18, bottom + 25), text, fill=_INK, font=small)
    x += 130
  pen.text(
    (x, bottom + 25),
    'a pyramid is a camera, a dot a scene point; far points are left out',
    fill=_FAINT,
    font=small,
  )
  return np.asarray(sheet)
