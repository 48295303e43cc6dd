"""Ending on a signal: the current step is finished and saved, and the exit status asks for a retry.

A scheduler sends SIGTERM some time before it takes a machine away. A single process handles the
signal itself. With several processes, any of which may get the signal, all must save the same step:
JAX's preemption service tells them all, and chooses a step that none has passed yet.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

from liftjax.errors import Preempted

_INTERRUPTED = 130  # what a shell reports of Ctrl-C


class Preemption:
    """Notices SIGTERM and, in one process, Ctrl-C; a context manager.

    After the first signal the handlers stay, so that another SIGTERM cannot interrupt the last
    save; a second Ctrl-C ends the process at once.
    """

    def __init__(self):
        self._signal: int | None = None
        self._saved: int | None = None  # the step, while ending at once loses nothing
        self._shared = jax.process_count() > 1
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Preemption":
        if not self._shared and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._told)
        return self

    def __exit__(self, *exception) -> None:
        if self._signal is None:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _told(self, number: int, frame) -> None:
        if self._signal == number == signal.SIGINT:
            raise KeyboardInterrupt
        if self._signal is None:
            self._signal = number
            os.write(2, b"\nEnding after this step, which is saved first.\n")
        if self._saved is not None:
            raise self.error(self._saved)

    def reached(self, step: int) -> bool:
        """Whether to save after `step` and end; every process asks after every step."""
        if self._shared:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._signal is not None

    @contextlib.contextmanager
    def at_once(self, step: int) -> Iterator[None]:
        """A block that a signal interrupts at once (in a single process), because `step` is saved.

        Raises:
          Preempted: a signal has arrived.
        """
        self._saved = None if self._shared else step
        try:
            if self._signal is not None:
                raise self.error(step)
            yield
        finally:
            self._saved = None

    def error(self, step: int) -> Preempted:
        """The exception that ends the run."""
        status = _INTERRUPTED if self._signal == signal.SIGINT else Preempted.EX_TEMPFAIL
        saved = f"step {step} is saved" if step else "no step has been made yet"
        return Preempted(f"Told to end: {saved}; run the same command to continue.", status)
