"""oneDNN's convolutions on a CPU, and batch normalisation beside them, as calls from XLA.

On a CPU, XLA's own convolutions are about half as fast. Programs consist of XLA's operations alone
on every other platform, when they are exported, with LIFTJAX_ONEDNN=off, and where oneDNN, a
compiler or AVX2 is missing.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from liftjax.ops import onednn_build

_TARGETS = (
    "conv", "conv_input_gradient", "conv_kernel_gradient",
    "norm_moments", "norm_result", "norm_sums", "norm_gradient",
)  # fmt: skip


def usable(dtype) -> bool:
    """Whether arrays of that dtype are computed by oneDNN on this machine's CPU."""
    return dtype == jnp.float32 and _registered()


@functools.cache
def _registered() -> bool:
    """Makes the compiled functions known to XLA; False without them."""
    library = onednn_build.load()
    if isinstance(library, str):
        return False
    for name in _TARGETS:
        capsule = jax.ffi.pycapsule(getattr(library, f"liftjax_{name}"))
        jax.ffi.register_ffi_target(f"liftjax_{name}", capsule, platform="cpu")
    return True


def define(name: str, otherwise: Callable) -> Callable[..., list[jax.Array]]:
    """A function that is computed by the target `name` of onednn.cc where that is possible.

    Args:
      name: one of the targets, without "liftjax_".
      otherwise: the same in JAX, with the arguments below; gives a sequence of arrays.

    Returns:
      (*arrays, results, **attributes) -> list of arrays, without a derivative. `results` is a tuple
      of their `jax.ShapeDtypeStruct`; attributes are booleans, numbers and tuples of whole numbers.
    """
    primitive = Primitive(f"liftjax_{name}")
    primitive.multiple_results = True
    plain = mlir.lower_fun(otherwise, multiple_results=True)

    def call(context, *operands, results, **attributes):
        exported = context.module_context.lowering_parameters.for_export
        if exported or not usable(context.avals_in[0].dtype):
            return plain(context, *operands, results=results, **attributes)
        rule = jax.ffi.ffi_lowering(f"liftjax_{name}")
        return rule(context, *operands, **{k: _attribute(v) for k, v in attributes.items()})

    def shapes(*_, results, **__):
        return [jax.core.ShapedArray(result.shape, result.dtype) for result in results]

    def batched(arrays, axes, **params):
        found = jax.vmap(functools.partial(otherwise, **params), in_axes=axes)(*arrays)
        return found, [0] * len(found)

    def bind(*arrays, results, **attributes):
        return primitive.bind(*arrays, results=results, **attributes)

    def run(*arrays, **params):
        return jax.jit(bind, static_argnames=tuple(params))(*arrays, **params)

    primitive.def_impl(run)
    primitive.def_abstract_eval(shapes)
    mlir.register_lowering(primitive, plain)
    mlir.register_lowering(primitive, call, platform="cpu")
    batching.primitive_batchers[primitive] = batched
    return bind


def like(*arrays) -> tuple[jax.ShapeDtypeStruct, ...]:
    """The `results` of a function whose results have the shapes and dtypes of these."""
    return tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays)


def _attribute(value):
    """In the width that onednn.cc decodes."""
    if isinstance(value, bool):
        return np.bool_(value)
    return np.float32(value) if isinstance(value, float) else np.asarray(value, np.int64)[()]
