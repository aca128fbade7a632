"""What is suspicious about a scene, before anybody trains on it.

Loaders refuse what is wrong beyond doubt. What is left here can be judged only
from the whole: cameras that stand on one spot, bounds that miss the scene,
pictures that are blank or there twice. `inspect` is cheap enough to precede
every training.
"""

import collections
import dataclasses
import hashlib

import numpy as np
from jaxtyping import Float

from multinerf.cameras import camera, projection
from multinerf.data import base

_FIELD_OF_VIEW = (5.0, 150.0)  # degrees, of plausible perspective lenses
_OUTSIDE_BOUNDS = 0.05  # share of the points seen that near and far may miss
_SAMPLES = 4096  # pixels of an image that are looked at
_RUNS = 8  # of neighbouring pixels, where scattered ones cost too much
_MAX_NAMES = 5
_MAX_POINTS = 20000


@dataclasses.dataclass(frozen=True)
class Finding:
  """One thing to say about the data.

  Attributes:
    severity: 'warning' (likely to spoil a run) or 'note'.
    text: One line, with what to do.
  """

  severity: str
  text: str

  def __str__(self) -> str:
    return f'{self.severity}: {self.text}'


@dataclasses.dataclass(frozen=True)
class Sightings:
  """Where the scene's points fall in one image.

  Attributes:
    x, y: [k] columns and rows of the points inside of the image.
    t: [k] their ray parameter > 0.
    index: [k] which of the points.
  """

  x: Float[np.ndarray, ' k']
  y: Float[np.ndarray, ' k']
  t: Float[np.ndarray, ' k']
  index: np.ndarray


def inspect(
  scene: base.Scene, other: base.Scene | None = None
) -> list[Finding]:
  """Findings about one split of a scene.

  Args:
    scene: The split.
    other: The other split, to see whether they share images.

  Returns:
    The most severe first; an empty list if nothing is remarkable. What the
    loader had to say is in `scene.notes`.
  """
  found = _about_cameras(scene)
  found += _about_pictures(scene)
  found += _about_masks(scene)
  found += _about_points(scene)
  if other is not None:
    found += _about_splits(scene, other)
  return sorted(found, key=lambda f: f.severity != 'warning')


def num_bytes(scene: base.Scene) -> int:
  """Memory that the scene's pixels take, bytes."""
  kinds = [getattr(scene, kind) for kind in base.PIXEL_KINDS]
  return sum(k.values.nbytes for k in kinds if k is not None)


def sightings(
  scene: base.Scene, i: int, points: Float[np.ndarray, 'm 3']
) -> Sightings:
  """Projects points into image i; nothing is known about what hides them.

  Args:
    scene: Gives the cameras.
    i: Which image.
    points: In the scene's frame.
  """
  cameras = scene.cameras
  distortion = cameras.distortion
  pixels, t = projection.points_to_pixels(
    points,
    np.asarray(cameras.pixtocams[i], np.float64),
    np.asarray(cameras.camtoworlds[i], np.float64),
    distortion=None
    if distortion is None
    else {k: float(v[i]) for k, v in distortion.items()},
    camtype=cameras.camtype,
  )
  x, y = pixels[..., 0], pixels[..., 1]
  inside = (x >= -0.5) & (x < cameras.widths[i] - 0.5)
  inside &= (y >= -0.5) & (y < cameras.heights[i] - 0.5) & (t > 0)
  index = np.flatnonzero(inside)
  return Sightings(x[index], y[index], t[index], index)


def _named(names) -> str:
  """The first few of some names."""
  names = list(names)
  more = f' and {len(names) - _MAX_NAMES} more' * (len(names) > _MAX_NAMES)
  return ', '.join(names[:_MAX_NAMES]) + more


