"""Flags, help and exit status of the three programs."""

import dataclasses
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence

import jax
from absl import flags

from multinerf import errors, parallel
from multinerf.config import gin_setup, schema, views
from multinerf.config import help as config_help
from multinerf.data import base
from multinerf.evaluation import paths
from multinerf.training import console, memory_plan

Program = Callable[[gin_setup.Setup], object]
_PATHS = re.compile(r'^\S*Config\.\w+_dir = (\\\n)?.*\n?', re.MULTILINE)


def main(
  program: Program, *, scope: str, doc: str, argv: Sequence[str] | None = None
) -> int:
  """Parses flags, loads the gin configuration and runs a program.

  Args:
    program: Gets the configuration.
    scope: gin scope, 'train' or 'eval'.
    doc: What the program does, for --help.
    argv: Command line; None: the process's own.

  Returns:
    Exit status: 0, or 1 after one line on stderr that says what to change; 75
    if a signal ended training early (`errors.PreemptedError`). As one of
    several processes it does not return after a failure, but ends at once, so
    that it does not wait for others that wait for it: with that status, or 70
    if starting again may help (`errors.ProcessError`, and whatever is no error
    of ours).
  """
  argv = list(sys.argv if argv is None else argv)
  if wants_help(argv):
    print(f'{doc}\n\n{_flag_values().get_help()}\n{config_help.text()}')
    return 0
  try:
    status = _run(program, argv, scope)
    if parallel.is_distributed():
      if status not in (0, errors.PreemptedError.exit_status):
        parallel.leave(status)
      parallel.finish()
    return status
  except BaseException:
    # Others would wait for this process in vain if it waited for them.
    if not parallel.is_distributed():
      raise
    traceback.print_exc()
    parallel.leave(errors.ProcessError.exit_status)


def _run(program: Program, argv: list[str], scope: str) -> int:
  """Runs a program; says errors of ours in one line. Returns its status."""
  try:
    program(_load(argv, scope))
  except errors.MultinerfError as error:
    print(f'error: {error}', file=sys.stderr)
    return error.exit_status
  except flags.Error as error:
    print(f'error: {error} (see --help)', file=sys.stderr)
    return 1
  except jax.errors.JaxRuntimeError as error:
    if not memory_plan.is_out_of_memory(error):
      raise
    print(
      f'error: {str(error).splitlines()[0]} (gin: Config.memory_budget_gib)',
      file=sys.stderr,
    )
    return errors.OutOfMemoryError.exit_status
  return 0


def wants_help(argv: Sequence[str]) -> bool:
  """Whether a command line asks for help instead of a run."""
  return any(a in ('--help', '-h', '-help', '--helpfull') for a in argv[1:])


def join_flags(argv: Sequence[str], *, own: Sequence[str] = ()) -> list[str]:
  """Writes `--flag value` as `--flag=value`, as far as flags are known.

  A program that takes other words, too, can tell then which these are.

  Args:
    argv: Command line.
    own: Flags of the program itself that take a value.
  """
  _define_jax_flags()
  ours = _flag_values()
  with_value = set(own)
  for values in (ours, flags.FLAGS):
    with_value |= {name for name in values if not values[name].boolean}
  joined, words = [], iter(argv)
  for word in words:
    name, value = word.lstrip('-'), None
    if word.startswith('-') and name in with_value:
      value = next(words, None)
    joined.append(word if value is None else f'--{name}={value}')
  return joined


def _flag_values() -> flags.FlagValues:
  """Our flags, apart from the global ones, so that a process may run twice."""
  values = flags.FlagValues()
  flags.DEFINE_multi_string(
    'gin_configs',
    [],
    'Gin file, by name or path; repeatable, applied in order.',
    flag_values=values,
  )
  flags.DEFINE_multi_string(
    'gin_bindings',
    [],
    'Gin statement, e.g. "Config.batch_size = 4096"; '
    'repeatable, applied after all files.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'data_dir', None, 'Short for Config.data_dir.', flag_values=values
  )
  flags.DEFINE_string(
    'checkpoint_dir',
    None,
    'Short for Config.checkpoint_dir.',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'safe_gin',
    False,
    'Gin files are code; with this flag they may not import anything, nor '
    "name or include what is not multinerf's own: for files of strangers.",
    flag_values=values,
  )
  for name in ('mode', 'base_folder'):
    flags.DEFINE_string(
      name,
      None,
      'Accepted for old launch scripts; does nothing.',
      flag_values=values,
    )
  _define_cluster_flags(values)
  return values


