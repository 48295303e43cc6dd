"""A traced function in the operations that jax2onnx knows and runtimes are fast at.

Onnxruntime removes most transpositions afterwards (`onnx_file`). Neither it nor onnxsim, onnxslim
or onnxscript can do what is left here, and jax2onnx's layout options move inputs and outputs alone:

- jax2onnx knows no choice by platform and no `stack`, and pools over all four axes of a map.
- It puts two transpositions around each convolution and takes minutes over hundreds of them. So a
  map stays channels first through the elementwise operations after a convolution.
- 1x1 convolutions arrive as products of rows, nearest-neighbour enlargement as reshapes. No
  transposition passes through those, so they are convolutions, and channels first, again.

Legend: B batch, H W map, C channels; a map is (B, *spatial, C) to the function.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import lax
from jax.extend import core

Arrays = dict[str, jax.Array]


def inlined(function: Callable, weights: Arrays, inputs: Sequence[jax.ShapeDtypeStruct]):
    """`function` with `weights` inside, without calls, loops and branches.

    What depends on the weights alone is computed when the result is traced.

    Args:
      function: a function of weights and inputs that returns a tuple.
      inputs: shapes and types; free sizes are symbols of one scope.

    Returns:
      A function of the inputs. Call it where jax2onnx traces: its patches hold there.
    """
    traced = jax.make_jaxpr(function)(jax.eval_shape(lambda: weights), *inputs)
    leaves = jax.tree.leaves(weights)

    def run(*values):
        plain = jax.make_jaxpr(lambda *all: _evaluate(traced, all, {}))(*leaves, *values)
        jaxpr, count = plain.jaxpr, len(leaves)
        first, second, shared = _split(jaxpr, count)
        consts = dict(zip(jaxpr.constvars, plain.consts, strict=True))

        def constants(*leaves):
            found = consts | dict(zip(jaxpr.invars, leaves, strict=False))
            _take(first, found, _bind)
            return [found[v] for v in shared]

        with jax.ensure_compile_time_eval():
            known = map(np.asarray, jax.jit(constants)(*leaves))
        found = consts | dict(zip(shared, known, strict=True))
        found |= zip(jaxpr.invars[count:], values, strict=True)
        _take(second, found, _bind)
        return tuple(_read(found, v) for v in jaxpr.outvars)

    return run


def _split(jaxpr, count: int) -> tuple[list, list, list]:
    """The steps of a program that is used: those from the first `count` inputs alone, the others,
    and the results of the former that the others use.

    Steps that depend on free sizes are among the others.
    """
    used, live = {v for v in jaxpr.outvars if not isinstance(v, core.Literal)}, []
    for equation in reversed(jaxpr.eqns):
        if used.intersection(equation.outvars):
            used.update(v for v in equation.invars if not isinstance(v, core.Literal))
            live.append(equation)
    known, first, second = {*jaxpr.invars[:count], *jaxpr.constvars}, [], []
    for equation in reversed(live):
        ready = all(isinstance(v, core.Literal) or v in known for v in equation.invars)
        if ready and equation.invars and _is_fixed(equation):
            known.update(equation.outvars)
            first.append(equation)
        else:
            second.append(equation)
    needed = [v for equation in second for v in equation.invars] + list(jaxpr.outvars)
    shared = dict.fromkeys(v for v in needed if not isinstance(v, core.Literal) and v in known)
    return first, second, list(shared)


def _is_fixed(equation) -> bool:
    """Whether no size of its results is free."""
    return all(isinstance(size, int) for v in equation.outvars for size in v.aval.shape)


def _take(equations: Sequence, found: dict, step: Callable[[Any, list], Sequence]) -> None:
    """Adds the results of `equations` to `found`, the values by variable."""
    for equation in equations:
        results = step(equation, [_read(found, v) for v in equation.invars])
        found.update(zip(equation.outvars, results, strict=True))


def _read(found: dict, v):
    return v.val if isinstance(v, core.Literal) else found[v]


def _evaluate(jaxpr, values: Sequence, origins: dict) -> list:
    """The results of `jaxpr` on `values`.

    Args:
      origins: for the identity of a value: the value, the operation that made it, what it took.
    """
    closed = jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else core.ClosedJaxpr(jaxpr, ())
    found = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    found |= zip(closed.jaxpr.invars, values, strict=True)

    def step(equation, values):
        name = equation.primitive.name
        if name in _CALLS:
            return _CALLS[name](equation.params, values, origins)
        replaced = _REPLACED[name](equation, values, origins) if name in _REPLACED else None
        results = _bind(equation, values) if replaced is None else [replaced]
        for result in results:
            origins.setdefault(id(result), (result, name, values))
        return results

    _take(closed.jaxpr.eqns, found, step)
    return [_read(found, v) for v in closed.jaxpr.outvars]


def _source(value, name: str, origins: dict):
    """What `value` was made from by the operation `name`; None if by another."""
    _, made_by, values = origins.get(id(value), (None, None, ()))
    return values[0] if made_by == name else None


def _bind(equation, values: Sequence) -> Sequence:
    """The results of an equation; computed at once where all inputs and sizes are known."""
    bind = equation.primitive.bind
    known = values and not any(isinstance(value, jax.core.Tracer) for value in values)
    if known and _is_fixed(equation):
        with jax.ensure_compile_time_eval():
            results = bind(*values, **equation.params)
    else:
        results = bind(*values, **equation.params)
    return results if equation.primitive.multiple_results else [results]


# Calls, loops and branches


def _scan(params: dict, values: list, origins: dict) -> list:
    if "num_consts" in params:  # until jax 0.10
        constants, carries = params["num_consts"], params["num_carry"]
    else:
        constants, carries, _ = map(len, params["ft_in"].unpack())
    fixed, carry = values[:constants], values[constants : constants + carries]
    stacked = values[constants + carries :]
    order = range(params["length"])
    outputs = []
    for i in reversed(order) if params["reverse"] else order:
        slices = [lax.index_in_dim(value, i, keepdims=False) for value in stacked]
        results = _evaluate(params["jaxpr"], [*fixed, *carry, *slices], origins)
        carry, outputs = results[:carries], [*outputs, results[carries:]]
    outputs = outputs[::-1] if params["reverse"] else outputs
    return [*carry, *map(_stacked, zip(*outputs, strict=True))]


def _stacked(values: Sequence, axis: int = 0):
    return lax.concatenate([lax.expand_dims(value, (axis,)) for value in values], axis)


def _cond(params: dict, values: list, origins: dict) -> list:
    return _evaluate(params["branches"][int(values[0])], values[1:], origins)


def _inline(name: str) -> Callable:
    return lambda params, values, origins: _evaluate(params[name], values, origins)


_CALLS: dict[str, Callable[[dict, list, dict], Sequence]] = {
    **dict.fromkeys(("jit", "pjit", "remat2", "checkpoint"), _inline("jaxpr")),
    **dict.fromkeys(("closed_call", "custom_jvp_call", "custom_vjp_call"), _inline("call_jaxpr")),
    "scan": _scan,
    "cond": _cond,
    "platform_index": lambda params, *_: [np.int32(params["platforms"].index(None))],
    "optimization_barrier": lambda params, values, _: values,
}

# Maps, channels first


def _first(value, origins: dict):
    """A map channels first: as it was made, or transposed here."""
    made = _source(value, "to_last", origins)
    if made is not None:
        return made
    order = (0, value.ndim - 1, *range(1, value.ndim - 1))
    small = _source(value, "broadcast_in_dim", origins)
    if small is None or np.ndim(small) not in (0, value.ndim):
        return lax.transpose(value, order)
    small = _first(small, origins) if np.ndim(small) else small
    return lax.broadcast_in_dim(small, [value.shape[a] for a in order], range(np.ndim(small)))


def _last(array, origins: dict):
    """The map as the function has it; `_first` of it is `array`."""
    value = lax.transpose(array, (0, *range(2, array.ndim), 1))
    origins[id(value)] = (value, "to_last", [array])
    return value


def _conv(equation, values: list, origins: dict):
    x, kernel = values
    params, rank = equation.params, x.ndim
    numbers, channels_last = params["dimension_numbers"], (0, rank - 1, *range(1, rank - 1))
    if (numbers.lhs_spec, numbers.out_spec) != (channels_last, channels_last):
        return None
    y = lax.conv_general_dilated(
        _first(x, origins),
        lax.transpose(kernel, numbers.rhs_spec),
        window_strides=params["window_strides"],
        padding=params["padding"],
        lhs_dilation=params["lhs_dilation"],
        rhs_dilation=params["rhs_dilation"],
        feature_group_count=params["feature_group_count"],
    )
    return _last(y, origins)


def _product(equation, values: list, origins: dict):
    """A convolution by 1x1, from the product of rows that `ops.conv.conv` makes of it."""
    x, kernel = (_source(value, "reshape", origins) for value in values)
    if x is None or kernel is None or x.ndim < 3 or x.shape[-1] != values[0].shape[-1]:
        return None
    spatial = x.ndim - 2
    if kernel.shape != (*(1,) * spatial, *values[1].shape):
        return None
    kernel = lax.transpose(kernel, (spatial + 1, spatial, *range(spatial)))
    y = lax.conv_general_dilated(_first(x, origins), kernel, (1,) * spatial, "VALID")
    y = _last(y, origins)
    rows = y.reshape(-1, y.shape[-1])
    origins[id(rows)] = (rows, "rows", [y])
    return rows


def _reshape(equation, values: list, origins: dict):
    """Rows as the map again that they were made from, and nearest-neighbour enlargement."""
    sizes, (value,) = equation.params["new_sizes"], values
    rows_of = _source(value, "rows", origins)
    if rows_of is not None and rows_of.shape == sizes:
        return rows_of
    x = _source(_source(value, "broadcast_in_dim", origins), "reshape", origins)
    if x is None or (x.ndim, value.ndim) != (4, 6):
        return None
    batch, channels, height, width = (x.shape[axis] for axis in (0, 3, 1, 2))
    _, _, down, _, across, _ = value.shape
    if sizes != (batch, height * down, width * across, channels):
        return None
    y = _first(x, origins).reshape(batch, channels, height, 1, width, 1)
    y = lax.broadcast_in_dim(y, (batch, channels, height, down, width, across), range(6))
    return _last(y.reshape(batch, channels, height * down, width * across), origins)


def _elementwise(equation, values: list, origins: dict):
    if all(_source(value, "to_last", origins) is None for value in values):
        return None
    arrays = [_first(value, origins) if np.ndim(value) else value for value in values]
    (result,) = _bind(equation, arrays)
    return _last(result, origins)


def _max_pool(equation, values: list, origins: dict):
    """Pooling over H and W as nnx has it."""
    params = equation.params
    window, strides = params["window_dimensions"][1:-1], params["window_strides"][1:-1]
    padding = "SAME" if any(map(any, params["padding"])) else "VALID"
    return nnx.max_pool(values[0], window_shape=window, strides=strides, padding=padding)


_REPLACED: dict[str, Callable] = {
    **dict.fromkeys(
        (
            "add",
            "sub",
            "mul",
            "div",
            "min",
            "max",
            "sqrt",
            "rsqrt",
            "exp",
            "tanh",
            "logistic",
            "neg",
        ),
        _elementwise,
    ),
    "conv_general_dilated": _conv,
    "dot_general": _product,
    "reduce_window_max": _max_pool,
    "reshape": _reshape,
    "stack": lambda equation, values, _: _stacked(values, equation.params["axis"]),
}
"""Operations that are replaced; a function gives None where one stays as it is."""
