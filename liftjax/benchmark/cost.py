"""`benchmark cost`: what a guided training step asks of a machine, counted without running it.

The step is compiled for the machine at hand or, with `topology`, for TPUs or GPUs that are not
there. Memory is XLA's own account of the compiled program. Arithmetic and what devices send are
counted in the traced program, where loops have their true length. Of a `topology`, the compiled
program is read too: what it launches, what that moves, how long it should take (`account`).
"""

import json
import time
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from liftjax.benchmark import chips
from liftjax.benchmark.account import account
from liftjax.benchmark.problem import LIFTERS, all_lifters, random_batch, with_surroundings
from liftjax.benchmark.programs import program_bytes
from liftjax.benchmark.results import report
from liftjax.detectors.spec import DETECTOR_PRECISIONS
from liftjax.errors import LiftjaxError, check_name, first_line
from liftjax.nn.layers import compile_for, rematerialise, synchronize
from liftjax.nn.operations import collectives, multiply_adds
from liftjax.registry import create_detector
from liftjax.runtime.replicas import AXIS, Replicas
from liftjax.runtime.run_directory import versions
from liftjax.tables import text_table
from liftjax.training.detector_step import GuidanceOptions, make_train_step
from liftjax.training.update import TrainStep

_MiB = 2**20


def count_cost(
    detector: str,
    batch_size: int,
    out: str | None = None,
    *,
    lifters: int = len(LIFTERS),
    frames: int = 1,
    window_frames: int = 1,
    precision: str = "float32",
    remat: bool = False,
    topology: str | None = None,
    step_seconds: float | None = None,
    compare: str | None = None,
    image_size: tuple[int, int] | None = None,
) -> dict:
    """Prints the account of the step; writes it to `out` (JSON) if given.

    Batch norm is synchronised. The lifters have the paper's size.

    Args:
      detector: name of the detector.
      batch_size: pictures on each device.
      out: file to write.
      lifters: how many of the paper's lifters guide the detector; 0: none, FT-2D.
      frames: how many VideoPose3D and MixSTE see.
      window_frames: how many of them run through the detector with a gradient.
      precision: as in a recipe.
      remat: as in a recipe.
      topology: devices to compile for, such as "v5e:2x4" or "h200"; None: those of this machine.
      step_seconds: time of a step, from which follow the pictures a second that hosts must read.
      compare: file of an earlier account, to print beside this one.
      image_size: (height, width) of the crops; None: the detector's own.
    """
    if batch_size < 1:
        raise LiftjaxError("--batch-size is a whole number of at least 1.")
    if not 0 <= lifters <= len(LIFTERS):
        raise LiftjaxError(f"--lifters {lifters}: there are {len(LIFTERS)}.")
    if frames < 1 or window_frames < 1 or window_frames % 2 == 0:
        raise LiftjaxError("--frames is at least 1, and --window-frames an odd number.")
    check_name("--precision", precision, DETECTOR_PRECISIONS)
    before = json.loads(Path(compare).read_text()) if compare else None
    chip = None if topology is None else chips.find_chip(topology)
    replicas = Replicas.create() if chip is None else Replicas(chips.mesh(topology, AXIS))
    device = replicas.mesh.devices.flat[0]

    def training_step(platform):
        size = {"image_size": image_size} if image_size else {}
        module = create_detector(detector, skeleton="human36m", rngs=nnx.Rngs(0), **size)
        synchronize(module, AXIS)
        compile_for(module, platform)
        if remat:
            rematerialise(module)
        options = GuidanceOptions(dtype=precision)
        guides = all_lifters(frames)[:lifters]
        batch = random_batch(module.spec, batch_size)
        batch, records = with_surroundings(batch, guides, window_frames)
        if not records and (frames, window_frames) != (1, 1):
            raise LiftjaxError(
                f"None of {lifters} lifters sees several frames; --frames and --window-frames need "
                "--lifters 2 or more, and --frames above 1."
            )
        problem = make_train_step(module, guides, options=options, num_records=records)
        arguments = _arguments(problem, batch, replicas)
        return module.spec, problem, replicas.map_step(problem.step), arguments

    spec, problem, step, arguments = training_step(device.platform)
    # Of the network as it is written: accelerators multiply with zeros where that is faster.
    as_written = step if device.platform == "cpu" else training_step("cpu")[2]
    flops = 2 * multiply_adds(as_written, *arguments)
    results = {
        "detector": detector,
        "lifters": lifters,
        "frames": frames,
        "window_frames": window_frames,
        "image_size": spec.image_size,
        "batch_size_per_device": batch_size,
        "precision": precision,
        "remat": remat,
        "devices": f"{replicas.size} x {device.device_kind}",
        "topology": topology,
        "images_per_step": replicas.size * batch_size,
        "bytes": _bytes(problem, arguments[2], replicas.size),
        "flops_per_device": flops,
        "sent_per_device": _traffic(step, arguments),
        **_compiled(step.lower(*arguments), device.platform, chip, flops),
        "versions": versions(),
    }
    if step_seconds:
        results["step_seconds"] = step_seconds
        results["images_per_s"] = results["images_per_step"] / step_seconds
    return report(results, format_results(results, before), out)


