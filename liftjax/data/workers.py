"""How many processes may read data, and how they live and die."""

import multiprocessing
import os
import signal
import threading


def follow_the_parent(worker: int, count: int) -> None:
    """In a worker process: it ends with its parent, and at nothing else.

    Ctrl-C and a scheduler's SIGTERM go to all processes of a job; the parent then finishes its step
    and needs the batches for it. A parent that is killed cannot tell its workers.

    Args:
      worker: number of the worker among `count`; grain gives both.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()


def available_cores() -> int:
    """Processor cores that this process may use; a scheduler may leave it few of the machine's."""
    allowed = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(allowed(0)) if allowed else os.cpu_count() or 1
