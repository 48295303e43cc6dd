"""What a command has to do: the runs of its tables, each once, and how long they may take."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from liftjax.experiments.paper.definitions import TABLES
from liftjax.experiments.paper.execute import Workdir
from liftjax.experiments.paper.runs import Run, in_order
from liftjax.experiments.paper.study import Study
from liftjax.tables import text_table

# Multiply-adds a second of training where nothing has been timed yet: about a fifth of what an
# accelerator of the last years does in float32, and what the small networks reach on two cores.
_GUESSES = {"cpu": 25e9, "gpu": 8e12, "tpu": 8e12}
_EACH = 12.0  # seconds of building, compiling and measuring a run


@dataclasses.dataclass(frozen=True)
class TablesPlan:
    """The tables wanted, and studies by seed: `studies[s]` has one a data set."""

    tables: tuple[str, ...]
    studies: tuple[tuple[Study, ...], ...]

    def runs_of(self, table: str) -> list[Run]:
        """All runs that a table needs, over seeds and data sets."""
        return in_order(run for seed in self.studies for run in TABLES[table](seed).runs())

    def runs(self) -> list[Run]:
        """All runs, in an order in which they can be done."""
        return in_order(run for table in self.tables for run in self.runs_of(table))


def estimate_seconds(runs: Sequence[Run], workdir: Workdir, platform: str) -> Mapping[Run, float]:
    """Seconds that each unfinished run may take.

    A step takes as long as in the finished runs of the same network; if there are none, the
    multiply-adds tell.
    """
    measured: dict[str, list[float]] = {}
    for run in runs:
        seconds = workdir.seconds(run)
        if seconds and run.steps:
            measured.setdefault(_network(run), []).append(max(seconds - _EACH, 0.0) / run.steps)
    speed, left = _GUESSES.get(platform, _GUESSES["gpu"]), {}
    for run in runs:
        if workdir.is_done(run):
            continue
        if not run.recipe:
            left[run] = _EACH / 4
        elif timed := measured.get(_network(run)):
            left[run] = statistics.median(timed) * run.steps + _EACH
        else:
            left[run] = run.operations / speed + _EACH
    return left


def _network(run: Run) -> str:
    """The same for all runs whose steps take about the same time."""
    if run.kind == "lifter":
        return f"{run.recipe['lifter']['name']} {run.recipe['lifter']['num_frames']}"
    return run.recipe["detector"]["name"]


def describe(plan: TablesPlan, workdir: Workdir, platform: str) -> str:
    """The plan in words: all runs with their steps, and what each table adds."""
    runs, seen = plan.runs(), set()
    left = estimate_seconds(runs, workdir, platform)
    by_run, by_table = [], []
    for run in runs:
        minutes = f"{left[run] / 60:.1f}" if run in left else "there"
        by_run.append([run.id, run.title, str(run.seed), str(run.steps), minutes])
    for table in plan.tables:
        needed = plan.runs_of(table)
        new = [run for run in needed if run not in seen]
        seen.update(needed)
        title = TABLES[table](plan.studies[0]).title
        hours = sum(left.get(run, 0.0) for run in new) / 3600
        by_table.append([table, title, str(len(needed)), str(len(new)), f"{hours:.1f}"])
    timed = any(workdir.seconds(run) for run in runs)
    how = "by the runs that are there" if timed else "by multiply-adds; within a factor of three"
    return "\n\n".join(
        [
            text_table(["run", "what", "seed", "steps", "minutes"], by_run, left=(0, 1)),
            text_table(["table", "", "runs", "new", "hours"], by_table, left=(0, 1)),
            f"{len(runs)} runs, {len(left)} to do: about {sum(left.values()) / 3600:.1f} hours on "
            f"this machine (estimated {how}).",
        ]
    )
