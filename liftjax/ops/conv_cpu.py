"""Convolutions on a CPU: by oneDNN where it can be called, else in forms that XLA runs fast.

XLA:CPU runs the derivatives that automatic differentiation makes, which have batch and channels
exchanged in place, as a naive loop whenever they stand inside another loop (`lax.scan`), some 30
times slower. Here they are written as ordinary channels-last convolutions.

A wide kernel on a small map (RTMPose's 7x7 on 8x6 pixels) is a naive loop anywhere in XLA:CPU; as
products it is 10 to 50 times faster forwards and backwards, the more the more outputs.

Legend: B batch, H W map, C input channels, O output channels; `spatial` is one to three axes.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from liftjax.ops import onednn
from liftjax.ops.conv_plain import conv_plain, lax_conv

# What counts as a wide kernel on a small map; elsewhere the products would take much memory.
_WIDE_TAPS = 25
_SMALL_PIXELS = 1024
# Maps from 64x48 on: there a kernel's gradient is two to three times faster as a product than as a
# convolution, at 48x36 and below no faster.
_LARGE_PIXELS = 3000


def output(x: jax.Array, kernel: jax.Array, **geometry: Sequence[int]) -> jax.Array:
    """As `conv.conv` of one group; `geometry` is its strides, padding and dilation."""
    if _is_wide(x, kernel, **geometry):
        return _by_products(x, kernel, geometry["padding"])
    if x.ndim != 4:
        return conv_plain(x, kernel, **geometry)
    y = jax.eval_shape(partial(conv_plain, **geometry), x, kernel)
    return _output(x, kernel, results=onednn.like(y), groups=1, **geometry)[0]


def gradients(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, **geometry: Sequence[int]
) -> tuple[jax.Array, jax.Array]:
    """Those of x and of the kernel, given that of the output."""
    if _is_wide(x, kernel, **geometry):
        return _gradients_by_products(x, kernel, dy, geometry["padding"])
    of_x, of_kernel = _input_gradient, _kernel_gradient
    if x.ndim != 4:
        of_x, of_kernel = _input_gradient_in_jax, _kernel_gradient_in_jax
    (dx,) = of_x(kernel, dy, results=onednn.like(x), groups=1, **geometry)
    (dk,) = of_kernel(x, dy, results=onednn.like(kernel), groups=1, **geometry)
    return dx, dk


def _output_in_jax(x, kernel, results, **geometry):
    del results
    return (conv_plain(x, kernel, **geometry),)


def _input_gradient_in_jax(kernel, dy, results, strides, padding, dilation, groups):
    """Along one axis, with tap t of the kernel at distance d t and output o at position s o - p,

        y[o] = sum_t x[s o - p + d t] k[t]

    so dx slides the reversed kernel, its taps d apart, over dy, its entries s apart.
    """
    del groups
    sizes = results[0].shape[1:-1], kernel.shape, dy.shape[1:-1]
    axes = tuple(range(len(strides)))
    around = [
        (reach - p, n + p - spread)
        for n, p, reach, spread in _extents(*sizes, strides, padding, dilation)
    ]
    reversed_kernel = jnp.flip(kernel, axes).swapaxes(-1, -2)
    return (lax_conv(dy, reversed_kernel, (1,) * len(axes), around, strides, dilation),)


def _kernel_gradient_in_jax(x, dy, results, strides, padding, dilation, groups):
    """With the formula above, dk[t] slides dy, its entries s apart, over x in steps of d."""
    del groups
    shape = results[0].shape
    if math.prod(dy.shape[1:-1]) >= _LARGE_PIXELS:
        return (_kernel_gradient_by_products(x, dy, shape, strides, padding, dilation),)
    sizes = x.shape[1:-1], shape, dy.shape[1:-1]
    around = [
        (p, reach + spread - n - p)
        for n, p, reach, spread in _extents(*sizes, strides, padding, dilation)
    ]
    # The batch is what is summed over here: it takes the place of the input channels.
    dy_as_kernel = jnp.moveaxis(dy, 0, -2)
    dk = lax_conv(x.swapaxes(0, -1), dy_as_kernel, dilation, around, (1,) * len(strides), strides)
    return (jnp.moveaxis(dk, 0, -2),)


def _extents(inputs, kernel_shape, outputs, strides, padding, dilation):
    """(inputs, padding, taps' reach, outputs' spread) of each axis.

    The reach is the distance from the first tap to the last; the spread that from the first output
    to the last, both counted.
    """
    for n, taps, m, s, p, d in zip(
        inputs, kernel_shape[:-2], outputs, strides, padding, dilation, strict=True
    ):
        yield n, p, d * (taps - 1), s * (m - 1) + 1


_output = onednn.define("conv", _output_in_jax)
_input_gradient = onednn.define("conv_input_gradient", _input_gradient_in_jax)
_kernel_gradient = onednn.define("conv_kernel_gradient", _kernel_gradient_in_jax)


def _is_wide(x, kernel, strides, padding, dilation) -> bool:
    """Whether the convolution is one of a wide kernel on a small map."""
    del padding
    taps, pixels = math.prod(kernel.shape[:-2]), math.prod(x.shape[1:-1])
    plain = x.ndim == 4 and {*strides, *dilation} == {1}
    return plain and taps >= _WIDE_TAPS and pixels <= _SMALL_PIXELS


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
