"""What jax2onnx writes, in the operations that runtimes know best.

- Sizes that it works out at run time from the batch are constants with one -1; what it enlarges
  for an operation that would do so itself is not.
- Its maximum with zero is Relu, which runtimes fuse with the convolution before it; a sum with zero
  is nothing.
- Pooling over (B, C, H, W) as the four spatial axes of one map, which onnxruntime does not have, is
  pooling over H and W.

A form that is not found is left as it is.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

_SMALL = 16  # entries of a constant that is looked at


def tidy(model: onnx.ModelProto) -> None:
    """Changes the graph of `model` in place."""
    graph = model.graph
    tidying = _Tidying(graph)
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = tidying.stands_for.get(name, name)
        rule = _RULES.get(node.op_type)
        if rule:
            rule(tidying, node)
    _drop_unused(graph)
    del graph.value_info[:]  # some are of other shapes now; whoever needs them infers them
    opset = [entry for entry in model.opset_import if not entry.domain]
    model.ir_version = onnx.helper.find_min_ir_version_for(opset)  # for older runtimes too


def name_sizes(value: onnx.ValueInfoProto, shape: Sequence[int | str]) -> None:
    """Says that `value` is of `shape`; the converter loses letters on the way."""
    sizes = value.type.tensor_type.shape
    sizes.Clear()
    for size in shape:
        sizes.dim.add(**{"dim_param" if isinstance(size, str) else "dim_value": size})


class _Tidying:
    """A graph on the way.

    Attributes:
      stands_for: values that are no longer made, and those that take their place.
      shapes: sizes of values, as they were; a free one is its letter. constants: small ones.
      made_by: node by output. pooled: outputs that have lost two axes.
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
        self.pooled: set[str] = set()

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


def _reshape(tidying: _Tidying, node: onnx.NodeProto) -> None:
    rank = len(tidying.shapes.get(node.output[0], ()))
    sizes = tidying.sizes(node.input[1], rank)
    if sizes and sizes.count(None) == 1:
        node.input[1] = tidying.integers([-1 if size is None else size for size in sizes])


def _expand(tidying: _Tidying, node: onnx.NodeProto) -> None:
    """What is of the right size already need not be enlarged to it."""
    source = tidying.shapes.get(node.input[0], ())
    sizes = tidying.sizes(node.input[1], len(source))
    if not sizes:
        return
    pairs = zip(sizes, source, strict=True)
    sizes = [1 if size is None and have != 1 else size for size, have in pairs]
    if None in sizes:
        return
    if all(size in (1, have) for size, have in zip(sizes, source, strict=True)):
        tidying.drop(node, node.input[0])
    else:
        node.input[1] = tidying.integers(sizes)


def _broadcasting(tidying: _Tidying, node: onnx.NodeProto) -> None:
    """What is enlarged to the size that another input has already need not be."""
    shape = tidying.shapes.get(node.output[0])
    makers = [tidying.made_by.get(name) for name in node.input]
    enlarged = [maker is not None and maker.op_type == "Expand" for maker in makers]
    full = [tidying.shapes.get(name) == shape for name in node.input]
    if shape is None or not any(f and not e for f, e in zip(full, enlarged, strict=True)):
        return
    for i, maker in enumerate(makers):
        if enlarged[i]:
            node.input[i] = maker.input[0]


def _max(tidying: _Tidying, node: onnx.NodeProto) -> None:
    _broadcasting(tidying, node)
    others = _without_zero(tidying, node)
    if others:
        node.op_type = "Relu"
        node.input[:] = others


def _add(tidying: _Tidying, node: onnx.NodeProto) -> None:
    _broadcasting(tidying, node)
    others = _without_zero(tidying, node)
    if others:
        tidying.drop(node, others[0])


def _without_zero(tidying: _Tidying, node: onnx.NodeProto) -> list[str]:
    """The other of two inputs where one is the number 0.0, else nothing."""

    def is_zero(name):
        known = tidying.constants.get(name)
        return known is not None and known.shape == () and known.dtype.kind == "f" and known == 0

    others = [name for name in node.input if not is_zero(name)]
    return others if len(node.input) == 2 and len(others) == 1 else []


def _max_pool(tidying: _Tidying, node: onnx.NodeProto) -> None:
    outer = tidying.made_by.get(node.input[0])
    inner = tidying.made_by.get(outer.input[0]) if outer is not None else None
    if inner is None or {outer.op_type, inner.op_type} != {"Unsqueeze"}:
        return
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    rank = len(given["kernel_shape"])
    kept = {name: values for name, values in given.items() if isinstance(values, list)}
    starts = [*given["kernel_shape"][:2], *given.get("strides", [1, 1])[:2]]
    pads = kept.pop("pads", [0] * 2 * rank)
    around = [*pads[:2], *pads[rank : rank + 2]]
    if rank != 4 or set(starts) != {1} or any(around):
        return
    attributes = {name: values[2:] for name, values in kept.items()}
    attributes["pads"] = [*pads[2:rank], *pads[rank + 2 :]]
    node.CopyFrom(onnx.helper.make_node("MaxPool", inner.input[:1], node.output, **attributes))
    tidying.pooled.add(node.output[0])


def _squeeze(tidying: _Tidying, node: onnx.NodeProto) -> None:
    if node.input[0] in tidying.pooled:
        tidying.drop(node, node.input[0])


_RULES: dict[str, Callable[[_Tidying, onnx.NodeProto], None]] = {
    "Reshape": _reshape,
    "Expand": _expand,
    "Max": _max,
    "Add": _add,
    **dict.fromkeys(("Where", "Sub", "Mul", "Div", "Min"), _broadcasting),
    "MaxPool": _max_pool,
    "Squeeze": _squeeze,
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
