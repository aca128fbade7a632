"""The launcher: what it starts, what it says, and when it tries again."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest
import run_util

from multinerf.app import launch, supervise


def start(*args, **environ):
  """The launcher as a process of its own."""
  return subprocess.Popen(
    [sys.executable, '-m', 'multinerf.app.launch', *map(str, args)],
    env=os.environ | {'PYTHONPATH': str(run_util.CHECKOUT)} | environ,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


@pytest.fixture
def script(tmp_path):
  """Writes a program that knows its number `i` and how often it ran `n`."""

  def write(body: str) -> pathlib.Path:
    path = tmp_path / 'program.py'
    path.write_text(f"""
import os, pathlib, signal, sys, time
i = int([a for a in sys.argv if a.startswith('--process_id')][0][13:])
count = pathlib.Path({str(tmp_path)!r}) / f'count_{{i}}'
n = int(count.read_text()) if count.exists() else 0
count.write_text(str(n + 1))
{body}
""")
    return path

  return write


def launched(script, body, *options, words=()):
  """Runs the launcher in this process; returns its status."""
  argv = ['launch', '--processes=2', *options, '--', str(script(body)), *words]
  return launch.main(argv)


def test_all_done_is_done(script, capfd):
  assert launched(script, 'print("hello", i)') == 0
  out, err = capfd.readouterr()
  assert sorted(out.splitlines()) == ['[process 1] hello 1', 'hello 0']
  assert 'process 0 is done' in err and 'process 1 is done' in err


def test_a_failed_process_ends_the_others_and_all_start_again(script, capfd):
  body = """
other = count.with_name('count_0')
if n < 2 and i == 1:
  while not other.exists() or other.read_text() != str(n + 1): time.sleep(0.01)
  os.kill(os.getpid(), signal.SIGSEGV)
if n < 2: time.sleep(600)
print(*sys.argv[1:])
"""
  status = launched(script, body, '--grace=0.2', words=['--restart', '--x'])
  assert status == 0
  out, err = capfd.readouterr()
  assert err.count('process 1 was killed by SIGSEGV') == 2
  assert err.count('process 0 was stopped with SIGKILL') == 2
  assert 'restart 2 of 3' in err
  # Starting over is for the first time only.
  assert '--x --coordinator_address' in out and '--restart' not in out


def test_restarts_are_limited_and_the_first_failure_is_passed_back(script):
  body = """
if i == 0: sys.exit(70)
time.sleep(600)
"""
  options = ('--grace=0.1', '--max_restarts=1')
  assert launched(script, body, *options) == 70


@pytest.mark.parametrize('status', [1, 75])
def test_some_ends_are_not_tried_again(script, capfd, status):
  assert launched(script, f'assert n == 0; sys.exit({status})') == status
  assert 'restart' not in capfd.readouterr().err


def test_sigterm_is_passed_on_and_the_status_comes_back(
  script, tmp_path, capfd
):
  ready = [tmp_path / f'ready_{i}' for i in range(2)]

  def send():
    while not all(path.exists() for path in ready):
      time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)

  threading.Thread(target=send, daemon=True).start()
  body = f"""
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
pathlib.Path({str(tmp_path)!r}, f'ready_{{i}}').touch()
time.sleep(600)
"""
  before = signal.getsignal(signal.SIGTERM)
  assert launched(script, body) == 75
  assert signal.getsignal(signal.SIGTERM) is before
  err = capfd.readouterr().err
  assert 'SIGTERM is passed on' in err
  assert 'process 1 was asked to stop and saved (status 75)' in err


@pytest.mark.slow
def test_no_process_outlives_a_killed_launcher(script, tmp_path):
  program = script("""
