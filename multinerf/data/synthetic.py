"""The embedded scene as a data set: rendered once, cached, in Blender format.

A newcomer can train before downloading anything, and tests have a scene whose
depths and normals are known exactly (`data.analytic`).
"""

import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import secrets
import shutil

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from multinerf import errors
from multinerf.cameras import poses
from multinerf.data import analytic, base, blender, images
from multinerf.ops import color

CAMERA_ANGLE_X = 0.6911112070083618  # radians; that of nerf_synthetic
CAMERA_DISTANCE = 4.0
_CACHE = '~/.cache/multinerf/scenes'
_PARAMETERS = 'scene.json'
# Rays per pixel and side; odd, so that one goes through the centre.
_SUPERSAMPLING = 3
_RAYS_AT_ONCE = 2**17  # bounds the memory of large images
# From this resolution on, pixels far from any centre ray that hits are empty.
_FINE = 64

_log = logging.getLogger(__name__)


@base.SCENES.register('synthetic')
def load_synthetic(cfg: base.DataConfig, split: str) -> base.Scene:
  """Loads the embedded scene; renders it first if it is not there yet.

  It goes to Config.data_dir if set, else to a folder below
  ~/.cache/multinerf/scenes that is named by its parameters.

  Raises:
    ConfigError: A size or number of views is not positive.
    DataError: data_dir holds something else already, or cannot be written.
  """
  size = (
    cfg.synthetic_resolution,
    cfg.synthetic_num_train,
    cfg.synthetic_num_test,
  )
  look = cfg.synthetic_look
  folder = cfg.data_dir or cache_folder(*size, look=look)
  folder = render_scene(pathlib.Path(folder).expanduser(), *size, look=look)
  scene = blender.load_blender(
    dataclasses.replace(cfg, data_dir=str(folder)), split
  )
  return dataclasses.replace(scene, name='synthetic')


def cache_folder(
  resolution: int,
  num_train: int,
  num_test: int,
  seed: int = 0,
  look: str = 'still_life',
) -> pathlib.Path:
  """Where a scene of these parameters is kept by default."""
  text = json.dumps(_parameters(resolution, num_train, num_test, seed, look))
  name = hashlib.sha256(text.encode()).hexdigest()[:12]
  return pathlib.Path(_CACHE).expanduser() / name


def render_scene(
  out_dir: str | os.PathLike,
  resolution: int = 128,
  num_train: int = 60,
  num_test: int = 8,
  seed: int = 0,
  look: str = 'still_life',
) -> pathlib.Path:
  """Renders the embedded scene into a new folder, or finds it there.

  The folder appears complete or not at all, also when two processes render it
  at the same time: each works beside it, and the first to finish renames.

  Args:
    out_dir: Absent, empty, or a scene of the same parameters.
    resolution: Width and height of the images, pixels.
    num_train: Training views, spread over a sphere but for its lowest part.
    num_test: Test views on one circle.
    seed: Places the training cameras.
    look: One of `analytic.LOOKS`.

  Returns:
    The folder, with transforms_{train,test}.json and for each view
    {split}/r_{i}.png (RGBA), _disp.tiff (1 / (1 + t), 0 for nothing) and
    _normal.png.

  Raises:
    ConfigError: A size or number is not positive, or there is no such look.
    DataError: The folder holds something else, or cannot be written.
  """
  out = pathlib.Path(out_dir)
  parameters = _parameters(resolution, num_train, num_test, seed, look)
  if look not in analytic.LOOKS:
    raise errors.ConfigError(
      f'The embedded scene has no look {look!r}; known: '
      f'{", ".join(analytic.LOOKS)} (gin: Config.synthetic_look).'
    )
  for name in ('resolution', 'num_train', 'num_test'):
    if parameters[name] < 1:
      raise errors.ConfigError(
        f'The embedded scene cannot have {name} = {parameters[name]}; it must '
        f'be at least 1 (gin: Config.synthetic_{name}).'
      )
  if _is_rendered(out, parameters):
    return out
  _log.info('Rendering the embedded scene into %s', out)
  temp = out.with_name(f'.{out.name}.{secrets.token_hex(4)}.tmp')
  try:
    temp.mkdir(parents=True)
    for split, camtoworlds in (
      ('train', train_poses(num_train, seed)),
      ('test', test_poses(num_test)),
    ):
      _write_split(temp, split, camtoworlds, resolution, look)
    (temp / _PARAMETERS).write_text(json.dumps(parameters, indent=1))
    try:
      os.rename(temp, out)  # onto nothing or an empty folder, else an error
    except OSError:
      # Another process was faster, if the folder is now what we wanted.
      if not _is_rendered(out, parameters):
        raise
  except OSError as e:
    raise errors.DataError(
      f'Cannot write the embedded scene to {out}: {e} (gin: Config.data_dir).'
    ) from e
  finally:
    shutil.rmtree(temp, ignore_errors=True)
  return out


