"""`benchmark step`: every stage of a training step beside PyTorch, as times and ratios.

The stages of one detector, batch size and precision are a *cell*: liftjax's and PyTorch's are
prepared one after the other and then timed in turn. Results are written after every cell, and
before PyTorch has compiled, so that a run that is cut off leaves what it had.
"""

import dataclasses
import functools
import gc
import itertools
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import nnx

from liftjax.benchmark import machine, maps, peaks, stages
from liftjax.benchmark.problem import LIFTERS, PEERS, all_lifters, random_batch
from liftjax.benchmark.results import report, write_results
from liftjax.benchmark.step_tables import format_results
from liftjax.benchmark.timing import Comparison
from liftjax.detectors.spec import DETECTOR_PRECISIONS
from liftjax.errors import LiftjaxError, check_name
from liftjax.registry import create_detector, get_preset
from liftjax.runtime.run_directory import source_revision, versions

_FIRST_LOOK = 2  # turns before PyTorch has compiled


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """What is measured. None stands for what suits the platform, see :func:`defaults`.

    Attributes:
      detectors, batch_sizes, precisions: a cell for each combination.
      peers: PyTorch trainers beside ours, "tuned" and "released", or "none".
      lifters: a training step is timed for each of these numbers of lifters; 0 is FT-2D.
      frames: with more than one, the step through most lifters is also timed with VideoPose3D and
        MixSTE of so many frames.
      map_batch_sizes: soft-argmax alone is timed on so many maps; with 0 it is not.
      repeats: turns of every stage.
      calls: calls in a turn, which is waited for at its end.
      time_limit: seconds after which nothing new is begun.
      image_size: (height, width), for trials; None: the detector's own.
    """

    detectors: Sequence[str] | None = None
    batch_sizes: Sequence[int] | None = None
    precisions: Sequence[str] | None = None
    peers: Sequence[str] | None = None
    lifters: Sequence[int] = (0, 1, 4)
    frames: int = 1
    map_batch_sizes: Sequence[int] | None = None
    repeats: int = 10
    calls: int | None = None
    time_limit: float | None = None
    image_size: tuple[int, int] | None = None

    def checked(self) -> "StepOptions":
        """With the defaults filled in.

        Raises:
          LiftjaxError: a name is unknown, a number is out of range, or PyTorch is missing.
        """
        given = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        options = StepOptions(**(defaults(peaks.on_accelerator()) | given))
        for name in options.detectors:
            get_preset("detector", name)
        for name in options.precisions:
            check_name("--precision", name, DETECTOR_PRECISIONS)
        for name in options.peers:
            check_name("--peer", name, (*PEERS, "none"))
        if min(*options.batch_sizes, options.repeats, options.calls) < 1:
            raise LiftjaxError(
                "--batch-size, --repeats and --calls are whole numbers of at least 1."
            )
        if options.frames < 1:
            raise LiftjaxError("--frames is at least 1.")
        if min(*options.lifters, *options.map_batch_sizes) < 0:
            raise LiftjaxError("--lifters and --map-batch-size are at least 0.")
        if max(options.lifters) > len(LIFTERS):
            raise LiftjaxError(f"--lifters {max(options.lifters)}: there are {len(LIFTERS)}.")
        peers = tuple(way for way in options.peers if way != "none")
        if peers and not stages.torch_installed():
            raise LiftjaxError("--peer needs PyTorch: pip install torch, or give --peer none.")
        return dataclasses.replace(options, peers=peers)


def defaults(accelerator: bool) -> dict[str, Any]:
    """What is measured on an accelerator or a CPU, unless the user chooses something else."""
    larger = ("rtmpose_l", "dwpose_l") if accelerator else ()
    return {
        "detectors": ("hrnet_w32", "rtmpose_m", *larger),
        "batch_sizes": (64, 256) if accelerator else (4,),
        "precisions": ("bfloat16", "float32") if accelerator else ("float32",),
        "peers": ("tuned",) if stages.torch_installed() else ("none",),
        # The smaller as in training; the larger does not fit into any cache.
        "map_batch_sizes": (64, 1024) if accelerator else (64,),
        "calls": 10 if accelerator else 1,
    }


