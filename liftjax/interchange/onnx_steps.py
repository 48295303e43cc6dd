"""The arithmetic of an ONNX file, without regard to how its exporter wrote it.

A file is read as steps: convolutions with their batch norm and activation, sums, products, and so
on. One step may be several nodes of the file, and nodes that only reshape are none. Each step has
a form, which tells its whole history apart from its numbers and its channels. Two networks whose
outputs have equal forms compute the same of their weights, in whatever order their nodes stand.

Nothing in a file is run.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx

_COMMUTATIVE = ("add", "mul")
_SAME_NUMBERS = (
    "Identity", "Cast", "Dropout", "Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip


class Step:
    """One operation.

    Attributes:
      kind: what it does, in a few words, with the sizes of windows and strides.
      inputs: the steps that it takes.
      name: of the layer in the state_dict; empty in steps that were read from a file.
      norm: of the batch norm behind a convolution, likewise.
      arrays: of the layer in the file, by what they are.
      form: equal for steps of the same kind whose inputs have equal forms.
    """

    def __init__(
        self,
        kind: str,
        *inputs: "Step",
        name: str = "",
        norm: str = "",
        arrays: Mapping[str, Any] | None = None,
    ):
        self.kind, self.inputs, self.name, self.norm = kind, inputs, name, norm
        self.arrays = arrays or {}
        text = "(".join([kind, *(step.form for step in self.in_order())])
        self.form = hashlib.sha256(text.encode()).hexdigest()

    def in_order(self) -> list["Step"]:
        """The inputs; those of a sum or a product are sorted, since their order means nothing."""
        by_form = self.kind in _COMMUTATIVE
        return sorted(self.inputs, key=lambda step: step.form) if by_form else list(self.inputs)


def conv_kind(size: int, stride: int = 1, depthwise: bool = False) -> str:
    """The kind of a square convolution that keeps the size of the map, or divides it by `stride`.

    Args:
      size: of the window.
      stride: in both directions.
      depthwise: whether each channel has a window of its own.
    """
    return f"{'depthwise ' * depthwise}convolution {size}x{size} of stride {stride}"


class Graph(NamedTuple):
    """A file as steps.

    Attributes:
      outputs: by name.
      image_size: (height, width) of the input; None where it is free.
      steps: all of them, in the order of the file.
      operations: the ONNX operations that occur.
    """

    outputs: dict[str, Step]
    image_size: tuple[int, int] | None
    steps: list[Step]
    operations: set[str]


def read_graph(model: onnx.ModelProto) -> Graph:
    """The steps of a file, whose first input is a batch of images.

    Raises:
      KeyError: a value that is used is not in the file.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    values: dict[str, Step | np.ndarray] = {value.name: Step("image") for value in inputs[:1]}
    values |= {value.name: Step("further input") for value in inputs[1:]}
    for node in model.graph.node:
        given = [_value(name, values, constants) for name in node.input]
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        results = _results(node, attributes, given)
        values.update(zip(node.output, results, strict=False))
    outputs = {
        out.name: value
        for out in model.graph.output
        if isinstance(value := values.get(out.name), Step)
    }
    steps = [value for value in values.values() if isinstance(value, Step)]
    operations = {node.op_type for node in model.graph.node}
    return Graph(outputs, _image_size(inputs), steps, operations)


def _value(name: str, values: Mapping, constants: Mapping) -> Step | np.ndarray | None:
    if name in values or not name:
        return values.get(name)
    return _array(constants[name])


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    """Its numbers; in float32 if they are not whole numbers."""
    array = onnx.numpy_helper.to_array(tensor)
    return array if array.dtype.kind in "biu" else array.astype(np.float32)


def _image_size(inputs: Sequence[onnx.ValueInfoProto]) -> tuple[int, int] | None:
    dims = inputs[0].type.tensor_type.shape.dim if inputs else ()
    if len(dims) != 4:
        return None
    sizes = [dim.dim_value for dim in dims]  # 0 where it is free
    height, width = sizes[1:3] if sizes[3] == 3 else sizes[2:]
    return (height, width) if height and width else None