def _about_cameras(scene: base.Scene) -> list[Finding]:
  """Poses and lenses."""
  found = []
  cameras, names = scene.cameras, scene.image_names
  poses = np.asarray(cameras.camtoworlds, np.float64)
  centres = poses[:, :, 3]
  if len(scene) > 1 and np.ptp(centres, axis=0).max() < 1e-6:
    found.append(
      Finding(
        'warning',
        f'all {len(scene)} cameras stand on one spot: nothing can be learnt '
        'about distances; check the translations of the poses.',
      )
    )
  gram = poses[:, :, :3].swapaxes(1, 2) @ poses[:, :, :3]
  skewed = np.abs(gram - np.eye(3)).max((1, 2)) > 1e-2
  if skewed.any():
    found.append(
      Finding(
        'warning',
        'the poses of these images are not pure rotations (scaled or skewed '
        f'axes): {_named(names[i] for i in np.flatnonzero(skewed))}.',
      )
    )
  twins = collections.defaultdict(list)
  for name, pose in zip(names, poses.astype(np.float32), strict=True):
    twins[pose.tobytes()].append(name)
  same = [group for group in twins.values() if len(group) > 1]
  # Scales of one photograph share their pose on purpose.
  if same and cameras.lossmult is None and len(twins) > 1:
    found.append(
      Finding(
        'warning',
        f'{len(same)} poses are shared by several images, the first by '
        f'{_named(same[0])}.',
      )
    )
  if cameras.camtype is camera.ProjectionType.PERSPECTIVE:
    found += _about_lenses(scene)
  return found


def _about_lenses(scene: base.Scene) -> list[Finding]:
  """Fields of view and principal points of perspective cameras."""
  found = []
  cameras = scene.cameras
  widths = np.asarray(cameras.widths, np.float64)
  heights = np.asarray(cameras.heights, np.float64)
  pixtocams = np.asarray(cameras.pixtocams, np.float64)
  angle = np.degrees(2 * np.arctan(0.5 * widths * pixtocams[:, 0, 0]))
  low, high = _FIELD_OF_VIEW
  odd = np.flatnonzero((angle < low) | (angle > high))
  if odd.size:
    found.append(
      Finding(
        'warning',
        f'{scene.image_names[odd[0]]} has a horizontal field of view of '
        f'{angle[odd[0]]:.1f} degrees ({odd.size} such images): the focal '
        'length does not fit the image size; check for a resized image.',
      )
    )
  centre_x = -pixtocams[:, 0, 2] / pixtocams[:, 0, 0]
  centre_y = -pixtocams[:, 1, 2] / pixtocams[:, 1, 1]
  off = np.abs(centre_x / widths - 0.5) > 0.25
  off |= np.abs(centre_y / heights - 0.5) > 0.25
  for i in np.flatnonzero(off)[:1]:
    found.append(
      Finding(
        'warning',
        f'{scene.image_names[i]} ({widths[i]:.0f}x{heights[i]:.0f}) has its '
        f'principal point at ({centre_x[i]:.0f}, {centre_y[i]:.0f}), far from '
        f'its centre ({off.sum()} such images): intrinsics of another size or '
        'a turned image?',
      )
    )
  return found


def _about_pictures(scene: base.Scene) -> list[Finding]:
  """Blank and repeated images, from a grid of samples of each."""
  if scene.images is None:
    return []
  blank, seen = [], collections.defaultdict(list)
  for i, name in enumerate(scene.image_names):
    rows = scene.images.rows(i)
    sample = _sample(rows, scattered=scene.images.file is None)
    if (sample == sample[0]).all() and (rows == rows[0]).all():
      blank.append(name)
      continue
    digest = hashlib.blake2b(sample.tobytes(), digest_size=16).digest()
    seen[digest, rows.shape].append(i)
  found = []
  if blank:
    found.append(
      Finding(
        'warning',
        f'{len(blank)} images have one colour all over: {_named(blank)}; '
        'remove them or mend the files.',
      )
    )
  twice = [_equals_of_first(scene.images, group) for group in seen.values()]
  twice = [group for group in twice if len(group) > 1]
  if twice:
    names = [scene.image_names[i] for i in twice[0]]
    found.append(
      Finding(
        'warning',
        f'{len(twice)} images are there more than once, the first as '
        f'{_named(names)}.',
      )
    )
  return found


def _equals_of_first(images: base.PixelBuffer, group: list[int]) -> list[int]:
  """Those of some images of one size that are what the first of them is."""
  first = images.rows(group[0])
  return [i for i in group if i == group[0] or _equal(first, images.rows(i))]


