"""Available memory is that of the tightest group the process is in."""

import pytest

from multinerf.data import host_memory

KIB, MIB = 2**10, 2**20


def write(root, **files):
  for name, text in files.items():
    path = root / name.replace('__', '/')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def machine(root, cgroup):
  write(
    root,
    proc__meminfo='MemTotal:  900 kB\nMemAvailable:  800 kB\n',
    proc__self__cgroup=cgroup,
  )


def test_without_groups_it_is_what_the_kernel_says(tmp_path):
  machine(tmp_path, '0::/\n')
  assert host_memory.available(tmp_path) == 800 * KIB
  assert MIB < host_memory.available() < 2**50


@pytest.mark.parametrize(
  'own, parent, want',
  [
    ('max', 'max', 800 * KIB),
    (str(500 * KIB), 'max', (500 - 300 + 20) * KIB),
    (str(700 * KIB), str(400 * KIB), (400 - 350 + 10) * KIB),
    (str(100 * KIB), 'max', 0),  # it is over its limit
  ],
)
def test_unified_groups_count_with_those_above_them(
  own, parent, want, tmp_path
):
  machine(tmp_path, '0::/job/step\n')
  for folder, limit, use, idle in (
    ('job/step', own, 300 * KIB, 20 * KIB),
    ('job', parent, 350 * KIB, 10 * KIB),
  ):
    group = tmp_path / 'sys/fs/cgroup' / folder
    group.mkdir(parents=True, exist_ok=True)
    (group / 'memory.max').write_text(f'{limit}\n')
    (group / 'memory.current').write_text(f'{use}\n')
    (group / 'memory.stat').write_text(f'anon 5\ninactive_file {idle}\n')
  assert host_memory.available(tmp_path) == want


def test_a_container_of_the_old_kind_sees_its_limit_at_the_top(tmp_path):
  machine(tmp_path, '4:cpu:/x\n5:memory:/docker/abc\n0::/x\n')
  top = tmp_path / 'sys/fs/cgroup/memory'
  top.mkdir(parents=True)
  (top / 'memory.limit_in_bytes').write_text(f'{600 * KIB}\n')
  (top / 'memory.usage_in_bytes').write_text(f'{100 * KIB}\n')
  (top / 'memory.stat').write_text(f'cache 1\ntotal_inactive_file {KIB}\n')
  assert host_memory.available(tmp_path) == 501 * KIB
