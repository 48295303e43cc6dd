"""Moves the next batches to the device while a step runs."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax

_END = object()


class Prefetch:
    """Iterates over `batches`, each on the device before it is asked for.

    A thread takes batches in order and hands them on through a short queue. What lies in the queue
    when the loop ends is dropped: batches are made from their step number, so a run that goes on
    later begins with the right one. Closing also closes `batches`, which stops worker processes.

    Args:
      batches: host arrays; an error in it is raised where the batch would have come.
      ahead: batches to keep ready. put: moves a batch to the device.
    """

    def __init__(
        self, batches: Iterator, ahead: int = 2, put: Callable[[Any], Any] = jax.device_put
    ):
        self._ready = queue.Queue(maxsize=ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(batches, put), daemon=True)
        self._thread.start()

    def waiting(self) -> bool:
        """Whether the next batch is not there yet."""
        return self._ready.empty()

    def __iter__(self) -> "Prefetch":
        return self

    def __next__(self):
        batch, error = self._ready.get()
        if error is None:
            return batch
        self._ready.put((batch, error))  # whoever asks again hears the same
        raise error

    def close(self) -> None:
        """Stops reading; waits for the batch that is being made."""
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
        except BaseException as error:  # the loop's to raise, in its own thread
            self._ready.put((None, error))
        finally:
            getattr(batches, "close", lambda: None)()