def _sample(rows: np.ndarray, *, scattered: bool) -> np.ndarray:
  """Some of the pixels [n, c] of an image.

  Args:
    rows: All of them.
    scattered: From all over the image, else in a few runs: of an image in a
      file only a few pages are read then.
  """
  step = max(1, len(rows) // _SAMPLES)
  if scattered or step == 1:
    return rows[::step]
  length = _SAMPLES // _RUNS
  starts = np.linspace(0, len(rows) - length, _RUNS).astype(int)
  return np.concatenate([rows[s : s + length] for s in starts])


def _about_masks(scene: base.Scene) -> list[Finding]:
  """How much of the images masks leave."""
  if scene.masks is None:
    return []
  kept = [np.count_nonzero(scene.masks.image(i)) for i in range(len(scene))]
  sizes = np.diff(scene.masks.offsets)
  found = []
  empty = [scene.image_names[i] for i in np.flatnonzero(np.array(kept) == 0)]
  if empty:
    found.append(
      Finding(
        'warning',
        f'the masks of {len(empty)} images leave no pixel: {_named(empty)}; '
        'is their polarity the other one (gin: Config.mask_keeps)?',
      )
    )
  share = sum(kept) / sizes.sum()
  severity = 'warning' if share < 0.05 else 'note'
  text = f'masks leave {share:.1%} of the pixels'
  if severity == 'warning':
    text += '; is their polarity the other one (gin: Config.mask_keeps)?'
  return [*found, Finding(severity, text)]


def _about_points(scene: base.Scene) -> list[Finding]:
  """Whether cameras and bounds agree with the points."""
  if scene.points is None or not len(scene.points.xyz):
    return []
  xyz = scene.points.xyz[:: max(1, len(scene.points.xyz) // _MAX_POINTS)]
  seen = [sightings(scene, i, xyz) for i in range(len(scene))]
  found = []
  blind = [scene.image_names[i] for i, s in enumerate(seen) if not len(s.index)]
  if blind:
    found.append(
      Finding(
        'warning',
        f'{len(blind)} cameras see none of the {len(scene.points.xyz)} '
        f'points: {_named(blind)}; wrong pose or axes?',
      )
    )
  t = np.concatenate([s.t for s in seen])
  if scene.cameras.pixtocam_ndc is None and t.size:
    near = np.repeat(
      np.broadcast_to(scene.cameras.near, len(seen)), [len(s.t) for s in seen]
    )
    far = np.repeat(
      np.broadcast_to(scene.cameras.far, len(seen)), [len(s.t) for s in seen]
    )
    low, high = np.percentile(t, [1, 99])
    for what, share, limit in (
      ('near', np.mean(t < near), low),
      ('far', np.mean(t > far), high),
    ):
      if share > _OUTSIDE_BOUNDS:
        found.append(
          Finding(
            'warning',
            f'{share:.0%} of the points seen lie outside of Config.{what}; '
            f'{"at most" if what == "near" else "at least"} {limit:.3g} would '
            'take them in.',
          )
        )
  return found


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
  """Whether two images are the same; most that are not differ in one row."""
  if one.shape != other.shape:
    return False
  middle = len(one) // 2
  if not np.array_equal(one[middle], other[middle]):
    return False
  return np.array_equal(one, other)


def _about_splits(scene: base.Scene, other: base.Scene) -> list[Finding]:
  """Images that are both trained and tested on."""
  names = set(scene.image_names) & set(other.image_names)
  if not names or scene.images is None or other.images is None:
    return []
  here = dict(zip(scene.image_names, range(len(scene)), strict=True))
  there = dict(zip(other.image_names, range(len(other)), strict=True))
  shared = [
    name
    for name in sorted(names)
    if _equal(scene.images.image(here[name]), other.images.image(there[name]))
  ]
  if not shared:
    return []
  return [
    Finding(
      'warning',
      f'{len(shared)} images are in both splits, so test metrics measure '
      f'training: {_named(shared)}.',
    )
  ]
