"""What a run says of its steps: means over a few of them, in metrics.csv and for TensorBoard."""

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
    """A step with results that are not finite."""

    step: int
    terms: dict[str, float]


class Window:
    """The steps since the last row of the log.

    Args:
      fetch: brings metrics to the host; it waits for the device.
      skipped: steps skipped in the run so far, where steps with a bad result are skipped; None
        where such a step ends the run.
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
        """Notes a step that the device may still be at, and the seconds that it had to wait."""
        self._running.append((step, metrics))
        self._waited += waited

    def leave_out(self, seconds: float) -> None:
        """Takes time out of the rate that was spent on something else than steps."""
        self._begun += seconds

    def first_bad(self, closing: bool = False) -> Bad | None:
        """The first step that the run must not go on from; waits for the device.

        Args:
          closing: the window is complete. Where bad steps are skipped, a window of nothing else
            ends the run.
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
        """Waits for the steps that the device was still at."""
        if not self._running:
            return
        steps, metrics = zip(*self._running, strict=True)
        fetched = [{k: float(v) for k, v in one.items()} for one in self._fetch(list(metrics))]
        self._values += zip(steps, fetched, strict=True)
        self._running = []
        if self.skipped is not None:
            self.skipped += sum(int(values["skipped"]) for values in fetched)

    def close(self, batch_size: int) -> dict[str, float]:
        """The row of these steps: means of what is finite, and the rate; begins the next window."""
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
    """metrics.csv and TensorBoard events of a run; rows after a resumed step are dropped.

    Args:
      start: the step that the run goes on from.
      active: False where another process writes them.
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
        """Adds to the row of a step; the file is rewritten whole, and so never half a row."""
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
            f"{path} is not as it was written (a row has no step); move it away to go on."
        ) from None
    return {number: row for number, row in rows.items() if number <= step}


def summary(values: dict[str, float]) -> str:
    """A row in a few words, for the progress bar."""
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