print(os.getpid(), flush=True)
time.sleep(600)
""")
  with start('--processes=2', '--', program) as process:
    lines = [process.stdout.readline() for _ in range(2)]
    process.kill()
  for line in lines:
    assert gone(int(line.split()[-1]))


def gone(pid: int) -> bool:
  """Whether a process ends; it has a moment to do so."""
  for _ in range(100):
    try:
      state = pathlib.Path(f'/proc/{pid}/stat').read_text().split()[2]
    except FileNotFoundError:
      return True
    if state == 'Z':
      return True
    time.sleep(0.1)
  return False


def test_each_process_has_its_own_share_of_the_cores():
  layout = launch.Layout(processes=2, total=2)
  shares = [command.cores for command in launch.commands(layout, ['x'])]
  cores = os.sched_getaffinity(0)
  if len(cores) < 2:
    assert shares == [None, None]  # they share what there is
  else:
    first, second = shares
    assert not first & second
    assert first | second <= cores
    assert len(first) == len(second) == len(cores) // 2


def test_processes_share_all_cores_where_none_can_be_pinned(monkeypatch):
  for name in ('sched_getaffinity', 'sched_setaffinity'):  # as on macOS
    monkeypatch.delattr(os, name, raising=False)
  layout = launch.Layout(processes=2, total=2)
  shares = [command.cores for command in launch.commands(layout, ['x'])]
  assert shares == [None, None]


def test_processes_are_numbered_across_machines():
  layout = launch.Layout(
    processes=2, first=4, total=8, address='lead:1234', devices=4
  )
  got = launch.commands(layout, ['train.py', '--x'])
  assert [c.words for c in got] == [
    [
      *(sys.executable, 'train.py', '--x', '--coordinator_address=lead:1234'),
      *('--num_processes=8', f'--process_id={i}'),
    ]
    for i in (4, 5)
  ]
  ids = [c.environment['JAX_LOCAL_DEVICE_IDS'] for c in got]
  assert ids == ['0,1,2,3', '4,5,6,7']


def test_one_process_alone_gets_no_flags():
  layout = launch.Layout(processes=1)
  (command,) = launch.commands(layout, ['train.py', '--x'])
  assert command.words == [sys.executable, 'train.py', '--x']


# Runs the command on this machine; says nothing of options.
SSH = """#!/bin/bash
while [[ "$1" == -* ]]; do shift 2; done
echo "to $1" >&2
exec bash -c "$2"
"""


@pytest.mark.slow
def test_hosts_are_reached_by_ssh_and_stopped_through_it(
  script, tmp_path, capfd
):
  ssh = tmp_path / 'bin' / 'ssh'
  ssh.parent.mkdir()
  ssh.write_text(SSH)
  ssh.chmod(0o755)
  program = script("""
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print(*sys.argv[1:], flush=True)
time.sleep(600)
""")
  path = f'{ssh.parent}:{os.environ["PATH"]}'
  with start('--hosts=me@one,two', '--', program, PATH=path) as process:
    lines = sorted(process.stdout.readline() for _ in range(3))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
  assert process.returncode == 75, err
  said = ''.join(lines) + out
  address = [w for w in said.split() if w.startswith('--coordinator_address')]
  assert len(set(address)) == 1 and address[0].startswith(
    '--coordinator_address=one:'
  )
  for i in range(2):
    assert f'--num_processes=2 --process_id={i}' in said
  assert 'to me@one' in err and '[two] to two' in said


@pytest.mark.parametrize(
  'args, message',
  [
    (['--processes=2'], 'what to run comes after --'),
    (['--processes=0', '--', 'x'], 'at least 1'),
    (['--num_processes=4', '--', 'x'], 'needs --coordinator_address'),
    (
      ['--num_processes=2', '--first_process=2', '--coordinator_address=a:1']
      + ['--', 'x'],
      'beyond --num_processes',
    ),
  ],
)
def test_mistakes_in_the_flags_are_named(args, message, capsys):
  with pytest.raises(SystemExit):
    launch.main(['launch', *args])
  assert message in capsys.readouterr().err


def test_ends_are_said_in_words():
  said = lambda *args: str(supervise.End('process 1', *args))
  assert said(134) == 'process 1 was killed by SIGABRT'
  assert said(255) == 'process 1 failed with status 255'
  assert said(1) == 'process 1 failed with status 1'
  assert said(137, True) == 'process 1 was stopped with SIGKILL'
