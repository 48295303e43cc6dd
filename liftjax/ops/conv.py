"""Channels-last convolution with a derivative that stays fast on a CPU.

`conv_plain` is XLA's convolution with its own derivative. `conv` gives the same numbers, but on a
CPU its gradients are themselves written as ordinary channels-last convolutions. The ones that
automatic differentiation makes have batch and channels exchanged in place; XLA:CPU runs those as a
naive loop whenever they stand inside another loop (`lax.scan`), some 30 times slower.

A 1x1 convolution is a matrix product: its kernel gradient is then up to ten times faster. So is, on
a CPU, a wide kernel on a small map (RTMPose's 7x7 on 8x6 pixels), which XLA:CPU runs as a naive
loop: as products 10 to 50 times faster forwards and backwards, the more the more outputs.

A derivative written by hand is traced later than its function, where a
`jax.default_matmul_precision` around the call no longer holds; here it is remembered.

Legend: B batch, H W map, C input channels, O output channels; `spatial` is one to three axes.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp

_SPATIAL = "DHW"
# What counts as a wide kernel on a small map; elsewhere the products would take much memory.
_WIDE_TAPS = 25
_SMALL_PIXELS = 1024
# Maps from 64x48 on: there a kernel's gradient is two to three times faster as a product than as a
# convolution, at 48x36 and below no faster.
_LARGE_PIXELS = 3000


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


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _conv(x, kernel, strides, padding, dilation, precision):
    plain = partial(conv_plain, strides=strides, padding=padding, dilation=dilation)
    if not _is_wide(x, kernel, strides, dilation):
        return plain(x, kernel)
    return jax.lax.platform_dependent(
        x, kernel, cpu=partial(_by_products, padding=padding), default=plain
    )


def _forward(x, kernel, *geometry_and_precision):
    return _conv(x, kernel, *geometry_and_precision), (x, kernel)


def _backward(strides, padding, dilation, precision, saved, dy):
    geometry = {"strides": strides, "padding": padding, "dilation": dilation}
    on_cpu = partial(_gradients_as_convolutions, **geometry)
    if _is_wide(*saved, strides, dilation):
        on_cpu = partial(_gradients_by_products, padding=padding)
    plain = partial(_gradients_plain, **geometry)
    with jax.default_matmul_precision(precision):
        return jax.lax.platform_dependent(*saved, dy, cpu=on_cpu, default=plain)


_conv.defvjp(_forward, _backward)


def _is_wide(x, kernel, strides, dilation) -> bool:
    """Whether the convolution is one of a wide kernel on a small map."""
    taps, pixels = math.prod(kernel.shape[:-2]), math.prod(x.shape[1:-1])
    plain = x.ndim == 4 and {*strides, *dilation} == {1}
    return plain and taps >= _WIDE_TAPS and pixels <= _SMALL_PIXELS


def _gradients_plain(x, kernel, dy, strides, padding, dilation):
    plain = partial(conv_plain, strides=strides, padding=padding, dilation=dilation)
    (dx,) = jax.linear_transpose(lambda x: plain(x, kernel), x)(dy)
    (dk,) = jax.linear_transpose(lambda kernel: plain(x, kernel), kernel)(dy)
    return dx, dk


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
    if math.prod(dy.shape[1:-1]) >= _LARGE_PIXELS:
        return dx, _kernel_gradient_by_products(x, dy, kernel.shape, strides, padding, dilation)
    # The batch is what is summed over here: it takes the place of the input channels.
    dy_as_kernel = jnp.moveaxis(dy, 0, -2)
    dk = _lax_conv(x.swapaxes(0, -1), dy_as_kernel, dilation, around_x, ones, strides)
    return dx, jnp.moveaxis(dk, 0, -2)


def _kernel_gradient_by_products(x, dy, shape, strides, padding, dilation):
    """One product over all pixels, of the shifted copies of x, side by side as channels, with dy.

    A product for each tap would read the maps again for each, and be too narrow to be fast.
    """
    padded = pad_once(x, [(p, p) for p in padding])
    if {*strides} == {1}:
        return _product_of_shifted(padded, dy, shape, dilation)

    def read_by(position):
        start = [d * tap for d, tap in zip(dilation, position, strict=True)]
        ends = zip(start, strides, dy.shape[1:-1], strict=True)
        stop = [first + s * (n - 1) + 1 for first, s, n in ends]
        return jax.lax.slice(padded, (0, *start, 0), (len(x), *stop, shape[-2]), (1, *strides, 1))

    copies = jnp.concatenate([read_by(position) for position in _taps(shape)], axis=-1)
    dk = copies.reshape(-1, copies.shape[-1]).T @ dy.reshape(-1, shape[-1])
    return dk.reshape(shape)


def _product_of_shifted(padded, dy, shape, dilation):
    """The same at stride 1, with fewer copies: of x along the last axis, of dy along the others."""
    frame = padded.shape[1:-2]
    none, zero = (0, 0, 0), jnp.zeros((), dy.dtype)

    def columns(tap):
        start = dilation[-1] * tap
        return jax.lax.slice_in_dim(padded, start, start + dy.shape[-2], axis=padded.ndim - 2)

    def rows(position):
        """dy in the rows of the padded map that these taps read."""
        first = [d * tap for d, tap in zip(dilation[:-1], position, strict=True)]
        sizes = zip(first, frame, dy.shape[1:-2], strict=True)
        return jax.lax.pad(dy, zero, [none, *((a, n - a - m, 0) for a, n, m in sizes), none, none])

    *others, taps, channels, outputs = shape
    positions = list(itertools.product(*map(range, others)))
    columns = jnp.concatenate([columns(tap) for tap in range(taps)], axis=-1)
    rows = jnp.concatenate([rows(position) for position in positions], axis=-1)
    dk = columns.reshape(-1, taps * channels).T @ rows.reshape(-1, len(positions) * outputs)
    return jnp.moveaxis(dk.reshape(taps, channels, len(positions), outputs), 2, 0).reshape(shape)


def _by_products(x, kernel, padding):
    """One product gives what every pixel adds through every tap; then the taps are added up."""
    batch, height, width, _ = x.shape
    wide = jnp.promote_types(x.dtype, jnp.float32)
    products = jnp.matmul(
        x.reshape(-1, x.shape[-1]), _taps_as_outputs(kernel), preferred_element_type=wide
    ).reshape(batch, height, width, -1)
    padded = jnp.pad(products, ((0, 0), *((p, p) for p in padding), (0, 0)))
    height, width = (n - k + 1 for n, k in zip(padded.shape[1:3], kernel.shape[:2], strict=True))
    outputs = kernel.shape[-1]
    y = sum(
        padded[:, i : i + height, j : j + width, n * outputs : (n + 1) * outputs]
        for n, (i, j) in enumerate(_taps(kernel.shape))
    )
    return y.astype(x.dtype)


def _gradients_by_products(x, kernel, dy, padding):
    """The gradient of the products is dy, shifted for each tap; the rest is two products."""
    height, width = x.shape[1:3]
    rows, columns = kernel.shape[:2]
    around = [(k - 1 - p, k - 1 - p) for k, p in zip(kernel.shape[:2], padding, strict=True)]
    padded = pad_once(dy, around)
    shifted = [
        padded[:, rows - 1 - i : rows - 1 - i + height, columns - 1 - j : columns - 1 - j + width]
        for i, j in _taps(kernel.shape)
    ]
    d_products = jnp.concatenate(shifted, axis=-1).reshape(height * width * len(x), -1)
    dx = (d_products @ _taps_as_outputs(kernel).T).reshape(x.shape)
    dk = x.reshape(-1, x.shape[-1]).T @ d_products
    dk = jnp.moveaxis(dk.reshape(-1, rows, columns, kernel.shape[-1]), 0, 2)
    return dx, dk


def pad_once(x, around: Sequence[tuple[int, int]]):
    """x with zeros before and after each axis of its map (fewer pixels where negative), made once.

    The barrier keeps XLA from padding every shifted slice by itself, which is up to 1.5 times
    slower, most of all behind an activation.
    """
    config = [(0, 0, 0), *((before, after, 0) for before, after in around), (0, 0, 0)]
    return jax.lax.optimization_barrier(jax.lax.pad(x, jnp.zeros((), x.dtype), config))


def _taps(shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The position of each tap of a kernel of that shape (*spatial, C, O), in order."""
    return itertools.product(*map(range, shape[:-2]))


def _taps_as_outputs(kernel):
    """(H, W, C, O) as (C, H W O)."""
    return jnp.moveaxis(kernel, 2, 0).reshape(kernel.shape[2], -1)
