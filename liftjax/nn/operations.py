"""How much arithmetic a function does, and what it sends to other devices."""

import math
from collections.abc import Callable, Iterator

import jax


def multiply_adds(function: Callable, *args) -> int:
    """Multiply-adds in the convolutions and matrix products of ``function(*args)``.

    Papers print this number as the FLOPs of a network. Nothing is computed; `args` may be shapes
    (`jax.ShapeDtypeStruct`). Of branches by platform, the default counts: some platforms multiply
    with zeros because it is faster. Of other branches, the one with most arithmetic counts.
    """
    return count_multiply_adds(jax.make_jaxpr(function)(*args).jaxpr)


def count_multiply_adds(jaxpr) -> int:
    """:func:`multiply_adds` of a function that has already been traced."""
    return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval
        outputs = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
        return equation.outvars[0].aval.size * kernel.size // outputs
    platforms = params.get("branches_platforms") or ()
    if None in platforms:
        params = {"branches": [params["branches"][platforms.index(None)]]}
    inner = [count_multiply_adds(jaxpr) for jaxpr in _inner_jaxprs(params)]
    if name == "scan":
        return params["length"] * sum(inner)
    return max(inner, default=0) if name == "cond" else sum(inner)


def collectives(function: Callable, *args) -> Iterator[tuple[str, str, int, int]]:
    """Every sum or gathering over a mapped axis: (primitive, scope, bytes a device gives, times).

    The scope is where it stands, as in "jvp(detector)/stem" (`jax.named_scope`). Those in a loop
    count as often as the loop runs. Nothing is computed; `args` may be shapes.
    """
    yield from _collectives(jax.make_jaxpr(function)(*args).jaxpr, "", 1)


def _collectives(jaxpr, outer: str, times: int) -> Iterator[tuple[str, str, int, int]]:
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        scope = "/".join(filter(None, (outer, str(equation.source_info.name_stack))))
        if name in ("psum", "all_gather"):
            given = [v.aval for v in equation.invars]
            yield name, scope, sum(a.size * a.dtype.itemsize for a in given), times
        length = params["length"] if name == "scan" else 1
        for inner in _inner_jaxprs(params):
            yield from _collectives(inner, scope, times * length)


def _inner_jaxprs(params: dict):
    """The functions that an equation calls: jit, custom derivatives, loops and branches."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item
