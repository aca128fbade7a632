"""multinerf-process: photographs or a video -> a folder to train on."""

import argparse
import pathlib
import shlex
import sys
from collections.abc import Sequence

from multinerf import errors
from multinerf.capture import pipeline
from multinerf.capture import settings as settings_lib
from multinerf.training import console

_DOC = """Finds the camera poses of photographs or of a video with COLMAP.

  multinerf-process ~/photos/desk data/desk
  multinerf-process walk.mp4 data/hall --num_frames=250

Makes OUT with images/, images_2/, images_4/, images_8/, sparse/0 (COLMAP's
cameras and points) and report.md, report.png and report.json, which say how
well it went. Interrupt it as you like: the same command goes on where it
stopped. Needs: pip install "multinerf[colmap,video]"."""
_DEFAULTS = settings_lib.Settings()
# name, type, help; choices and defaults are those of Settings.
_OPTIONS = (
  ('num_frames', int, 'frames to take from a video, the sharpest ones'),
  ('max_image_size', int, 'longer side on which features are found'),
  ('max_num_features', int, 'most features of an image'),
  ('camera_model', str, 'lens model'),
  ('camera_mode', str, 'which images share a camera: auto (equal size and '
   'EXIF focal length), single (all), per_image (none)'),
  ('matching', str, 'pairs compared: auto (by their number), exhaustive, '
   'sequential (neighbours by name), similar (neighbours by looks)'),
  ('overlap', int, 'sequential: next images each one is compared with'),
  ('num_similar', int, 'similar: other images each one is compared with'),
  ('num_threads', int, '-1: one per core'),
  ('seed', int, "of COLMAP's random choices"),
)  # fmt: skip
_CHOICES = {
  'camera_model': settings_lib.CAMERA_MODELS,
  'camera_mode': settings_lib.CAMERA_MODES,
  'matching': settings_lib.MATCHINGS,
}


def main(argv: Sequence[str] | None = None) -> int:
  """Console entry point; returns the exit status."""
  flags = _parser().parse_args((sys.argv if argv is None else argv)[1:])
  shown = console.Console()
  try:
    settings = settings_lib.Settings(
      factors=_factors(flags.factors),
      keep_database=flags.keep_database,
      **{name: getattr(flags, name) for name, _, _ in _OPTIONS},
    )
    report = pipeline.process(
      flags.source,
      flags.out,
      settings,
      overwrite=flags.overwrite,
      verbose=flags.verbose,
      log=shown.line,
    )
  except errors.MultinerfError as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print('Interrupted; the same command goes on from here.', file=sys.stderr)
    return 130
  for warning in report['warnings']:
    shown.warn(warning)
  out = pathlib.Path(flags.out)
  shown.line(f'Look at {out / "report.png"} and {out / "report.md"}, then:')
  shown.line(f'  {train_command(flags.out)}')
  return 0


def train_command(folder: str) -> str:
  """What to type next."""
  # capture.gin is for transforms.json as well.
  return (
    'multinerf-train --gin_configs=capture.gin '
    '--gin_bindings="Config.dataset_loader = \'llff\'" '
    f'--data_dir={shlex.quote(folder)}'
  )


def _factors(text: str) -> tuple[int, ...]:
  """'2,4,8' -> (2, 4, 8); '' -> ().

  Raises:
    ConfigError: It is not a list of whole numbers.
  """
  try:
    return tuple(int(part) for part in text.split(',') if part.strip())
  except ValueError as error:
    raise errors.ConfigError(
      f'--factors={text} is not a list of whole numbers such as 2,4,8.'
    ) from error


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='multinerf-process',
    description=_DOC,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument('source', metavar='PHOTOS_OR_VIDEO')
  parser.add_argument('out', metavar='OUT')
  for name, kind, text in _OPTIONS:
    default = getattr(_DEFAULTS, name)
    parser.add_argument(
      f'--{name}',
      type=kind,
      default=default,
      choices=_CHOICES.get(name),
      metavar=None if name in _CHOICES else name.upper(),
      help=f'{text} (default: {default})',
    )
  factors = ','.join(map(str, _DEFAULTS.factors))
  parser.add_argument(
    '--factors',
    default=factors,
    help=f'smaller copies to make (default: {factors})',
  )
  for name, text in (
    ('keep_database', "leave COLMAP's database.db in OUT"),
    ('overwrite', 'replace an OUT made before'),
    ('verbose', "show COLMAP's own messages"),
  ):
    parser.add_argument(f'--{name}', action='store_true', help=text)
  return parser


if __name__ == '__main__':
  sys.exit(main())
