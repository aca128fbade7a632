"""render.py: renders the test views or a camera path, and videos of them."""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Iterator

from multinerf import errors, parallel
from multinerf.app import cli, snapshots, writing
from multinerf.app import eval as eval_lib
from multinerf.app import field as field_lib
from multinerf.config import gin_setup, views
from multinerf.evaluation import export, frames, paths, raw_display
from multinerf.training import console

_DOC = """Renders the newest checkpoint of a run: the test views, or a path.

  render.py --gin_configs=blender.gin --gin_configs=render_config.gin \\
    --data_dir=/data/chair --checkpoint_dir=/runs/chair

Frames go to Config.render_dir (render/ in the run's folder); videos are made
when all frames are there. Config.render_job_id and render_num_jobs share the
frames among several processes. Frames that are there already, of the same
checkpoint and options, are not rendered again.

Where the data set is missing, the cameras are those that training left in the
run's folder, which then is all that is needed:

  render.py --gin_configs=/runs/chair/config.gin --checkpoint_dir=/runs/chair
"""


def main(argv: list[str] | None = None) -> int:
  """Console entry point; returns the exit status."""
  return cli.main(run_all, scope='eval', doc=_DOC, argv=argv)


def run_all(setup: gin_setup.Setup) -> None:
  """Renders once, or once for each of the key frames to choose from.

  Raises:
    MultinerfError: With one line that names what to change.
  """
  for one in _choices(setup):
    run(one)


def _choices(setup: gin_setup.Setup) -> Iterator[gin_setup.Setup]:
  """The set-ups that `Config.render_spline_keyframes_choices` stands for."""
  config = setup.config
  option = 'Config.render_spline_keyframes_choices'
  if config.render_spline_keyframes_choices is None:
    yield setup
    return
  if config.render_spline_keyframes is not None:
    raise errors.ConfigError(
      f'{option} and Config.render_spline_keyframes exclude each other.'
    )
  words = config.render_spline_keyframes_choices.split(',')
  choices = [word.strip() for word in words if word.strip()]
  names = [os.path.basename(os.path.normpath(choice)) for choice in choices]
  if not choices or len(set(names)) < len(names):
    raise errors.ConfigError(
      f'{option} must list files or folders of different names, with commas '
      f'between; got {config.render_spline_keyframes_choices!r}.'
    )
  for choice, name in zip(choices, names, strict=True):
    chosen = dataclasses.replace(
      config,
      render_spline_keyframes=choice,
      render_spline_keyframes_choices=None,
      render_dir=os.path.join(_root(setup), name),
    )
    yield dataclasses.replace(setup, config=chosen)


def _root(setup: gin_setup.Setup) -> str:
  """Where the folders of frames go."""
  default = os.path.join(cli.run_folder(setup), 'render')
  return os.path.expanduser(setup.config.render_dir or default)


def run(setup: gin_setup.Setup) -> frames.FramesReport:
  """Renders as the configuration says; returns what was done.

  Raises:
    MultinerfError: With one line that names what to change.
  """
  cli.prepare_devices(setup)
  config = setup.config
  folder = cli.run_folder(setup)
  eval_lib.require_checkpoint(folder)
  shown = console.Console(enabled=parallel.is_lead())
  if parallel.on_lead(
    lambda: snapshots.needed(config, folder), 'looking for cameras'
  ):
    scene = snapshots.load_test_scene(config, folder)
    shown.line(
      f'There is no data set {config.data_dir}: cameras are those that '
      f'training left in {folder}; options of the data have no effect.'
    )
  else:
    scene = cli.load_test_scene(config)
  cli.show_notes(shown, scene)
  trained = field_lib.TrainedField(
    setup.build_model(), config, scene.cameras, folder, warn=shown.warn
  )
  kind = 'path_renders' if config.render_path else 'test_preds'
  name = f'{kind}_step_{trained.step}'
  root = pathlib.Path(_root(setup))
  shown.line(f'Rendering {len(scene)} frames to {root / name}')
  cameras = scene.cameras
  sizes = set(
    zip(cameras.widths.tolist(), cameras.heights.tolist(), strict=True)
  )
  fields = ('rgb',) if config.render_rgb_only else None
  display = scene.raw and (scene.raw.cam2rgb, scene.raw.exposure)
  with (
    trained.views(scene.cameras, fields=fields) as views_ahead,
    writing.into(root / name, 'render_dir'),
  ):
    export.write_poses(
      root / name, scene.cameras.camtoworlds, scene.world_transform
    )
    done = frames.render_frames(
      scene.cameras,
      views_ahead,
      root / name,
      views.view(config, paths.RenderConfig),
      run_id=_run_id(
        setup,
        str(pathlib.Path(folder).resolve()),
        str(trained.manifest),
        # Another Config.max_steps anneals the same step differently.
        str(trained.train_frac),
        export.fingerprint(display),
      ),
      video_prefix=(
        root / f'{_video_name(folder)}_{name}' if len(sizes) == 1 else None
      ),
      log=shown.line,
      postprocess=raw_display.postprocessor(scene),
    )
  if len(sizes) > 1:
    shown.line('No video: the frames are of several sizes.')
  for video in done.videos:
    shown.line(f'Video: {video}')
  return done


def _run_id(setup: gin_setup.Setup, *network: str) -> str:
  """What decides the pixels and files of a frame, beside its camera.

  Args:
    setup: The model and the options of rendering.
    network: What tells this trained network from another one.
  """
  config = setup.config
  return '\n'.join(
    (
      *network,
      setup.model_text,
      config.render_compute_dtype,
      str(config.render_empty_below),
      str(config.render_rgb_only),
    )
  )


def _video_name(folder: str) -> str:
  """<scene>_<experiment> from .../<experiment>/<scene>, as upstream."""
  *_, experiment, scene = ('', *pathlib.Path(folder).resolve().parts[1:])
  return f'{scene}_{experiment}' if experiment else scene


if __name__ == '__main__':
  sys.exit(main())
