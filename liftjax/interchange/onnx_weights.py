"""RTMPose, DWPose and HRNet out of ONNX files, as the state_dicts of MMPose.

An exporter folds batch norms into convolutions, renames arrays and turns matrices over. What is
left of a network is its arithmetic. So a file has to be equal to a network of `onnx_networks`, step
by step, and then each of its arrays has a name. Nothing in a file is run.

A batch norm that was folded becomes one that adds the convolution's bias and changes nothing else.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from liftjax.detectors.rtmpose import BIN
from liftjax.errors import LiftjaxError, first_line, needs
from liftjax.interchange.other_networks import RTMW, known_but_absent
from liftjax.nn.declaration import State

with needs("Reading an ONNX file", "onnx", "liftjax[onnx]"):
    import onnx
    from onnx import external_data_helper

    from liftjax.interchange.onnx_networks import ATTENTION, networks
    from liftjax.interchange.onnx_steps import Graph, Step, all_steps, read_graph

_EPSILON = 1e-5  # of all batch norms in liftjax
_ROUNDING = 1e-3  # in half precision
_LEAST_ALIKE = 8  # steps that a file has in common with a network that it is like
_QUANTISED = ("QuantizeLinear", "QLinear", "ConvInteger", "MatMulInteger", "DynamicQuantize")
_OTHERS = {  # operations by which other networks are known
    "DepthToSpace": f"is {RTMW}",
    "NonMaxSuppression": "finds boxes; give it to predict as --person-detector, if it is a YOLOX.",
    "LayerNormalization": "is a transformer; liftjax's detectors are RTMPose, DWPose and HRNet.",
}


class OnnxWeights(NamedTuple):
    """A network in an ONNX file.

    Attributes:
      state: the state_dict by MMPose's names.
      image_size: (height, width) of the input; None where it is free.
      notes: one line for everything to report.
    """

    state: State
    image_size: tuple[int, int] | None
    notes: tuple[str, ...]


def read_onnx_weights(content: bytes, folder: Path | None = None) -> OnnxWeights:
    """The weights in an ONNX file.

    Args:
      content: of the file.
      folder: where the file lies, and another one with its weights if it keeps them there.

    Raises:
      LiftjaxError: it is damaged, or no network of liftjax. The text goes on from the name of the
        file.
    """
    model = _parsed(content, folder)
    try:
        graph = read_graph(model)
        shapes = {t.name: np.broadcast_to(0, tuple(t.dims)) for t in model.graph.initializer}
    except Exception as error:  # whatever is not as ONNX says
        raise LiftjaxError("is not a whole ONNX file; download or export it again.") from error
    pairs = _fitted(graph, known_but_absent(shapes))
    state = _state(pairs)
    folded = sum("norm" not in found.arrays for ours, found in pairs if ours.norm)
    _check(graph, state)
    return OnnxWeights(state, graph.image_size, _notes(folded))


def _parsed(content: bytes, folder: Path | None) -> onnx.ModelProto:
    """The file with its weights, if it is in ONNX's own operations and not quantised."""
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's classes are not public
        raise LiftjaxError("is not a whole ONNX file; download it again.") from error
    _load_outside(model, folder)
    for node in model.graph.node:
        if node.op_type.startswith(_QUANTISED):
            raise LiftjaxError(f"is quantised ({node.op_type}); give the file in float32.")
        if node.domain not in ("", "ai.onnx"):
            raise LiftjaxError(
                f"has operations that are not ONNX's ({node.op_type} of {node.domain}); give the "
                "file as its exporter wrote it, before a runtime optimised it."
            )
    if model.producer_name == "liftjax":
        raise LiftjaxError(
            "is a program that liftjax exported; use the run directory that it was exported from."
        )
    return model


def _load_outside(model: onnx.ModelProto, folder: Path | None) -> None:
    """Reads the weights that are kept in another file in the same folder."""
    outside = [t for t in model.graph.initializer if external_data_helper.uses_external_data(t)]
    if not outside:
        return
    name = external_data_helper.ExternalDataInfo(outside[0]).location
    if folder is None:
        raise LiftjaxError(f"keeps its weights in another file, {name}; unpack the archive.")
    try:
        external_data_helper.load_external_data_for_model(model, str(folder))
    except Exception as error:  # the file is missing, too short, or in another folder
        why = first_line(error)
        raise LiftjaxError(
            f"keeps its weights in another file, {name}, which cannot be read ({why})."
        ) from error


def _ordered(outputs: dict[str, Step]) -> list[Step]:
    """The outputs; those of SimCC are ordered by their names, if they have names."""
    names = ["simcc_x", "simcc_y"]
    return [outputs[name] for name in (names if set(names) == set(outputs) else outputs)]


# Which step is which layer


def _fitted(graph: Graph, other: str | None) -> list[tuple[Step, Step]]:
    """Each step of the network that the file is, with the file's own step.

    Args:
      graph: the file.
      other: the network of which the arrays' names are, if it is one that liftjax does not have.
    """
    outputs = _ordered(graph.outputs)
    forms = [step.form for step in outputs]
    for _, ours in networks():
        if [step.form for step in ours] == forms:
            return _paired(ours, outputs)
    raise LiftjaxError(f"is {other}" if other else _unlike(graph))


