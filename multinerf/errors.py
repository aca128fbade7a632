"""The errors a user of multinerf can meet; everything else is a bug.

Each message says what was wrong, the value found, what is allowed, and which
file or gin key to change. The command-line scripts print the message on one
line and exit with status 1 (`app/cli.py`); the Python API raises.
"""


class MultinerfError(Exception):
  """Base of every error that multinerf raises on purpose."""


class ConfigError(MultinerfError):
  """A gin file, binding, flag or `Config` value is not usable."""


class DataError(MultinerfError):
  """A scene folder or one of its files is missing, malformed or unusable."""


class CheckpointError(MultinerfError):
  """A checkpoint is missing, damaged, unwritable or of another architecture."""


class TrainingDivergedError(MultinerfError):
  """Training cannot go on: gradients stay non-finite, or the field is dead."""
