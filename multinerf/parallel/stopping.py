"""Ending several processes after the same step.

A signal reaches one process, or all at different steps. Whoever ends first
would leave the others waiting for its gradients, so they agree: each promises
not to go further than where it is, and all go as far as the farthest. Steps
need nothing from the host for this; a thread in each process does the talking.
"""

import threading
from collections.abc import Callable

import jax

from multinerf import errors
from multinerf.parallel import processes

_PERIOD_SECONDS = 0.5


class StopTogether:
  """Asked before each dispatch whether to end; all processes hear the same.

  Every process makes the same dispatches in the same order, so they are
  counted, from entering the `with` block on.

  Args:
    wish: Whether this process wants to end; asked in a thread, twice a second.
  """

  def __init__(self, wish: Callable[[], bool]):
    self._wish = wish
    self._key = processes.new_key('stop')
    self._state = processes.connection()
    self._changed = threading.Condition()
    self._begun = 0  # dispatches that this process has been let take
    self._frozen = False  # no more of them until all have answered
    self._limit: int | None = None  # of dispatches, once agreed
    self._error: Exception | None = None
    self._ended = threading.Event()
    self._thread = threading.Thread(
      target=self._watch, name='stop-together', daemon=True
    )

  def __enter__(self) -> 'StopTogether':
    self._thread.start()
    return self

  def __exit__(self, *exc_info: object) -> None:
    # The others may be agreeing: this process will not go further.
    with self._changed:
      self._frozen = True
    try:
      self._promise()
    except jax.errors.JaxRuntimeError:
      pass  # there is nobody left to tell
    self._ended.set()
    self._thread.join()

  def __call__(self) -> bool:
    """Whether to end now; else counts one more dispatch.

    Raises:
      ProcessError: The others are lost.
    """
    with self._changed:
      self._changed.wait_for(
        lambda: not self._frozen or self._limit is not None or self._error
      )
      if self._error is not None:
        raise errors.ProcessError(
          f'Lost the other processes: {self._error}'
        ) from self._error
      if self._limit is not None and self._begun >= self._limit:
        return True
      self._begun += 1
      return False

  def _watch(self) -> None:
    """Waits for a wish, here or elsewhere, and then for the agreement."""
    try:
      while not self._ended.wait(_PERIOD_SECONDS):
        if self._wish():
          self._set(f'{self._key}/wish', '')
        elif self._get(f'{self._key}/wish') is None:
          continue
        with self._changed:
          self._frozen = True
        self._promise()
        self._agree()
        return
    except jax.errors.JaxRuntimeError as error:
      with self._changed:
        self._error = error
        self._changed.notify_all()

  def _promise(self) -> None:
    """Says how far this process goes by itself."""
    with self._changed:
      begun = self._begun
    self._set(f'{self._key}/{self._state.process_id}', str(begun))

  def _agree(self) -> None:
    """Learns how far the others go; the farthest decides."""
    promises: list[int] = []
    while len(promises) < self._state.num_processes:
      found = self._get(f'{self._key}/{len(promises)}')
      if found is not None:
        promises.append(int(found))
      elif self._ended.wait(_PERIOD_SECONDS / 10):
        return
    with self._changed:
      self._limit = max(promises)
      self._changed.notify_all()

  def _set(self, key: str, value: str) -> None:
    """Sets a key, or leaves it at what it is."""
    try:
      self._state.client.key_value_set(key, value)
    except jax.errors.JaxRuntimeError as error:
      if 'ALREADY_EXISTS' not in str(error):
        raise

  def _get(self, key: str) -> str | None:
    """The value of a key, None if it has none yet."""
    try:
      return self._state.client.key_value_try_get(key)
    except jax.errors.JaxRuntimeError as error:
      if 'NOT_FOUND' not in str(error):
        raise
      return None
