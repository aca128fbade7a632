"""Fault campaign: training on the embedded scene is killed, stopped, damaged.

  python benchmarks/faults.py /tmp/campaign

A reference run of 40 steps, a checkpoint after each, is undisturbed. Then runs
of the same configuration are disturbed, again and again until they end:

- SIGKILL at a random moment of starting, of training, or of saving;
- after half of the kills the newest checkpoint is truncated at a random place,
  or has a random bit flipped;
- SIGTERM at a random moment of training, which must exit with status 75;
- a file system that fills up during training (a tmpfs of 1 MB, mounted here: it
  needs root), and one that is read-only at the start.

After each disturbance every checkpoint that training would use must be byte
for byte that of the reference; at the end of a run, all of it: any other state
is a silent difference. A run that does not go on is lost. One that makes no
progress for a minute (five before its first step) hangs.

A life of a run is a process forked before JAX has started a backend, so that
importing, which takes longer than training here, is done once. Prints a table
for docs/reliability.md and writes results.json into the folder.
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np

from multinerf.app import train
from multinerf.training import checkpoints, durable

STEPS = 40
BINDINGS = (
  "Config.dataset_loader = 'synthetic'",
  'Config.synthetic_resolution = 16',
  'Config.synthetic_num_train = 4',
  'Config.synthetic_num_test = 2',
  "Config.batching = 'all_images'",
  'Config.batch_size = 64',
  f'Config.max_steps = {STEPS}',
  'Config.checkpoint_every = 1',
  'Config.print_every = 10',
  'Config.train_render_every = 0',
  'Config.lr_init = 1e-2',
  'Config.lr_final = 1e-3',
  'Config.lr_delay_steps = 0',
  'Config.grad_max_norm = 0.',
  'Config.collapse_guard = False',
  'Model.num_prop_samples = 8',
  'Model.num_nerf_samples = 8',
  'Model.num_levels = 2',
  *(
    f'{name}.{option}'
    for name in ('PropMLP', 'NerfMLP')
    for option in ('net_depth = 1', 'net_width = 16', 'max_deg_point = 4')
  ),
  'NerfMLP.bottleneck_width = 16',
  'NerfMLP.net_width_viewdirs = 16',
)
PREEMPTED = 75
START_SECONDS, HANG_SECONDS = 300.0, 60.0
TEMPORARY = durable._PREFIX


class Life:
  """One process of a run, forked."""

  def __init__(
    self,
    root: pathlib.Path,
    folder: pathlib.Path,
    *more: str,
    flags: Sequence[str] = (),
  ):
    self.folder, self.log = folder, root / 'log.txt'
    self.begun = time.monotonic()
    argv = ['train.py', '--gin_configs=blender_256.gin']
    argv += [f'--checkpoint_dir={folder}']
    cache = f"Config.compilation_cache_dir = '{root}/cache'"
    argv += [f'--gin_bindings={b}' for b in (*BINDINGS, cache, *more)]
    argv += flags
    self.pid = os.fork()
    if self.pid == 0:
      log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
      os.dup2(log, 1)
      os.dup2(log, 2)
      status = 99
      try:
        status = train.main(argv)
      finally:  # a traceback is in the log
        sys.stdout.flush()
        os._exit(status)

  def status(self) -> int | None:
    """The exit status, -n for signal n, or None while it lives."""
    pid, status = os.waitpid(self.pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None

  def has_ended(self) -> bool:
    """Whether `status` has something to return; leaves it there."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, self.pid, options) is not None

  def wait(self) -> int | str:
    """The exit status, or 'hang' (then it is killed)."""
    newest, since, first = self.newest(), time.monotonic(), True
    while (status := self.status()) is None:
      time.sleep(0.02)
      if self.newest() != newest:
        newest, since, first = self.newest(), time.monotonic(), False
      limit = START_SECONDS if first else HANG_SECONDS
      if time.monotonic() - since > limit:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return 'hang'
    return status

  def newest(self) -> int:
    """The newest checkpoint, 0 before the first."""
    return checkpoints.latest(self.folder) or 0

  def is_saving(self) -> bool:
    """Whether a file is being written."""
    return any(n.startswith(TEMPORARY) for n in os.listdir(self.folder))


