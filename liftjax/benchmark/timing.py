"""Functions timed side by side: prepared one by one, called in turn, compared."""

import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from liftjax.errors import first_line

Key = TypeVar("Key", bound=Hashable)

LATE = "not begun: --time-limit"


class Timing(NamedTuple):
    """Seconds of one call.

    Attributes:
      median, least, most: of the repetitions.
      processor: median of what all threads of this process spent on a processor, if measured.
    """

    median: float
    least: float
    most: float
    processor: float | None = None

    @classmethod
    def of(cls, seconds: Sequence[float], processor: Sequence[float] = ()) -> "Timing":
        spent = float(np.median(processor)) if processor else None
        return cls(float(np.median(seconds)), min(seconds), max(seconds), spent)


def time_in_turn(
    calls: Mapping[Key, Callable[[], object]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
    times: int = 1,
    failures: dict[Key, str] | None = None,
) -> dict[Key, Timing]:
    """Times every call `repeats` times in turn (A B C, A B C, ...).

    Whatever else the machine is doing falls on all calls, so that their ratios can be trusted where
    single times cannot. Each call runs once before, uncounted. With `time.process_time` as the
    clock, the seconds are those that all threads of this process spend on a processor.

    Args:
      calls: functions by name; their results are waited for (`jax.block_until_ready`).
      repeats: turns of each call.
      clock: clock in seconds.
      times: calls in a turn, which is waited for once at its end, as a training loop does.
      failures: if given, a call that raises is left out and its error is noted here.
    """

    def turn(name: Key, times: int) -> tuple[float, float] | None:
        begun, worked = clock(), time.process_time()
        try:
            for _ in range(times):
                result = calls[name]()
            jax.block_until_ready(result)
        except Exception as error:
            if failures is None:
                raise
            failures[name] = _in_short(error)
            return None
        return (clock() - begun) / times, (time.process_time() - worked) / times

    seconds = {name: [] for name in calls if turn(name, 1) is not None}
    for _ in range(repeats):
        for name in list(seconds):
            taken = turn(name, times)
            if taken is None:
                del seconds[name]
            else:
                seconds[name].append(taken)
    return {name: Timing.of(*zip(*turns, strict=True)) for name, turns in seconds.items()}


class Candidate(NamedTuple):
    """One way of doing one stage.

    Attributes:
      stage: what is done.
      way: who does it: "liftjax", a PyTorch trainer or an implementation.
      prepare: compiles and so on; returns the call to be timed, and facts for the results.
    """

    stage: str
    way: str
    prepare: Callable[[], tuple[Callable[[], Any], dict]]


class Comparison:
    """Candidates side by side.

    Attributes:
      rows: a row of results for every candidate, by stage and way.
      calls: the calls of those that could be prepared.
    """

    def __init__(
        self,
        late: Callable[[], bool] = lambda: False,
        say: Callable[[str], None] = lambda text: None,
    ):
        self.late, self.say = late, say
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        self.calls: dict[tuple[str, str], Callable[[], Any]] = {}

    def prepare(self, candidates: Iterable[Candidate]) -> None:
        """Prepares the candidates; if one raises or comes when it is late, its row says so."""
        for stage, way, prepare in candidates:
            row = self.rows[stage, way] = {"stage": stage, "way": way}
            if self.late():
                row["failed"] = LATE
                continue
            self.say(f"preparing {stage} ({way})")
            try:
                self.calls[stage, way], facts = prepare()
                row |= facts
            except Exception as error:
                row["failed"] = _in_short(error)

    def time(self, repeats: int, times: int) -> None:
        """Adds seconds to the rows, of `repeats` turns of `times` calls each."""
        failures = {}
        timings = time_in_turn(self.calls, repeats, times=times, failures=failures)
        for key, timing in timings.items():
            measured = {"seconds": timing._asdict(), "repeats": repeats, "calls_a_turn": times}
            self.rows[key] |= measured
        for key, message in failures.items():
            self.rows[key]["failed"] = message

    def timed(self) -> list[tuple[dict[str, Any], float]]:
        """The rows that have times, with their median seconds."""
        return [(r, r["seconds"]["median"]) for r in self.rows.values() if "seconds" in r]

    def median(self, stage: str, way: str) -> float | None:
        """Median seconds of a candidate; None if it was not timed."""
        return self.rows.get((stage, way), {}).get("seconds", {}).get("median")


def _in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
