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
) -> dict[str, Timing]:
    """Times every call `repeats` times in turn (A B C, A B C, ...).

    Turns share whatever else the machine is doing, so their ratios can be trusted where single
    times cannot. Each call is run once before, uncounted. With `time.process_time` as the clock the
    seconds are those of all this process's threads on a processor.
    """
    for call in calls.values():
        jax.block_until_ready(call())
    seconds = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            begun = clock()
            jax.block_until_ready(call())
            seconds[name].append(clock() - begun)
    return {n: Timing(float(np.median(s)), min(s), max(s)) for n, s in seconds.items()}