def train_poses(num: int, seed: int = 0) -> Float[np.ndarray, 'n 3 4']:
  """Cameras around the scene that look at its centre, evenly spread.

  A Fibonacci spiral with z / radius from -0.35 to 0.95, turned at random.
  """
  generator = np.random.Generator(np.random.Philox(key=seed % 2**64))
  i = np.arange(num) + 0.5
  height = 0.95 - 1.3 * i / num
  golden = np.pi * (3 - np.sqrt(5))
  azimuth = golden * i + generator.uniform(0, 2 * np.pi)
  return _look_at_centre(azimuth, height)


def test_poses(num: int) -> Float[np.ndarray, 'n 3 4']:
  """Cameras on the circle at 30 degrees elevation, in order."""
  azimuth = 2 * np.pi * (np.arange(num) + 0.25) / num
  return _look_at_centre(azimuth, np.full(num, 0.5))


def _look_at_centre(azimuth: np.ndarray, height: np.ndarray) -> np.ndarray:
  """Poses on the camera sphere; height is z / radius."""
  ring = np.sqrt(1 - height**2)
  back = np.stack([ring * np.cos(azimuth), ring * np.sin(azimuth), height], -1)
  up = np.array([0.0, 0.0, 1.0])
  return np.stack([poses.viewmatrix(b, up, CAMERA_DISTANCE * b) for b in back])


