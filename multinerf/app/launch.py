"""multinerf-launch: several processes on plain machines, watched and restarted."""

import argparse
import dataclasses
import os
import secrets
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence

from multinerf import parallel
from multinerf.app import supervise

_DOC = """Runs a program as several processes that train together.

  multinerf-launch --processes=2 -- train.py --gin_configs=360.gin ...
  multinerf-launch --hosts=a,b,c -- train.py --gin_configs=360.gin ...

Says how each process ended. When one fails, the others are ended, too, and all
are started again, at most --max_restarts times; training goes on from the
newest good checkpoint. SIGTERM and Ctrl-C are passed on: the run saves and ends
with status 75, which is passed back. An error that names what to change (status
1) ends the run (docs/cluster.md)."""
# Ends after which the same command would end in the same way.
_FINAL = (1, 2)
_PAUSE_SECONDS = 1.0
_PORTS = range(20000, 30000)  # where to look on another machine


@dataclasses.dataclass(frozen=True)
class Layout:
  """Which processes run where.

  Attributes:
    processes: On each machine.
    hosts: Machines to start them on by ssh; () is this one.
    first: Number of the first process here.
    total: Processes of the whole run.
    address: host:port of process 0; None: chosen anew at each start.
    port: Of process 0 on `hosts`; 0: chosen anew at each start.
    devices: Accelerators of each process, in order; 0: all.
    pin: Give each process here its own share of the cores.
  """

  processes: int
  hosts: tuple[str, ...] = ()
  first: int = 0
  total: int = 1
  address: str | None = None
  port: int = 0
  devices: int = 0
  pin: bool = True


def main(argv: Sequence[str] | None = None) -> int:
  """Console entry point; returns the exit status."""
  argv = list((sys.argv if argv is None else argv)[1:])
  at = argv.index('--') if '--' in argv else len(argv)
  parser = _parser()
  options = parser.parse_args(argv[:at])
  command = argv[at + 1 :]
  if not command:
    parser.error('what to run comes after --')
  layout = _layout(options, parser)
  with supervise.Stop() as stop:
    if options.lifeline:
      threading.Thread(target=_listen, args=(stop,), daemon=True).start()
    return _run(layout, command, stop, options)


def _run(layout: Layout, command, stop, options) -> int:
  """All attempts; returns the exit status."""
  for restarts in range(options.max_restarts + 1):
    ends = supervise.run(
      commands(layout, command), stop, grace=options.grace, say=_say
    )
    status = verdict(ends)
    if status in (0, supervise.PREEMPTED):
      return status
    if stop.asked:
      _say('asked to stop, so not started again')
      return status
    if status in _FINAL:
      _say('not started again: see its error')
      return status
    if restarts < options.max_restarts:
      _say(f'restart {restarts + 1} of {options.max_restarts}')
      # Only the first start is to start over.
      command = [word for word in command if word != '--restart']
      time.sleep(_PAUSE_SECONDS)
  return status


def verdict(ends: Sequence[supervise.End]) -> int:
  """The status of the whole run: that of who failed first, if anybody did."""
  for end in ends:
    if not end.orderly:
      return end.status
  return max(end.status for end in ends)


def commands(layout: Layout, command: Sequence[str]) -> list[supervise.Command]:
  """The command line of each process, or of the launcher on each machine.

  Args:
    layout: Which processes run where.
    command: The program and its flags; scripts are run by this Python.
  """
  if layout.hosts:
    return _remote(layout, command)
  if command[0].endswith('.py'):
    command = [sys.executable, *command]
  address = layout.address or f'127.0.0.1:{_free_port()}'
  out = []
  for i, cores in enumerate(_shares(layout)):
    flags = []
    if layout.total > 1:
      flags = [
        f'--coordinator_address={address}',
        f'--num_processes={layout.total}',
        f'--process_id={layout.first + i}',
      ]
    environment = {}
    if layout.devices:
      first = i * layout.devices
      ids = range(first, first + layout.devices)
      environment['JAX_LOCAL_DEVICE_IDS'] = ','.join(map(str, ids))
    out.append(
      supervise.Command(
        f'process {layout.first + i}',
        [*command, *flags],
        environment=environment,
        cores=cores,
      )
    )
  return out


