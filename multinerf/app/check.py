"""multinerf-check: looks a data folder over before anybody trains on it."""

import json
import os
import pathlib
import sys
from collections.abc import Sequence

import jax
import numpy as np

from multinerf import errors
from multinerf.app import cli, writing
from multinerf.app import field as field_lib
from multinerf.config import gin_setup, schema, views
from multinerf.data import base, images, inspection
from multinerf.evaluation import raw_display, results, visualize
from multinerf.ops import color

_DOC = """Opens a data folder as training would and says what is wrong with it.

  multinerf-check DATA [preset.gin ...] [--gin_bindings=...] [--out=FOLDER]

Without gin files the loader is guessed from the folder's contents. Reports
images, cameras, memory and bounds, and every defect it finds; writes
check.json and check.png (images with the scene's points drawn on them) to
--out, default: runs/check/<name of DATA>. Exit status 1: it cannot be trained
on."""
_MARKERS = (  # file or folder below DATA -> loader, in order of preference
  ('metadata.json', 'multicam'),
  ('transforms_train.json', 'blender'),
  ('sparse', 'llff'),
  ('colmap', 'llff'),
  ('poses_bounds.npy', 'llff'),
  ('transforms.json', 'transforms'),
  ('train/pose', 'tat_nerfpp'),
  ('dense', 'tat_fvs'),
)
_NUM_SHOWN = 12
_PER_ROW = 3
_DOT_POINTS = 400  # points drawn on each image


def main(argv: list[str] | None = None) -> int:
  """Console entry point; returns the exit status."""
  argv = cli.join_flags(sys.argv if argv is None else argv, own=['out'])
  out = None
  rest = argv[:1]
  for arg in argv[1:]:
    if arg.startswith('--out='):
      out = arg.removeprefix('--out=')
    elif arg == '--out':
      print('error: --out needs a folder (see --help).', file=sys.stderr)
      return 1
    elif arg.endswith('.gin') and not arg.startswith('-'):
      rest.append(f'--gin_configs={arg}')
    elif not arg.startswith('-'):
      rest.append(f'--data_dir={arg}')
      if not any(map(_names_loader, argv[1:])):
        loader = guess_loader(pathlib.Path(arg).expanduser())
        if loader is None:
          print(
            f'error: {arg} looks like no format that is known; name a preset '
            'or Config.dataset_loader (see --help).',
            file=sys.stderr,
          )
          return 1
        print(f'Looks like data for the {loader} loader.')
        rest.insert(1, f"--gin_bindings=Config.dataset_loader = '{loader}'")
    else:
      rest.append(arg)
  clean = []

  def program(setup: gin_setup.Setup) -> None:
    clean.append(check(setup, out))

  status = cli.main(program, scope='train', doc=_DOC, argv=rest)
  return status if status or cli.wants_help(argv) or all(clean) else 1


def _names_loader(arg: str) -> bool:
  """Whether an argument says what the data are."""
  return arg.endswith('.gin') or 'Config.dataset_loader' in arg


def guess_loader(folder: pathlib.Path) -> str | None:
  """Which loader a folder looks like, or None."""
  for marker, loader in _MARKERS:
    if (folder / marker).exists():
      return loader
  return None


def check(setup: gin_setup.Setup, out: str | None = None) -> bool:
  """Prints a report on the data that a configuration names.

  Args:
    setup: The configuration; the loader reads what it says.
    out: Folder for check.json and check.png; None: runs/check/<scene>.

  Returns:
    Whether it can be trained on.
  """
  config = setup.config
  scenes, defects = _load(config)
  findings: dict[str, list[inspection.Finding]] = {}
  pairs = list(scenes.values())
  for i, (split, scene) in enumerate(scenes.items()):
    print(f'\n{split}: {describe(scene)}')
    # What is shared with the other split is said once.
    other = pairs[1] if i == 0 and len(pairs) == 2 else None
    findings[split] = inspection.inspect(scene, other)
    for line in (*(f'note: {n}' for n in scene.notes), *findings[split]):
      print(f'  {line}')
    if not findings[split] and not scene.notes:
      print('  nothing remarkable')
  if scenes:
    pixels = sum(inspection.num_bytes(s) for s in scenes.values())
    pixels = errors.format_bytes(pixels)
    model = errors.format_bytes(_model_bytes(setup, pairs[0]))
    print(
      f'\nMemory: {pixels} of pixels on the host, {model} of parameters and '
      'Adam per device'
    )
  for defect in defects:
    print(f'error: {defect}', file=sys.stderr)
  name = pathlib.Path(config.data_dir or config.dataset_loader).name
  folder = pathlib.Path(os.path.expanduser(out or f'runs/check/{name}'))
  record = {
    'loader': config.dataset_loader,
    'data_dir': config.data_dir,
    'errors': defects,
    'splits': {
      split: {
        'images': len(scene),
        'bytes': inspection.num_bytes(scene),
        'notes': list(scene.notes),
        'findings': [str(f) for f in findings[split]],
      }
      for split, scene in scenes.items()
    },
  }
  with writing.into(folder, flag='--out'):
    results.write_text(folder / 'check.json', json.dumps(record, indent=1))
    for scene in pairs[:1]:
      images.write_png(folder / 'check.png', sheet(scene))
  print(f'Report: {folder / "check.json"}')
  return not defects


