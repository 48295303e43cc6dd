"""Timing of compiled functions: warm-up, waiting for the device, medians and spread."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np


class Timing(NamedTuple):
    """Seconds of one call: median, and the smallest and largest of the repetitions."""

    median: float
    least: float
    most: float


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
    times: int = 1,
    failures: dict[str, str] | None = None,
) -> dict[str, Timing]:
    """Times every call `repeats` times in turn (A B C, A B C, ...).

    Turns share whatever else the machine is doing, so their ratios can be trusted where single
    times cannot. Each call is run once before, uncounted. With `time.process_time` as the clock the
    seconds are those of all this process's threads on a processor.

    Args:
      calls: by name; what they return is waited for (`jax.block_until_ready`).
      repeats: turns of each.
      clock: of seconds.
      times: calls in a turn, which is waited for once at its end, as a training loop does.
      failures: if given, a call that raises is left out and its error noted here.
    """

    def turn(name: str, times: int) -> float | None:
        begun = clock()
        try:
            for _ in range(times):
                result = calls[name]()
            jax.block_until_ready(result)
        except Exception as error:
            if failures is None:
                raise
            failures[name] = one_line(error)
            return None
        return (clock() - begun) / times

    seconds = {name: [] for name in calls if turn(name, 1) is not None}
    for _ in range(repeats):
        for name in list(seconds):
            taken = turn(name, times)
            if taken is None:
                del seconds[name]
            else:
                seconds[name].append(taken)
    return {n: Timing(float(np.median(s)), min(s), max(s)) for n, s in seconds.items()}


def one_line(error: BaseException) -> str:
    """An error as a cell of a table."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200].rstrip(": ")
