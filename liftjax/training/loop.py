"""The loop around a compiled step: progress, logs, checkpoints, resume.

What is trained is a :class:`Task`; the loop knows only that its step takes a state and a batch.
"""

import csv
import dataclasses
import json
import platform
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from etils import epath
from tqdm import tqdm

import liftjax
from liftjax.data.prefetch import Prefetch
from liftjax.errors import LiftjaxError
from liftjax.training.checkpoints import Checkpoints
from liftjax.training.state import Arrays

Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Task:
    """One training problem.

    Attributes:
      name: what the progress bar calls it.
      state: {"params", "others", "opt", ...}: everything that a step changes.
      frozen: arrays that a step reads and never changes (the lifters' weights).
      step: (state, frozen, batch, hyper) -> (state, metrics), compiled; the state is donated.
      hyper: the traced numbers of a step, by step number.
      batches: the batches from a step number on; the batch of step t depends on the seed and t.
      meta: what is saved with a checkpoint: "model" (see `checkpoints.build_model`), "recipe".
    """

    name: str
    state: dict[str, Any]
    frozen: Any
    step: Callable[[dict, Any, dict, dict], tuple[dict, Metrics]]
    hyper: Callable[[int], dict]
    batches: Callable[[int], Iterator[dict[str, np.ndarray]]]
    meta: dict


def model_arrays(state: dict) -> Arrays:
    """Every variable of the trained network."""
    return state["params"] | state["others"]


def train(task: Task, *, workdir: str, steps: int, log_every: int, checkpoint_every: int) -> dict:
    """Trains from the newest checkpoint in `workdir`, or from the start, to `steps`.

    Returns the final state. The run directory then holds checkpoints, config.json,
    versions.json, metrics.csv and TensorBoard events.
    """
    workdir = epath.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(workdir)
    try:
        state, start = _restore(task, checkpoints)
        if start >= steps:
            return state
        # All on one footing: arrays from a checkpoint are tied to a device and fresh ones are not,
        # and the step would be compiled a second time for what it returns.
        state = jax.device_put(state, jax.devices()[0])
        write_whole(workdir / "config.json", json.dumps(task.meta["recipe"], indent=2))
        write_whole(workdir / "versions.json", json.dumps(versions(), indent=2))
        with Log(workdir, start) as log, Prefetch(task.batches(start)) as data:
            return _run(
                task, state, start, steps, data, log, log_every, checkpoint_every, checkpoints
            )
    finally:
        checkpoints.close()


def _restore(task: Task, checkpoints: Checkpoints) -> tuple[dict, int]:
    step = checkpoints.latest()
    if step is None:
        return task.state, 0
    training = {k: v for k, v in task.state.items() if k not in ("params", "others")}
    model, training = checkpoints.restore(step, model_arrays(task.state), training, task.meta)
    split = {part: {k: model[k] for k in task.state[part]} for part in ("params", "others")}
    return split | training, step


def _run(task, state, start, steps, batches, log, log_every, checkpoint_every, checkpoints) -> dict:
    window, metrics, waited, begun = [], None, 0.0, time.perf_counter()
    with tqdm(total=steps, initial=start, desc=task.name, unit="step", smoothing=0.05) as bar:
        for step in range(start, steps):
            batch, idle = _next_batch(batches, metrics)
            waited += idle
            state, metrics = task.step(state, task.frozen, batch, task.hyper(step))
            window.append(metrics)
            done = step + 1
            bar.update()
            if done % log_every == 0 or done == steps:
                values = _mean_of(window)
                _check_finite(values, done)
                elapsed = time.perf_counter() - begun
                images = len(window) * len(batch["index"])
                values |= {"images_per_s": images / elapsed, "data_wait": waited / elapsed}
                log.write(done, values)
                bar.set_postfix_str(_summary(values))
                window, waited, begun = [], 0.0, time.perf_counter()
            if done % checkpoint_every == 0 or done == steps:
                if window:
                    _check_finite(_mean_of(window), done)
                training = {k: v for k, v in state.items() if k not in ("params", "others")}
                checkpoints.save(done, model_arrays(state), training, task.meta)
    return state


def _next_batch(batches: Prefetch, running: Metrics | None) -> tuple[dict, float]:
    """The next batch, and the seconds for which the device had nothing to do but wait for it."""
    if not batches.waiting():
        return next(batches), 0.0
    jax.block_until_ready(running)  # until then the device is busy with the step before
    asked = time.perf_counter()
    return next(batches), time.perf_counter() - asked


def _mean_of(window: list[Metrics]) -> dict[str, float]:
    """Means over the steps since the last log; this is where the host waits for the device."""
    fetched = jax.device_get(window)
    return {key: float(np.mean([m[key] for m in fetched])) for key in fetched[0]}


def _check_finite(values: dict[str, float], step: int) -> None:
    bad = [key for key, value in values.items() if not np.isfinite(value)]
    if bad:
        raise LiftjaxError(
            f"Step {step}: {', '.join(bad)} not finite; lower optim.learning_rate or set "
            "optim.clip_norm. The last checkpoint is untouched."
        )


def _summary(values: dict[str, float]) -> str:
    shown = {"loss": "loss", "grad_ratio": "3D/2D grad", "mpjpe_mm": "mm"}
    parts = [f"{label} {values[key]:.4g}" for key, label in shown.items() if key in values]
    parts.append(f"{values['images_per_s']:.0f} img/s")
    parts.append(f"{values['data_wait']:.0%} waiting for data")
    return ", ".join(parts)


class Log:
    """metrics.csv and TensorBoard events of a run; rows after a resumed step are dropped."""

    def __init__(self, workdir: epath.Path, start: int):
        self._path, self._start = workdir / "metrics.csv", start
        self._rows: list[dict] = []
        self._workdir = workdir

    def __enter__(self) -> "Log":
        from tensorboardX import SummaryWriter

        if self._start and self._path.exists():
            rows = list(csv.DictReader(self._path.read_text().splitlines()))
            self._rows = [row for row in rows if int(row["step"]) <= self._start]
        self._events = SummaryWriter(str(self._workdir / "tensorboard"), purge_step=self._start + 1)
        return self

    def write(self, step: int, values: dict[str, float]) -> None:
        """Adds one row; the file is rewritten whole, so that it is never half a row."""
        self._rows.append({"step": step, **values})
        columns = list(dict.fromkeys(key for row in self._rows for key in row))
        lines = [",".join(columns)]
        lines += [",".join(str(row.get(c, "")) for c in columns) for row in self._rows]
        write_whole(self._path, "\n".join(lines))
        for key, value in values.items():
            self._events.add_scalar(key, value, step)

    def __exit__(self, *exception) -> None:
        self._events.close()


def versions() -> dict[str, Any]:
    """What a run was made with."""
    from importlib.metadata import version

    packages = (
        "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy",
        "opencv-python-headless", "tensorflow-datasets",
    )  # fmt: skip
    return {
        "liftjax": liftjax.__version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "devices": [str(device) for device in jax.devices()],
        **{package: version(package) for package in packages},
    }


def write_whole(path: epath.Path, text: str) -> None:
    """Writes a file so that a reader, or a restart, finds the old text or the new one."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text + "\n")
    partial.replace(path)
