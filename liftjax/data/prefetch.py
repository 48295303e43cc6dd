"""Moves the next batches to the device while a step runs."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax

_END = object()


class Prefetch:
    """Iterates over `batches`, each on the device before it is asked for.

    A thread takes batches in order and passes them on through a short queue. Batches that are in
    the queue when the loop ends are dropped; a resumed run begins with the right one, because a
    batch depends on its step number alone. Closing also closes `batches`, which stops worker
    processes.

    Args:
      batches: of host arrays; an error in it is raised in place of the batch, and again whenever
        another batch is asked for.
      ahead: batches to keep ready.
      put: moves a batch to the device.
    """

    def __init__(
        self, batches: Iterator, ahead: int = 2, put: Callable[[Any], Any] = jax.device_put
    ):
        self._ready = queue.Queue(maxsize=ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(batches, put), daemon=True)
        self._thread.start()

    def waiting(self) -> bool:
        """Whether the next batch is not ready yet."""
        return self._ready.empty()

    def __iter__(self) -> "Prefetch":
        return self

    def __next__(self):
        batch, error = self._ready.get()
        if error is None:
            return batch
        self._ready.put((batch, error))  # for the next call
        raise error

    def close(self) -> None:
        """Stops reading, after the batch that is being made."""
        self._stop.set()
        while self._thread.is_alive():
            self._drain()
            self._thread.join(timeout=0.05)

    def __enter__(self) -> "Prefetch":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _drain(self) -> None:
        try:
            while True:
                self._ready.get_nowait()
        except queue.Empty:
            pass

    def _fill(self, batches: Iterator, put: Callable) -> None:
        batches = iter(batches)
        try:
            while not self._stop.is_set():
                batch = next(batches, _END)
                if batch is _END:
                    self._ready.put((None, StopIteration()))
                    return
                self._ready.put((put(batch), None))
        except BaseException as error:  # raised in the thread of the loop
            self._ready.put((None, error))
        finally:
            getattr(batches, "close", lambda: None)()
