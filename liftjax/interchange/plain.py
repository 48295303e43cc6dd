"""A function in the operations that ONNX runtimes have and are fast at.

`simplified` traces a function of weights and inputs and runs what was traced once more, otherwise:

- Calls are written out: derivatives by hand, loops over blocks (`lax.scan`) and choices by
  platform, of which the default is taken.
- A map lies channels first from one convolution to the next, and only what needs it channels last
  turns it. Convolutions by 1x1, which are products over rows of pixels, are convolutions again.
- What depends on weights alone is computed here.

The numbers stay the same up to rounding.

Legend: B batch, C channels; a map is (B, *spatial, C) to the function and (B, C, *spatial) here.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend import core

Arrays = dict[str, jax.Array]


def simplified(function: Callable, weights: Arrays, inputs: Sequence[jax.ShapeDtypeStruct]):
    """`function` with `weights` inside, in plain operations.

    Args:
      function: of weights and inputs; gives a tuple.
      inputs: shapes and types, free sizes as symbols of one scope.

    Returns:
      A function of the inputs; it calls, loops and branches no more.
    """
    shapes = jax.eval_shape(lambda: weights)
    traced = jax.make_jaxpr(function)(shapes, *inputs)
    leaves = jax.tree.leaves(weights)
    flat = [*jax.tree.leaves(shapes), *inputs]
    plain = jax.make_jaxpr(lambda *values: _run(traced, values))(*flat)
    jaxpr, count = plain.jaxpr, len(leaves)
    first, second, shared = _split(jaxpr, count)

    def constants(*leaves):
        found = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*plain.consts, *leaves), strict=False))
        _steps(first, found, _bind)
        return [found[v] for v in shared]

    known = dict(zip(shared, map(np.asarray, jax.jit(constants)(*leaves)), strict=True))

    def run(*values):
        found = known | dict(zip(jaxpr.invars[count:], values, strict=True))
        _steps(second, found, _bind)
        return tuple(_read(found, v) for v in jaxpr.outvars)

    return run


def _split(jaxpr, count: int) -> tuple[list, list, list]:
    """The steps of a program: from the first `count` inputs alone, the others, and what those use
    of the former.

    Steps that depend on free sizes are among the others.
    """
    known = {*jaxpr.invars[:count], *jaxpr.constvars}
    first, second = [], []
    for equation in jaxpr.eqns:
        ready = all(isinstance(v, core.Literal) or v in known for v in equation.invars)
        free = equation.primitive.name == "dim_as_value" or not _has_fixed(equation)
        if ready and not free:
            known.update(equation.outvars)
        (first if ready and not free else second).append(equation)
    used = [v for equation in second for v in equation.invars] + list(jaxpr.outvars)
    shared = dict.fromkeys(v for v in used if not isinstance(v, core.Literal) and v in known)
    return first, second, list(shared)


def _has_fixed(equation) -> bool:
    """Whether no size of its results is free."""
    return all(isinstance(size, int) for v in equation.outvars for size in v.aval.shape)


@dataclasses.dataclass(frozen=True)
class _Map:
    """A value (B, *spatial, C) as its array (B, C, *spatial).

    Attributes:
      rows: the value is (B * pixels, C).
    """

    array: jax.Array
    rows: bool = False

    @property
    def channels(self) -> int:
        return self.array.shape[1]


@dataclasses.dataclass(frozen=True)
class _Filled:
    """One number everywhere, on its way to an operation that says in which layout."""

    number: Any
    shape: tuple


def _last(value: Any) -> Any:
    """The value as the traced function has it."""
    if isinstance(value, _Filled):
        return lax.broadcast_in_dim(value.number, value.shape, ())
    if not isinstance(value, _Map):
        return value
    array = lax.transpose(value.array, _to_last(value.array.ndim))
    return array.reshape(-1, value.channels) if value.rows else array


def _first(value: Any) -> Any:
    """A map's array."""
    if isinstance(value, _Map):
        return _first(_last(value)) if value.rows else value.array
    if isinstance(value, _Filled):
        shape = tuple(value.shape[axis] for axis in _to_first(len(value.shape)))
        return lax.broadcast_in_dim(value.number, shape, ())
    return lax.transpose(value, _to_first(np.ndim(value)))


def _to_first(rank: int) -> tuple[int, ...]:
    return (0, rank - 1, *range(1, rank - 1))


def _to_last(rank: int) -> tuple[int, ...]:
    return (0, *range(2, rank), 1)


def _axis(axis: int, rank: int) -> int:
    """Where an axis of a map of `rank` axes lies in its array."""
    return 0 if axis == 0 else 1 if axis == rank - 1 else axis + 1


def _run(closed: core.ClosedJaxpr, values: Sequence) -> list:
    """The results, as the traced function has them."""
    return [_last(value) for value in _evaluate(closed, values)]


