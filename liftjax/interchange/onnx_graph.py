"""What jax2onnx writes, in the operations that runtimes know best.

Sizes that it works out at run time from the batch become constants with one -1. What it enlarges
for an operation that would do so itself is not enlarged. Its maximum with zero is Relu, which
runtimes fuse with the convolution before it. Onnxsim, onnxslim and onnxruntime leave all
three, and onnxscript, after many times the work, some. A form that is not found is left as it is.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

_SMALL = 16  # entries of a constant that is looked at


def tidy(model: onnx.ModelProto) -> None:
    """Changes the graph of `model` in place."""
    graph = _Graph(model.graph)
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = graph.stands_for.get(name, name)
        rule = _RULES.get(node.op_type)
        if rule:
            rule(graph, node)
    _drop_unused(model.graph)
    del model.graph.value_info[:]  # some are of other shapes now; whoever needs them infers them


def name_sizes(value: onnx.ValueInfoProto, shape: Sequence[int | str]) -> None:
    """Says that `value` is of `shape`; the converter loses letters on the way."""
    sizes = value.type.tensor_type.shape
    sizes.Clear()
    for size in shape:
        sizes.dim.add(**{"dim_param" if isinstance(size, str) else "dim_value": size})


class _Graph:
    """A graph on the way.

    Attributes:
      stands_for: values that are no longer made, and those that take their place.
      shapes: sizes of values, as they were; a free one is its letter. constants: small ones.
      made_by: node by output.
    """

    def __init__(self, graph: onnx.GraphProto):
        self.graph = graph
        self.outputs = {output.name for output in graph.output}
        self.made_by = {name: node for node in graph.node for name in node.output}
        self.constants = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in graph.initializer
            if math.prod(tensor.dims) <= _SMALL
        }
        self.shapes = {
            value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in (*graph.value_info, *graph.input, *graph.output)
        }
        self.stands_for: dict[str, str] = {}

    def drop(self, node: onnx.NodeProto, value: str) -> None:
        """`value` from now on instead of what `node` gives."""
        (output,) = node.output
        if output in self.outputs:
            node.CopyFrom(onnx.helper.make_node("Identity", [value], [output]))
        else:
            self.stands_for[output] = value

    def integers(self, numbers: list[int]) -> str:
        """The name of a constant vector."""
        name = f"sizes_{'_'.join(map(str, numbers))}".replace("-", "any")
        if name not in self.constants:
            self.constants[name] = np.array(numbers, np.int64)
            self.graph.initializer.append(numpy_helper.from_array(self.constants[name], name))
        return name

    def sizes(self, name: str, rank: int) -> list[int | None] | None:
        """A vector of `rank` sizes, None for one worked out at run time; None if it is unclear."""
        node = self.made_by.get(name)
        if node is None or node.op_type != "Concat":
            return None
        sizes = []
        for part in node.input:
            known = self.constants.get(part)
            sizes += [None] if known is None else known.tolist()
        return sizes if len(sizes) == rank else None


def _reshape(graph: _Graph, node: onnx.NodeProto) -> None:
    rank = len(graph.shapes.get(node.output[0], ()))
    sizes = graph.sizes(node.input[1], rank)
    if sizes and sizes.count(None) == 1:
        node.input[1] = graph.integers([-1 if size is None else size for size in sizes])


def _expand(graph: _Graph, node: onnx.NodeProto) -> None:
    """What is of the right size already need not be enlarged to it."""
    source = graph.shapes.get(node.input[0], ())
    sizes = graph.sizes(node.input[1], len(source))
    if not sizes:
        return
    pairs = zip(sizes, source, strict=True)
    sizes = [1 if size is None and have != 1 else size for size, have in pairs]
    if None in sizes:
        return
    if all(size in (1, have) for size, have in zip(sizes, source, strict=True)):
        graph.drop(node, node.input[0])
    else:
        node.input[1] = graph.integers(sizes)


def _broadcasting(graph: _Graph, node: onnx.NodeProto) -> None:
    """What is enlarged to the size that another input has already need not be."""
    shape = graph.shapes.get(node.output[0])
    makers = [graph.made_by.get(name) for name in node.input]
    enlarged = [maker is not None and maker.op_type == "Expand" for maker in makers]
    full = [graph.shapes.get(name) == shape for name in node.input]
    if shape is None or not any(f and not e for f, e in zip(full, enlarged, strict=True)):
        return
    for i, maker in enumerate(makers):
        if enlarged[i]:
            node.input[i] = maker.input[0]


def _max(graph: _Graph, node: onnx.NodeProto) -> None:
    _broadcasting(graph, node)
    constants = [graph.constants.get(name) for name in node.input]
    is_zero = [
        c is not None and c.shape == () and c.dtype.kind == "f" and c == 0 for c in constants
    ]
    others = [name for name, zero in zip(node.input, is_zero, strict=True) if not zero]
    if len(node.input) == 2 and len(others) == 1:
        node.op_type = "Relu"
        node.input[:] = others


_RULES: dict[str, Callable[[_Graph, onnx.NodeProto], None]] = {
    "Reshape": _reshape,
    "Expand": _expand,
    "Max": _max,
    **dict.fromkeys(("Where", "Add", "Sub", "Mul", "Div", "Min"), _broadcasting),
}


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if used.intersection(node.output):
            used.update(node.input)
            kept.append(node)
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)
