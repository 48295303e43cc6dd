"""`benchmark`: every stage of a training step, beside PyTorch, in one run, as times and ratios.

A *cell* is a detector, a batch size and a precision. Its stages, liftjax's and PyTorch's, are
prepared one after the other and then timed in turn. Results are written after every cell, and
before PyTorch has compiled: a run that is cut off leaves what it had.
"""

import dataclasses
import gc
import itertools
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import nnx

from liftjax.benchmark import cells, machine, maps, peaks, peer
from liftjax.benchmark.problem import all_lifters, random_batch
from liftjax.benchmark.results import report, write
from liftjax.benchmark.stages import liftjax_candidates
from liftjax.benchmark.step_tables import format_results
from liftjax.errors import LiftjaxError, unknown_name
from liftjax.registry import create_detector, get_preset, list_lifters
from liftjax.runtime.run_directory import source_revision, versions

PRECISIONS = ("float32", "bfloat16")
PEERS = (*peer.WAYS, "none")
_FIRST_LOOK = 2  # turns before PyTorch has compiled


@dataclasses.dataclass(frozen=True)
class Options:
    """What is measured; None stands for what suits the platform, see :func:`defaults`.

    Attributes:
      detectors, batch_sizes, precisions: a cell for each combination.
      peers: PyTorch trainers beside ours: "tuned", "released"; "none".
      lifters: a training step for each of these counts; 0: FT-2D.
      map_batch_sizes: of the maps that soft-argmax is measured on; 0: none.
      repeats: turns of every stage. calls: in a turn, waited for at its end.
      time_limit: seconds after which nothing new is begun.
      image_size: (height, width), for trials; None: the detector's own.
    """

    detectors: Sequence[str] | None = None
    batch_sizes: Sequence[int] | None = None
    precisions: Sequence[str] | None = None
    peers: Sequence[str] | None = None
    lifters: Sequence[int] = (0, 1, 4)
    map_batch_sizes: Sequence[int] | None = None
    repeats: int = 10
    calls: int | None = None
    time_limit: float | None = None
    image_size: tuple[int, int] | None = None

    def checked(self) -> "Options":
        """With the defaults filled in.

        Raises:
          LiftjaxError: a name or a number that cannot be.
        """
        given = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        options = Options(**(defaults(peaks.on_accelerator()) | given))
        for name in options.detectors:
            get_preset("detector", name)
        for kind, names, known in (
            ("--precision", options.precisions, PRECISIONS),
            ("--peer", options.peers, PEERS),
        ):
            for name in names:
                if name not in known:
                    raise unknown_name(kind, name, known)
        if min(*options.batch_sizes, options.repeats, options.calls) < 1:
            raise LiftjaxError(
                "--batch-size, --repeats and --calls are whole numbers of at least 1."
            )
        if min(options.lifters) < 0 or min(options.map_batch_sizes) < 0:
            raise LiftjaxError("--lifters and --map-batch-size are at least 0.")
        there = len(list_lifters())
        if max(options.lifters) > there:
            raise LiftjaxError(f"--lifters {max(options.lifters)}: there are {there}.")
        peers = tuple(way for way in options.peers if way != "none")
        if peers and not peer.installed():
            raise LiftjaxError("--peer needs PyTorch: pip install torch, or give --peer none.")
        return dataclasses.replace(options, peers=peers)


def defaults(accelerator: bool) -> dict[str, Any]:
    """What is measured where nothing is said."""
    peers = ("tuned",) if peer.installed() else ("none",)
    if not accelerator:
        return {
            "detectors": ("hrnet_w32", "rtmpose_m"),
            "batch_sizes": (4,),
            "precisions": ("float32",),
            "peers": peers,
            "map_batch_sizes": (64,),
            "calls": 1,
        }
    return {
        "detectors": ("hrnet_w32", "rtmpose_m", "rtmpose_l", "dwpose_l"),
        "batch_sizes": (64, 256),
        "precisions": ("bfloat16", "float32"),
        "peers": peers,
        # The smaller as in training; the larger does not fit into any cache.
        "map_batch_sizes": (64, 1024),
        "calls": 10,
    }


def run(options: Options, out: str | None = None) -> dict:
    """Prints the tables; writes them with machine, versions and flags to `out` (JSON) if given.

    A directory as `out` gets a file named after the machine and the precisions.

    Raises:
      LiftjaxError: options that cannot be.
    """
    options = options.checked()
    if out and (out.endswith(os.sep) or os.path.isdir(out)):
        out = os.path.join(out, machine.file_name("step", list(options.precisions)))
    run = _Run(options, out)
    for tasks in (run.map_tasks(), run.cell_tasks()):
        begun = run.spent
        for done, (name, task) in enumerate(tasks):
            if run.late():
                run.results["not_begun"].append(name)
                continue
            left = (len(tasks) - done) * (run.spent - begun) / max(done, 1)
            run.where = f"{name} ({done + 1} of {len(tasks)}{f', {left:.0f} s left' * (done > 0)})"
            run.say("")
            task()
            write(run.results, out)
    run.say("done")
    return report(run.results, format_results(run.results), out)