def _evaluate(closed: core.ClosedJaxpr, values: Sequence) -> list:
    jaxpr = closed.jaxpr
    found = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    found |= zip(jaxpr.invars, values, strict=True)

    _steps(jaxpr.eqns, found, _apply)
    return [_read(found, v) for v in jaxpr.outvars]


def _steps(equations: Sequence, found: dict, take: Callable[[Any, list], Sequence]) -> None:
    """Adds the results of `equations` to `found`, the values by variable."""
    for equation in equations:
        results = take(equation, [_read(found, v) for v in equation.invars])
        found.update(zip(equation.outvars, results, strict=True))


def _read(found: dict, v):
    return v.val if isinstance(v, core.Literal) else found[v]


def _apply(equation, values: list) -> Sequence:
    name = equation.primitive.name
    if name in _CALLS:
        return _CALLS[name](equation.params, values)
    if any(isinstance(value, _Map) for value in values) or name == "conv_general_dilated":
        rule = _elementwise if name in _ELEMENTWISE else _ON_MAPS.get(name)
        result = rule(equation, *values) if rule else None
        if result is not None:
            return [result]
    if name == "broadcast_in_dim" and np.ndim(_last(values[0])) == 0:
        return [_Filled(values[0], equation.params["shape"])]
    values = [_last(value) for value in values]
    if name == "stack":  # younger than the converter
        axis = equation.params["axis"]
        return [lax.concatenate([lax.expand_dims(value, (axis,)) for value in values], axis)]
    return _bind(equation, values)


def _bind(equation, values: Sequence, **changed) -> Sequence:
    bind, params = equation.primitive.bind, equation.params | changed
    numbers = values and not any(isinstance(value, jax.core.Tracer) for value in values)
    if numbers and _has_fixed(equation):
        with jax.ensure_compile_time_eval():
            results = bind(*values, **params)
    else:
        results = bind(*values, **params)
    return results if equation.primitive.multiple_results else [results]


# Calls


def _inline(name: str) -> Callable:
    return lambda params, values: _evaluate(_closed(params[name]), values)


def _closed(jaxpr) -> core.ClosedJaxpr:
    return jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else core.ClosedJaxpr(jaxpr, ())


def _scan(params: dict, values: list) -> list:
    constants, carries = _scan_sizes(params)
    fixed, carry = values[:constants], values[constants : constants + carries]
    stacked = [_last(value) for value in values[constants + carries :]]
    order = range(params["length"])
    outputs = []
    for i in reversed(order) if params["reverse"] else order:
        slices = [lax.index_in_dim(value, i, keepdims=False) for value in stacked]
        results = _evaluate(_closed(params["jaxpr"]), [*fixed, *carry, *slices])
        carry, outputs = results[:carries], [*outputs, results[carries:]]
    outputs = outputs[::-1] if params["reverse"] else outputs
    columns = zip(*outputs, strict=True)
    return [*carry, *(jax.numpy.stack([_last(v) for v in column]) for column in columns)]


def _scan_sizes(params: dict) -> tuple[int, int]:
    """How many of a loop's inputs are constants, and how many it carries."""
    if "num_consts" in params:  # until jax 0.10
        return params["num_consts"], params["num_carry"]
    constants, carries, _ = params["ft_in"].unpack()
    return len(constants), len(carries)


def _cond(params: dict, values: list) -> list:
    index, *operands = values
    return _evaluate(_closed(params["branches"][int(index)]), operands)


def _platform_index(params: dict, values: list) -> list:
    default = [i for i, platforms in enumerate(params["platforms"]) if platforms is None]
    return [np.int32(default[0])]


_CALLS: dict[str, Callable[[dict, list], Sequence]] = {
    "jit": _inline("jaxpr"),
    "pjit": _inline("jaxpr"),
    "closed_call": _inline("call_jaxpr"),
    "remat2": _inline("jaxpr"),
    "checkpoint": _inline("jaxpr"),
    "custom_jvp_call": _inline("call_jaxpr"),
    "custom_vjp_call": _inline("call_jaxpr"),
    "scan": _scan,
    "cond": _cond,
    "platform_index": _platform_index,
    "optimization_barrier": lambda params, values: values,
}

# Operations on maps; None where one takes its input channels last


