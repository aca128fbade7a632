"""Weak scaling: one process on one core against several, a core each.

  python benchmarks/processes.py --processes=2 --steps=20 --repeats=3

Every process has the same number of rays (a global batch of --rays each) and
one virtual device on a core of its own; gradients are averaged over loopback.
Ideal is a step that takes as long in company as alone. Wall time says so only
on a machine that does nothing else; processor time (of all threads of a
process) is what averaging adds to the work, and leaves out the waiting. Runs
alternate, so that both meet the same disturbances.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

from multinerf import Trainer, parallel
from multinerf.app import cli, launch, supervise
from multinerf.config import views
from multinerf.data import base, synthetic

_WARM_UP = 3


def child(argv: list[str]) -> int:
  """Takes steps as one of the processes; writes their times."""
  out, steps = pathlib.Path(argv[0]), int(argv[1])

  def program(setup):
    cli.prepare_devices(setup)
    scene = base.load_scene(views.view(setup.config, base.DataConfig), 'train')
    with Trainer(setup.config, scene, setup.build_model()) as trainer:
      for _ in range(_WARM_UP):
        trainer.step()
      parallel.wait(trainer.device_state)
      parallel.barrier('the start')
      wall, cpu = time.perf_counter(), time.process_time()
      for _ in range(steps):
        trainer.step()
      parallel.wait(trainer.device_state)
      times = {
        'wall': (time.perf_counter() - wall) / steps,
        'cpu': (time.process_time() - cpu) / steps,
        'params': trainer.num_params,
        'devices': parallel.device_count(),
      }
    path = out / f'{parallel.process_count()}_{parallel.process_index()}.json'
    path.write_text(json.dumps(times))

  return cli.main(program, scope='train', doc='', argv=['child', *argv[2:]])


def measure(count: int, scene: pathlib.Path, options) -> dict[str, float]:
  """Seconds per step with so many processes: the slowest of them."""
  with tempfile.TemporaryDirectory() as folder:
    flags = [
      f'--gin_configs={options.preset}',
      f'--data_dir={scene}',
      "--gin_bindings=Config.dataset_loader = 'blender'",
      f'--gin_bindings=Config.batch_size = {count * options.rays}',
      '--gin_bindings=Config.train_render_every = 0',
      *(f'--gin_bindings={b}' for b in options.gin_bindings),
    ]
    me = [sys.executable, __file__, '--child', folder, str(options.steps)]
    cores = sorted(os.sched_getaffinity(0))
    layout = launch.Layout(processes=count, total=count, pin=False)
    commands = [
      supervise.Command(
        command.label, command.words, cores=frozenset({cores[i]})
      )
      for i, command in enumerate(launch.commands(layout, [*me, *flags]))
    ]
    with supervise.Stop() as stop:
      ends = supervise.run(commands, stop, grace=15, say=lambda text: None)
    if not all(end.status == 0 for end in ends):
      raise SystemExit(f'{[str(end) for end in ends]}')
    found = [
      json.loads(path.read_text()) for path in pathlib.Path(folder).iterdir()
    ]
  return {name: max(one[name] for one in found) for name in found[0]}


def main() -> None:
  """Measures in turns; prints medians and their ratio."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--processes', type=int, default=2)
  parser.add_argument('--rays', type=int, default=1024, help='of each process')
  parser.add_argument('--steps', type=int, default=20)
  parser.add_argument('--repeats', type=int, default=3)
  parser.add_argument('--preset', default='blender_256.gin')
  parser.add_argument('--gin_bindings', action='append', default=[])
  options = parser.parse_args()
  cores = len(os.sched_getaffinity(0))
  if cores < options.processes:
    raise SystemExit(f'{options.processes} processes need as many cores.')
  with tempfile.TemporaryDirectory() as folder:
    scene = synthetic.render_scene(pathlib.Path(folder) / 'scene', 32, 8, 1)
    rows = {1: [], options.processes: []}
    for _ in range(options.repeats):
      for count, found in rows.items():
        found.append(measure(count, scene, options))
        print(count, json.dumps(found[-1]), flush=True)
  for kind in ('wall', 'cpu'):
    alone, together = (
      statistics.median(row[kind] for row in found) for found in rows.values()
    )
    print(
      f'{kind}: {1e3 * alone:.1f} ms a step alone, {1e3 * together:.1f} ms as '
      f'one of {options.processes}: {alone / together:.3f} of ideal'
    )


if __name__ == '__main__':
  if sys.argv[1:2] == ['--child']:
    sys.exit(child(sys.argv[2:]))
  main()
