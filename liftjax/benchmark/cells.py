"""One cell of a benchmark: candidates prepared one by one, timed in turn, compared."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from liftjax.benchmark.stages import LIFTJAX, Candidate, step_name
from liftjax.benchmark.timing import interleaved, one_line

Calls = dict[tuple[str, str], Callable[[], Any]]
Rows = dict[tuple[str, str], dict[str, Any]]  # by stage and way

LATE = "not begun: --time-limit"


def prepare(
    candidates: Iterable[Candidate],
    late: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Calls, Rows]:
    """The calls of all candidates that can be prepared, and a row of facts for every one.

    One that raises, or comes when it is `late`, has a row that says so.
    """
    calls, rows = {}, {}
    for candidate in candidates:
        key = candidate.stage, candidate.way
        rows[key] = {"stage": candidate.stage, "way": candidate.way}
        if late():
            rows[key]["failed"] = LATE
            continue
        say(f"preparing {candidate.name}")
        try:
            calls[key], facts = candidate.prepare()
            rows[key] |= facts
        except Exception as error:
            rows[key]["failed"] = one_line(error)
    return calls, rows


def time_rows(calls: Calls, rows: Rows, repeats: int, times: int) -> None:
    """Adds seconds to the rows, of `repeats` turns of `times` calls each."""
    failures = {}
    timings = interleaved(calls, repeats, times=times, failures=failures)
    for key, timing in timings.items():
        rows[key] |= {"seconds": timing._asdict(), "repeats": repeats, "calls_a_turn": times}
    for key, told in failures.items():
        rows[key]["failed"] = told


def compare_training(rows: Rows, batch_size: int, peaks: Mapping[str, float], precision: str):
    """Adds what the seconds say: pictures a second, ratios, arithmetic and its share of the peak.

    of_ft2d: seconds over those of the same way's FT-2D step. ratio: seconds over liftjax's in the
    same stage. flops_per_s: the arithmetic is that of liftjax's traced program, for every way.
    """
    for (stage, way), row in rows.items():
        if "seconds" not in row:
            continue
        seconds, ours = row["seconds"]["median"], rows.get((stage, LIFTJAX), {})
        row["images_per_s"] = batch_size / seconds
        _add_ratio(row, "of_ft2d", rows.get((step_name(0), way), {}))
        if way != LIFTJAX:
            _add_ratio(row, "ratio", ours)
        if "flops" in ours:
            row["flops_per_s"] = ours["flops"] / seconds
            peak = peaks.get(row.get("precision", precision))
            if peak:
                row["share_of_peak"] = row["flops_per_s"] / peak


def compare_maps(rows: Rows, moved: Callable[[str], int], copy_bytes_per_s: float, eager: str):
    """Adds bytes a second (`moved` of a stage), their share of a copy, and `speedup`: seconds of
    the way called `eager` over the row's."""
    for (stage, _), row in rows.items():
        if "seconds" not in row:
            continue
        seconds = row["seconds"]["median"]
        row["bytes"] = moved(stage)
        row["bytes_per_s"] = row["bytes"] / seconds
        row["share_of_copy"] = row["bytes_per_s"] / copy_bytes_per_s
        reference = rows.get((stage, eager), {})
        if "seconds" in reference:
            row["speedup"] = reference["seconds"]["median"] / seconds


def _add_ratio(row: dict, name: str, reference: dict) -> None:
    if "seconds" in reference:
        row[name] = row["seconds"]["median"] / reference["seconds"]["median"]
