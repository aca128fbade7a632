"""Fuzzing: mutated files for every parser of the package.

  python benchmarks/fuzz.py --inputs=100000 --seed=0

Whatever a file holds, a parser must return or raise one of multinerf's own
errors, within ten seconds of the processor, and without more memory than a stated bound: the
process may map 2 GiB more than after it has read the sound files
(RLIMIT_AS), so that a parser which asks for more meets MemoryError, and the
largest resident size is reported. Anything else is a finding: its input is
written to --out, with the traceback.

Input k of a target follows from (seed, target, k). The work is done in a child
process, which a parser may crash: that is a finding, too, and fuzzing goes on
with the next input. Prints a table for docs/reliability.md.
"""

import argparse
import json
import os
import pathlib
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib

import fuzz_mutate
import fuzz_targets
import numpy as np

from multinerf import errors

BOUND = 2 << 30  # bytes
SECONDS = 10.0


class TooSlowError(BaseException):
  """Not an Exception, so that no parser takes it for a damaged file."""


def input_of(target, seed: int, k: int) -> bytes:
  """The k-th input."""
  # zlib.crc32: unlike hash() the same in every process.
  source = [seed, zlib.crc32(target.name.encode()), k]
  random = np.random.default_rng(source)
  data = target.seeds[int(random.integers(len(target.seeds)))]
  return fuzz_mutate.mutate(data, target.kind, random)


def outcome(target, data: bytes) -> tuple[str, str]:
  """('read' or 'refused' or the finding's class, traceback)."""

  def too_slow(number, frame):
    raise TooSlowError

  signal.signal(signal.SIGPROF, too_slow)
  signal.setitimer(signal.ITIMER_PROF, SECONDS)
  try:
    target.run(data)
  except errors.MultinerfError as error:
    if '\n' in str(error) or len(str(error)) > 20_000:
      return 'message of many lines', repr(str(error))[:2000]
    return 'refused', ''
  except (Exception, TooSlowError) as error:
    return type(error).__name__, traceback.format_exc()
  finally:
    signal.setitimer(signal.ITIMER_PROF, 0)
  return 'read', ''


def status(name: str) -> int:
  """A size of this process in bytes, e.g. VmSize or VmHWM."""
  lines = pathlib.Path('/proc/self/status').read_text().splitlines()
  (line,) = [x for x in lines if x.startswith(name + ':')]
  return int(line.split()[1]) << 10


def fuzz(targets, flags, report: pathlib.Path) -> None:
  """Goes on where the report ends; writes it after every 200 inputs."""
  state = json.loads(report.read_text())
  for target in targets:
    for seed in target.seeds:  # imports and caches are not the parser's
      outcome(target, seed)
  if not state.get('base'):
    state |= {'base': status('VmRSS'), 'peak': 0}
  room = status('VmSize') + BOUND
  resource.setrlimit(resource.RLIMIT_AS, (room, room))
  current = report.with_suffix('.current')
  total = sum(t.weight for t in targets)
  for number, target in enumerate(targets):
    row = state['rows'].setdefault(
      target.name, {'next': 0, 'slowest': 0.0, 'outcomes': {}}
    )
    count = round(flags.inputs * target.weight / total)
    while row['next'] < count:
      k, row['next'] = row['next'], row['next'] + 1
      data = input_of(target, flags.seed, k)
      current.write_text(f'{number} {k}')
      begun = time.process_time()
      kind, trace = outcome(target, data)
      row['slowest'] = max(row['slowest'], time.process_time() - begun)
      row['outcomes'][kind] = row['outcomes'].get(kind, 0) + 1
      if trace:
        path = flags.out / f'{number}_{k}_{kind.replace(" ", "_")}'
        if row['outcomes'][kind] <= 20:
          path.write_bytes(data)
          path.with_name(path.name + '.txt').write_text(trace)
      if k % 200 == 0 or row['next'] == count:
        state['peak'] = max(state['peak'], status('VmHWM'))
        report.write_text(json.dumps(state))
  state['done'] = True
  report.write_text(json.dumps(state))


def run_child(flags, root: pathlib.Path, report: pathlib.Path) -> int:
  """Fuzzes in a child; 0 when done, else its wait status."""
  pid = os.fork()
  if pid == 0:
    try:
      warnings.simplefilter('ignore')
      fuzz(fuzz_targets.make(root), flags, report)
    except BaseException:
      traceback.print_exc()
      os._exit(3)
    os._exit(0)
  return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
  """Fuzzes all targets and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--inputs', type=int, default=100_000)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--out', type=pathlib.Path, default='fuzz_findings')
  flags = parser.parse_args()
  flags.out.mkdir(parents=True, exist_ok=True)
  report = flags.out / 'report.json'
  report.write_text(json.dumps({'rows': {}, 'crashes': []}))
  names = None
  while True:
    with tempfile.TemporaryDirectory(dir='/dev/shm') as folder:
      ended = run_child(flags, pathlib.Path(folder), report)
    state = json.loads(report.read_text())
    if state.get('done'):
      break
    if ended == 3:
      raise SystemExit('The fuzzer itself failed.')
    number, k = map(int, report.with_suffix('.current').read_text().split())
    if names is None:
      with tempfile.TemporaryDirectory() as folder:
        names = [t.name for t in fuzz_targets.make(pathlib.Path(folder))]
    state['crashes'].append([names[number], k, ended])
    state['rows'].setdefault(
      names[number], {'next': 0, 'slowest': 0.0, 'outcomes': {}}
    )['next'] = k + 1
    report.write_text(json.dumps(state))
  findings = print_table(state)
  sys.exit(bool(findings))


def print_table(state) -> int:
  """Prints a row per parser; returns the number of findings."""
  print('| parser | inputs | read | refused | findings | slowest (CPU s) |')
  print('|---|---:|---:|---:|---:|---:|')
  sums, findings = np.zeros(4, int), len(state['crashes'])
  for name, row in state['rows'].items():
    kinds = dict(row['outcomes'])
    read, refused = kinds.pop('read', 0), kinds.pop('refused', 0)
    bad = sum(kinds.values())
    findings += bad
    sums += (read + refused + bad, read, refused, bad)
    print(
      f'| {name} | {read + refused + bad} | {read} | {refused} | '
      f'{bad} {kinds or ""} | {row["slowest"]:.2f} |'
    )
  print('| all | ' + ' | '.join(map(str, sums)) + ' | |')
  print(f'Crashes of the process: {state["crashes"] or "none"}.')
  print(
    f'Largest resident size {state["peak"] >> 20} MiB, '
    f'{state["base"] >> 20} MiB after the sound files; bound '
    f'{BOUND >> 20} MiB more to map.'
  )
  return findings


if __name__ == '__main__':
  main()
