"""A 1x1 convolution and its batch normalisation, without the map between them.

The statistics of z = x W follow from those of x: where its channels have the mean m and the
covariance S, z has the mean m W and the variances diag(W^T S W). The normalisation is then a factor
in W and a shift, and its derivative needs z only in products with x, which are products of small
matrices too. Where W has many more outputs than inputs, as at the end of a bottleneck, this saves a
quarter of the memory traffic on a GPU and 40 % on a TPU.

Legend: N pixels of a replica, C channels of x, O outputs.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from liftjax.ops.batch_norm import STATISTICS, as_row, mean_over_replicas, stored_on_gpu
from liftjax.ops.numerics import at_least_float32


def product_norm(
    x: jax.Array,
    kernel: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    epsilon: float,
    axis_name: str | None = None,
    *,
    relu: bool = False,
    shortcut: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """:func:`ops.batch_norm.batch_norm` of x @ kernel, and what it returns.

    The derivative is in reverse mode (`jax.grad`, `jax.vjp`) only.

    Args:
      x: map (..., C).
      kernel: (C, O), in the dtype of x.
      scale, bias: (O,), float32 or wider.
      epsilon: added to the variance.
      axis_name: mapped axis over whose replicas the statistics are taken; None: x alone.
      relu: whether the result is rectified.
      shortcut: map (..., O) in the dtype of x, added before that.
    """
    # Remembered: the derivative is traced after a `jax.default_matmul_precision` around the call.
    precision = jax.config.jax_default_matmul_precision
    options = epsilon, axis_name, relu, shortcut is not None, precision
    return _product_norm(x, shortcut, kernel, scale, bias, *options)


@partial(jax.custom_vjp, nondiff_argnums=(5, 6, 7, 8, 9))
def _product_norm(x, shortcut, kernel, scale, bias, *options):
    return _forward(x, shortcut, kernel, scale, bias, *options)[0]


def _forward(x, shortcut, kernel, scale, bias, epsilon, axis_name, relu, has_shortcut, _):
    wide, dtype, count = at_least_float32(kernel), x.dtype, x.size // x.shape[-1]
    own_mean = at_least_float32(x).mean(_pixels(x))
    own_square = _over_pixels(x, x, precision=jax.lax.Precision.HIGHEST) / count
    mean_C, square_CC = mean_over_replicas((own_mean, own_square), axis_name)
    mean = _exact(mean_C, wide)
    covariance_CC = square_CC - jnp.outer(mean_C, mean_C)
    var = jnp.maximum((wide * _exact(covariance_CC, wide)).sum(0), 0)
    # Kept, a rematerialised stage asks the other replicas only once.
    kept = checkpoint_name((own_mean, own_square, mean_C, mean, var), STATISTICS)
    own_mean, own_square, mean_C, mean, var = kept
    gain = scale * jax.lax.rsqrt(var + epsilon)
    folded, shift = (wide * gain[None]).astype(dtype), (bias - mean * gain).astype(dtype)
    y = _affine(x, folded, shift, shortcut, relu)
    return (y, mean, var), (x, y if relu else None, kernel, scale, kept)


def _backward(epsilon, axis_name, relu, has_shortcut, precision, saved, cotangents):
    """With D the gradient before ReLU, r = 1 / deviation, g = scale r and sums over N,

    dz = g (D - level - slope (z - mean)),  level = sum D / N,  slope = r^2 sum(D (z - mean)) / N

    and z = x W written out in dx = dz W^T and dW = x^T dz.
    """
    x, y, kernel, scale, (own_mean, own_square, mean_C, mean, var) = saved
    wide, inverse = at_least_float32(kernel), jax.lax.rsqrt(var + epsilon)
    dtype, count = x.dtype, x.size // x.shape[-1]
    D = jnp.where(y > 0, cotangents[0], 0) if relu else cotangents[0]
    with jax.default_matmul_precision(precision):
        product_CO = _over_pixels(x, D)
        total = at_least_float32(D).sum(_pixels(D))
        d_scale = inverse * ((wide * product_CO).sum(0) - mean * total)
        sums = mean_over_replicas(jnp.stack([total, d_scale]), axis_name) / count
        gain = scale * inverse
        level, slope = gain * sums[0], gain * sums[1] * inverse
        mixing_CC = _exact(wide * slope[None], wide.T)
        constant = _exact(mean_C, mixing_CC) - _exact(wide, level)
        dx = as_row(constant.astype(dtype), x) - x @ mixing_CC.astype(dtype)
        dx = D @ (wide * gain[None]).T.astype(dtype) + dx
    about_mean = _exact(own_square, wide) - jnp.outer(own_mean, mean)  # x^T (z - mean) / N
    constant = jnp.outer(own_mean, level) + about_mean * slope[None]
    d_kernel = (product_CO * gain[None] - count * constant).astype(kernel.dtype)
    return dx, D if has_shortcut else None, d_kernel, d_scale, total


_product_norm.defvjp(_forward, _backward)


def _affine(x, kernel, shift, shortcut, relu):
    """x @ kernel + shift + shortcut, rectified with `relu`.

    In the dtype of the maps: a GPU's library then adds and rectifies as it writes the product.
    """

    def as_they_lie(x, shortcut):
        y = x @ kernel + as_row(shift, x)
        y = y if shortcut is None else y + shortcut
        return jax.nn.relu(y) if relu else y

    def flattened(x, shortcut):
        rows = (v if v is None else v.reshape(-1, v.shape[-1]) for v in (x, shortcut))
        return stored_on_gpu(as_they_lie(*rows)).reshape(*x.shape[:-1], -1)

    return jax.lax.platform_dependent(x, shortcut, tpu=as_they_lie, default=flattened)


def _exact(a, b):
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _pixels(x):
    return tuple(range(x.ndim - 1))


def _over_pixels(a, b, precision=None):
    """(C, O): the sum over all pixels of a (..., C) times b (..., O), float32 or wider."""
    wide = jnp.promote_types(a.dtype, jnp.float32)
    options = {"precision": precision, "preferred_element_type": wide}

    def as_they_lie(a, b):  # flattened maps would have to lie otherwise
        return jax.lax.dot_general(a, b, ((_pixels(a), _pixels(b)), ((), ())), **options)

    def flattened(a, b):
        a, b = (v.reshape(-1, v.shape[-1]) for v in (a, b))
        return jnp.matmul(a.T, b, **options)

    return jax.lax.platform_dependent(a, b, tpu=as_they_lie, default=flattened)
