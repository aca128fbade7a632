"""eval.py: measures checkpoints on the test views."""

import contextlib
import math
import pathlib
import sys
import time

from multinerf import errors, parallel
from multinerf.app import cli
from multinerf.app import field as field_lib
from multinerf.config import gin_setup, schema
from multinerf.data import base
from multinerf.evaluation import evaluator
from multinerf.training import checkpoints, console, writer

_DOC = """Measures the newest checkpoint of a run on the test views.

  eval.py --gin_configs=blender.gin --data_dir=/data/chair \\
    --checkpoint_dir=/runs/chair

Writes images and metrics to test_preds/ and everything to results.json in the
run's folder. With Config.eval_only_once = False it waits for new checkpoints
and writes TensorBoard files to eval/ there."""
_POLL_SECONDS = 10.0


def main(argv: list[str] | None = None) -> int:
  """Console entry point; returns the exit status."""
  return cli.main(run, scope='eval', doc=_DOC, argv=argv)


def run(setup: gin_setup.Setup) -> None:
  """Evaluates as the configuration says.

  Raises:
    MultinerfError: With one line that names what to change.
  """
  cli.prepare_devices(setup)
  config = setup.config
  folder = cli.run_folder(setup)
  shown = console.Console(enabled=parallel.is_lead())
  if config.eval_only_once:  # before the data, which may take long to load
    require_checkpoint(folder)
  scene = cli.load_test_scene(config)
  cli.show_notes(shown, scene)
  if config.eval_only_once:
    evaluate(setup, scene, folder, shown)
    return
  with contextlib.ExitStack() as stack:
    _follow(setup, scene, folder, shown, stack)


def require_checkpoint(folder: str) -> None:
  """Checks that there is something to evaluate or render.

  Raises:
    CheckpointError: There is no checkpoint; says what the folder holds.
  """

  def check() -> None:
    if checkpoints.latest(folder) is None:
      checkpoints.restore(folder, {})  # raises, with the folder's contents

  parallel.on_lead(check, 'looking for checkpoints')


def evaluate(
  setup: gin_setup.Setup,
  scene: base.Scene,
  folder: str,
  shown: console.Console,
  summaries: writer.Writer | None = None,
) -> field_lib.TrainedField:
  """Evaluates the newest checkpoint; returns what was evaluated."""
  config = setup.config
  trained = field_lib.TrainedField(
    setup.build_model(), config, scene.cameras, folder, warn=shown.warn
  )
  shown.line(f'Evaluating step {trained.step} of {folder}')
  trained.evaluate(
    scene,
    folder,
    writer=summaries,
    log=shown.line,
    protocol=_protocol(config),
  )
  shown.line(f'Results: {evaluator.record_path(scene, folder)}')
  return trained


def _protocol(config: schema.Config) -> dict[str, object]:
  """Options of the data on which the numbers depend."""
  return {
    'dataset_loader': config.dataset_loader,
    'data_dir': config.data_dir,
    'factor': config.factor,
    'background': 'white',
  }


def _follow(setup, scene, folder, shown, stack) -> None:
  """Evaluates every new checkpoint until the last one.

  The summary file is opened on `stack` when there is something to write.

  Raises:
    CheckpointError: None came for `eval_checkpoint_wait_timeout_sec`.
  """
  config = setup.config
  last = min(config.max_steps, config.early_exit_steps or math.inf)
  done, summaries = -1, None
  while done < last:
    newest = parallel.on_lead(
      lambda done=done: _wait_for_newer(config, folder, done),
      'a new checkpoint',
      timeout=math.inf,
    )
    summaries = summaries or stack.enter_context(
      writer.Writer(
        pathlib.Path(folder) / 'eval',
        enabled=parallel.is_lead(),
        warn=shown.warn,
      )
    )
    evaluate(setup, scene, folder, shown, summaries)
    # Not the step evaluated: that is an older one if the newest is damaged,
    # and would be taken again at once, for ever.
    done = newest


def _wait_for_newer(config: schema.Config, folder: str, done: int) -> int:
  """The newest step, as soon as it is beyond `done`.

  Raises:
    CheckpointError: None came for `eval_checkpoint_wait_timeout_sec`.
  """
  limit, since = config.eval_checkpoint_wait_timeout_sec, time.monotonic()
  while True:
    newest = checkpoints.latest(folder)
    if newest is not None and newest > done:
      return newest
    if time.monotonic() - since > limit:
      raise errors.CheckpointError(
        f'No new checkpoint in {folder} for {limit:g} s '
        '(gin: Config.eval_checkpoint_wait_timeout_sec).'
      )
    time.sleep(_POLL_SECONDS)


if __name__ == '__main__':
  sys.exit(main())