class _Run:
    """The results so far, and the clock."""

    def __init__(self, options: Options, out: str | None):
        self.options, self.out = options, out
        self.begun = time.monotonic()
        self.lifters: list[nnx.Module] = []
        self.where = ""
        self.results: dict[str, Any] = {
            "machine": machine.describe(),
            "versions": versions(),
            "torch": machine.torch_versions(),
            "source": source_revision(),
            "environment": machine.environment(),
            "options": dataclasses.asdict(options),
            "peaks": {"matmul": {}, "copy_bytes_per_s": None},
            "maps": [],
            "cells": [],
            "not_begun": [],
        }

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.begun

    def late(self) -> bool:
        limit = self.options.time_limit
        return limit is not None and self.spent >= limit

    def say(self, what: str) -> None:
        text = f"[{self.spent:5.0f} s] {self.where}{': ' * bool(what)}{what}"
        print(text, file=sys.stderr, flush=True)

    def cell_tasks(self) -> list[tuple[str, Callable[[], None]]]:
        options = self.options
        names = itertools.product(options.detectors, options.batch_sizes, options.precisions)
        return [
            (f"{d}, batch {b}, {p}", lambda d=d, b=b, p=p: self.cell(d, b, p)) for d, b, p in names
        ]

    def map_tasks(self) -> list[tuple[str, Callable[[], None]]]:
        """One for each different shape of the detectors' outputs."""
        shapes = {}
        for name, size in itertools.product(self.options.detectors, self.options.map_batch_sizes):
            if size:
                module = nnx.eval_shape(lambda name=name: self.detector(name))
                shapes[maps.Maps.of(module.spec, size)] = None
        return [(f"maps {m.shape}", lambda m=m: self.maps(m)) for m in shapes]

    def detector(self, name: str) -> nnx.Module:
        size = {"image_size": self.options.image_size} if self.options.image_size else {}
        # The joints that the lifters take.
        return create_detector(name, skeleton="human36m", rngs=nnx.Rngs(0), **size)

    def maps(self, shape: maps.Maps) -> None:
        measured = self.results["peaks"]
        if measured["copy_bytes_per_s"] is None:
            measured["copy_bytes_per_s"] = peaks.copy_bytes_per_s()
        with_torch = bool(self.options.peers)
        calls, rows = cells.prepare(maps.candidates(shape, with_torch), self.late)
        cells.time_rows(calls, rows, self.options.repeats, self.options.calls)

        def moved(stage: str) -> int:
            return shape.bytes * maps.PASSES[stage.rpartition(": ")[2]]

        cells.compare_maps(rows, moved, measured["copy_bytes_per_s"], maps.EAGER)
        found = {"kind": shape.kind, "shape": shape.shape, "bytes": shape.bytes}
        self.results["maps"].append(found | {"rows": list(rows.values())})

    def peak(self, precision: str) -> None:
        known = self.results["peaks"]["matmul"]
        if precision not in known:
            known[precision] = peaks.matmul_flops(precision)

    def cell(self, name: str, batch_size: int, precision: str) -> None:
        options = self.options
        for used in {precision, *(["float32"] if "released" in options.peers else [])}:
            self.peak(used)
        module = self.detector(name)
        if len(self.lifters) < max(options.lifters):
            self.lifters = all_lifters()
        batch = random_batch(module.spec, batch_size)
        given = (module, self.lifters, options.lifters, batch, precision)
        cell = {
            "detector": name,
            "image_size": module.spec.image_size,
            "batch_size": batch_size,
            "precision": precision,
        }
        self.results["cells"].append(cell)
        calls, rows = cells.prepare(liftjax_candidates(*given), self.late, self.say)

        def measure(repeats: int) -> None:
            self.say(f"timing {len(calls)} stages, {repeats} turns of each")
            cells.time_rows(calls, rows, repeats, options.calls)
            known = self.results["peaks"]["matmul"]
            cells.compare_training(rows, batch_size, known, precision)
            held = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
            cell.update({"device_peak_bytes": held} if held else {})
            cell["rows"] = sorted(rows.values(), key=_order)
            write(self.results, self.out)

        measure(_FIRST_LOOK if options.peers else options.repeats)
        for way in options.peers:
            more = cells.prepare(peer.peer_candidates(way, *given), self.late, self.say)
            calls |= more[0]
            rows |= more[1]
        if options.peers:
            measure(options.repeats)
        calls.clear()
        _free()


def _order(row: dict) -> tuple:
    """By stage as it comes in a step, our way first."""
    stages = ["decode", "host", "forward", "FT-2D", "guided"]
    return (
        next(i for i, s in enumerate(stages) if row["stage"].startswith(s)),
        row["stage"],
        row["way"] != "liftjax",
        row["way"],
    )


def _free() -> None:
    """Lets go of what the last cell has held on the device."""
    jax.clear_caches()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
