"""Several processes on this machine, for tests: over loopback, with gloo."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

import run_util

# Seconds after which a test gives up; nothing here takes nearly as long.
_GUARD = 300


def free_port() -> int:
  """A port that nobody listens at."""
  with socket.socket() as listener:
    listener.bind(('127.0.0.1', 0))
    return listener.getsockname()[1]


def environment(num_devices: int, **extra: str) -> dict[str, str]:
  """As that of other runs in tests, with threads for all that may wait."""
  return run_util.environment(num_devices, NPROC='8', **extra)


def commands(
  command: Sequence[str | os.PathLike], num_processes: int, *more: str
) -> list[list[str]]:
  """The command lines of the processes of one run."""
  return [
    [
      sys.executable,
      *map(str, command),
      f'--coordinator_address=127.0.0.1:{port}',
      f'--num_processes={num_processes}',
      f'--process_id={i}',
      *more,
    ]
    for port in [free_port()]
    for i in range(num_processes)
  ]


@contextlib.contextmanager
def started(
  lines: Sequence[Sequence[str]], num_devices: int, **extra: str
) -> Iterator[list[subprocess.Popen]]:
  """Starts processes; at the end of the block none is left."""
  running = [
    subprocess.Popen(
      line,
      cwd='/',
      env=environment(num_devices, **extra),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for line in lines
  ]
  try:
    yield running
  finally:
    for process in running:
      if process.poll() is None:
        process.send_signal(signal.SIGKILL)
      process.communicate()


def run(
  script: str,
  args: Sequence[str],
  *,
  num_processes: int = 2,
  num_devices: int = 2,
  **extra: str,
) -> list[subprocess.CompletedProcess]:
  """Runs a script of the checkout in several processes to their end."""
  lines = commands([run_util.CHECKOUT / script, *args], num_processes)
  with started(lines, num_devices, **extra) as running:
    return [finished(process) for process in running]


def finished(process: subprocess.Popen) -> subprocess.CompletedProcess:
  """Waits for a process and returns what it said."""
  out, err = process.communicate(timeout=_GUARD)
  return subprocess.CompletedProcess(
    process.args, process.returncode, out, without_chatter(err)
  )


def without_chatter(text: str) -> str:
  """What a process said but for the lines of gloo about its connections."""
  lines = text.splitlines(keepends=True)
  return ''.join(line for line in lines if not line.startswith('[Gloo]'))


def checkout_path() -> pathlib.Path:
  """Where the package is imported from."""
  return run_util.CHECKOUT
