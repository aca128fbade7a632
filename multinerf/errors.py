"""The errors a user of multinerf can meet; everything else is a bug.

Each message says what was wrong, the value found, what is allowed, and which
file or gin key to change. The command-line scripts print the message on one
line and exit with `exit_status` (`app/cli.py`); the Python API raises.
`format_bytes` is for the messages of all layers.
"""

from typing import ClassVar


class MultinerfError(Exception):
  """Base of every error that multinerf raises on purpose."""

  exit_status: ClassVar[int] = 1


class ConfigError(MultinerfError):
  """A gin file, binding, flag or `Config` value is not usable."""


class DataError(MultinerfError):
  """A scene folder or one of its files is missing, malformed or unusable."""


class CheckpointError(MultinerfError):
  """A checkpoint is missing, damaged, unwritable or of another architecture."""


class OutOfMemoryError(MultinerfError):
  """A device's memory does not suffice; names the setting that would help."""


class TrainingDivergedError(MultinerfError):
  """Training cannot go on: gradients stay non-finite, or the field is dead."""


class PreemptedError(MultinerfError):
  """A signal ended training early; the same command goes on from there."""

  # EX_TEMPFAIL of sysexits.h, "try again", which no failure here exits with:
  # what a job scheduler should queue again.
  exit_status: ClassVar[int] = 75


class ProcessError(MultinerfError):
  """Another process of the run died or is late; starting again may help."""

  # EX_SOFTWARE of sysexits.h: what a supervisor should start again at once.
  exit_status: ClassVar[int] = 70


def format_bytes(num_bytes: float) -> str:
  """Bytes for people: '17 KiB', '1.2 GiB'."""
  for unit in ('B', 'KiB', 'MiB'):
    if num_bytes < 1024:
      return f'{num_bytes:.0f} {unit}'
    num_bytes /= 1024
  return f'{num_bytes:.1f} GiB'