_ELEMENTWISE = frozenset(
    (
        *("add", "sub", "mul", "div", "max", "min", "pow", "integer_pow", "square", "sqrt"),
        *("rsqrt", "exp", "log", "tanh", "logistic", "erf", "neg", "abs", "sign", "floor"),
        *("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "is_finite", "select_n"),
        *("clamp", "convert_element_type", "copy", "copy_p"),
    )
)


def _elementwise(equation, *values):
    rank = equation.outvars[0].aval.ndim
    rows = [value.rows for value in values if isinstance(value, _Map)]
    if not any(rows):
        arrays = [_first(value) if _rank(value) else value for value in values]
        return _Map(_bind(equation, arrays, **_no_sharding(equation))[0])
    spatial = next(value.array.ndim for value in values if isinstance(value, _Map)) - 2
    if rank != 2 or not all(rows):
        return None
    shapes = {value.array.shape[2:] for value in values if isinstance(value, _Map)}
    others = [value for value in values if not isinstance(value, _Map) and _rank(value)]
    if len(shapes) > 1 or any(value.shape[0] != 1 for value in others):
        return None
    arrays = [_channels_alone(value, spatial) for value in values]
    return _Map(_bind(equation, arrays, **_no_sharding(equation))[0], rows=True)


def _rank(value) -> int:
    return len(value.shape) if isinstance(value, _Filled) else np.ndim(_array(value))


def _array(value):
    return value.array if isinstance(value, _Map) else value


def _channels_alone(value, spatial: int):
    """A row (1, C) to go with the array of a map."""
    if isinstance(value, _Map):
        return value.array
    return value if np.ndim(value) == 0 else _last(value).reshape(1, -1, *(1,) * spatial)


def _no_sharding(equation) -> dict:
    return {"sharding": None} if "sharding" in equation.params else {}


def _conv(equation, x, kernel):
    params = equation.params
    rank = equation.outvars[0].aval.ndim
    numbers = params["dimension_numbers"]
    channels_last = _to_first(rank)
    if (numbers.lhs_spec, numbers.out_spec) != (channels_last, channels_last):
        return None
    array = lax.conv_general_dilated(
        _first(x),
        lax.transpose(_last(kernel), numbers.rhs_spec),
        window_strides=params["window_strides"],
        padding=params["padding"],
        lhs_dilation=params["lhs_dilation"],
        rhs_dilation=params["rhs_dilation"],
        feature_group_count=params["feature_group_count"],
    )
    return _Map(array)


def _product(equation, x, kernel):
    """Rows of pixels times a matrix (C, O)."""
    contracted = (((1,), (0,)), ((), ()))
    if not isinstance(x, _Map) or not x.rows or isinstance(kernel, _Map):
        return None
    if equation.params["dimension_numbers"] != contracted:
        return None
    spatial = x.array.ndim - 2
    weight = lax.transpose(kernel, (1, 0)).reshape(*kernel.shape[::-1], *(1,) * spatial)
    return _Map(lax.conv_general_dilated(x.array, weight, (1,) * spatial, "VALID"), rows=True)


def _reshape(equation, x):
    sizes = equation.params["new_sizes"]
    batch, channels, *spatial = x.array.shape
    if sizes[-1] != channels or len(sizes) < 2:
        return None
    if len(sizes) == 2 and not x.rows and sizes[0] == batch * math.prod(spatial):
        return _Map(x.array, rows=True)
    if len(sizes) > 2 and sizes[0] == batch:
        if list(sizes[1:-1]) == spatial:
            return _Map(x.array)
        return _Map(x.array.reshape(batch, channels, *sizes[1:-1]))
    return None


def _broadcast(equation, x):
    shape, rank = equation.params["shape"], x.array.ndim
    if x.rows or equation.params["broadcast_dimensions"] != tuple(range(rank)):
        return None
    shape = tuple(shape[axis] for axis in _to_first(rank))
    return _Map(lax.broadcast_in_dim(x.array, shape, range(rank)))


def _transpose(equation, x):
    if x.rows:
        return None
    rank = x.array.ndim
    order = tuple(_axis(axis, rank) for axis in equation.params["permutation"])
    return x.array if order == tuple(range(rank)) else lax.transpose(x.array, order)


def _reduce(equation, x):
    rank, axes = x.array.ndim, equation.params["axes"]
    if x.rows or {0, rank - 1} & {*axes}:
        return None
    (array,) = _bind(equation, [x.array], axes=tuple(_axis(a, rank) for a in axes))
    return _Map(array) if array.ndim > 2 else array


def _concatenate(equation, *values):
    rank = equation.outvars[0].aval.ndim
    if any(isinstance(value, _Map) and value.rows for value in values):
        return None
    axis = _axis(equation.params["dimension"], rank)
    return _Map(lax.concatenate([_first(value) for value in values], axis))


def _permuting(*names: str) -> Callable:
    """An operation with parameters that have one entry an axis."""

    def rule(equation, x, *others):
        rank = x.array.ndim
        if x.rows:
            return None
        given = {name: equation.params[name] for name in names}
        moved = {
            name: value and tuple(value[axis] for axis in _to_first(rank))
            for name, value in given.items()
        }
        return _Map(_bind(equation, [x.array, *others], **moved)[0])

    return rule


_ON_MAPS: dict[str, Callable] = {
    "conv_general_dilated": _conv,
    "dot_general": _product,
    "reshape": _reshape,
    "broadcast_in_dim": _broadcast,
    "transpose": _transpose,
    "reduce_sum": _reduce,
    "reduce_max": _reduce,
    "reduce_min": _reduce,
    "concatenate": _concatenate,
    "pad": _permuting("padding_config"),
    "slice": _permuting("start_indices", "limit_indices", "strides"),
    "reduce_window_max": _permuting(
        "window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation"
    ),
}
