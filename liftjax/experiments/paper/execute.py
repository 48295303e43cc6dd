"""Does what a plan lacks: trains runs and keeps what each gives on the test samples.

    WORKDIR/data/NAME-HASH    data sets that had to be made
    WORKDIR/runs/ID           run directories, with `done.json` when they are trained
    WORKDIR/locks             files that processes lock while they work at something

A run has one directory whatever table asks for it. Killed at any moment, the same command goes on:
finished runs are left alone, the current one continues from its last checkpoint.
"""

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping

import filelock
import numpy as np
from etils import epath
from flax import nnx

from liftjax.data.records import PoseDataset
from liftjax.experiments.paper import outcomes, sources
from liftjax.experiments.paper.outcomes import Outcome
from liftjax.experiments.paper.runs import Lifters, Run, Source, in_order, resolved
from liftjax.lifters.spec import Lifter
from liftjax.prediction import detection_settings, lift_found, predict_2d, sliding_form
from liftjax.runtime.checkpoints import FOLDER, load_lifters, load_model, whole_steps
from liftjax.runtime.run_directory import read_json
from liftjax.training import run as training
from liftjax.writing import write_text

_PATIENCE = 5.0  # seconds between looks at what other processes do


class Workdir:
    """The directory of a study: data, runs and what they gave."""

    def __init__(self, root: str | epath.Path):
        self.root = epath.Path(root).expanduser().resolve()
        self._tests: dict[Source, PoseDataset] = {}
        self._loaded: dict[Lifters, dict[str, Lifter]] = {}

    def place(self, run: Run) -> epath.Path:
        """The run directory; the user's where one was given."""
        return epath.Path(run.given) if run.given else self.root / "runs" / run.id

    def seconds(self, run: Run) -> float | None:
        """How long a finished run took to train; None if that is not known."""
        return read_json(self._done(run)).get("seconds")

    def is_done(self, run: Run) -> bool:
        """Whether the run is trained and measured, as far as it has to be."""
        return self._is_trained(run) and (not run.lifters or self._outcome(run).exists())

    def data(self, source: Source) -> str:
        """The directory of a data set, which is made if it has to be."""
        with self.claim(source.reference.removeprefix("data:"), wait=True):
            return sources.prepare(source, self.root / "data")

    @contextlib.contextmanager
    def claim(self, name: str, wait: bool = False) -> Iterator[bool]:
        """Whether this process alone works at `name`, for as long as the context lasts.

        Args:
          wait: wait until no other process works at it.
        """
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(locks / name, blocking=wait)
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(lock)
            except filelock.Timeout:
                yield False
            else:
                yield True

    def test(self, source: Source) -> PoseDataset:
        """The samples that are measured."""
        if source not in self._tests:
            self._tests[source] = sources.test_samples(self.data(source))
        return self._tests[source]

    def outcome(self, run: Run) -> Outcome:
        """What a finished run gives on the test samples."""
        dataset = self.test(run.source)
        return outcomes.load(self._outcome(run), dataset.labels, dataset.skeleton.name)

    def detector(self, run: Run) -> nnx.Module:
        """The trained network."""
        return load_model(self.place(run), "detector")[0]

    def do(self, run: Run) -> None:
        """Trains a run, if there is something to train, and stores its outcome, if it has one."""
        if not self._is_trained(run):
            self._train(run)
        if not self.is_done(run):
            self._measure(run)

    def _is_trained(self, run: Run) -> bool:
        return not run.recipe or self._done(run).exists()

    def _done(self, run: Run) -> epath.Path:
        return self.root / "runs" / run.id / "done.json"

    def _outcome(self, run: Run) -> epath.Path:
        return self.root / "runs" / run.id / run.outcome_name

    def _train(self, run: Run) -> None:
        begun, place = time.perf_counter(), self.place(run)
        places = {f"run:{parent.id}": str(self.place(parent)) for parent in run.parents}
        places[run.source.reference] = self.data(run.source)
        first = max(whole_steps(place / FOLDER), default=0)
        training.train(resolved(run.recipe, places), str(place))
        # The time of an earlier start is not known, but the number of its steps is.
        share = 1 - first / run.steps
        seconds = round((time.perf_counter() - begun) / share, 1) if share > 0 else None
        write_text(self._done(run), json.dumps({"title": run.title, "seconds": seconds}))

    def _measure(self, run: Run) -> None:
        dataset, path = self.test(run.source), self._outcome(run)
        kpts_px_NK2 = self._keypoints(run, dataset)
        if run.lifters not in self._loaded:  # runs in a row mostly have the same lifters
            places = {name: str(self.place(lifter)) for name, lifter in run.lifters}
            lifters = load_lifters(places, dataset.skeleton.name, sliding_form)
            self._loaded = {run.lifters: lifters}
        found = dataset.with_keypoints(kpts_px_NK2)
        poses_m = {name: lift_found(one, found) for name, one in self._loaded[run.lifters].items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        outcomes.save(path, kpts_px_NK2, poses_m)

    def _keypoints(self, run: Run, dataset: PoseDataset) -> np.ndarray:
        if run.kind == "truth":
            return dataset.labels["joints_px"]
        detector = run.parents[0] if run.kind == "measurement" else run
        settings = detection_settings(detector.recipe)
        cache = detector.recipe["data"]["cache"]
        return predict_2d(self.detector(detector), dataset, **settings, cache=cache)


def execute_runs(runs: Iterable[Run], workdir: Workdir, estimate: Mapping[Run, float]) -> None:
    """Does everything that `runs` still need, in order, and says how far it is.

    Several processes may do this in one work directory, each on devices of its own: the process
    that comes first to a run does it, and one that dies lets go of its run.

    Args:
      estimate: seconds that each unfinished run may take.
    """
    ordered, begun, waiting = in_order(runs), time.perf_counter(), False
    if done := sum(map(workdir.is_done, ordered)):
        print(f"{done} of {len(ordered)} runs are there already.", flush=True)
    while missing := [run for run in ordered if not workdir.is_done(run)]:
        ready = [run for run in missing if all(map(workdir.is_done, run.needs))]
        spent = time.perf_counter() - begun
        left = sum(estimate.get(run, 0.0) for run in missing)
        text = f"{_minutes(spent)} so far, about {_minutes(left)} to go"
        count = f"{len(ordered) - len(missing) + 1}/{len(ordered)}"
        if any(_do_alone(run, workdir, count, text) for run in ready):
            waiting = False
            continue
        if not waiting:
            print(f"Other processes are at the next runs; waiting ({text}).", flush=True)
        waiting = True
        time.sleep(_PATIENCE)


def _do_alone(run: Run, workdir: Workdir, count: str, progress: str) -> bool:
    """Does a run unless another process is at it; returns whether it did."""
    with workdir.claim(run.id) as mine:
        if not mine or workdir.is_done(run):
            return False
        seed = f", seed {run.seed}" if run.seed else ""
        what = f"{run.id} {run.title}{seed}: {run.steps} steps"
        print(f"[{count}] {what} ({progress})", flush=True)
        workdir.do(run)
    return True


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