class Campaign:
  """Counts what happened; see the top of the file."""

  def __init__(self, root: pathlib.Path, seed: int):
    self.root = root
    self.random = np.random.default_rng(seed)
    self.counts: collections.Counter[str] = collections.Counter()
    self.bad: list[str] = []
    self.start_seconds = 20.0  # of the latest life, up to its first step
    self.reference: dict[int, str] = {}
    self.broken: set[str] = set()  # digests of what was damaged here

  def make_reference(self) -> None:
    """Runs undisturbed and keeps the digest of every checkpoint."""
    for name in ('first', 'reference'):  # the first fills the cache
      folder = fresh(self.root / name)
      status = Life(
        self.root, folder, f'Config.checkpoint_keep = {STEPS}'
      ).wait()
      if status != 0:
        raise SystemExit(f'The reference ended with {status}: {self.root}')
    self.reference = digests(folder)
    if sorted(self.reference) != list(range(1, STEPS + 1)):
      raise SystemExit(f'The reference has {sorted(self.reference)}.')
    first = digests(self.root / 'first')
    if first != self.reference:
      raise SystemExit('Two undisturbed runs differ.')

  def check(self, folder: pathlib.Path, what: str, ended: bool = False) -> None:
    """Compares all checkpoints of a folder with the reference.

    A life that is killed before it could replace the file that was damaged
    leaves it there; at the end of a run nothing damaged may be left.
    """
    for step, digest in digests(folder).items():
      excused = digest in self.broken and not ended
      if digest != self.reference[step] and not excused:
        self.bad.append(f'{what}: checkpoint_{step} differs')

  def disturb(self, events: list[str]) -> None:
    """Runs until all events have happened, each run to its end."""
    number = 0
    while events:
      folder = fresh(self.root / f'run_{number}')
      while True:
        event = events.pop() if events else 'none'
        happened, status = self.one_life(folder, event)
        if not happened and event != 'none':
          events.insert(0, event)  # it ended before
        if status == 'hang' or status in (1, 99):
          shutil.copy(self.root / 'log.txt', self.root / f'bad_{number}.txt')
          self.bad.append(f'run {number}: {event} ended with {status}')
          self.counts['hangs' if status == 'hang' else 'lost runs'] += 1
          break
        if status == 0:
          break
      before = len(self.bad)
      self.check(folder, f'run {number} at its end', ended=True)
      if checkpoints.latest(folder) != STEPS:
        self.bad.append(f'run {number} ended early')
      elif len(self.bad) == before:
        self.counts['runs that ended as the reference'] += 1
        shutil.rmtree(folder)
      number += 1
      print(number, len(events), dict(self.counts), self.bad, flush=True)

  def one_life(self, folder, event) -> tuple[bool, int | str]:
    """(whether the event came before the end, exit status)."""
    life = Life(self.root, folder)
    self.counts['lives'] += 1
    if event == 'none':
      return True, life.wait()
    kind, _, damage = event.partition('+')
    if not self.moment(life, kind):
      return False, life.wait()
    number = signal.SIGTERM if kind == 'term' else signal.SIGKILL
    os.kill(life.pid, number)
    status = life.wait()
    if kind == 'term':
      happened = status == PREEMPTED
      self.counts['SIGTERM'] += happened
      if happened and not self.says_where(folder):
        self.bad.append('SIGTERM: no checkpoint of the step it names')
    else:
      happened = status == -signal.SIGKILL
      self.counts[f'SIGKILL, {kind}'] += happened
      if happened and any(folder.glob(TEMPORARY + '*')):
        self.counts['kills that left a half-written file'] += 1
    if happened and damage and checkpoints.available_steps(folder):
      self.damage(folder, damage)
    self.check(folder, event)
    return happened, status

  def says_where(self, folder) -> bool:
    """Whether the step that the log names has the newest checkpoint."""
    newest = checkpoints.latest(folder)
    return f'after step {newest} of' in (self.root / 'log.txt').read_text()

  def moment(self, life: Life, kind: str) -> bool:
    """Waits for a random moment; False if the life ended before."""
    if kind == 'start':
      until = life.begun + self.random.uniform(0, self.start_seconds)
      return wait_until(life, lambda: time.monotonic() > until)
    old = life.newest()
    if not wait_until(life, lambda: life.newest() > old):
      return False
    self.start_seconds = time.monotonic() - life.begun
    after = life.newest() + int(self.random.integers(0, 6))
    if not wait_until(life, lambda: life.newest() >= after):
      return False
    if kind == 'saving':
      if not wait_until(life, life.is_saving):
        return False
      time.sleep(self.random.choice([0, self.random.uniform(0, 4e-3)]))
    else:
      time.sleep(self.random.uniform(0, 0.1))
    return not life.has_ended()

  def damage(self, folder: pathlib.Path, how: str) -> None:
    """Truncates the newest checkpoint or flips one of its bits."""
    step = checkpoints.latest(folder)
    path = checkpoints.checkpoint_path(folder, step)
    data = bytearray(path.read_bytes())
    place = int(self.random.integers(len(data)))
    if how == 'truncate':
      del data[place:]
    else:
      data[place] ^= 1 << int(self.random.integers(8))
    path.write_bytes(data)
    self.broken.add(hashlib.sha256(data).hexdigest())
    if len(checkpoints.available_steps(folder)) == 1:
      path.unlink()  # else the run must refuse, which tests show
    self.counts[f'newest checkpoint: {how}'] += 1

  def full_disk(self) -> None:
    """A file system that fills up while training, then has room again."""
    with_room = 'remount,size=64m'
    folder = fresh(self.root / 'full')
    mount('-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', folder)
    try:
      keep = f'Config.checkpoint_keep = {STEPS}'
      status = Life(self.root, folder, keep).wait()
      said = (self.root / 'log.txt').read_text()
      warned = said.count('Training goes on without it')
      if status != 1 or not warned or f'{STEPS}/{STEPS}:' not in said:
        self.bad.append(f'full disk: status {status}, {warned} warnings')
      self.counts['full disk: checkpoints that were only warnings'] += warned
      self.check(folder, 'full disk')
      mount('-o', with_room, folder)
      if Life(self.root, folder, keep).wait() != 0:
        self.bad.append('full disk: it did not go on')
      self.check(folder, 'full disk at its end')
      self.counts['full disk: went on with room'] += (
        checkpoints.latest(folder) == STEPS
      )
    finally:
      subprocess.run(['umount', folder], check=True)

  def read_only(self) -> None:
    """A folder that cannot be written at the start, then can."""
    folder = fresh(self.root / 'readonly')
    mount('-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', folder)
    try:
      life = Life(self.root, folder)
      if self.moment(life, 'training'):
        os.kill(life.pid, signal.SIGKILL)
      life.wait()
      before = digests(folder)
      mount('-o', 'remount,ro', folder)
      status = Life(self.root, folder).wait()
      said = (self.root / 'log.txt').read_text()
      if status != 1 or 'Read-only file system' not in said:
        self.bad.append(f'read-only: status {status}')
      mount('-o', 'remount,rw', folder)
      if digests(folder) != before:
        self.bad.append('read-only: it changed')
      if Life(self.root, folder).wait() != 0:
        self.bad.append('read-only: it did not go on')
      self.check(folder, 'read-only at its end')
      self.counts['read-only folder: refused, then went on'] += 1
    finally:
      subprocess.run(['umount', folder], check=True)