def _define_cluster_flags(values: flags.FlagValues) -> None:
  """Who trains together (docs/cluster.md)."""
  default = parallel.ClusterConfig()
  flags.DEFINE_string(
    'coordinator_address',
    None,
    'Several processes: host:port of process 0, at any free port.',
    flag_values=values,
  )
  for name, text in (
    ('num_processes', 'Several processes: how many.'),
    ('process_id', 'Several processes: number of this one, 0 for the lead.'),
  ):
    flags.DEFINE_integer(name, None, text, flag_values=values)
  flags.DEFINE_string(
    'cluster',
    default.cluster,
    'Several processes without the flags above: auto asks SLURM, Open MPI or a '
    'TPU pod if there is one; none; or a name that JAX knows (slurm, ompi, '
    'mpi4py, k8s, gcetpu, gketpu).',
    flag_values=values,
  )
  for name, text in (
    ('heartbeat_timeout', 'Seconds until a silent process counts as dead.'),
    ('start_timeout', 'Seconds within which all processes must start.'),
  ):
    flags.DEFINE_integer(
      name, getattr(default, name), text, lower_bound=1, flag_values=values
    )


def _load(argv: list[str], scope: str) -> gin_setup.Setup:
  """Parses flags: ours here, those of absl and JAX by their owners."""
  ours = _flag_values()
  rest = ours(argv, known_only=True)
  _define_jax_flags()
  positional = flags.FLAGS(rest)[1:]
  _apply_jax_flags()
  if positional:
    raise flags.Error(f'Unexpected argument {positional[0]!r}.')
  _initialize(ours)
  bindings = list(ours.gin_bindings)
  for name in ('data_dir', 'checkpoint_dir'):
    if getattr(ours, name) is not None:
      bindings.append(f'Config.{name} = {getattr(ours, name)!r}')
  return gin_setup.load(
    ours.gin_configs, bindings, scope=scope, safe=ours.safe_gin
  )


def _define_jax_flags() -> None:
  """Adds --jax_... to absl's flags, once."""
  if 'jax_debug_nans' not in flags.FLAGS:
    jax.config.config_with_absl()


def _initialize(ours: flags.FlagValues) -> None:
  """Meets the other processes, if there are any."""
  names = [field.name for field in dataclasses.fields(parallel.ClusterConfig)]
  parallel.initialize(
    parallel.ClusterConfig(**{name: getattr(ours, name) for name in names})
  )


def _apply_jax_flags() -> None:
  """Hands --jax_... flags to JAX, which itself waits for absl's app.run."""
  for name in flags.FLAGS:
    flag = flags.FLAGS[name]
    if name.startswith('jax_') and flag.present:
      jax.config.update(name, flag.value)
      flag.unparse()  # the next run in this process starts afresh


def prepare_devices(setup: gin_setup.Setup) -> None:
  """Settings that must precede the first use of a device."""
  config = setup.config
  parallel.configure_cpu_devices(config.batch_size, config.patch_size)
  parallel.enable_compilation_cache(config.compilation_cache_dir)
  parallel.check_devices()
  # Where files lie may differ from machine to machine, nothing else.
  text = _PATHS.sub('', setup.operative_config_str)
  parallel.check_same(text, 'The configuration')


def run_folder(setup: gin_setup.Setup) -> str:
  """The run's folder: Config.checkpoint_dir, `~` expanded, or runs/<scene>."""
  config = setup.config
  if config.checkpoint_dir is not None:
    return os.path.expanduser(config.checkpoint_dir)
  scene = os.path.basename(os.path.normpath(config.data_dir or ''))
  return os.path.join('runs', scene.strip('.') or config.dataset_loader)


def show_notes(shown: console.Console, *scenes: base.Scene | None) -> None:
  """Prints what loaders had to say about the data, each remark once."""
  notes = [note for scene in scenes if scene for note in scene.notes]
  for note in dict.fromkeys(notes):
    shown.line(f'note: {note}')


def load_test_scene(config: schema.Config) -> base.Scene:
  """Loads the test views, or the camera path if `Config.render_path`.

  The path is that of a file or through key frames if one is configured, else
  the data set's own, else one drawn through the cameras of both splits, or
  where a loader gives only one through those of the training split.
  """
  cfg = views.view(config, base.DataConfig)
  if not config.render_path:
    return base.load_scene(cfg, 'test')
  whole = config.dataset_loader in paths.CAPTURE_LOADERS
  cfg = dataclasses.replace(
    cfg, render_path=whole, multiscale_train_factors=None
  )
  render = views.view(config, paths.RenderConfig)
  if (
    paths.path_kind(render) not in ('file', 'spline')
    and config.dataset_loader in base.CAMERA_PATHS.names()
  ):
    own = base.CAMERA_PATHS.get(config.dataset_loader)(cfg)
    if own is not None:
      return paths.render_path_scene(render, own, 'own')
  return paths.render_path_scene(render, base.load_scene(cfg, 'train'))
