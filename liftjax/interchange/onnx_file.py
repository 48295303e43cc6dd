"""Writes programs as ONNX, through jax2onnx and onnxruntime."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

import liftjax
from liftjax.errors import LiftjaxError, needs
from liftjax.interchange import verify
from liftjax.interchange.plain import inlined
from liftjax.interchange.programs import BATCH, Program

OPSET = 18
LEAST_OPSET = 18  # jax2onnx gives reductions their axes in the form of this opset


def write(path: Path, program: Program, name: str, opset: int = OPSET) -> None:
    """Writes the program with its weights, named inputs and outputs and a free batch.

    Raises:
      LiftjaxError: jax2onnx is not installed, or has no form for an operation.
    """
    to_onnx = _jax2onnx().to_onnx
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if not LEAST_OPSET <= opset <= newest:
        raise LiftjaxError(f"--opset {opset}: {LEAST_OPSET} to {newest} can be written here.")
    from liftjax.interchange import onnx_graph

    (size,) = jax.export.symbolic_shape(BATCH)
    inputs = [port.struct({BATCH: size}) for port in program.inputs]
    function = inlined(program.function, program.weights, inputs)
    try:
        with _quiet():
            model = to_onnx(
                function,
                inputs=inputs,
                model_name=name,
                opset=opset,
                input_names=[port.name for port in program.inputs],
                output_names=[port.name for port in program.outputs],
            )
    except Exception as error:  # whatever its plugins raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LiftjaxError(f"jax2onnx cannot write this network: {reason}") from error
    onnx_graph.tidy(model)
    _optimize(model, path)
    model = onnx.load(path)
    for port, value in zip(program.outputs, model.graph.output, strict=True):
        onnx_graph.name_sizes(value, port.shape)
    del model.graph.value_info[:]  # onnxruntime has made up letters
    del model.opset_import[:]  # all that onnxruntime knows
    model.opset_import.append(onnx.helper.make_opsetid("", opset))
    # For older runtimes too.
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
    model.producer_name, model.producer_version = "liftjax", liftjax.__version__
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _optimize(model, path: Path) -> None:
    """Writes the graph to `path` after the changes that serve every runtime.

    They are those of onnxruntime's level "basic": batch norms in the weights of convolutions,
    constants computed, transpositions that meet removed. The operations stay those of ONNX.
    """
    _session(model.SerializeToString(), optimized=path)


def _session(model: bytes | Path, optimized: Path | None = None):
    """An onnxruntime session; writes the graph after the basic changes to `optimized`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def check(path: Path, program: Program) -> verify.Check:
    """Runs the file in onnxruntime beside the program; see `verify.compare`."""
    import onnxruntime

    session = _session(path)
    names = [port.name for port in program.inputs]
    outputs = [port.name for port in program.outputs]

    def call(inputs: list[np.ndarray]):
        return session.run(outputs, dict(zip(names, inputs, strict=True)))

    reader = f"onnxruntime {onnxruntime.__version__}"
    return verify.compare(program, call, reader, precision="highest")


def how_to_run(path: str, program: Program) -> list[str]:
    """Lines of Python that run the file at `path`."""
    feed = ", ".join(f'"{port.name}": {port.name}' for port in program.inputs)
    return [
        "import onnxruntime",
        f"session = onnxruntime.InferenceSession({path!r})",
        f"{program.results} = session.run(None, {{{feed}}})",
    ]


def _jax2onnx():
    package = "jax2onnx and onnxruntime"
    with needs("--format onnx (unlike stablehlo)", package, "liftjax[onnx]"):
        import jax2onnx
        import onnxruntime  # noqa: F401
    return jax2onnx


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the converter's warnings about unused plugins and types without shapes."""
    loggers = [logging.getLogger(name) for name in ("jax2onnx", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