def describe(scene: base.Scene) -> str:
  """One line on a split: counts, sizes, bounds, what it holds."""
  cameras = scene.cameras
  sizes = sorted(
    {
      (int(w), int(h))
      for w, h in zip(cameras.widths, cameras.heights, strict=True)
    }
  )
  shown = ', '.join(f'{w}x{h}' for w, h in sizes[:3])
  more = f' and {len(sizes) - 3} more sizes' * (len(sizes) > 3)
  holds = [k for k in base.PIXEL_KINDS[1:] if getattr(scene, k) is not None]
  if scene.points is not None:
    holds.append(f'{len(scene.points.xyz)} points')
  if cameras.exposure_values is not None:
    holds.append('exposures')
  return (
    f'{len(scene)} {cameras.camtype.value} images of {shown}{more}, near '
    f'{np.min(cameras.near):g}, far {np.max(cameras.far):g}'
    f'{" (NDC)" * (cameras.pixtocam_ndc is not None)}'
    f'{", distorted" * (cameras.distortion is not None)}'
    f'{"; with " + ", ".join(holds) if holds else ""}'
  )


def sheet(scene: base.Scene) -> np.ndarray:
  """Contact sheet of some images with the scene's points on them.

  A dot's colour is its distance, from near (blue) to far (red): dots that do
  not sit on the things they belong to betray wrong poses or intrinsics.
  """
  chosen = np.unique(
    np.linspace(0, len(scene) - 1, min(_NUM_SHOWN, len(scene))).astype(int)
  )
  cells = [(scene.image_names[i][-24:], _dotted(scene, int(i))) for i in chosen]
  rows = [cells[k : k + _PER_ROW] for k in range(0, len(cells), _PER_ROW)]
  # Labels within a row are keys: two images may end alike.
  labelled = [
    {f'{label}' + ' ' * k: image for k, (label, image) in enumerate(row)}
    for row in rows
  ]
  return visualize.contact_sheet(labelled)


def _dotted(scene: base.Scene, i: int) -> np.ndarray:
  """Image i as float RGB with points drawn on it."""
  picture = np.array(color.decode_rgb(scene.images.image(i)), np.float32)
  postprocess = raw_display.postprocessor(scene)
  if postprocess is not None:
    picture = postprocess(picture).astype(np.float32)
  if scene.masks is not None:
    picture = picture * np.where(scene.masks.image(i) > 0, 1, 0.3)
  if scene.points is None or not len(scene.points.xyz):
    return picture
  seen = inspection.sightings(scene, i, scene.points.xyz)
  keep = slice(None, None, max(1, len(seen.index) // _DOT_POINTS))
  t = np.log(np.maximum(seen.t[keep], 1e-6))
  low, high = (t.min(), t.max()) if t.size else (0, 1)
  colours = visualize.turbo((t - low) / max(high - low, 1e-6))
  height, width = picture.shape[:2]
  radius = max(1, width // 200)
  for x, y, colour in zip(seen.x[keep], seen.y[keep], colours, strict=True):
    column, row = int(x + 0.5), int(y + 0.5)
    picture[
      max(0, row - radius) : min(height, row + radius + 1),
      max(0, column - radius) : min(width, column + radius + 1),
    ] = colour
  return picture


def _load(config: schema.Config) -> tuple[dict[str, base.Scene], list[str]]:
  """The splits that load, and why others do not."""
  scenes, defects = {}, []
  cfg = views.view(config, base.DataConfig)
  for split in base.SPLITS:
    try:
      scenes[split] = base.load_scene(cfg, split)
    except errors.MultinerfError as error:
      if str(error) not in defects:
        defects.append(str(error))
  if defects and config.data_dir:
    defects += _unreadable(pathlib.Path(config.data_dir).expanduser(), defects)
  return scenes, defects


def _unreadable(folder: pathlib.Path, known: Sequence[str]) -> list[str]:
  """Image files below a folder that cannot be decoded.

  A loader stops at the first; whoever mends a folder wants to know all.
  """
  found = []
  for path in sorted(folder.rglob('*')) if folder.is_dir() else ():
    if path.suffix.lower() in ('.png', '.jpg', '.jpeg') and path.is_file():
      try:
        images.read_image(path)
      except errors.DataError as error:
        if not any(str(path) in text for text in known):
          found.append(str(error))
  return found


def _model_bytes(setup: gin_setup.Setup, scene: base.Scene) -> int:
  """Parameters with Adam's two moments, float32."""
  shapes = field_lib.target(setup.build_model(), scene.cameras)
  return 12 * sum(x.size for x in jax.tree.leaves(shapes['params']))


if __name__ == '__main__':
  sys.exit(main())
