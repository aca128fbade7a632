"""multinerf-bench: measures the presets on this machine.

  multinerf-bench
  multinerf-bench --presets=blender_256,quickstart --seconds=20 --out=/tmp/bench
  taskset -c 0 multinerf-bench --quick

Writes bench.json and bench.md. Data is the embedded scene; no folder is needed.
Every preset is measured in processes of its own, so that its memory is its own
and its programs are compiled from scratch once; on the CPU they use the cores
that this process may use (taskset). Close other programs first.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from multinerf import errors, parallel
from multinerf.app import writing
from multinerf.app.bench import measure, page
from multinerf.config import gin_files
from multinerf.evaluation import results

FORMAT_VERSION = 1
# Those of them that this version has are measured unless others are named.
PRESETS = (
  'fast', 'quickstart', 'blender_256', '360', 'blender_refnerf', 'llff_raw',
  'zipnerf_blender', 'zipnerf_360',
)  # fmt: skip
_QUICK_PRESETS = ('quickstart', 'blender_256')
_VISIBLE = 'CUDA_VISIBLE_DEVICES'


def main(argv: Sequence[str] | None = None) -> int:
  """Console entry point; returns the exit status."""
  argv = list(sys.argv if argv is None else argv)
  args = _parser().parse_args(argv[1:])
  try:
    found = run(args, shlex.join(['multinerf-bench', *argv[1:]]))
  except errors.MultinerfError as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  failed = [k for k, v in found['presets'].items() if 'error' in v]
  if failed:
    print(f'error: not measured: {", ".join(failed)}', file=sys.stderr)
  return 1 if failed else 0


def run(args: argparse.Namespace, command: str) -> dict[str, Any]:
  """Measures what the arguments say and writes both files.

  The files are written after every preset, so that what is there is kept.

  Args:
    args: See `--help`.
    command: What the user typed, for the record.

  Returns:
    The contents of bench.json.

  Raises:
    ConfigError: A preset does not exist.
    CheckpointError: The files cannot be written.
  """
  names = choose(args.presets, quick=args.quick)
  print('Measuring the machine', flush=True)
  found = {
    'format_version': FORMAT_VERSION,
    'date': time.strftime('%Y-%m-%d %H:%M'),
    'command': command,
    'versions': results.versions(),
    'machine': {
      'processor': _processor(),
      'memory_bytes': os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'),
      'load_average': os.getloadavg()[0],
    },
    'presets': {},
  }
  machine = child(None)
  if 'error' in machine:
    raise errors.ConfigError(f'No device can be used: {machine["error"]}')
  found['machine'] |= machine
  for name in names:
    found['presets'][_label(name)] = _measure(name, args, found['machine'])
    write(found, args.out)
  print(f'Written: {pathlib.Path(args.out).resolve() / "bench.md"}')
  return found


def choose(wanted: str | None, *, quick: bool = False) -> list[str]:
  """The gin files to measure, as far as this version has them.

  Args:
    wanted: Names or paths, separated by commas; None: a choice of ours.
    quick: Make that choice a small one.

  Raises:
    ConfigError: One that is named does not exist.
  """
  if wanted is not None:
    names = [name.strip() for name in wanted.split(',') if name.strip()]
    names = [n if n.endswith('.gin') else f'{n}.gin' for n in names]
    for name in names:
      gin_files.resolve(name)
    return names
  folder = gin_files.find_gin_configs()
  ours = _QUICK_PRESETS if quick else PRESETS
  return [f'{n}.gin' for n in ours if (folder / f'{n}.gin').is_file()]


def write(found: dict[str, Any], folder: str | os.PathLike) -> None:
  """Writes bench.json and bench.md.

  Raises:
    CheckpointError: The folder cannot be written.
  """
  folder = pathlib.Path(folder)
  with writing.into(folder, flag='--out'):
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1)
    (folder / 'bench.json').write_text(text + '\n')
    (folder / 'bench.md').write_text(page.markdown(found))


def device_counts(num: int) -> list[int]:
  """1, 2, 4, ... and finally all of them."""
  counts = [1]
  while 2 * counts[-1] < num:
    counts.append(2 * counts[-1])
  return counts if num == 1 else [*counts, num]


def child(
  options: measure.Options | None,
  *,
  cores: int | None = None,
  accelerators: int | None = None,
) -> dict[str, Any]:
  """Measures in a new process.

  Args:
    options: What; None: the machine.
    cores, accelerators: How many of ours it may use; None: all.

  Returns:
    What it found, or {'error': what went wrong, in one line}.
  """
  environment = dict(os.environ)
  if accelerators is not None:
    visible = environment.get(_VISIBLE)
    names = visible.split(',') if visible else map(str, range(accelerators))
    environment[_VISIBLE] = ','.join(list(names)[:accelerators])
  with tempfile.TemporaryDirectory() as folder:
    source, target = (pathlib.Path(folder) / x for x in ('in', 'out'))
    text = json.dumps(dataclasses.asdict(options) if options else None)
    source.write_text(text)
    command = [sys.executable, '-m', measure.__name__, source, target]
    with parallel.on_cores(parallel.available_cores()[:cores]):
      done = subprocess.run(
        command, env=environment, capture_output=True, text=True
      )
    if done.returncode == 0:
      return json.loads(target.read_text())
  if done.returncode < 0:
    return {'error': f'ended by signal {-done.returncode}; too little memory?'}
  return {'error': (done.stderr.strip().splitlines() or ['no message'])[-1]}


def _measure(
  name: str, args: argparse.Namespace, machine: dict[str, Any]
) -> dict[str, Any]:
  """One preset on all devices, then its training on fewer."""
  options = measure.Options(
    preset=name,
    bindings=tuple(args.gin_bindings),
    seconds=min(args.seconds, 3.0) if args.quick else args.seconds,
    step_seconds=args.step_seconds,
    batch_size=args.batch_size,
  )
  print(f'Measuring {name}', flush=True)
  found = child(options)
  if 'error' in found:
    print(f'  {found["error"]}')
    return found
  training = found['training']
  print(
    f'  training {training["rays_per_s"]:,.0f} rays/s '
    f'({100 * training["utilisation"]:.0f} %), '
    f'rendering {found["rendering"]["rays_per_s"]:,.0f} rays/s',
    flush=True,
  )
  kind = 'cores' if machine['platform'] == 'cpu' else 'accelerators'
  # Where no core can be withheld, every measurement would be one of all.
  alike = kind == 'cores' and not parallel.can_pin_cores()
  if args.quick or machine['num_devices'] == 1 or alike:
    return found
  *fewer, _ = device_counts(machine['num_devices'])
  points = []
  for count in fewer:
    # A constant amount for each device.
    batch = max(1, found['batch_size'] * count // machine['num_devices'])
    fixed = dataclasses.replace(options, speed_only=True, batch_size=batch)
    points.append(child(fixed, **{kind: count}))
  scaling = [_point(x) for x in (*points, found) if 'error' not in x]
  return found | {'scaling': scaling}


def _point(found: dict[str, Any]) -> dict[str, Any]:
  """What the table of scaling needs."""
  kept = {k: found[k] for k in ('num_devices', 'batch_size')}
  training = found['training']
  kept |= {k: v for k, v in training.items() if not isinstance(v, str)}
  return kept


def _label(name: str) -> str:
  return pathlib.Path(name).stem


def _processor() -> str:
  """Name of the processor."""
  info = pathlib.Path('/proc/cpuinfo')
  lines = info.read_text().splitlines() if info.is_file() else []
  names = [x.split(':', 1)[1] for x in lines if x.startswith('model name')]
  return names[0].strip() if names else platform.processor()


def _parser() -> argparse.ArgumentParser:
  """What the command line may say."""
  parser = argparse.ArgumentParser(
    prog='multinerf-bench',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    '--presets',
    help='names or paths, separated by commas; default: '
    + ', '.join(choose(None)),
  )
  parser.add_argument(
    '--seconds',
    type=float,
    default=10.0,
    help='of training measured per preset and number of devices (10); '
    'rendering gets half of it, and compilation comes on top',
  )
  parser.add_argument(
    '--step_seconds',
    type=float,
    default=1.0,
    help='about what a training step shall take on the CPU (1)',
  )
  parser.add_argument(
    '--batch_size',
    type=int,
    default=0,
    help="rays per step; default: the preset's on accelerators, on the CPU "
    'at most that and what fits --step_seconds',
  )
  parser.add_argument(
    '--gin_bindings',
    action='append',
    default=[],
    help='gin statement for all presets; repeatable',
  )
  parser.add_argument(
    '--quick',
    action='store_true',
    help=f'only {" and ".join(_QUICK_PRESETS)}, 3 seconds, all devices',
  )
  parser.add_argument(
    '--out',
    type=os.path.expanduser,
    default='.',
    help='folder of the files (.)',
  )
  return parser


if __name__ == '__main__':
  sys.exit(main())
