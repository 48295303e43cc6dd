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
class Plan:
    """The tables wanted, and studies by seed: `studies[s]` has one a data set."""

    tables: tuple[str, ...]
    studies: tuple[tuple[Study, ...], ...]

    def runs_of(self, table: str) -> list[Run]:
        """All runs that a table needs, over seeds and data sets."""
        return in_order(run for seed in self.studies for run in TABLES[table](seed).runs())

    def runs(self) -> list[Run]:
        """All runs, in an order in which they can be done."""
        return in_order(run for table in self.tables for run in self.runs_of(table))


def estimate(runs: Sequence[Run], workdir: Workdir, platform: str) -> Mapping[Run, float]:
    """Seconds that each unfinished run may take: as long a step as finished ones of its network,
    or else by its multiply-adds."""
    measured: dict[str, list[float]] = {}
    for run in runs:
        seconds = workdir.seconds(run)
        if seconds and run.steps:
            measured.setdefault(_network(run), []).append(max(seconds - _EACH, 0.0) / run.steps)
    rates = {name: statistics.median(each) for name, each in measured.items()}
    guess = _GUESSES.get(platform, _GUESSES["gpu"])

    def seconds(run: Run) -> float:
        if not run.recipe:
            return _EACH / 4
        rate = rates.get(_network(run))
        spent = run.operations / guess if rate is None else rate * run.steps
        return spent + _EACH

    return {run: seconds(run) for run in runs if not workdir.is_done(run)}


def _network(run: Run) -> str:
    """What runs of about the same time a step have in common."""
    if not run.recipe:
        return ""
    if run.kind == "lifter":
        return f"{run.recipe['lifter']['name']} {run.recipe['lifter']['num_frames']}"
    return run.recipe["detector"]["name"]


def describe(plan: Plan, workdir: Workdir, platform: str) -> str:
    """The plan in words: what each table adds, and all runs with their steps."""
    runs = plan.runs()
    left = estimate(runs, workdir, platform)
    seen: set[Run] = set()
    by_table = []
    for table in plan.tables:
        needed = plan.runs_of(table)
        new = [run for run in needed if run not in seen]
        seen.update(needed)
        title = TABLES[table](plan.studies[0]).title
        hours = sum(left.get(run, 0.0) for run in new) / 3600
        by_table.append([table, title, f"{len(needed)}", f"{len(new)}", f"{hours:.1f}"])
    body = [
        [run.id, run.title, f"{run.seed}", f"{run.steps}",
         "there" if run not in left else f"{left[run] / 60:.1f}"]
        for run in runs
    ]  # fmt: skip
    head = ["table", "", "runs", "new", "hours"]
    total = sum(left.values()) / 3600
    timed = any(workdir.seconds(run) for run in runs)
    how = "by the runs that are there" if timed else "by multiply-adds; within a factor of three"
    return "\n\n".join(
        [
            text_table(["run", "what", "seed", "steps", "minutes"], body, left=(0, 1)),
            text_table(head, by_table, left=(0, 1)),
            f"{len(runs)} runs, {len(left)} to do: about {total:.1f} hours on this machine "
            f"(estimated {how}).",
        ]
    )
