"""Worker processes that read data: how many there may be, and when they end."""

import multiprocessing
import os
import signal
import threading


def follow_the_parent(worker: int, count: int) -> None:
    """Makes a worker process end with its parent, and only then.

    Ctrl-C and a scheduler's SIGTERM reach all processes of a job, but the parent still needs
    batches to finish its step. A parent that is killed cannot stop its workers, so they watch it.

    Args:
      worker, count: number of this worker and of all workers; grain passes both.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()


def available_cores() -> int:
    """Processor cores that this process may use, which may be fewer than the machine has."""
    allowed = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(allowed(0)) if allowed else os.cpu_count() or 1
