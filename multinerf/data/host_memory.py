"""How much of the host's memory is still to be had.

Of the machine, or of the control group that a scheduler or container has put
the process in, whichever leaves less: a process that takes more is killed.
"""

import os
import pathlib

# Version 2 and 1 of control groups: (where they are, limit, use, the name in
# memory.stat of what the kernel can take back).
_UNIFIED = ('sys/fs/cgroup', 'memory.max', 'memory.current', 'inactive_file')
_OLD = (
  'sys/fs/cgroup/memory',
  'memory.limit_in_bytes',
  'memory.usage_in_bytes',
  'total_inactive_file',
)


def available(root: pathlib.Path = pathlib.Path('/')) -> int:
  """Bytes that can be allocated before something is killed, about.

  What the page cache holds counts as available.

  Args:
    root: Where proc and sys are, for tests.
  """
  left = [_of_machine(root)]
  try:
    lines = (root / 'proc/self/cgroup').read_text().splitlines()
  except OSError:  # not Linux
    lines = []
  for line in lines:
    _, controllers, path = line.split(':', 2)
    if not controllers:
      left += _of_groups(root, path, *_UNIFIED)
    elif 'memory' in controllers.split(','):
      left += _of_groups(root, path, *_OLD)
  return max(0, min(left))


def _of_machine(root: pathlib.Path) -> int:
  """Bytes that the kernel says are available."""
  try:
    lines = (root / 'proc/meminfo').read_text().splitlines()
  except OSError:  # not Linux: all there is
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  found = dict(line.split(':', 1) for line in lines if ':' in line)
  return 1024 * int(found['MemAvailable'].split()[0])


def _of_groups(
  root: pathlib.Path, path: str, top: str, limit: str, use: str, idle: str
) -> list[int]:
  """Bytes left in a group and in those it is part of, where limited."""
  base = root / top
  group = base / path.lstrip('/')
  left = []
  while group == base or base in group.parents:
    try:
      most = (group / limit).read_text().strip()
      if most != 'max':
        used = int((group / use).read_text())
        stat = (group / 'memory.stat').read_text().split()
        kept = dict(zip(stat[::2], stat[1::2], strict=False)).get(idle, '0')
        left.append(int(most) - used + int(kept))
    except OSError:  # the path is that of another namespace, or has no limit
      pass
    group = group.parent
  return left
