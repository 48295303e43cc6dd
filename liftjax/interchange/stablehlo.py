"""Writes programs as StableHLO, which JAX and other readers of MLIR run without this package."""

from pathlib import Path

import jax
import numpy as np
from safetensors import numpy as safetensors

from liftjax.interchange import verify
from liftjax.interchange.programs import BATCH, Program

PLATFORMS = ("cpu", "cuda", "tpu")


def write(path: Path, program: Program, weights_path: Path | None = None) -> None:
    """Writes one file for all PLATFORMS and any batch; `jax.export.deserialize` reads it.

    Args:
      weights_path: where the weights go if they do not go into the program. The program then takes
        a dictionary of arrays before its inputs.
    """
    (size,) = jax.export.symbolic_shape(BATCH)
    inputs = [port.struct({BATCH: size}) for port in program.inputs]
    if weights_path is None:
        weights, function = program.weights, program.function
        exported = _export(lambda *inputs: function(weights, *inputs), inputs)
    else:
        arrays = {name: np.asarray(value, order="C") for name, value in program.weights.items()}
        weights_path.write_bytes(safetensors.save(arrays))
        exported = _export(program.function, [program.weights, *inputs])
    path.write_bytes(exported.serialize())


def _export(function, inputs) -> jax.export.Exported:
    return jax.export.export(jax.jit(function), platforms=PLATFORMS)(*inputs)


def check(path: Path, program: Program, weights_path: Path | None = None) -> verify.Check:
    """Runs the file on this machine's platform beside the program; see `verify.compare`."""
    exported = jax.export.deserialize(path.read_bytes())
    run = jax.jit(exported.call)
    before = () if weights_path is None else (safetensors.load(weights_path.read_bytes()),)

    def call(inputs):
        return [np.asarray(value) for value in run(*before, *inputs)]

    return verify.compare(program, call, f"jax.export on {jax.default_backend()}")


def how_to_run(path: str, program: Program, weights_path: str | None = None) -> list[str]:
    """Lines of Python that run the file at `path`."""
    inputs = [port.name for port in program.inputs]
    lines = ["import pathlib, jax, jax.export"]
    if weights_path:
        inputs = ["weights", *inputs]
        lines.append("import safetensors.numpy")
        lines.append(f"weights = safetensors.numpy.load_file({weights_path!r})")
    return [
        *lines,
        f"exported = jax.export.deserialize(pathlib.Path({path!r}).read_bytes())",
        f"{program.results} = jax.jit(exported.call)({', '.join(inputs)})",
    ]
