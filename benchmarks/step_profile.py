"""Where a training step's time goes, by XLA's operations.

  taskset -c 0 python benchmarks/step_profile.py fast.gin --rays=1024

Takes --steps steps after --warm_up others under JAX's profiler and lists what
XLA's threads did, the longest first: milliseconds and calls per step and device,
how many of the compiled program's instructions the operation is made of, and
where it comes from. An operation of a hundred instructions that makes a small
array computes again what others have computed: CPUs fuse everything that is
cheap, however often it is needed.
"""

import argparse
import collections
import gzip
import json
import pathlib
import re
import tempfile
import time

import jax

from multinerf import Trainer, parallel
from multinerf.app import cli
from multinerf.app.bench import measure as bench
from multinerf.config import views
from multinerf.data import base

_INSTRUCTION = re.compile(r'\s+(?:ROOT )?%([\w.\-]+) = (\S+) [\w\-]+\(')


def traced(trainer: Trainer, steps: int) -> list[dict]:
  """Events of some steps: dictionaries with name, dur (us), pid and tid."""
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(
      folder, create_perfetto_trace=True, profiler_options=options
    ):
      start = time.perf_counter()
      for _ in range(steps):
        trainer.step()
      parallel.wait(trainer.device_state)
      seconds = (time.perf_counter() - start) / steps
    found = pathlib.Path(folder).rglob('perfetto_trace.json.gz')
    with gzip.open(next(found)) as file:
      events = json.load(file)
  print(f'{1e3 * seconds:.2f} ms a step, profiled')
  return events if isinstance(events, list) else events['traceEvents']


def described(program: str) -> dict[str, tuple[str, int, str]]:
  """(shape, number of instructions, origin) of a program's operations."""
  bodies = {}
  for text in re.split(r'\n(?=%|ENTRY)', program):
    name = re.match(r'(?:ENTRY )?%([\w.\-]+)', text)
    if name:
      bodies[name[1]] = text.count('\n') - 1
  found = {}
  for line in program.splitlines():
    instruction = _INSTRUCTION.match(line)
    if instruction:
      calls = re.search(r'calls=%([\w.\-]+)', line)
      origin = re.search(r'op_name="([^"]*)"', line)
      found[instruction[1]] = (
        instruction[2].split('{')[0],
        bodies.get(calls[1], 1) if calls else 1,
        origin[1] if origin else '',
      )
  return found


def report(events: list[dict], program: str, steps: int, lines: int) -> None:
  """Prints the longest operations."""
  threads = {
    (event['pid'], event.get('tid')): event['args']['name']
    for event in events
    if event.get('ph') == 'M' and event['name'] == 'thread_name'
  }
  spent, calls = collections.Counter(), collections.Counter()
  for event in events:
    if event.get('ph') != 'X':
      continue
    if not threads.get((event['pid'], event['tid']), '').startswith('python'):
      spent[event['name']] += event['dur']
      calls[event['name']] += 1
  known = described(program)
  share = 1e3 * steps * parallel.local_device_count()
  for name, total in spent.most_common(lines):
    shape, size, origin = known.get(name, ('', 0, ''))
    print(
      f'{total / share:8.2f} ms {calls[name] / share * 1e3:6.1f} x {size:4d} '
      f'{name:34.34} {shape:24.24} {origin[-60:]}'
    )


def main() -> None:
  """Trains a little, then profiles."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('preset')
  parser.add_argument('--rays', type=int, default=1024, help='of all devices')
  parser.add_argument('--steps', type=int, default=10)
  parser.add_argument('--warm_up', type=int, default=20)
  parser.add_argument('--lines', type=int, default=40)
  parser.add_argument('--gin_bindings', action='append', default=[])
  options = parser.parse_args()

  def program(setup):
    cli.prepare_devices(setup)
    scene = base.load_scene(views.view(setup.config, base.DataConfig), 'train')
    with Trainer(setup.config, scene, setup.build_model()) as trainer:
      for _ in range(options.warm_up):
        trainer.step()
      parallel.wait(trainer.device_state)
      events = traced(trainer, options.steps)
      text = trainer._compiled[1].as_text()
      report(events, text, options.steps, options.lines)

  bindings = (
    f'Config.batch_size = {options.rays}',
    *bench.SCENE_BINDINGS,
    *options.gin_bindings,
  )
  argv = ['step_profile', f'--gin_configs={options.preset}']
  argv += [f'--gin_bindings={binding}' for binding in bindings]
  cli.main(program, scope='train', doc='', argv=argv)


if __name__ == '__main__':
  main()
