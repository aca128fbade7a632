"""train.py: fits a field to a scene, or goes on where it stopped."""

import contextlib
import functools
import json
import math
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from multinerf import errors, parallel
from multinerf.app import cli, hooks, params_hook, snapshots, writing
from multinerf.app import trainer as trainer_lib
from multinerf.config import gin_setup, schema, views
from multinerf.data import base, inspection
from multinerf.evaluation import results
from multinerf.training import (
  checkpoints,
  console,
  guards,
  loop,
  preemption,
  report,
  watchdog,
  writer,
)
from multinerf.training import saver as saver_lib

_DOC = """Trains a radiance field, or resumes one, as its gin files say.

  train.py --gin_configs=blender.gin --data_dir=/data/chair

Checkpoints, TensorBoard files and the configuration go to
Config.checkpoint_dir (runs/<scene> if it is not set). A folder that holds a
checkpoint is resumed; with --restart its checkpoints are put aside first.

SIGTERM or Ctrl-C ends training after the current step, with a checkpoint and
exit status 75; the same command goes on from there. A second one ends it at
once."""


def main(argv: list[str] | None = None) -> int:
  """Console entry point; returns the exit status."""
  argv = list(sys.argv if argv is None else argv)
  program = functools.partial(run, restart='--restart' in argv)
  argv = [word for word in argv if word != '--restart']
  return cli.main(program, scope='train', doc=_DOC, argv=argv)


def run(setup: gin_setup.Setup, *, restart: bool = False) -> None:
  """Trains as the configuration says.

  Args:
    setup: The configuration.
    restart: Put the folder's checkpoints aside and start from step 0.

  Raises:
    MultinerfError: With one line that names what to change.
  """
  cli.prepare_devices(setup)
  config = setup.config
  folder = cli.run_folder(setup)
  shown = console.Console(enabled=parallel.is_lead())
  scene, test_scene = _load_scenes(config)
  manifest = {'gin': setup.config_str, 'scene': scene.name}
  with trainer_lib.Trainer(
    config,
    scene,
    setup.build_model(),
    test_scene=test_scene,
    manifest=manifest,
  ) as trainer:
    shown.line(f'Devices: {parallel.device_description()}')
    shown.line(
      f'Scene: {scene.name}, {len(scene)} training views'
      + (f', {len(test_scene)} test views' if test_scene else '')
    )
    shown.line(console.format_num_params(trainer.num_params))
    shown.line(f'Run folder: {folder}')
    cli.show_notes(shown, scene, test_scene)
    for finding in inspection.inspect(scene, test_scene):
      if finding.severity == 'warning':
        shown.warn(finding.text)
    if _resumes(folder, shown, restart=restart):
      trainer.load(folder, warn=shown.warn)
      shown.line(f'Resumed from step {trainer.step_number}.')
    # Not before everything that may refuse the configuration has accepted it.
    save_config(setup, folder, shown)
    if parallel.is_lead():
      with writing.into(folder, 'checkpoint_dir'):
        snapshots.record(setup, folder, shown, scene, test_scene)
    train(trainer, folder, shown, gin_text=setup.operative_config_str)


def _resumes(folder: str, shown: console.Console, *, restart: bool) -> bool:
  """Whether there is a checkpoint to go on from; what the lead finds decides.

  With `restart` there is none any more.
  """

  def find() -> bool:
    found = bool(checkpoints.available_steps(folder))
    if found and restart:
      number = len(list(pathlib.Path(folder).glob('restart_*')))
      checkpoints.set_aside(folder, f'restart_{number}')
      shown.line(f'Starting over; the old checkpoints are in restart_{number}.')
    return found and not restart

  return parallel.on_lead(find, 'looking for checkpoints')


def _load_scenes(
  config: schema.Config,
) -> tuple[base.Scene, base.Scene | None]:
  """The training views, and held-out ones if any are going to be rendered."""
  cfg = views.view(config, base.DataConfig)
  wants_test = config.train_render_every > 0
  return (
    base.load_scene(cfg, 'train'),
    base.load_scene(cfg, 'test') if wants_test else None,
  )


def save_config(
  setup: gin_setup.Setup, folder: str, shown: console.Console
) -> None:
  """Writes what the run was asked for, and what that comes to.

  `config.gin` holds the bindings, `operative_config.gin` every value. An
  earlier `config.gin` that says something else is kept under another name.

  Raises:
    CheckpointError: The folder cannot be written.
  """
  path = pathlib.Path(folder) / 'config.gin'
  with writing.into(folder, 'checkpoint_dir'):
    if parallel.is_lead():
      path.parent.mkdir(parents=True, exist_ok=True)
      if path.exists() and path.read_text() != setup.config_str:
        number = len(list(path.parent.glob('config.*.gin')))
        kept = path.with_name(f'config.{number}.gin')
        os.replace(path, kept)
        shown.warn(
          f'The configuration differs from that of the run in {folder}; '
          f'the old one is kept as {kept.name}.'
        )
    results.write_text(path, setup.config_str)
    results.write_text(
      path.with_name('operative_config.gin'), setup.operative_config_str
    )
    record = {'versions': results.versions(), 'scope': setup.scope}
    results.write_text(path.with_name('run.json'), json.dumps(record, indent=1))


