"""The loop around a compiled step: progress, logs, checkpoints, evaluation, resume.

The loop runs any `task.Task`: it knows only that a step takes a state and a batch. If it is
interrupted at any moment, it continues from the newest checkpoint and repeats the steps after it
exactly.
"""

import dataclasses
import json
import time
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict
from tqdm import tqdm

from liftjax import hosts
from liftjax.data.prefetch import Prefetch
from liftjax.errors import LiftjaxError
from liftjax.runtime import inputs
from liftjax.runtime.checkpoints import Checkpoints
from liftjax.runtime.run_directory import record_start
from liftjax.runtime.scores import Scores
from liftjax.training.log import Bad, Log, Window, summary
from liftjax.training.preemption import Preemption
from liftjax.training.task import Metrics, Task, model_arrays
from liftjax.training.validation import KEYPOINT_SCORE, Validation
from liftjax.writing import write_text

_NAMES_SHOWN = 3  # samples of a bad batch in the message; the file has them all


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """When a run ends, and when it logs, saves and evaluates; see `configs.common` for the keys."""

    steps: int
    batch_size: int
    log_every: int
    checkpoint_every: int
    keep_every: int = 0
    keep_best: bool = False
    evaluate_every: int = 0
    skip_nonfinite: bool = False

    @classmethod
    def of(cls, config: ConfigDict) -> "RunPlan":
        """The plan of a recipe."""
        keys = [field.name for field in dataclasses.fields(cls) if field.name in config]
        values = {key: config[key] for key in keys}
        return cls(**values, skip_nonfinite=config.nonfinite == "skip")

    def logs(self, done: int) -> bool:
        """Whether a row is logged after `done` steps."""
        return done % self.log_every == 0 or done == self.steps

    def evaluates(self, done: int) -> bool:
        """Whether the state after `done` steps is evaluated."""
        every = self.evaluate_every
        return bool(every) and done > 0 and (done % every == 0 or done == self.steps)

    def saves(self, done: int) -> bool:
        """Whether the state after `done` steps is saved; it is before each evaluation."""
        return done % self.checkpoint_every == 0 or done == self.steps or self.evaluates(done)


def train_task(
    task: Task,
    plan: RunPlan,
    workdir: str,
    validation: Validation | None = None,
    accept_changes: bool = False,
) -> dict:
    """Trains from the newest checkpoint in `workdir`, or from the start, to the end of the plan.

    Returns the final state as NumPy arrays. The run directory then holds checkpoints, config.json,
    versions.json, metrics.csv, TensorBoard events and, with a validation, scores.json.

    Args:
      task: what is trained.
      plan: when to end, log, save and evaluate.
      workdir: the run directory.
      validation: how the model is evaluated during training.
      accept_changes: continue even if the data, or a network that guides or teaches, has changed.

    Raises:
      LiftjaxError: a step's result is not finite (see `not_finite.json`), or `workdir` holds a run
        of another network, of other settings or of other data, or cannot be written.
      Preempted: the process was told to end; the state is saved.
    """
    workdir = epath.Path(workdir)
    if hosts.is_first():
        _make(workdir)
    scores = Scores(workdir, validation.title if validation else "")
    best = scores if plan.keep_best else None
    with Preemption() as preemption, Checkpoints(workdir, plan.keep_every, best) as checkpoints:
        state, start, skipped, changes = _restore(task, checkpoints, accept_changes)
        # Scores on other data cannot be compared with new ones.
        scores.forget_after(0 if changes.keys() & set(inputs.EVALUATED) else start)
        run = _Run(task, plan, workdir, validation, preemption, checkpoints, scores)
        owed = validation is not None and plan.evaluates(start) and start not in scores.steps
        if start < plan.steps and hosts.is_first():
            record_start(workdir, task.meta["recipe"], start, list(changes.values()))
        if checkpoints.latest() is None and task.begin:
            with preemption.at_once(0):
                state = task.begin(state)
            checkpoints.save(0, *_split(state), task.meta)
        if start < plan.steps or owed:
            with Log(workdir, start, active=hosts.is_first()) as log:
                if owed:
                    run.evaluate(state, start, log)
                if start < plan.steps:
                    state = run.go(state, start, log, skipped if plan.skip_nonfinite else None)
        checkpoints.prune()  # an earlier start may have been killed before it pruned
        return state


