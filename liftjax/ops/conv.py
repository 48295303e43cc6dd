"""Channels-last convolution with a derivative that stays fast on a CPU.

`conv` gives the numbers of `conv_plain.conv_plain`, XLA's convolution with its own derivative, in
the forms of `conv_cpu` on a CPU. A 1x1 convolution is a matrix product: its kernel gradient is then
up to ten times faster.

A derivative written by hand is traced later than its function, where a
`jax.default_matmul_precision` around the call no longer holds; here it is remembered.

Legend: B batch, H W map, C input channels, O output channels; `spatial` is one to three axes.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp

from liftjax.ops import conv_cpu
from liftjax.ops.conv_plain import conv_plain


def conv(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> jax.Array:
    """Convolution of x (B, *spatial, C) with kernel (*spatial, C / groups, O) -> (B, *spatial, O).

    Args:
      strides, dilation: one number for each spatial axis.
      padding: zeros added on both sides of each spatial axis.
      groups: feature groups; more than one takes XLA's derivative.
    """
    if groups > 1:
        return conv_plain(x, kernel, strides, padding, dilation, groups)
    if {*kernel.shape[:-2], *strides} == {1} and set(padding) == {0}:
        y = x.reshape(-1, x.shape[-1]) @ kernel.reshape(kernel.shape[-2:])
        return y.reshape(*x.shape[:-1], -1)
    return _conv(x, kernel, tuple(strides), tuple(padding), tuple(dilation), _precision())


def wide_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x (N, C) @ kernel (C, O) with the sums as they are, float32 or wider.

    For the last layer of a network in bfloat16: what stands behind a softmax of high beta must not
    be rounded to eight bits. The gradient that comes back is rounded to the dtype of x.
    """
    return _wide_product(x, kernel, _precision())


def _precision() -> str | None:
    return jax.config.jax_default_matmul_precision


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _wide_product(x, kernel, precision):
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return jnp.matmul(x, kernel, precision=precision, preferred_element_type=wide)


def _wide_product_forward(x, kernel, precision):
    return _wide_product(x, kernel, precision), (x, kernel)


def _wide_product_backward(precision, saved, dy):
    x, kernel = saved
    dy = dy.astype(x.dtype)
    with jax.default_matmul_precision(precision):
        return dy @ kernel.T, x.T @ dy


_wide_product.defvjp(_wide_product_forward, _wide_product_backward)


# Traced once for each shape: networks have hundreds of convolutions, of some twenty shapes.
_traced_once = partial(jax.jit, inline=True, static_argnames=("strides", "padding", "dilation"))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _conv(x, kernel, strides, padding, dilation, precision):
    del precision
    return _output(x, kernel, strides=strides, padding=padding, dilation=dilation)


def _forward(x, kernel, *geometry_and_precision):
    return _conv(x, kernel, *geometry_and_precision), (x, kernel)


def _backward(strides, padding, dilation, precision, saved, dy):
    with jax.default_matmul_precision(precision):
        return _gradients(*saved, dy, strides=strides, padding=padding, dilation=dilation)


_conv.defvjp(_forward, _backward)


@_traced_once
def _output(x, kernel, **geometry):
    on_cpu, elsewhere = partial(conv_cpu.output, **geometry), partial(conv_plain, **geometry)
    return jax.lax.platform_dependent(x, kernel, cpu=on_cpu, default=elsewhere)


@_traced_once
def _gradients(x, kernel, dy, **geometry):
    on_cpu, elsewhere = partial(conv_cpu.gradients, **geometry), partial(_in_xla, **geometry)
    return jax.lax.platform_dependent(x, kernel, dy, cpu=on_cpu, default=elsewhere)


def _in_xla(x, kernel, dy, **geometry):
    plain = partial(conv_plain, **geometry)
    (dx,) = jax.linear_transpose(lambda x: plain(x, kernel), x)(dy)
    (dk,) = jax.linear_transpose(lambda kernel: plain(x, kernel), kernel)(dy)
    return dx, dk