def _paired(ours: list[Step], theirs: list[Step]) -> list[tuple[Step, Step]]:
    partner: dict[int, Step] = {}
    pairs, waiting = [], list(zip(ours, theirs, strict=True))
    while waiting:
        mine, found = waiting.pop()
        if partner.setdefault(id(mine), found) is not found:
            raise LiftjaxError(f"uses two layers in the place of {mine.name or mine.kind}.")
        if len(partner) > len(pairs):
            pairs.append((mine, found))
            waiting += zip(mine.in_order(), found.in_order(), strict=True)
    return pairs


def _unlike(graph: Graph) -> str:
    """Why the file is none of the networks."""
    for operation, text in _OTHERS.items():
        if operation in graph.operations:
            return text
    if any(s.kind in ("plus", "times") and s.inputs[0].kind == "image" for s in graph.steps):
        return "normalises its images itself; export the network without that."
    forms = {step.form for step in graph.steps}
    nearest, most, lacking = "", _LEAST_ALIKE, None
    for name, ours in networks():
        steps = all_steps(ours)
        missing = [step for step in steps if step.form not in forms]
        if len(steps) - len(missing) > most:
            nearest, most, lacking = name, len(steps) - len(missing), (*missing, None)[0]
    if not nearest:
        return "is none of RTMPose, DWPose and HRNet, whose weights can be read out of ONNX files."
    if lacking is None:
        return (
            f"is {nearest} with more behind it; export the network without what decodes its maps."
        )
    layer = f" ({lacking.name})" if lacking.name else ""
    return f"is like {nearest}, but has something else in the place of its {lacking.kind}{layer}."


# The layers' arrays by MMPose's names


def _state(pairs: list[tuple[Step, Step]]) -> State:
    try:
        return {key: value for pair in pairs for key, value in _arrays(*pair)}
    except ValueError as error:
        raise LiftjaxError("has arrays of other shapes than its network.") from error


def _arrays(ours: Step, found: Step) -> Iterator[tuple[str, np.ndarray]]:
    arrays = found.arrays
    if ours.norm:
        yield f"{ours.name}.weight", arrays["weight"]
        yield from _batch_norm(ours.norm, found)
    elif ours.kind == "linear":
        yield f"{ours.name}.weight", np.ascontiguousarray(arrays["weight"])
        before = found.inputs[0]
        if before.kind == "scale norm":  # the mean of squares, not their sum
            gain = before.arrays["factor"] * arrays["weight"].shape[1] ** -0.5
            yield ours.inputs[0].name, np.full(1, gain, np.float32)
    elif "weight" in arrays:
        if "norm" in arrays:
            raise LiftjaxError(f"has a batch norm behind {ours.name}.")
        yield f"{ours.name}.weight", arrays["weight"]
        yield f"{ours.name}.bias", arrays["bias"]
    elif "value" in arrays:
        value = arrays["value"]
        while value.ndim > 1 and len(value) == 1:
            value = value[0]
        yield ours.name, value


def _batch_norm(name: str, found: Step) -> Iterator[tuple[str, np.ndarray]]:
    """The batch norm behind a convolution, whose bias goes into it."""
    bias, epsilon = found.arrays["bias"], found.arrays.get("epsilon", _EPSILON)
    one = np.ones_like(bias)
    weight, shift, mean, var = found.arrays.get("norm", (one, bias, bias, one - _EPSILON))
    var = var if np.isclose(epsilon, _EPSILON) else var + (epsilon - _EPSILON)
    values = {"weight": weight, "bias": shift, "running_mean": mean - bias, "running_var": var}
    for key, value in values.items():
        yield f"{name}.{key}", value.astype(np.float32)


def _check(graph: Graph, state: State) -> None:
    """Raises a LiftjaxError for numbers that liftjax's networks have fixed."""
    scale = state.pop(ATTENTION, None)
    if scale is None:
        return
    if not np.allclose(scale, state["head.gau.gamma"].shape[-1] ** -0.5, rtol=_ROUNDING):
        raise LiftjaxError("scales its attention in another way than RTMPose.")
    bins = tuple(state[f"head.cls_{axis}.weight"].shape[0] for axis in "yx")
    wanted = tuple(int(size / BIN) for size in graph.image_size or ())
    if wanted and bins != wanted:
        raise LiftjaxError(
            f"has {bins[1]} and {bins[0]} bins along x and y; RTMPose has two for each pixel, "
            f"{wanted[1]} and {wanted[0]}."
        )


def _notes(folded: int) -> tuple[str, ...]:
    if not folded:
        return ("read the weights out of the ONNX graph",)
    return (
        f"read the weights out of the ONNX graph, where {folded} batch norms are folded into the "
        "convolutions before them",
        "warning: a folded batch norm has lost its own scale, so training cannot go on from this "
        "file where it ended; predict, evaluate and distil with it, and train from the .pth file",
    )