def _results(node: onnx.NodeProto, attributes: dict, given: list) -> list[Step | np.ndarray]:
    """What a node gives: steps, or an array where it is a constant."""
    steps = [value for value in given if isinstance(value, Step)]
    if node.op_type == "Constant":
        (value,) = attributes.values()
        return [_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)]
    if node.op_type in _SAME_NUMBERS and given:
        flip = node.op_type == "Transpose" and not steps
        return [given[0].transpose(attributes.get("perm")) if flip else given[0]]
    if node.op_type == "Split":
        return [Step(f"part {i}", *steps) for i in range(len(node.output))]
    known = _known(node.op_type, attributes, given) if steps else None
    return [known or Step(node.op_type, *steps)] * len(node.output)


def _known(operation: str, attributes: dict, given: list) -> Step | None:
    """The step if networks of liftjax may have it."""
    try:
        return _RULES[operation](attributes, *given)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # computed where our networks have constants, or the other way round


# The rules give None, or fail, for what no network of liftjax does.


def _conv(attributes: dict, x: Any, weight: Any, bias: Any = None) -> Step | None:
    if not isinstance(weight, np.ndarray) or weight.ndim != 4:
        return None
    c_out, c_in, *window = weight.shape
    size, groups = window[0], attributes.get("group", 1)
    stride = attributes.get("strides", [1, 1])
    padding = attributes.get("auto_pad", b"NOTSET"), attributes.get("pads", [0] * 4)
    same = padding == (b"NOTSET", [size // 2] * 4)
    square = len({*window}) == len({*stride}) == 1 and {*attributes.get("dilations", [1])} == {1}
    depthwise = groups == c_out > 1 == c_in
    if not (same and square and size % 2 and (depthwise or groups == 1)):
        return None
    bias = np.zeros(c_out, np.float32) if bias is None else bias
    kind = conv_kind(size, stride[0], depthwise)
    return Step(kind, x, arrays={"weight": weight, "bias": bias})


def _batch_norm(attributes: dict, x: Any, *statistics: Any) -> Step | None:
    """A convolution together with the batch norm behind it."""
    if "weight" not in x.arrays or "norm" in x.arrays or x.kind == "linear":
        return None
    arrays = {"norm": statistics, "epsilon": attributes.get("epsilon", 1e-5)}
    return Step(x.kind, *x.inputs, arrays={**x.arrays, **arrays})


def _product(_: dict, a: Any, b: Any) -> Step | None:
    if isinstance(a, np.ndarray):
        a, b = b, a
    if isinstance(b, np.ndarray):
        return _scaled(a, b)
    if a is b:
        return Step("square", a)
    for x, other in ((a, b), (b, a)):
        if other.inputs and other.inputs[0] is x:
            if other.kind == "sigmoid":
                return Step("silu", x)
            if other.kind == "inverse length":
                return Step("scale norm", x, arrays=other.arrays)
    return Step("mul", a, b)


def _scaled(x: Step, factor: np.ndarray) -> Step:
    if "factor" in x.arrays and factor.size == 1:  # a length, or something divided by it
        return Step(x.kind, *x.inputs, arrays={"factor": x.arrays["factor"] * float(factor.item())})
    return Step("times", x, arrays={"value": factor})


def _quotient(_: dict, a: Any, b: Any) -> Step | None:
    if isinstance(b, np.ndarray):
        return _scaled(a, np.asarray(1 / b))
    if b.kind != "length":
        return None
    inverse = Step("inverse length", *b.inputs, arrays={"factor": 1 / b.arrays["factor"]})
    return _product({}, a, inverse)


def _sum(_: dict, a: Any, b: Any) -> Step | None:
    if isinstance(a, np.ndarray):
        a, b = b, a
    if isinstance(b, np.ndarray):
        return Step("plus", a, arrays={"value": b}) if b.any() else a
    return Step("add", a, b)


def _difference(attributes: dict, a: Any, b: Any) -> Step | None:
    return _sum(attributes, a, np.asarray(-b)) if isinstance(b, np.ndarray) else None


def _length(attributes: dict, x: Any, axes: Any = None) -> Step | None:
    """The Euclidean norm along the last axis."""
    if [*attributes.get("axes", axes)] not in ([-1], [2]):
        return None
    return Step("length", x, arrays={"factor": 1.0})


def _bounded(_: dict, x: Any, *bounds: Any) -> Step | None:
    """A length that is kept from being zero."""
    return x if isinstance(x, Step) and x.kind == "length" else None


def _power(_: dict, x: Any, exponent: Any) -> Step | None:
    is_two = isinstance(exponent, np.ndarray) and exponent.size == 1 and exponent.item() == 2
    return Step("square", x) if is_two else None


def _linear(_: dict, x: Any, weight: Any) -> Step | None:
    if isinstance(weight, np.ndarray):
        return Step("linear", x, arrays={"weight": weight.T})
    return Step("matmul", x, weight) if isinstance(x, Step) else None


def _max_pool(attributes: dict, x: Any) -> Step | None:
    """The largest within a window; a window of a window is one larger window."""
    size = attributes["kernel_shape"][0]
    shape = [[size] * 2, [1, 1], [size // 2] * 4, 0]
    keys = {"kernel_shape": [], "strides": [1, 1], "pads": [0] * 4, "ceil_mode": 0}
    if [attributes.get(key, default) for key, default in keys.items()] != shape:
        return None
    word, _, before = x.kind.partition(" of ")
    if word == "largest":
        return Step(f"largest of {size + int(before) - 1}", *x.inputs)
    return Step(f"largest of {size}", x)


def _mean(attributes: dict, x: Any, axes: Any = (2, 3)) -> Step | None:
    of_map = sorted(axis % 4 for axis in attributes.get("axes", axes)) == [2, 3]
    return Step("mean of the map", x) if of_map else None


def _enlarged(attributes: dict, x: Any, *_: Any) -> Step | None:
    """Nearest-neighbour enlargement; the strides before it tell by how much."""
    nearest = attributes.get("mode", b"nearest") == b"nearest"
    corners = attributes.get("coordinate_transformation_mode") == b"align_corners"
    return Step("enlarge", x) if nearest and not corners else None


def _hard_sigmoid(attributes: dict, x: Any) -> Step | None:
    slope, height = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    return Step("hard sigmoid", x) if np.allclose((slope, height), (1 / 6, 0.5), 1e-3) else None


def _concat(attributes: dict, *parts: Any) -> Step | None:
    return Step("concat", *parts) if all(isinstance(part, Step) for part in parts) else None


def _gather(_: dict, x: Any, index: Any) -> Step | None:
    one = isinstance(index, np.ndarray) and index.ndim == 0
    return Step(f"part {index}", x) if one else None


def _slice(_: dict, x: Any, starts: Any = None, ends: Any = None, *_others: Any) -> Step | None:
    """One of the equal parts that an array is split into."""
    given = [isinstance(limit, np.ndarray) and limit.size == 1 for limit in (starts, ends)]
    one = all(given) and ends.item() == starts.item() + 1
    return Step(f"part {starts.item()}", x) if one else None


_RULES: Mapping[str, Callable[..., Step | None]] = {
    "Add": _sum,
    "BatchNormalization": _batch_norm,
    "Clip": _bounded,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _quotient,
    "Gather": _gather,
    "GlobalAveragePool": _mean,
    "HardSigmoid": _hard_sigmoid,
    "MatMul": _linear,
    "Max": _bounded,
    "MaxPool": _max_pool,
    "Mul": _product,
    "Pow": _power,
    "ReduceL2": _length,
    "ReduceMean": _mean,
    "Relu": lambda _, x: Step("relu", x),
    "Resize": _enlarged,
    "Sigmoid": lambda _, x: Step("sigmoid", x),
    "Slice": _slice,
    "Sub": _difference,
    "Upsample": _enlarged,
}


def all_steps(outputs: Sequence[Step]) -> list[Step]:
    """Every step that the outputs come from, inputs before what takes them."""
    ordered: dict[int, Step] = {}
    waiting = list(reversed(outputs))
    while waiting:
        step = waiting[-1]
        missing = [before for before in step.inputs if id(before) not in ordered]
        if missing:
            waiting += reversed(missing)
        else:
            ordered[id(waiting.pop())] = step
    return list(ordered.values())