def _make(workdir: epath.Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LiftjaxError(
            f"Could not make the run directory {workdir}: {error.strerror or error}; choose "
            "another --workdir."
        ) from error


def _restore(
    task: Task, checkpoints: Checkpoints, accept_changes: bool
) -> tuple[dict, int, int, dict[str, str]]:
    """The newest state on the host, its step, the number of steps skipped before it, and changes.

    Changes of the data or networks that the run reads are printed.
    """
    step = checkpoints.latest()
    hosts.check_same("newest checkpoint", f"{step}")
    if step is None:
        return jax.tree.map(jax.device_get, task.state), 0, 0, {}
    model, training, meta = checkpoints.restore(
        step, *_split(task.state), task.meta, accept_changes
    )
    changes = inputs.changes(meta, task.meta)
    if changes and hosts.is_first():
        tqdm.write(f"From step {step} on with changes: {'; '.join(changes.values())}.")
    return _joined(model, training, task.state), step, meta.get("skipped", 0), changes


def _split(state: dict) -> tuple[Any, dict]:
    """The items `model` and `training` of a checkpoint."""
    saved = ("ema",) if "ema" in state else ("params", "others")
    return model_arrays(state), {k: v for k, v in state.items() if k not in saved}


def _joined(model: dict, training: dict, like: dict) -> dict:
    """The inverse of :func:`_split`."""
    if "ema" in like:
        return training | {"ema": model}
    return training | {part: {k: model[k] for k in like[part]} for part in ("params", "others")}


@dataclasses.dataclass
class _Run:
    """One start of a run."""

    task: Task
    plan: RunPlan
    workdir: epath.Path
    validation: Validation | None
    preemption: Preemption
    checkpoints: Checkpoints
    scores: Scores

    def go(self, state: dict, start: int, log: Log, skipped: int | None) -> dict:
        """Runs the steps from `start` to the end; returns the final state on the host.

        The device waits for the host only when a state is saved. A row of the log is fetched and
        written after the next step has been started, and a bad step in it ends the run then.
        """
        task, plan, replicas = self.task, self.plan, self.task.replicas
        step_all = replicas.map_step(task.step)
        state, frozen = replicas.replicate(state), replicas.replicate(task.frozen)
        window, metrics = Window(replicas.to_host, skipped), None
        owed = None  # the step of a row that is complete but not written yet
        with (
            Prefetch(task.batches(start), put=replicas.shard) as batches,
            _progress_bar(task.name, start, plan.steps) as bar,
        ):
            for step in range(start, plan.steps):
                batch, waited = _next_batch(batches, metrics)
                state, metrics = step_all(state, frozen, batch, task.hyper(step))
                if owed:
                    self._report(owed, window, log, bar)
                done = step + 1
                window.add(done, metrics, waited)
                bar.update()
                ending = self.preemption.reached(done)
                saving = plan.saves(done) or ending
                owed = done if plan.logs(done) else None
                if owed and saving:
                    self._report(owed, window, log, bar)
                    owed = None
                if saving:
                    self._check(window.first_bad())
                    saved = replicas.to_host(state)
                    self._save(done, saved, window.skipped)
                if ending:
                    raise self.preemption.error(done)
                if self.validation is not None and plan.evaluates(done):
                    begun = time.perf_counter()
                    self.evaluate(saved, done, log)
                    window.leave_out(time.perf_counter() - begun)
        return replicas.to_host(state)

    def _report(self, step: int, window: Window, log: Log, bar: tqdm) -> None:
        """Writes the row of the log that ends with `step`; raises if a step was bad."""
        self._check(window.first_bad(closing=True))
        values = window.close(self.plan.batch_size)
        log.write(step, values)
        bar.set_postfix_str(summary(values))

    def _save(self, step: int, state: dict, skipped: int | None) -> None:
        count = {} if skipped is None else {"skipped": skipped}
        self.checkpoints.save(step, *_split(state), self.task.meta | count)

    def evaluate(self, state: dict, step: int, log: Log) -> None:
        """Evaluates the model of a state that has been saved."""
        with self.preemption.at_once(step):
            values = self.validation.measure(model_arrays(state))
        self.scores.add(step, values[self.validation.score], values.get(KEYPOINT_SCORE))
        log.write(step, values)
        if hosts.is_first():
            tqdm.write(f"step {step}: {self.validation.describe(values)}")

    def _check(self, bad: Bad | None) -> None:
        """Raises a LiftjaxError if there is a bad step, and writes its samples to a file."""
        if bad is None:
            return
        samples = self.task.samples(bad.step - 1)
        path = self.workdir / "not_finite.json"
        if hosts.is_first():
            terms = {key: str(value) for key, value in bad.terms.items()}
            document = {"step": bad.step, "terms": terms, "samples": samples}
            write_text(path, json.dumps(document, indent=2))
        more = len(samples) - _NAMES_SHOWN
        shown = ", ".join(samples[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
        newest = self.checkpoints.latest()
        safe = f"Checkpoint {newest} is untouched" if newest else "There is no checkpoint yet"
        raise LiftjaxError(
            f"Step {bad.step}: {', '.join(bad.terms)} not finite, in a batch of {shown} (all in "
            f"{path}). {safe}; lower optim.learning_rate, set optim.clip_norm or, if the data are "
            "at fault, nonfinite=skip."
        )


def _progress_bar(name: str, start: int, steps: int) -> tqdm:
    return tqdm(
        total=steps,
        initial=start,
        desc=name,
        unit="step",
        smoothing=0.05,
        disable=not hosts.is_first(),
    )


def _next_batch(batches: Prefetch, running: Metrics | None) -> tuple[dict, float]:
    """The next batch, and the seconds for which the device waited for it."""
    if not batches.waiting():
        return next(batches), 0.0
    jax.block_until_ready(running)  # until then the device is busy with the step before
    asked = time.perf_counter()
    return next(batches), time.perf_counter() - asked
