"""Fault campaign of a run of two processes, either of which is killed.

  python benchmarks/faults_two.py /tmp/campaign2 --kills=20

As benchmarks/faults.py, with two processes over loopback, a gloo collective in
each step. After a kill the other process must end within a minute; then both
are started again, as multinerf-launch does. Checkpoints are compared with those
of an undisturbed run of two processes.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import sys
import time

import faults

from multinerf.training import checkpoints

NUM = 2
END_SECONDS = 60.0  # in which the other process must have ended


class Pair:
  """The two processes of one life."""

  def __init__(self, root: pathlib.Path, folder: pathlib.Path):
    with socket.socket() as found:
      found.bind(('localhost', 0))
      port = found.getsockname()[1]
    self.lives = []
    for number in range(NUM):
      own = root / f'process_{number}'  # each has a log of its own
      own.mkdir(exist_ok=True)
      (own / 'cache').unlink(missing_ok=True)
      (own / 'cache').symlink_to(root / 'cache')
      self.lives.append(
        faults.Life(
          own,
          folder,
          flags=(
            f'--coordinator_address=localhost:{port}',
            f'--num_processes={NUM}',
            f'--process_id={number}',
            '--heartbeat_timeout=10',
          ),
        )
      )

  def wait(self) -> list[int | str]:
    """The exit statuses."""
    return [life.wait() for life in self.lives]


def one_life(root, folder, random, counts) -> tuple[bool, float]:
  """(whether one was killed, seconds until the other ended)."""
  pair = Pair(root, folder)
  victim = int(random.integers(NUM))
  lead = pair.lives[0]
  old, after = lead.newest(), int(random.integers(0, 5))
  begun = faults.wait_until(lead, lambda: lead.newest() > old + after)
  time.sleep(random.uniform(0, 0.1))
  if not begun or any(life.has_ended() for life in pair.lives):
    statuses = pair.wait()
    if statuses != [0, 0]:
      raise SystemExit(f'A life that nobody disturbed ended with {statuses}.')
    return False, 0.0
  os.kill(pair.lives[victim].pid, signal.SIGKILL)
  killed = time.monotonic()
  pair.lives[victim].wait()
  status = pair.lives[1 - victim].wait()
  seconds = time.monotonic() - killed
  counts[f'kills of process {victim}'] += 1
  counts[f'the other ended with {status}'] += 1
  return True, seconds


def main() -> None:
  """Runs the campaign and prints its table."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('folder', type=pathlib.Path)
  parser.add_argument('--kills', type=int, default=20)
  parser.add_argument('--seed', type=int, default=0)
  flags = parser.parse_args()
  root = flags.folder.resolve()
  (root / 'cache').mkdir(parents=True, exist_ok=True)
  campaign = faults.Campaign(root, flags.seed)
  counts, slowest, number = campaign.counts, 0.0, 0
  reference = faults.fresh(root / 'reference')
  statuses = Pair(root, reference).wait()
  campaign.reference = faults.digests(reference)
  if statuses != [0, 0] or len(campaign.reference) != faults.STEPS:
    raise SystemExit(f'The reference ended with {statuses}: {root}')
  while number == 0 or sum(counts[f'kills of process {i}'] for i in (0, 1)) < (
    flags.kills
  ):
    folder = faults.fresh(root / f'run_{number}')
    again = True
    while again:
      again, seconds = one_life(root, folder, campaign.random, counts)
      slowest = max(slowest, seconds)
      counts['hangs'] += seconds > END_SECONDS
      counts['lives'] += 1
      campaign.check(folder, f'run {number}', ended=not again)
      print(number, dict(counts), f'{slowest:.0f} s', campaign.bad, flush=True)
    if checkpoints.latest(folder) == faults.STEPS:
      counts['runs that ended as the reference'] += 1
    else:
      counts['lost runs'] += 1
    shutil.rmtree(folder)
    number += 1
  counts['silent differences'] = len(campaign.bad)
  for key in ('lost runs', 'hangs'):
    counts[key] += 0
  for key, value in sorted(counts.items()):
    print(f'| {key} | {value} |')
  print(f'| longest until the other ended | {slowest:.0f} s |')
  (root / 'results.json').write_text(
    json.dumps({'counts': counts, 'slowest': slowest, 'bad': campaign.bad})
  )
  bad = campaign.bad or counts['lost runs'] or counts['hangs']
  sys.exit(bool(bad))


if __name__ == '__main__':
  main()