def time_steps(options: StepOptions, out: str | None = None) -> dict:
    """Prints the tables; writes them with machine, versions and flags to `out` (JSON) if given.

    If `out` is a directory, the file there is named after the machine and the precisions.

    Raises:
      LiftjaxError: see `StepOptions.checked`.
    """
    options = options.checked()
    if out and (out.endswith(os.sep) or os.path.isdir(out)):
        out = os.path.join(out, machine.file_name("step", list(options.precisions)))
    run = _Run(options, out)
    for tasks in (run.map_tasks(), run.cell_tasks()):
        begun = run.spent
        for done, (name, task) in enumerate(tasks.items()):
            if run.late():
                run.results["not_begun"].append(name)
                continue
            left = (len(tasks) - done) * (run.spent - begun) / max(done, 1)
            run.where = f"{name} ({done + 1} of {len(tasks)}{f', {left:.0f} s left' * (done > 0)})"
            run.say("")
            task()
            write_results(run.results, out)
    run.say("done")
    return report(run.results, format_results(run.results), out)


class _Run:
    """The results so far, and the clock."""

    def __init__(self, options: StepOptions, out: str | None):
        self.options, self.out = options, out
        self.begun = time.monotonic()
        self.lifters: list[nnx.Module] = []
        self.video_lifters: list[nnx.Module] = []
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

    def cell_tasks(self) -> dict[str, Callable[[], None]]:
        options = self.options
        cells = itertools.product(options.detectors, options.batch_sizes, options.precisions)
        return {
            f"{name}, batch {size}, {precision}": functools.partial(
                self.time_cell, name, size, precision
            )
            for name, size, precision in cells
        }

    def map_tasks(self) -> dict[str, Callable[[], None]]:
        """A task for each different shape of the detectors' outputs."""
        tasks = {}
        for name, size in itertools.product(self.options.detectors, self.options.map_batch_sizes):
            if size:
                module = nnx.eval_shape(functools.partial(self.detector, name))
                shape = maps.Maps.of(module.spec, size)
                tasks[f"maps {shape.shape}"] = functools.partial(self.time_maps, shape)
        return tasks

    def detector(self, name: str) -> nnx.Module:
        size = {"image_size": self.options.image_size} if self.options.image_size else {}
        # The joints that the lifters take.
        return create_detector(name, skeleton="human36m", rngs=nnx.Rngs(0), **size)

    def time_maps(self, shape: maps.Maps) -> None:
        measured = self.results["peaks"]
        if measured["copy_bytes_per_s"] is None:
            measured["copy_bytes_per_s"] = peaks.copy_bytes_per_s()
        found = Comparison(self.late)
        found.prepare(maps.map_candidates(shape, with_torch=bool(self.options.peers)))
        found.time(self.options.repeats, self.options.calls)
        maps.compare_maps(found, shape, measured["copy_bytes_per_s"])
        about = {"kind": shape.kind, "shape": shape.shape, "bytes": shape.bytes}
        self.results["maps"].append(about | {"rows": list(found.rows.values())})

    def time_cell(self, name: str, batch_size: int, precision: str) -> None:
        options, matmul = self.options, self.results["peaks"]["matmul"]
        for used in {precision, *(["float32"] if "released" in options.peers else [])}:
            if used not in matmul:
                matmul[used] = peaks.matmul_flops(used)
        module = self.detector(name)
        if len(self.lifters) < max(options.lifters):
            self.lifters = all_lifters()
        batch = random_batch(module.spec, batch_size)
        if options.frames > 1 and not self.video_lifters:
            self.video_lifters = all_lifters(options.frames)
        given = stages.Cell(
            module, self.lifters, options.lifters, batch, precision, self.video_lifters
        )
        cell = {
            "detector": name,
            "image_size": module.spec.image_size,
            "batch_size": batch_size,
            "precision": precision,
        }
        self.results["cells"].append(cell)
        found = Comparison(self.late, self.say)

        def measure(repeats: int) -> None:
            self.say(f"timing {len(found.calls)} stages, {repeats} turns of each")
            found.time(repeats, options.calls)
            stages.compare_stages(found, batch_size, matmul, precision)
            held = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
            cell.update({"device_peak_bytes": held} if held else {})
            cell["rows"] = sorted(found.rows.values(), key=_order)
            write_results(self.results, self.out)

        found.prepare(stages.liftjax_candidates(given))
        measure(_FIRST_LOOK if options.peers else options.repeats)
        for way in options.peers:
            found.prepare(stages.peer_candidates(way, given))
        if options.peers:
            measure(options.repeats)
        found.calls.clear()
        _free()


def _order(row: dict) -> tuple:
    """By stage as it comes in a step, our way first."""
    begins = ["decode", "host", "forward", "FT-2D", "guided"]
    place = next(i for i, begin in enumerate(begins) if row["stage"].startswith(begin))
    return place, row["stage"], row["way"] != stages.LIFTJAX, row["way"]


def _free() -> None:
    """Releases what the last cell has held on the device."""
    jax.clear_caches()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
