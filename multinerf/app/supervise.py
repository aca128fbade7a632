"""Watches the processes of one run: says how each ends, and leaves none over.

Knows nothing about training but its exit statuses (`errors`): 0 and 75 are
orderly ends, which come to all processes at once; after any other end of one
the rest cannot go on.
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from multinerf import errors, parallel

PREEMPTED = errors.PreemptedError.exit_status
_POLL_SECONDS = 0.1
# After an orderly end of one process the others are at theirs, too.
_LAST_SECONDS = 60.0
# Asks for SIGKILL at the parent's death (prctl 1), and becomes the program.
_SHIM = (
  'import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); '
  'os.execvp(sys.argv[1], sys.argv[1:])'
)


@dataclasses.dataclass(frozen=True)
class Command:
  """What one process runs.

  Attributes:
    label: What it is called in messages.
    words: The command line.
    environment: Added to ours.
    cores: Those that it may use; None: all.
    stdin: Hold its standard input open, as a line by which to end it: TERM,
      INT or KILL and a newline, or its end.
  """

  label: str
  words: Sequence[str]
  environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
  cores: frozenset[int] | None = None
  stdin: bool = False


@dataclasses.dataclass(frozen=True)
class End:
  """How a process ended.

  Attributes:
    label: Which.
    status: Exit status; 128 + n for signal n, as shells have it.
    forced: It was ended from here, because of the others.
  """

  label: str
  status: int
  forced: bool = False

  @property
  def orderly(self) -> bool:
    """Whether nothing went wrong."""
    return self.status in (0, PREEMPTED)

  def __str__(self) -> str:
    if self.status == 0:
      return f'{self.label} is done'
    if self.status == PREEMPTED:
      return f'{self.label} was asked to stop and saved (status {PREEMPTED})'
    how = 'was stopped with' if self.forced else 'was killed by'
    if self.status > 128:
      try:
        return f'{self.label} {how} {signal.Signals(self.status - 128).name}'
      except ValueError:
        pass  # no signal: ssh, for one, says 255
    return f'{self.label} failed with status {self.status}'


class Stop:
  """Signals to pass on; what launcher and processes have in common.

  Inside the `with` block SIGTERM and SIGINT are noted instead of obeyed.
  """

  def __init__(self):
    self._waiting: list[signal.Signals] = []
    self._before: dict[int, object] = {}
    self.asked = False

  def __enter__(self) -> 'Stop':
    for number in (signal.SIGTERM, signal.SIGINT):
      self._before[number] = signal.signal(
        number, lambda n, _: self.ask(signal.Signals(n))
      )
    return self

  def __exit__(self, *exc_info: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def ask(self, number: signal.Signals) -> None:
    """Notes a signal; from any thread."""
    self._waiting.append(number)
    self.asked = True

  def take(self) -> list[signal.Signals]:
    """The signals that were not taken yet."""
    taken, self._waiting = self._waiting, []
    return taken


def run(
  commands: Sequence[Command],
  stop: Stop,
  *,
  grace: float,
  say: Callable[[str], None],
) -> list[End]:
  """Runs processes until all have ended.

  Args:
    commands: The first one keeps standard output and error; lines of the
      others come with their label.
    stop: Signals to pass on.
    grace: Seconds that the others have to notice that one has failed, and to
      end what they are writing; then they are killed.
    say: Gets one line for each end.

  Returns:
    How they ended, in that order.
  """
  children = [
    _Child(command, plain=not i) for i, command in enumerate(commands)
  ]
  ends: list[End] = []
  kill_at = float('inf')
  try:
    while children:
      for number in stop.take():
        say(f'{number.name} is passed on')
        for child in children:
          child.send(number)
      if time.monotonic() >= kill_at:
        for child in children:
          child.kill()
      for child in list(children):
        end = child.end()
        if end is None:
          continue
        children.remove(child)
        ends.append(end)
        say(str(end))
        patience = _LAST_SECONDS if end.orderly else grace
        kill_at = min(kill_at, time.monotonic() + patience)
      time.sleep(_POLL_SECONDS)
  finally:
    for child in children:
      child.kill()
  return ends


class _Child:
  """One process, apart from our terminal's signals, and dead when we are."""

  def __init__(self, command: Command, *, plain: bool):
    self._command = command
    self._forced = False
    pipe = None if plain else subprocess.PIPE
    with parallel.on_cores(command.cores):
      self._process = subprocess.Popen(
        _mortal(command.words),
        env={**os.environ, **command.environment},
        stdin=subprocess.PIPE if command.stdin else subprocess.DEVNULL,
        stdout=pipe,
        stderr=None if plain else subprocess.STDOUT,
        # Else Ctrl-C would reach it twice, from the terminal and from here.
        start_new_session=True,
      )
    self._reader = None
    if not plain:
      self._reader = threading.Thread(target=self._show, daemon=True)
      self._reader.start()

  def send(self, number: signal.Signals) -> None:
    """Passes a signal on."""
    if self._command.stdin:
      self._tell(number.name.removeprefix('SIG'))
    else:
      self._process.send_signal(number)

  def kill(self) -> None:
    """Ends it now."""
    if self._process.poll() is None:
      self._forced = True
      if self._command.stdin:
        self._tell('KILL')
      else:
        self._process.kill()

  def end(self) -> End | None:
    """How it ended; None while it runs."""
    status = self._process.poll()
    if status is None:
      return None
    if self._reader is not None:
      self._reader.join(1.0)
    if self._process.stdin is not None:
      with contextlib.suppress(BrokenPipeError):
        self._process.stdin.close()
    status = 128 - status if status < 0 else status
    return End(self._command.label, status, self._forced)

  def _tell(self, word: str) -> None:
    """Writes a line to its standard input."""
    try:
      self._process.stdin.write(f'{word}\n'.encode())
      self._process.stdin.flush()
    except BrokenPipeError:
      self._process.kill()  # it does not listen any more

  def _show(self) -> None:
    """Prints its lines with its label."""
    with self._process.stdout as lines:
      for line in lines:
        text = line.decode(errors='replace')
        sys.stdout.write(f'[{self._command.label}] {text}')
        sys.stdout.flush()


def _mortal(words: Sequence[str]) -> list[str]:
  """The same command, whose process dies with its parent (on Linux)."""
  if sys.platform != 'linux':
    return list(words)
  return [sys.executable, '-ISc', _SHIM, *words]
