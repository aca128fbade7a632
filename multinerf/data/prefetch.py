"""A thread that prepares the next items while the current one is used.

An exception in the thread belongs to one step: it is raised again in the
consumer, with its traceback, when that step's turn comes. Nothing is lost and
nobody waits for ever (multinerf datasets.py:340-361 does, when its loader
thread dies).
"""

import collections
import itertools
import threading
import types
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar('T')


class Prefetcher(Generic[T]):
  """Iterates over fn(start_step), fn(start_step + 1), ... computed ahead.

  The thread starts with the `with` block or the first `next`, not before, and
  ends with the block or `close()`.

  Args:
    fn: Step -> item. Called in one thread, in order, once for each step.
    start_step: The first step.
    queue_size: How many items may exist that were not yet taken, the one being
      computed included; at least 1.

  Raises:
    ValueError: queue_size is below 1.
  """

  def __init__(
    self, fn: Callable[[int], T], start_step: int = 0, queue_size: int = 3
  ):
    if queue_size < 1:
      raise ValueError(
        f'queue_size is {queue_size}; at least 1 is needed '
        '(gin: Config.prefetch_batches).'
      )
    self._fn = fn
    self._start_step = start_step
    self._queue_size = queue_size
    self._ready: collections.deque[T] = collections.deque()
    self._change = threading.Condition()
    self._error: tuple[BaseException, types.TracebackType | None] | None = None
    self._closed = False
    self._thread: threading.Thread | None = None

  def __enter__(self) -> 'Prefetcher[T]':
    self._start()
    return self

  def __exit__(self, *exc_info):
    self.close()

  def __iter__(self) -> 'Prefetcher[T]':
    return self

  def __next__(self) -> T:
    """Waits for the next item.

    Raises:
      RuntimeError: The prefetcher was closed.
      Exception: Whatever `fn` raised at this step; again at each later call.
    """
    self._start()
    with self._change:
      self._change.wait_for(lambda: self._ready or self._error or self._closed)
      if self._closed:
        raise RuntimeError('The prefetcher is closed.')
      if self._error is not None and not self._ready:
        error, traceback = self._error
        if isinstance(error, StopIteration):
          # Passed on, it would look like the end of the data (PEP 479).
          raise RuntimeError('The batch function raised StopIteration.') from (
            error
          )
        raise error.with_traceback(traceback)
      item = self._ready.popleft()
      self._change.notify_all()
      return item

  def close(self):
    """Stops the thread, after the item it is computing, and joins it."""
    with self._change:
      self._closed = True
      self._ready.clear()
      self._change.notify_all()
    if self._thread is not None:
      self._thread.join()

  def _start(self):
    with self._change:
      if self._closed:
        raise RuntimeError('The prefetcher is closed.')
      if self._thread is None:
        # A daemon, so that a consumer that dies without close() can exit.
        self._thread = threading.Thread(
          target=self._work, name='multinerf-prefetch', daemon=True
        )
        self._thread.start()

  def _work(self):
    for step in itertools.count(self._start_step):
      with self._change:
        self._change.wait_for(
          lambda: self._closed or len(self._ready) < self._queue_size
        )
        if self._closed:
          return
      try:
        item = self._fn(step)
      except BaseException as e:  # handed over to the consumer, all of them
        with self._change:
          self._error = (e, e.__traceback__)
          self._change.notify_all()
        return
      with self._change:
        self._ready.append(item)
        self._change.notify_all()