def _arguments(problem: TrainStep, batch: dict, replicas: Replicas) -> tuple:
    """Shapes of what the step takes, as they are spread over the devices.

    Args:
      problem: the step.
      batch: of one device.
      replicas: the devices.
    """

    def shapes(tree: Any, where: PartitionSpec, times: int = 1):
        sharding = NamedSharding(replicas.mesh, where)

        def shape(array):
            array = jax.typeof(array)
            shape = array.shape if times == 1 else (array.shape[0] * times, *array.shape[1:])
            return jax.ShapeDtypeStruct(shape, array.dtype, sharding=sharding)

        return jax.tree.map(shape, tree)

    everywhere = PartitionSpec()
    return (
        shapes(problem.state, everywhere),
        shapes(problem.frozen, everywhere),
        shapes(batch, PartitionSpec(AXIS), replicas.size),
        shapes(problem.hyper, everywhere),
    )


def _size(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _bytes(problem: TrainStep, batch: dict, devices: int) -> dict[str, int]:
    """Bytes on each device: what lasts from step to step, and its rows of a batch."""
    return {
        "parameters": _size(problem.state["params"]),
        "running statistics": _size(problem.state["others"]),
        "optimizer": _size(problem.state["opt"]),
        "lifters": _size(problem.frozen),
        "found keypoints": _size(problem.state.get("found_px", ())),
        "batch": _size(batch) // devices,
    }


def _traffic(step, arguments: tuple) -> dict[str, dict[str, int]]:
    """What a device sends to the others in a step: bytes, and how often before XLA combines."""
    traffic = {
        purpose: {"bytes": 0, "collectives": 0}
        for purpose in ("gradients", "batch statistics", "losses and poses")
    }
    for _, scope, size, times in collectives(step, *arguments):
        purpose = "losses and poses"
        if "detector" in scope:
            purpose = "batch statistics"
        elif "gradients" in scope:
            purpose = "gradients"
        traffic[purpose]["bytes"] += size * times
        traffic[purpose]["collectives"] += times
    return traffic


def _compiled(lowered, platform: str, chip: chips.Chip | None, flops: int) -> dict:
    """The memory of the compiled program on one device, and of a `chip` the account of it.

    A program that does not fit has XLA's message instead.
    """
    begun = time.perf_counter()
    try:
        compiled = lowered.compile(chip and chips.compiler_options(chip))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return {"memory": {"too large": str(error)}}
    facts = {"compile_s": time.perf_counter() - begun}
    memory = compiled.memory_analysis()
    facts["memory"] = {
        "arguments": memory.argument_size_in_bytes,
        "program": memory.generated_code_size_in_bytes,
        "peak": program_bytes(compiled, platform),
    }
    if chip:
        facts["program"] = account(compiled.as_text(), chip, flops)
    return facts


def format_results(results: dict, before: dict | None = None) -> str:
    """The account as text, with that of an earlier file beside it if there is one."""
    rows = _rows(results)
    columns = [rows] if before is None else [_rows(before), rows]
    names = list(dict.fromkeys(name for column in columns for name in column))
    table = [[name, *(column.get(name, "") for column in columns)] for name in names]
    head = [""] + ([] if before is None else ["before"]) + ["each device"]
    text = f"{_title(results)}\n\n{text_table(head, table)}"
    if "program" in results:
        for group in ("kinds", "layers"):
            text += f"\n\n{_group_table(group, results, before)}"
        text += f"\n\n{_MEANING[results['topology'][0] == 'v']}"
    if "too large" in results["memory"]:
        text += f"\n\nIt does not fit: {first_line(results['memory']['too large'])}"
    if "images_per_s" in results:
        text += (
            f"\n\nAt {results['step_seconds']} s a step the hosts read "
            f"{results['images_per_s']:.0f} pictures a second together."
        )
    return text


_MEANING = {
    True: "Times are the compiler's model of the chip, not measured. They leave out what runs "
    "beside the core: copies between its memories, and what devices send to each other.",
    False: "Times are computed, not measured: each launch takes its memory traffic or its "
    "arithmetic, whichever is longer, and 2 us. Caches, overlap, and what XLA would choose by "
    "timing kernels on a real GPU are left out.",
}


def _title(results: dict) -> str:
    height, width = results["image_size"]
    lifters, frames = results["lifters"], results["frames"]
    step = f"Step through {lifters} lifters" if lifters else "FT-2D step"
    step += f" of up to {frames} frames" if frames > 1 else ""
    step += f", {results['window_frames']} with a gradient" if results["window_frames"] > 1 else ""
    return (
        f"{step} of {results['detector']}, {height}x{width}, {results['precision']}"
        f"{', rematerialised' if results['remat'] else ''}, {results['batch_size_per_device']} "
        f"pictures a device, {results['images_per_step']} in all, for {results['devices']}"
    )


def _rows(results: dict) -> dict[str, str]:
    """Name -> figure of each device."""
    rows = {f"{name}, MiB": f"{size / _MiB:.1f}" for name, size in results["bytes"].items()}
    rows["arithmetic of a step, 10^12 FLOP"] = f"{results['flops_per_device'] / 1e12:.3f}"
    for name, sent in results["sent_per_device"].items():
        rows[f"{name} to the others, MiB ({sent['collectives']} times)"] = (
            f"{sent['bytes'] / _MiB:.2f}"
        )
    memory = results["memory"]
    if "too large" not in memory:
        rows |= {f"memory of a step: {k}, MiB": f"{size / _MiB:.0f}" for k, size in memory.items()}
    if "compile_s" in results:
        rows["seconds to compile"] = f"{results['compile_s']:.0f}"
    if "program" in results:
        program = results["program"]
        rows |= {
            "predicted time, ms": f"{1e3 * program['seconds']:.1f}",
            "predicted time of a picture, ms": (
                f"{1e3 * program['seconds'] / results['batch_size_per_device']:.3f}"
            ),
            "share of the peak": f"{program['share_of_peak']:.1%}",
            "launches": f"{program['launches']}",
            "bytes moved, GiB": f"{program['bytes'] / 2**30:.1f}",
        }
    return rows


_SHOWN = 24  # lines of a table


def _group_table(group: str, results: dict, before: dict | None) -> str:
    """Time, bytes and launches by kind of operation, or by layer."""
    programs = [file["program"] for file in (before, results) if file and "program" in file]
    names = dict.fromkeys(name for program in reversed(programs) for name in program[group])

    def cells(figures: dict | None) -> list[str]:
        if figures is None:
            return ["", "", ""]
        return [
            f"{1e3 * figures['seconds']:.2f}",
            f"{figures['bytes'] / 2**30:.2f}",
            f"{figures['launches']}",
        ]

    body = [
        [name, *(cell for program in programs for cell in cells(program[group].get(name)))]
        for name in names
    ]
    head = ["ms", "GiB", "launches"]
    if len(programs) > 1:
        head = [f"{name} {when}" for when in ("before", "now") for name in head]
    return text_table([{"kinds": "operations", "layers": "layer"}[group], *head], body[:_SHOWN])