def wait_until(life: Life, condition) -> bool:
  """Polls; False if the life ended or hangs before."""
  end = time.monotonic() + START_SECONDS
  while time.monotonic() < end:
    if condition():
      return True
    if life.has_ended():
      return False
    time.sleep(0.0005)
  return False


def digests(folder: pathlib.Path) -> dict[int, str]:
  """SHA-256 of each checkpoint: parameters, optimiser, step, seed."""
  return {
    step: hashlib.sha256(
      checkpoints.checkpoint_path(folder, step).read_bytes()
    ).hexdigest()
    for step in checkpoints.available_steps(folder)
  }


def fresh(folder: pathlib.Path) -> pathlib.Path:
  """An empty folder."""
  shutil.rmtree(folder, ignore_errors=True)
  folder.mkdir(parents=True)
  return folder


def mount(*args) -> None:
  """mount(8)."""
  subprocess.run(['mount', *map(str, args)], check=True)


def main() -> None:
  """Runs the campaign and prints its table."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('folder', type=pathlib.Path)
  parser.add_argument('--kills', type=int, default=100)
  parser.add_argument('--terms', type=int, default=20)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--disks', action='store_true', help='needs root')
  flags = parser.parse_args()
  campaign = Campaign(flags.folder.resolve(), flags.seed)
  campaign.root.mkdir(parents=True, exist_ok=True)
  # One core for all lives: each core is a device, and a run that goes on with
  # more of them than before is the same to rounding only.
  os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
  begun = time.monotonic()
  campaign.make_reference()
  print(f'reference: {time.monotonic() - begun:.0f} s', flush=True)
  if flags.disks:
    campaign.full_disk()
    campaign.read_only()
    print(dict(campaign.counts), campaign.bad, flush=True)
  kinds = ['start', 'training', 'saving', 'saving']
  events = []
  for i in range(flags.kills):
    damage = ('', '', '+truncate', '+flip')[i // 4 % 4]
    # A damaged file needs one before it: not while starting.
    kind = kinds[i % 4] if not damage else ('training', 'saving')[i % 2]
    events.append(kind + damage)
  events += ['term'] * flags.terms
  campaign.disturb(list(campaign.random.permutation(events)))
  campaign.counts.update({'lost runs': 0, 'hangs': 0})
  campaign.counts['silent differences'] = sum(
    'differs' in b for b in campaign.bad
  )
  campaign.counts['minutes'] = round((time.monotonic() - begun) / 60)
  for key, value in sorted(campaign.counts.items()):
    print(f'| {key} | {value} |')
  (campaign.root / 'results.json').write_text(
    json.dumps({'counts': campaign.counts, 'bad': campaign.bad}, indent=1)
  )
  sys.exit(bool(campaign.bad))


if __name__ == '__main__':
  main()
