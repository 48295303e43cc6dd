"""How much arithmetic a function does, and what it sends to other devices."""

import math
from collections.abc import Callable, Iterator

import jax


def multiply_adds(function: Callable, *args, platform: str | None = None) -> int:
    """Multiply-adds in the convolutions and matrix products of ``function(*args)``.

    Papers print this number as the FLOPs of a network. Nothing is computed; `args` may be shapes
    (`jax.ShapeDtypeStruct`). Of branches by platform, that of `platform` counts; of other branches,
    the one with most arithmetic.
    """
    return count_multiply_adds(jax.make_jaxpr(function)(*args).jaxpr, platform)


def count_multiply_adds(jaxpr, platform: str | None = None) -> int:
    """:func:`multiply_adds` of a function that has already been traced."""
    return sum(_count_equation(equation, platform) for equation in jaxpr.eqns)


def _count_equation(equation, platform) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval
        outputs = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
        return equation.outvars[0].aval.size * kernel.size // outputs
    if platform and params.get("branches_platforms"):
        named = zip(params["branches"], params["branches_platforms"], strict=True)
        # The first that names the platform, or the last, which names none.
        params = {"branches": next(b for b, names in named if names is None or platform in names)}
    inner = [count_multiply_adds(jaxpr, platform) for jaxpr in _inner_jaxprs(params)]
    if name == "scan":
        return params["length"] * sum(inner)
    return max(inner, default=0) if name == "cond" else sum(inner)


def collectives(function: Callable, *args) -> Iterator[tuple[str, int, int]]:
    """Every sum or gathering over a mapped axis: (primitive, bytes a device gives, times).

    Those in a loop count as often as the loop runs. Nothing is computed; `args` may be shapes.
    """
    yield from _collectives(jax.make_jaxpr(function)(*args).jaxpr, 1)


def _collectives(jaxpr, times: int) -> Iterator[tuple[str, int, int]]:
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name in ("psum", "all_gather"):
            given = [v.aval for v in equation.invars]
            yield name, sum(a.size * a.dtype.itemsize for a in given), times
        length = params["length"] if name == "scan" else 1
        for inner in _inner_jaxprs(params):
            yield from _collectives(inner, times * length)


def _inner_jaxprs(params: dict):
    """The functions that an equation calls: jit, custom derivatives, loops and branches."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item