def render_view(
  camtoworld: Float[np.ndarray, '3 4'],
  resolution: int,
  look: str = 'still_life',
) -> dict[str, np.ndarray]:
  """Renders one view with exact geometry and smooth edges.

  Args:
    camtoworld: OpenGL pose.
    resolution: Width and height, pixels.
    look: One of `analytic.LOOKS`.

  Returns:
    rgba [H, W, 4]: sRGB, not premultiplied, alpha from 3 x 3 rays per pixel;
    disps [H, W]: 1 / (1 + t) through the pixel's centre, 0 for nothing;
    normals [H, W, 3]: at the centre, or the mean of the rays that hit when
    the centre's does not, 0 for nothing.
  """
  pixels = np.stack(np.divmod(np.arange(resolution**2), resolution), -1)
  chunks = np.array_split(pixels, -(-len(pixels) // _RAYS_AT_ONCE))
  origin = camtoworld[None, :, 3]
  t = [
    analytic.trace(origin, _pixel_directions(camtoworld, resolution, c, 1)).t
    for c in chunks
  ]
  covered = np.isfinite(np.concatenate(t)).reshape(resolution, resolution)
  if resolution >= _FINE:  # where nothing is thinner than a pixel
    covered = ndimage.binary_dilation(covered, np.ones((3, 3)))
  else:
    covered[...] = True
  view = {
    'rgba': np.tile([1.0, 1.0, 1.0, 0.0], (resolution, resolution, 1)),
    'disps': np.zeros((resolution, resolution)),
    'normals': np.zeros((resolution, resolution, 3)),
  }
  pixels = np.argwhere(covered)
  num_chunks = -(-len(pixels) * _SUPERSAMPLING**2 // _RAYS_AT_ONCE)
  for chunk in np.array_split(pixels, max(num_chunks, 1)):
    found = _render_pixels(camtoworld, resolution, chunk, look)
    for key, values in found.items():
      view[key][chunk[:, 0], chunk[:, 1]] = values
  return view


def _pixel_directions(camtoworld, resolution, pixels, side) -> np.ndarray:
  """side^2 world directions through each pixel (row, column), row-major."""
  focal = 0.5 * resolution / np.tan(0.5 * CAMERA_ANGLE_X)
  sub = (np.stack(np.divmod(np.arange(side**2), side), -1) + 0.5) / side
  plane = (pixels[:, None] + sub - 0.5 * resolution) / focal
  down, right = plane.reshape(-1, 2).T
  local = np.stack([right, -down, -np.ones_like(right)], -1)
  return local @ camtoworld[:, :3].T


def _render_pixels(
  camtoworld, resolution, pixels, look
) -> dict[str, np.ndarray]:
  """What `render_view` returns, for n pixels (row, column), flat."""
  side = _SUPERSAMPLING
  origin = camtoworld[None, :, 3]
  directions = _pixel_directions(camtoworld, resolution, pixels, side)
  hits = analytic.trace(origin, directions)
  linear = analytic.radiance(origin, directions, hits, analytic.LOOKS[look])
  hit = np.isfinite(hits.t).reshape(-1, side**2)
  # Misses are black, so the mean over hits is the sum over all / their number.
  count = hit.sum(-1, keepdims=True)
  linear = linear.reshape(-1, side**2, 3).sum(1) / np.maximum(count, 1)
  srgb = color.linear_to_srgb(linear, xnp=np)
  # White, not black, under nothing: averaging without alpha leaves no fringe.
  srgb = np.where(count > 0, srgb, 1.0)
  normals = hits.normals.reshape(-1, side**2, 3)
  centre = side**2 // 2
  mean = normals.sum(1)
  mean /= np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)
  return {
    'rgba': np.concatenate([srgb, count / side**2], -1),
    'disps': 1 / (1 + hits.t.reshape(-1, side**2)[:, centre]),
    'normals': np.where(hit[:, centre, None], normals[:, centre], mean),
  }


def _write_split(
  folder: pathlib.Path,
  split: str,
  camtoworlds: np.ndarray,
  resolution: int,
  look: str,
):
  """Renders all views of a split, then writes their transforms file."""
  frames = []
  for i, camtoworld in enumerate(camtoworlds):
    view = render_view(camtoworld, resolution, look)
    stem = folder / split / f'r_{i}'
    images.write_png(stem.with_suffix('.png'), view['rgba'])
    images.write_tiff(stem.with_name(f'r_{i}_disp.tiff'), view['disps'])
    images.write_png(
      stem.with_name(f'r_{i}_normal.png'), 0.5 + 0.5 * view['normals']
    )
    frames.append(
      {
        'file_path': f'./{split}/r_{i}',
        'transform_matrix': poses.pad_poses(camtoworld).tolist(),
      }
    )
  meta = {'camera_angle_x': CAMERA_ANGLE_X, 'frames': frames}
  (folder / f'transforms_{split}.json').write_text(json.dumps(meta, indent=1))


def _parameters(
  resolution: int, num_train: int, num_test: int, seed: int, look: str
) -> dict[str, int | str]:
  found: dict[str, int | str] = {
    'version': analytic.VERSION,
    'resolution': resolution,
    'num_train': num_train,
    'num_test': num_test,
    'seed': seed,
  }
  # Absent for the usual look, so that folders rendered before there were
  # others keep their names.
  return found if look == 'still_life' else found | {'look': look}


def _is_rendered(
  folder: pathlib.Path, parameters: dict[str, int | str]
) -> bool:
  """Whether the folder holds this scene; an error if it holds another thing."""
  if not folder.exists():
    return False
  if folder.is_dir() and not any(folder.iterdir()):
    return False
  try:
    found = json.loads((folder / _PARAMETERS).read_text())
  except (OSError, ValueError):
    found = None
  if found == parameters:
    return True
  what = f'a scene of {found}' if found else 'no embedded scene'
  raise errors.DataError(
    f'{folder} holds {what}, wanted {parameters}; choose an empty folder or '
    'none (gin: Config.data_dir).'
  )
