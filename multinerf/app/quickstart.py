"""The main job in one command: train, evaluate, render, show.

  python -m multinerf.app.quickstart [--data_dir=...] [--checkpoint_dir=...]

Trains `quickstart.gin` on the embedded scene (or a Blender scene in
--data_dir) and leaves a contact sheet, results.json and a video.
"""

import dataclasses
import json
import pathlib
import sys

import numpy as np

from multinerf import parallel
from multinerf.app import cli, render, train, writing
from multinerf.app import eval as eval_lib
from multinerf.config import gin_setup
from multinerf.data import images
from multinerf.evaluation import visualize
from multinerf.ops import color
from multinerf.training import console

_ROWS = 4  # views on the contact sheet


def main(argv: list[str] | None = None) -> int:
  """Console entry point; returns the exit status."""
  argv = list(sys.argv if argv is None else argv)
  argv[1:1] = ['--gin_configs=quickstart.gin']
  if not any(arg.startswith('--checkpoint_dir') for arg in argv):
    argv.append('--checkpoint_dir=runs/quickstart')
  if any(arg.startswith('--data_dir') for arg in argv):
    argv.append("--gin_bindings=Config.dataset_loader = 'blender'")
  status = cli.main(train.run, scope='train', doc=__doc__, argv=argv)
  if status or cli.wants_help(argv):
    return status
  return cli.main(_show, scope='eval', doc=__doc__, argv=argv)


def _show(setup: gin_setup.Setup) -> None:
  """Evaluates, draws the contact sheet, renders the video, says where."""
  folder = pathlib.Path(cli.run_folder(setup))
  shown = console.Console(enabled=parallel.is_lead())
  scene = cli.load_test_scene(setup.config)
  trained = eval_lib.evaluate(setup, scene, str(folder), shown)
  sheet = folder / 'contact_sheet.png'
  rows = [
    visualize.contact_row(
      trained.render(scene.cameras, int(i)),
      np.asarray(color.decode_rgb(scene.images.image(int(i)))),
    )
    for i in np.linspace(0, len(scene) - 1, min(_ROWS, len(scene)))
  ]
  if parallel.is_lead():
    with writing.into(folder, 'checkpoint_dir'):
      images.write_png(sheet, visualize.contact_sheet(rows))
  path_setup = dataclasses.replace(
    setup, config=dataclasses.replace(setup.config, render_path=True)
  )
  videos = render.run(path_setup).videos
  if not parallel.is_lead():
    return
  means = json.loads((folder / 'results.json').read_text())['mean']
  shown.line(
    f'\nHeld-out views: PSNR {means["psnr"]:.2f} dB, SSIM {means["ssim"]:.3f}'
  )
  for label, path in (
    ('Contact sheet', sheet),
    ('Results', folder / 'results.json'),
    *(('Video', video) for video in videos if video.stem.endswith('_color')),
  ):
    shown.line(f'{label + ":":15s}{path.resolve()}')


if __name__ == '__main__':
  sys.exit(main())
