"""Writes parts in several processes, with a progress bar."""

import concurrent.futures
import contextlib
import functools
import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from data_prep.parts import Job, write_part
from liftjax.errors import LiftjaxError

_POLL_SECONDS = 0.2


def write_missing_parts(jobs: Sequence[Job], processes: int, name: str, unit: str) -> None:
    """Writes the parts that are not there yet.

    Args:
      jobs: all parts.
      processes: number of workers; 1 works in this process.
      name: what the progress bar is called.
      unit: what it counts.
    """
    todo = [job for job in jobs if not job.is_done()]
    total, left = (sum(len(job.units) for job in some) for some in (jobs, todo))
    if len(todo) < len(jobs):
        print(f"{len(jobs) - len(todo)} of {len(jobs)} parts are there already.")
    bar = tqdm(total=total, initial=total - left, desc=name, unit=f" {unit}", delay=0.5)
    with bar:
        if processes == 1 or len(todo) <= 1:
            _write_here(todo, bar)
        else:
            _write_in_processes(todo, min(processes, len(todo)), bar)


def _write_here(jobs: Sequence[Job], bar: tqdm) -> None:
    counter = itertools.count(1)

    def count_record() -> None:
        if (records := next(counter)) % 64 == 0:
            bar.set_postfix_str(f"{records} records", refresh=False)
            bar.update(0)

    for job in jobs:
        write_part(job, bar.update, count_record)


def _write_in_processes(jobs: Sequence[Job], processes: int, bar: tqdm) -> None:
    context = multiprocessing.get_context("spawn")  # a fork may hang: JAX has threads
    units, records, stop = (context.Value("q", 0) for _ in range(3))
    pool = concurrent.futures.ProcessPoolExecutor(
        processes, context, initializer=_start_worker, initargs=(units, records, stop)
    )
    try:
        # One worker begins in front and compiles the renderer. The others begin at the back; when
        # they come to pictures, they find the program in the cache.
        with _no_interrupt():  # workers inherit it: Ctrl-C goes to this process, which stops them
            waiting = {pool.submit(_write_in_worker, job) for job in [jobs[0], *jobs[:0:-1]]}
        while waiting:
            done, waiting = concurrent.futures.wait(waiting, timeout=_POLL_SECONDS)
            bar.set_postfix_str(f"{records.value} records", refresh=False)
            bar.update(units.value + bar.initial - bar.n)
            for future in done:
                future.result()
    except concurrent.futures.process.BrokenProcessPool:
        raise LiftjaxError(
            "A worker process died, perhaps for lack of memory; run the same command again with "
            "fewer --processes. Finished parts are kept."
        ) from None
    finally:
        stop.value = 1
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Ctrl-C is ignored in the block, and for good by processes that are started in it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start_worker(units, records, stop) -> None:
    global _shared
    _shared = units, records, stop
    threading.Thread(target=_follow_parent, daemon=True).start()
    os.environ["NPROC"] = "1"  # XLA's threads: there is a worker per core
    import cv2

    cv2.setNumThreads(1)


def _follow_parent() -> None:
    """Ends this process when its parent ends, even if the parent was killed."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _write_in_worker(job: Job) -> None:
    *counters, stop = _shared

    def count(counter) -> None:
        if stop.value:
            raise _Stopped
        with counter.get_lock():
            counter.value += 1

    write_part(job, *(functools.partial(count, counter) for counter in counters))


class _Stopped(Exception):
    """The build has ended and the part is no longer needed."""
