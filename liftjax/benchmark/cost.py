"""`benchmark cost`: what a guided training step asks of a machine, counted without running it.

The step is compiled for the machine at hand or, with `topology`, for TPUs that are not there, which
needs only the package libtpu. Memory is XLA's own account of the compiled program; arithmetic and
traffic are counted in the traced program, where loops have their true length.
"""

import os
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from liftjax.benchmark.problem import all_lifters, random_batch
from liftjax.benchmark.programs import program_bytes
from liftjax.benchmark.results import report
from liftjax.detectors.spec import DETECTOR_PRECISIONS
from liftjax.errors import LiftjaxError, check_name, first_line
from liftjax.nn.layers import rematerialise, synchronize
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
    precision: str = "float32",
    remat: bool = False,
    topology: str | None = None,
    step_seconds: float | None = None,
) -> dict:
    """Prints the account of the step; writes it to `out` (JSON) if given.

    Batch norm is synchronised, and all four lifters guide the detector, at the paper's size.

    Args:
      detector: name of the detector.
      batch_size: pictures on each device.
      out: file to write.
      precision: as in a recipe.
      remat: as in a recipe.
      topology: TPUs to compile for, such as "v5e:2x4"; None: the devices of this machine.
      step_seconds: time of a step, from which follow the pictures a second that hosts must read.
    """
    if batch_size < 1:
        raise LiftjaxError("--batch-size is a whole number of at least 1.")
    check_name("--precision", precision, DETECTOR_PRECISIONS)
    replicas = Replicas(_mesh(topology))
    module = create_detector(detector, skeleton="human36m", rngs=nnx.Rngs(0))
    synchronize(module, AXIS)
    if remat:
        rematerialise(module)
    problem = make_train_step(module, all_lifters(), options=GuidanceOptions(dtype=precision))
    arguments = _arguments(problem, module.spec, replicas, batch_size)
    step, device = replicas.map_step(problem.step), replicas.mesh.devices.flat[0]
    results = {
        "detector": detector,
        "image_size": module.spec.image_size,
        "batch_size_per_device": batch_size,
        "precision": precision,
        "remat": remat,
        "devices": f"{replicas.size} x {device.device_kind}",
        "topology": topology,
        "images_per_step": replicas.size * batch_size,
        "bytes": _bytes(problem, arguments[2], replicas.size),
        # As accelerators compute it, whatever the program is compiled for.
        "flops_per_device": 2 * multiply_adds(step, *arguments, platform="tpu"),
        "sent_per_device": _traffic(step, arguments, problem.state["params"]),
        "memory": _memory(step.lower(*arguments), device.platform),
        "versions": versions(),
    }
    if step_seconds:
        results["step_seconds"] = step_seconds
        results["images_per_s"] = results["images_per_step"] / step_seconds
    return report(results, format_results(results), out)


def _mesh(topology: str | None) -> Mesh:
    if topology is None:
        return Replicas.create().mesh
    from jax.experimental import topologies

    # No server knows about a machine that is not there.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    try:
        found = topologies.get_topology_desc(topology_name=topology, platform="tpu")
    except Exception as error:
        raise LiftjaxError(
            f"--topology {topology} cannot be compiled for ({first_line(error)}); it "
            "takes a name such as v5e:2x4 and the package libtpu (pip install 'jax[tpu]')."
        ) from error
    return Mesh(np.array(found.devices), (AXIS,))


def _arguments(problem: TrainStep, spec, replicas: Replicas, batch_size: int) -> tuple:
    """Shapes of what the step takes, as they are spread over the devices."""

    def shapes(tree: Any, where: PartitionSpec, rows: int | None = None):
        sharding = NamedSharding(replicas.mesh, where)

        def shape(array):
            array = jax.typeof(array)
            shape = array.shape if rows is None else (rows, *array.shape[1:])
            return jax.ShapeDtypeStruct(shape, array.dtype, sharding=sharding)

        return jax.tree.map(shape, tree)

    everywhere = PartitionSpec()
    return (
        shapes(problem.state, everywhere),
        shapes(problem.frozen, everywhere),
        shapes(random_batch(spec, 1), PartitionSpec(AXIS), batch_size * replicas.size),
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
        "batch": _size(batch) // devices,
    }


def _traffic(step, arguments: tuple, params: dict) -> dict[str, dict[str, int]]:
    """What a device sends to the others in a step: bytes, and how often before XLA combines."""
    sent = {"psum": np.zeros(2, int), "all_gather": np.zeros(2, int)}
    for name, size, times in collectives(step, *arguments):
        sent[name] += size * times, times
    gradients = np.array([_size(params), len(params)])
    traffic = {
        "gradients": gradients,
        "batch statistics": sent["psum"] - gradients,
        "losses and poses": sent["all_gather"],
    }
    return {
        purpose: {"bytes": int(size), "collectives": int(times)}
        for purpose, (size, times) in traffic.items()
    }


def _memory(lowered, platform: str) -> dict[str, int]:
    """XLA's account of the compiled program on one device, or its message if it does not fit."""
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return {"too large": str(error)}
    memory = compiled.memory_analysis()
    return {
        "arguments": memory.argument_size_in_bytes,
        "program": memory.generated_code_size_in_bytes,
        "peak": program_bytes(compiled, platform),
    }


def format_results(results: dict) -> str:
    """The account as text."""
    height, width = results["image_size"]
    flops, images = results["flops_per_device"], results["images_per_step"]
    rows = [[f"{name}, MiB", f"{size / _MiB:.1f}"] for name, size in results["bytes"].items()]
    rows.append(["arithmetic of a step, 10^12 FLOP", f"{flops / 1e12:.3f}"])
    rows += [
        [f"{name} to the others, MiB ({sent['collectives']} times)", f"{sent['bytes'] / _MiB:.2f}"]
        for name, sent in results["sent_per_device"].items()
    ]
    memory, fits = results["memory"], "too large" not in results["memory"]
    rows += [
        [f"memory of a step: {name}, MiB", f"{size / _MiB:.0f}"]
        for name, size in (memory.items() if fits else ())
    ]
    title = (
        f"Guided step of {results['detector']}, {height}x{width}, {results['precision']}"
        f"{', rematerialised' if results['remat'] else ''}, {results['batch_size_per_device']} "
        f"pictures a device, {images} in all, for {results['devices']}; each device"
    )
    text = f"{title}\n\n{text_table(['', 'each device'], rows)}"
    if not fits:
        text += f"\n\nIt does not fit: {first_line(memory['too large'])}"
    if "images_per_s" in results:
        text += (
            f"\n\nAt {results['step_seconds']} s a step the hosts read "
            f"{results['images_per_s']:.0f} pictures a second together."
        )
    return text
