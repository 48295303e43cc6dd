"""Moves the next batches to the device while a step runs."""

import collections
import concurrent.futures
from collections.abc import Callable, Iterator
from typing import Any

import jax


class Prefetch:
    """Iterates over `batches`, each on the device before it is asked for.

    A thread makes the batches in order. Those that are ready when the loop ends are dropped; a
    resumed run begins with the right one, because a batch depends on its step number alone. Closing
    also closes `batches`, which stops worker processes.

    Args:
      batches: of host arrays; an error in it is raised in place of the batch, and again whenever
        another batch is asked for.
      ahead: batches to keep ready, beside the one that is being made.
      put: moves a batch to the device.
    """

    def __init__(
        self, batches: Iterator, ahead: int = 2, put: Callable[[Any], Any] = jax.device_put
    ):
        self._batches, self._put = iter(batches), put
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._next = collections.deque(self._thread.submit(self._make) for _ in range(ahead + 1))

    def _make(self):
        return self._put(next(self._batches))

    def waiting(self) -> bool:
        """Whether the next batch is not ready yet."""
        return not self._next[0].done()

    def __iter__(self) -> "Prefetch":
        return self

    def __next__(self):
        batch = self._next[0].result()  # an error stays there, for the next call
        self._next.popleft()
        self._next.append(self._thread.submit(self._make))
        return batch

    def close(self) -> None:
        """Stops reading, after the batch that is being made."""
        self._thread.shutdown(cancel_futures=True)
        getattr(self._batches, "close", lambda: None)()

    def __enter__(self) -> "Prefetch":
        return self

    def __exit__(self, *exception) -> None:
        self.close()
