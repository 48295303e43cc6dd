"""Channels-last convolution with a derivative that stays fast on a CPU.

`conv_plain` is XLA's convolution with its own derivative. `conv` gives the same numbers, but on a
CPU its gradients are themselves written as ordinary channels-last convolutions. The ones that
automatic differentiation makes have batch and channels exchanged in place; XLA:CPU runs those as a
naive loop whenever they stand inside another loop (`lax.scan`), some 30 times slower.

A 1x1 convolution is a matrix product: its kernel gradient is then up to ten times faster.

Legend: B batch, C input channels, O output channels; `spatial` is one to three axes.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp

_SPATIAL = "DHW"


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
    return _conv(x, kernel, tuple(strides), tuple(padding), tuple(dilation))


def conv_plain(x, kernel, strides, padding, dilation, groups=1) -> jax.Array:
    """As `conv`, with XLA's derivative everywhere."""
    around = [(p, p) for p in padding]
    return _lax_conv(x, kernel, strides, around, (1,) * len(strides), dilation, groups)


def _lax_conv(x, kernel, strides, around, x_dilation, kernel_dilation, groups=1):
    axes = _SPATIAL[-len(strides) :]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=tuple(strides),
        padding=around,
        lhs_dilation=tuple(x_dilation),
        rhs_dilation=tuple(kernel_dilation),
        feature_group_count=groups,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(x, kernel, strides, padding, dilation):
    return conv_plain(x, kernel, strides, padding, dilation)


def _forward(x, kernel, strides, padding, dilation):
    return conv_plain(x, kernel, strides, padding, dilation), (x, kernel)


def _backward(strides, padding, dilation, saved, dy):
    geometry = {"strides": strides, "padding": padding, "dilation": dilation}
    return jax.lax.platform_dependent(
        *saved,
        dy,
        cpu=partial(_gradients_as_convolutions, **geometry),
        default=partial(_gradients_plain, **geometry),
    )


_conv.defvjp(_forward, _backward)


def _gradients_plain(x, kernel, dy, strides, padding, dilation):
    _, vjp = jax.vjp(lambda x, k: conv_plain(x, k, strides, padding, dilation), x, kernel)
    return vjp(dy)


def _gradients_as_convolutions(x, kernel, dy, strides, padding, dilation):
    """Gradients of x and kernel, given that of the output y.

    Along one axis, with tap t of the kernel at distance d t and output o at position s o - p,

        y[o] = sum_t x[s o - p + d t] k[t]

    so dk[t] slides dy, its entries s apart, over x in steps of d; and dx slides the reversed
    kernel, its taps d apart, over dy, its entries s apart.
    """
    around_dy, around_x = [], []
    for i, (s, p, d) in enumerate(zip(strides, padding, dilation, strict=True)):
        n, taps, outputs = x.shape[1 + i], kernel.shape[i], dy.shape[1 + i]
        reach = d * (taps - 1)  # from the first tap to the last
        spread = s * (outputs - 1) + 1  # from the first output to the last, inclusive
        around_dy.append((reach - p, n + p - spread))
        around_x.append((p, reach + spread - n - p))

    ones = (1,) * len(strides)
    spatial = range(len(strides))
    reversed_kernel = jnp.flip(kernel, tuple(spatial)).swapaxes(-1, -2)
    dx = _lax_conv(dy, reversed_kernel, ones, around_dy, strides, dilation)
    # The batch is what is summed over here: it takes the place of the input channels.
    dy_as_kernel = jnp.moveaxis(dy, 0, -2)
    dk = _lax_conv(x.swapaxes(0, -1), dy_as_kernel, dilation, around_x, ones, strides)
    return dx, jnp.moveaxis(dk, 0, -2)
