"""Channels-last depthwise convolution that is fast on a CPU, forwards and backwards.

`depthwise_conv_plain` is XLA's grouped convolution with XLA's derivative. `depthwise_conv` gives
the same numbers in the form measured best on each platform; `_per_platform` makes that choice.

On a CPU, XLA runs a grouped convolution as a naive loop. Sums of shifted products, for 5x5 kernels
on maps of 8x6 to 96x72, are 6 to 50 times faster forwards and 8 to 40 times backwards; inside
another loop (`lax.scan`), where XLA's own derivative degrades further, 50 times for a whole block
of layers. Sums are taken in float32 or wider: bfloat16 is rounded once, at the end.

A TPU's matrix unit is faster with a dense kernel, most of it zeros, than its vector unit with a
depthwise one, as long as the channels do not fill the matrix unit: 2.6 times for 48 channels of
64x48, 2 times for 64 of 96x72, 1.3 times for 96 of 32x24, by the compiler's estimate for a v5e.

Legend: B batch, H and W map, C channels, kh and kw kernel size; y is the output, dy its gradient.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from liftjax.ops import onednn
from liftjax.ops.conv_cpu import pad_once
from liftjax.ops.numerics import at_least_float32

# XLA:CPU works an operand out anew inside a fused loop, unless the loop uses it more than 15 times.
# Sums over 16 rows therefore read a block that lies in memory and fits the cache; with 12 rows
# the gradients take two to three times as long, with 24 as long or a little longer.
_ROWS_PER_BLOCK = 16

_MATRIX_UNIT = 128  # rows and columns of a TPU's


def depthwise_conv(x_BHWC: jax.Array, kernel: jax.Array, padding: Sequence[int]) -> jax.Array:
    """Convolution of each channel of x (B, H, W, C) with its own kernel (kh, kw, 1, C), stride 1.

    The derivative is first-order and in reverse mode (`jax.grad`, `jax.vjp`) only.

    Args:
      padding: zeros added on both sides of H and on both sides of W.

    Returns:
      (B, H + 2 padding[0] - kh + 1, W + 2 padding[1] - kw + 1, C), in the dtype of x.
    """
    return _depthwise(x_BHWC, kernel, tuple(padding))


def depthwise_conv_plain(x_BHWC: jax.Array, kernel: jax.Array, padding: Sequence[int]) -> jax.Array:
    """As `depthwise_conv`, with XLA's convolution and derivative on every platform."""
    return lax.conv_general_dilated(
        x_BHWC,
        kernel,
        window_strides=(1, 1),
        padding=[(p, p) for p in padding],
        feature_group_count=x_BHWC.shape[-1],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _per_platform(on_cpu: Callable, convolution: Callable, x: jax.Array, *arrays: jax.Array):
    """On a CPU a form of its own, elsewhere a convolution: on a TPU a dense one, if x is narrow."""
    forms = {"cpu": on_cpu, "default": partial(convolution, depthwise_conv_plain)}
    if x.shape[-1] < _MATRIX_UNIT:
        forms["tpu"] = partial(convolution, _dense_conv)
    return lax.platform_dependent(x, *arrays, **forms)


def _dense_conv(x, kernel, padding):
    """As `depthwise_conv_plain`, from all channels to all."""
    dense = kernel * jnp.eye(x.shape[-1], dtype=kernel.dtype)[None, None]
    return lax.conv_general_dilated(
        x, dense, (1, 1), [(p, p) for p in padding], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _depthwise(x, kernel, padding):
    def convolution(conv, x, kernel):
        return conv(x, kernel, padding)

    return _per_platform(partial(_on_cpu, padding=padding), convolution, x, kernel)


def _forward(x, kernel, padding):
    return _depthwise(x, kernel, padding), (x, kernel)


def _backward(padding, saved, dy):
    convolution = partial(_gradients, padding=padding)
    return _per_platform(partial(_gradients_on_cpu, padding=padding), convolution, *saved, dy)


_depthwise.defvjp(_forward, _backward)


def _gradients(conv, x, kernel, dy, padding):
    (dx,) = jax.linear_transpose(lambda x: conv(x, kernel, padding), x)(dy)
    plain = partial(depthwise_conv_plain, x, padding=padding)
    (dk,) = jax.linear_transpose(plain, kernel)(dy)
    return dx, dk


def _on_cpu(x, kernel, padding):
    y = jax.eval_shape(partial(depthwise_conv_plain, padding=padding), x, kernel)
    return _output(x, kernel, results=onednn.like(y), **_geometry(x, padding))[0]


def _gradients_on_cpu(x, kernel, dy, padding):
    geometry = _geometry(x, padding)
    dx = _input_gradient(kernel, dy, results=onednn.like(x), **geometry)
    return *dx, *_kernel_gradient(x, dy, results=onednn.like(kernel), **geometry)


def _geometry(x, padding):
    return {"strides": (1, 1), "padding": padding, "dilation": (1, 1), "groups": x.shape[-1]}


def _output_shifted(x, kernel, padding, **_):
    return (_shifted_sum(x, kernel, padding),)


def _input_gradient_shifted(kernel, dy, padding, **_):
    around = [size - 1 - p for size, p in zip(kernel.shape[:2], padding, strict=True)]
    return (_shifted_sum(dy, jnp.flip(kernel, (0, 1)), around),)


def _shifted_sum(x, kernel, padding):
    """y = sum over taps (i, j) of x shifted by (i, j) times kernel[i, j]; one fused loop."""
    kh, kw, _, channels = kernel.shape
    padded = pad_once(at_least_float32(x), [(p, p) for p in padding])
    height, width = padded.shape[1] - kh + 1, padded.shape[2] - kw + 1
    taps = kernel.astype(padded.dtype).reshape(kh, kw, 1, 1, 1, channels)
    products = (
        padded[:, i : i + height, j : j + width] * taps[i, j] for i in range(kh) for j in range(kw)
    )
    return sum(products).astype(x.dtype)


def _kernel_gradient_shifted(x, dy, results, padding, **_):
    """dk[i, j] = sum over the batch and the map of x shifted by (i, j) times dy.

    XLA:CPU reduces over leading axes one number at a time, and 25 passes over a whole map read
    it 25 times from beyond the cache. So here samples are laid end to end as rows, dy of zero
    where its kernel would reach from one sample into the next, and block by block of rows

    - the rows of a block are added up as one elementwise sum, which leaves (W, C) for each tap;
    - a product with a row of ones adds up W.

    The loop over i keeps the program short: all kh kw taps written out are a little faster and take
    two to three times as long to compile.
    """
    shape = results[0].shape
    kh, kw, _, channels = shape
    block = _ROWS_PER_BLOCK
    x_rows = _as_rows(pad_once(at_least_float32(x), [(p, p) for p in padding]))
    dy_rows = _as_rows(pad_once(at_least_float32(dy), [(0, kh - 1), (0, 0)]))
    width = dy_rows.shape[1]
    blocks = -(-len(dy_rows) // block)
    spare = blocks * block - len(dy_rows)
    x_rows = jnp.pad(x_rows, ((0, spare + kh - 1), (0, 0), (0, 0)))
    dy_rows = jnp.pad(dy_rows, ((0, spare), (0, 0), (0, 0)))
    ones = jnp.ones((1, width), dy_rows.dtype)

    def add_block(dk, first):
        x_block = lax.dynamic_slice_in_dim(x_rows, first, block + kh - 1)
        dy_block = lax.dynamic_slice_in_dim(dy_rows, first, block)

        def taps_of_row(i):
            shifted = lax.dynamic_slice_in_dim(x_block, i, block)
            sums = [
                sum(shifted[r, j : j + width] * dy_block[r] for r in range(block))
                for j in range(kw)
            ]
            return jnp.concatenate([ones @ s for s in sums])

        return dk + lax.map(taps_of_row, jnp.arange(kh)), None

    zero = jnp.zeros((kh, kw, channels), dy_rows.dtype)
    dk, _ = lax.scan(add_block, zero, block * jnp.arange(blocks))
    return (dk.reshape(shape).astype(results[0].dtype),)


def _as_rows(x_BHWC):
    return x_BHWC.reshape(-1, *x_BHWC.shape[2:])


_output = onednn.define("conv", _output_shifted)
_input_gradient = onednn.define("conv_input_gradient", _input_gradient_shifted)
_kernel_gradient = onednn.define("conv_kernel_gradient", _kernel_gradient_shifted)
