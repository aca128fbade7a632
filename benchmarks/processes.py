"""Weak scaling: one core against several, in one process or in several.

  python benchmarks/processes.py --cores=2 --steps=20 --repeats=3

A step of --rays rays takes place, in turns,

  alone      on one core;
  apart      on every core at once, by processes that know nothing of each
             other: what cores that share caches and memory can do at best;
  devices    on all cores by one process, a virtual device on each;
  processes  on all cores by a process on each, which average their gradients
             over loopback.

Ideal is a step that takes as long in company as alone. Wall time says so only
on a machine that does nothing else; processor time (of all threads of a
process) is what company adds to the work, and leaves out the waiting.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import sys
import tempfile
import time

from multinerf import Trainer, parallel
from multinerf.app import cli, launch, supervise
from multinerf.app.bench import measure as bench
from multinerf.config import views
from multinerf.data import base

# The heap of a large model grows by a step's temporaries now and then, for a
# second each time; a run of hours does not notice, and these times are not of
# it: pages a step, and how often to measure.
_FEW_FAULTS, _MOST_TRIES = 10_000, 4


def child(argv: list[str]) -> int:
  """Takes steps as one of the processes; writes their times."""
  out, steps, warm_up = pathlib.Path(argv[0]), int(argv[1]), int(argv[2])

  def program(setup):
    cli.prepare_devices(setup)
    scene = base.load_scene(views.view(setup.config, base.DataConfig), 'train')
    with Trainer(setup.config, scene, setup.build_model()) as trainer:
      for _ in range(warm_up):
        trainer.step()
      parallel.wait(trainer.device_state)
      parallel.barrier('the start')
      times = _timed(trainer, steps)
      for _ in range(_MOST_TRIES - 1):
        if max(parallel.gather(times['faults'])) < _FEW_FAULTS:
          break
        times = _timed(trainer, steps)
      times |= {
        'params': trainer.num_params,
        'devices': parallel.device_count(),
      }
    (out / f'{os.getpid()}.json').write_text(json.dumps(times))

  return cli.main(program, scope='train', doc='', argv=['child', *argv[3:]])


def _timed(trainer: Trainer, steps: int) -> dict[str, float]:
  """Times of one of `steps` steps, and the pages it was given."""
  wall, cpu, faults = time.perf_counter(), time.process_time(), _faults()
  for _ in range(steps):
    trainer.step()
  parallel.wait(trainer.device_state)
  return {
    'wall': (time.perf_counter() - wall) / steps,
    'cpu': (time.process_time() - cpu) / steps,
    'faults': (_faults() - faults) / steps,
  }


def _faults() -> int:
  """Pages that this process was given so far."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def commands(way: str, cores: list[int], folder: str, options):
  """The processes of one of the ways, and the cores of each."""
  count = len(cores)
  total = count if way == 'processes' else 1
  rays = options.rays * (1 if way in ('alone', 'apart') else count)
  words = [
    *(sys.executable, __file__, '--child', folder),
    *(str(options.steps), str(options.warm_up)),
    f'--gin_configs={options.preset}',
    f'--gin_bindings=Config.batch_size = {rays}',
    *(
      f'--gin_bindings={binding}'
      for binding in (*bench.SCENE_BINDINGS, *options.gin_bindings)
    ),
  ]
  layout = launch.Layout(processes=total, total=total, pin=False)
  jobs = launch.commands(layout, words)
  if way == 'apart':
    jobs *= count
  shares = [cores] if way == 'devices' else [[core] for core in cores]
  return [
    supervise.Command(job.label, job.words, cores=frozenset(share))
    for job, share in zip(jobs, shares, strict=False)
  ]


def measure(way: str, cores: list[int], options) -> dict[str, float]:
  """Seconds per step in one of the ways: those of the slowest process."""
  with tempfile.TemporaryDirectory() as folder:
    jobs = commands(way, cores, folder, options)
    with supervise.Stop() as stop:
      ends = supervise.run(jobs, stop, grace=15, say=lambda text: None)
    if not all(end.status == 0 for end in ends):
      raise SystemExit(f'{[str(end) for end in ends]}')
    found = [
      json.loads(path.read_text()) for path in pathlib.Path(folder).iterdir()
    ]
  return {name: max(one[name] for one in found) for name in found[0]}


def main() -> None:
  """Measures in turns; prints medians and their ratio."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--cores', type=int, default=2)
  parser.add_argument('--ways', default='alone,apart,devices,processes')
  parser.add_argument('--rays', type=int, default=1024, help='of each core')
  parser.add_argument('--steps', type=int, default=20)
  parser.add_argument(
    '--warm_up', type=int, default=3, help='steps before, for the heap to grow'
  )
  parser.add_argument('--repeats', type=int, default=3)
  parser.add_argument('--preset', default='blender_256.gin')
  parser.add_argument('--gin_bindings', action='append', default=[])
  options = parser.parse_args()
  cores = sorted(os.sched_getaffinity(0))[: options.cores]
  if len(cores) < options.cores:
    raise SystemExit(f'There are {len(cores)} cores.')
  rows = {way: [] for way in options.ways.split(',')}
  for _ in range(options.repeats):
    for way, found in rows.items():
      found.append(measure(way, cores, options))
      print(way, json.dumps(found[-1]), flush=True)
  for way, found in rows.items():
    wall, cpu = (
      statistics.median(row[kind] for row in found) for kind in ('wall', 'cpu')
    )
    ratios = [
      alone['wall'] / row['wall']
      for alone, row in zip(rows.get('alone', []), found, strict=False)
    ]
    ideal = statistics.median(ratios) if ratios else float('nan')
    print(
      f'{way:10} {1e3 * wall:8.1f} ms a step, {1e3 * cpu:8.1f} ms of processor '
      f'time, {ideal:.3f} of ideal'
    )


if __name__ == '__main__':
  if sys.argv[1:2] == ['--child']:
    sys.exit(child(sys.argv[2:]))
  main()
