"""The log of a run: means over a few steps, in metrics.csv and as TensorBoard events."""

import csv
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from etils import epath

from liftjax.errors import LiftjaxError
from liftjax.training.task import Metrics
from liftjax.writing import write_text


class Bad(NamedTuple):
    """A step with a result that is not finite."""

    step: int
    terms: dict[str, float]


class Window:
    """The steps since the last row of the log.

    Args:
      fetch: copies metrics to the host, waiting for the device.
      skipped: how many steps the run has skipped so far; None if a bad step ends the run.
    """

    def __init__(self, fetch: Callable[[list[Metrics]], list[dict]], skipped: int | None):
        self.skipped = skipped
        self._fetch = fetch
        self._clear()

    def _clear(self) -> None:
        self._running: list[tuple[int, Metrics]] = []
        self._values: list[tuple[int, dict[str, float]]] = []
        self._begun, self._waited = time.perf_counter(), 0.0

    def add(self, step: int, metrics: Metrics, waited: float) -> None:
        """Adds a step, which may still be running, and the seconds that the device waited."""
        self._running.append((step, metrics))
        self._waited += waited

    def leave_out(self, seconds: float) -> None:
        """Leaves time that was not spent on steps out of the rate."""
        self._begun += seconds

    def first_bad(self, closing: bool = False) -> Bad | None:
        """The first bad step, if it must end the run; waits for the device.

        Args:
          closing: whether the window is complete. If bad steps are skipped, only a complete window
            of bad steps ends the run.
        """
        self._bring_in()
        if self.skipped is not None:
            stuck = closing and all(values["skipped"] for _, values in self._values)
            if not stuck:
                return None
        for step, values in self._values:
            terms = {key: value for key, value in values.items() if not np.isfinite(value)}
            if terms:
                return Bad(step, terms)
        return None

    def _bring_in(self) -> None:
        """Fetches the metrics of running steps, waiting for them."""
        if not self._running:
            return
        steps, metrics = zip(*self._running, strict=True)
        fetched = [{k: float(v) for k, v in one.items()} for one in self._fetch(list(metrics))]
        self._values += zip(steps, fetched, strict=True)
        self._running = []
        if self.skipped is not None:
            self.skipped += sum(int(values["skipped"]) for values in fetched)

    def close(self, batch_size: int) -> dict[str, float]:
        """The row of the log: means of finite values, and the rate; then begins a new window."""
        values = [values for _, values in self._values if not values.get("skipped")]
        row = {}
        for key in values[0]:
            finite = [one[key] for one in values if np.isfinite(one[key])]
            row |= {key: float(np.mean(finite))} if finite else {}
        if self.skipped is not None:
            row["skipped"] = self.skipped
        seconds = time.perf_counter() - self._begun
        row["images_per_s"] = len(self._values) * batch_size / seconds
        row["data_wait"] = self._waited / seconds
        self._clear()
        return row


class Log:
    """metrics.csv and TensorBoard events of a run; resuming drops the rows after `start`.

    Args:
      workdir: the run directory.
      start: the step that the run continues from.
      active: whether this process writes; only the first one does.
    """

    def __init__(self, workdir: epath.Path, start: int, active: bool = True):
        self._workdir, self._path = workdir, workdir / "metrics.csv"
        self._start, self._active = start, active
        self._rows: dict[int, dict] = {}

    def __enter__(self) -> "Log":
        if self._active:
            if self._start and self._path.exists():
                self._rows = _rows_until(self._start, self._path)
            directory = str(self._workdir / "tensorboard")
            self._events = _summary_writer()(directory, purge_step=self._start + 1)
        return self

    def write(self, step: int, values: dict[str, float]) -> None:
        """Adds values to the row of a step. The whole file is replaced, so no row is ever cut."""
        if not self._active:
            return
        self._rows[step] = self._rows.get(step, {"step": step}) | values
        columns = list(dict.fromkeys(key for row in self._rows.values() for key in row))
        lines = [",".join(columns)]
        lines += [",".join(str(row.get(c, "")) for c in columns) for row in self._rows.values()]
        write_text(self._path, "\n".join(lines))
        for key, value in values.items():
            self._events.add_scalar(key, value, step)

    def __exit__(self, *exception) -> None:
        if self._active:
            self._events.close()


def _rows_until(step: int, path: epath.Path) -> dict[int, dict]:
    """The rows of the steps up to `step`."""
    try:
        rows = {int(row["step"]): row for row in csv.DictReader(path.read_text().splitlines())}
    except (ValueError, KeyError, TypeError):
        raise LiftjaxError(
            f"{path} was changed (a row has no step); move it away to continue."
        ) from None
    return {number: row for number, row in rows.items() if number <= step}


def summary(values: dict[str, float]) -> str:
    """The most important values of a row, for the progress bar."""
    shown = {"loss": "loss", "grad_ratio": "3D/2D grad", "mpjpe_mm": "mm"}
    parts = [f"{label} {values[key]:.4g}" for key, label in shown.items() if key in values]
    if values.get("skipped"):
        parts.append(f"{values['skipped']:.0f} steps skipped")
    parts.append(f"{values['images_per_s']:.0f} img/s")
    parts.append(f"{values['data_wait']:.0%} waiting for data")
    return ", ".join(parts)


def _summary_writer() -> type:
    """tensorboardX's SummaryWriter.

    tensorboardX imports PyTorch where it is installed, which takes seconds and is not needed here.
    """
    hidden = sys.modules.setdefault("torch", None) is None
    try:
        from tensorboardX import SummaryWriter
    finally:
        if hidden:
            del sys.modules["torch"]
    return SummaryWriter