def _remote(layout: Layout, command) -> list[supervise.Command]:
  """A launcher on each machine, held by the standard input of its ssh."""
  port = layout.port or _PORTS.start + secrets.randbelow(len(_PORTS))
  machine = layout.hosts[0].rpartition('@')[2]
  out = []
  for i, host in enumerate(layout.hosts):
    words = [
      *(sys.executable, '-m', 'multinerf.app.launch', '--lifeline'),
      f'--processes={layout.processes}',
      f'--first_process={i * layout.processes}',
      f'--num_processes={layout.total}',
      f'--coordinator_address={machine}:{port}',
      f'--local_devices={layout.devices}',
      '--max_restarts=0',
      *([] if layout.pin else ['--no_pin']),
      '--',
      *command,
    ]
    script = f'cd {shlex.quote(os.getcwd())} && exec {shlex.join(words)}'
    ssh = ['ssh', '-o', 'BatchMode=yes', '-o', 'ServerAliveInterval=10']
    out.append(supervise.Command(host, [*ssh, host, script], stdin=True))
  return out


def _shares(layout: Layout) -> list[frozenset[int] | None]:
  """The cores of each process here: equal shares, if there are enough."""
  cores = parallel.available_cores()
  each = len(cores) // layout.processes
  if not layout.pin or not each or not parallel.can_pin_cores():
    return [None] * layout.processes
  return [
    frozenset(cores[i * each : (i + 1) * each]) for i in range(layout.processes)
  ]


def _listen(stop: supervise.Stop) -> None:
  """Obeys who holds our standard input; its end means that they are gone."""
  for line in sys.stdin:
    word = line.strip()
    if word == 'KILL':
      break
    stop.ask(signal.Signals[f'SIG{word}'])
  os._exit(128 + signal.SIGKILL)  # the processes die with us


def _free_port() -> int:
  """A port of this machine that nobody listens at."""
  with socket.socket() as listener:
    listener.bind(('127.0.0.1', 0))
    return listener.getsockname()[1]


def _say(text: str) -> None:
  print(f'launch: {text}', file=sys.stderr, flush=True)


def _layout(options, parser) -> Layout:
  """The layout of the flags, checked."""
  hosts = tuple(h for h in options.hosts.split(',') if h)
  if options.processes < 1:
    parser.error('--processes must be at least 1')
  total = options.num_processes or options.processes * max(1, len(hosts))
  if total > options.processes and not hosts:
    if options.coordinator_address is None:
      parser.error('--num_processes needs --coordinator_address')
  if options.first_process + options.processes > total:
    parser.error('--first_process + --processes is beyond --num_processes')
  return Layout(
    processes=options.processes,
    hosts=hosts,
    first=options.first_process,
    total=total,
    address=options.coordinator_address,
    port=options.port,
    devices=options.local_devices,
    pin=not options.no_pin,
  )


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='multinerf-launch',
    description=_DOC,
    usage='%(prog)s [options] -- PROGRAM [flags]',
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  for name, default, text in (
    ('processes', 1, 'processes on each machine'),
    ('max_restarts', 3, 'most restarts after failures'),
    ('port', 0, 'of process 0 on the first of --hosts; 0: any'),
    ('local_devices', 0, 'accelerators of each process; 0: all it sees'),
    ('first_process', 0, 'several launchers: number of the first process here'),
    ('num_processes', 0, 'several launchers: processes of the whole run'),
  ):
    parser.add_argument(
      f'--{name}', type=int, default=default, help=f'{text} ({default})'
    )
  parser.add_argument(
    '--grace',
    type=float,
    default=15.0,
    help='seconds between the end of one process and of the others (15)',
  )
  parser.add_argument(
    '--hosts', default='', help='machines, by ssh, the first has process 0'
  )
  parser.add_argument(
    '--coordinator_address', help='several launchers: host:port of process 0'
  )
  parser.add_argument(
    '--no_pin', action='store_true', help='all processes use all cores'
  )
  parser.add_argument(
    '--lifeline', action='store_true', help='end when standard input does'
  )
  return parser


if __name__ == '__main__':
  sys.exit(main())