def train(
  trainer: trainer_lib.Trainer,
  folder: str,
  shown: console.Console,
  *,
  gin_text: str = '',
) -> None:
  """Takes the remaining steps; restarts a dead field from another seed.

  Args:
    trainer: At the step to go on from.
    folder: For checkpoints and summaries.
    shown: Where progress is printed.
    gin_text: The configuration, shown in TensorBoard.

  Raises:
    TrainingDivergedError: Gradients stay non-finite, or every seed gave a
      dead field.
    CheckpointError: A checkpoint could not be written.
    PreemptedError: A signal asked for the end; a checkpoint is written.
  """
  config = trainer.config
  for restarts in range(config.collapse_max_restarts + 1):
    try:
      _train_once(trainer, folder, shown, gin_text)
      return
    except guards.FieldCollapsedError as error:
      # After the last attempt too: nobody shall resume or evaluate these.
      checkpoints.set_aside(
        folder, f'collapsed_seed_{trainer.seed}', is_lead=parallel.is_lead()
      )
      if restarts == config.collapse_max_restarts:
        raise errors.TrainingDivergedError(
          f'{error} {restarts} restarts from other seeds did not help '
          '(gin: Config.lr_init, Config.collapse_max_restarts).'
        ) from error
      seed = trainer.seed + 1
      shown.warn(f'{error} Starting again from seed {seed}.')
      trainer.start(seed)


def _train_once(trainer, folder, shown, gin_text) -> None:
  """One attempt, from the trainer's step to the last."""
  config = trainer.config
  first = trainer.step_number + 1
  last = trainer.last_step
  if first > last:
    shown.line(f'Nothing to do: step {trainer.step_number} is the last.')
    return
  with contextlib.ExitStack() as stack:
    # Steps run behind Python's back: errors come up wherever results are read.
    stack.enter_context(trainer.memory.explained())
    saver = stack.enter_context(
      saver_lib.CheckpointWriter(
        folder,
        keep=config.checkpoint_keep,
        keep_every=config.checkpoint_keep_every,
        is_lead=parallel.is_lead(),
        warn=shown.warn,
      )
    )
    summaries = stack.enter_context(
      writer.Writer(
        folder,
        enabled=parallel.is_lead(),
        purge_step=first,
        warn=shown.warn,
      )
    )
    if gin_text:
      summaries.text('gin_config', gin_text, first)
    for scene in (trainer.scene, trainer.test_scene):
      hooks.write_exposures(summaries, scene, first)
    stack.enter_context(shown.progress_bar(first - 1, last))
    collector = stack.enter_context(loop.GarbageCollector(config.gc_every))
    signals = stack.enter_context(preemption.StopSignals())
    stop = stack.enter_context(preemption.agreed(signals))
    dog = stack.enter_context(
      watchdog.Watchdog(config.watchdog_minutes, shown.warn)
    )
    stack.enter_context(_state_kept_if_diverged(trainer, folder, shown))
    checkpoint = hooks.CheckpointHook(trainer, saver, last)
    reports = hooks.ReportWriter(trainer, shown, summaries, last)
    step = loop.fit(
      _first_step_announced(trainer, shown),
      first_step=first,
      last_step=last,
      hooks=[
        _reporter(trainer, reports, shown, first, last),
        checkpoint,
        dog.excusing(
          hooks.TestViewHook(trainer, reports, shown, summaries, last)
        ),
        dog.excusing(params_hook.ParamsHook(trainer, summaries, last)),
        hooks.Advance(shown),
        collector,
        dog,
      ],
      stop=stop,
    )
    if step < last:
      if step >= first:
        checkpoint.save(step)
      saver.wait()
      raise errors.PreemptedError(
        f'{signals.name} ended training after step {step} of {last}; '
        f'its checkpoint is in {folder}. The same command goes on from there.'
      )


def _first_step_announced(trainer, shown) -> loop.Advance:
  """The trainer's step; says how long and large what was compiled is."""
  announced = trainer.compile_seconds  # in an attempt before a restart

  def advance() -> tuple[int, Any, Any]:
    nonlocal announced
    trainer.prepare()
    if trainer.compile_seconds > announced:
      seconds = trainer.compile_seconds - announced
      announced = trainer.compile_seconds
      shown.line(console.format_compile_time(seconds))
      for line in trainer.memory_lines():
        shown.line(line)
    stats = trainer.step()
    return trainer.step_number, trainer.device_state, stats

  return advance


@contextlib.contextmanager
def _state_kept_if_diverged(trainer, folder, shown) -> Iterator[None]:
  """Saves what diverged, to be looked at, where no resume takes it."""
  try:
    yield
  except guards.FieldCollapsedError:  # set aside by who restarts it
    raise
  except errors.TrainingDivergedError:
    aside = pathlib.Path(folder) / f'diverged_step_{trainer.step_number}'
    try:
      trainer.save(str(aside))
      shown.warn(f'The state at the end is kept for inspection in {aside}.')
    except errors.CheckpointError as error:
      shown.warn(str(error))  # the divergence is the error to end with
    raise


def _reporter(trainer, reports, shown, first, last) -> report.Reporter:
  """Reports to the console, TensorBoard and the guards."""
  config = trainer.config
  listeners: list[Callable[[report.Report], None]] = [
    guards.SpikeGuard(shown.warn),
    guards.NonFiniteGuard(config.nonfinite_grad_limit, shown.warn),
  ]
  if guard := _collapse_guard(config, first):
    listeners.append(guard)
  return report.Reporter(
    config.print_every, last, trainer.clock, [reports, *listeners]
  )


def _collapse_guard(
  config: schema.Config, first: int
) -> guards.CollapseGuard | None:
  """What looks for a dead field in a run from step `first` on; None: nothing."""
  # A slow warm-up is not a collapse: wait until the rate has been at its full
  # height for as long as it took to get there.
  check = max(config.collapse_check_step, 2 * config.lr_delay_steps)
  # The first report from there on decides; a run that was stopped in between
  # has not been looked at.
  decides = math.ceil(check / config.print_every) * config.print_every
  if not config.collapse_guard or first > decides:
    return None
  return guards.CollapseGuard(check)


if __name__ == '__main__':
  sys.exit(main())
