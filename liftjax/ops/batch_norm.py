"""Batch normalisation whose derivative keeps the input and a few numbers a channel.

JAX would keep the input once more in float32, its distance from the mean and the normalised map:
for a network in bfloat16 several times the memory of its activations.

Legend: x any number of axes, channels last; N numbers of a channel, over all replicas.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from liftjax.ops.numerics import at_least_float32

STATISTICS = "batch statistics"  # name under which rematerialisation may keep them


def batch_norm(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    epsilon: float,
    axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(x - mean) / sqrt(var + epsilon) scale + bias, with the mean and variance of x.

    The derivative is in reverse mode (`jax.grad`, `jax.vjp`) only.

    Args:
      x: float map of any width. scale, bias: (channels,), float32 or wider.
      axis_name: mapped axis over whose replicas the statistics are taken; None: x alone.

    Returns:
      The normalised map in the dtype of x; mean and biased variance, float32 or wider, through
      which no gradient flows.
    """
    return _batch_norm(x, scale, bias, epsilon, axis_name)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _batch_norm(x, scale, bias, epsilon, axis_name):
    return _forward(x, scale, bias, epsilon, axis_name)[0]


def _forward(x, scale, bias, epsilon, axis_name):
    wide, axes = at_least_float32(x), tuple(range(x.ndim - 1))
    mean = _mean_over_replicas(wide.mean(axes), axis_name)
    # Two passes: the variance of activations far from zero would drown in a difference of large
    # sums.
    var = _mean_over_replicas(jnp.square(wide - _as_row(mean, x)).mean(axes), axis_name)
    # Kept, a rematerialised stage asks the other replicas only once.
    mean, var = checkpoint_name((mean, var), STATISTICS)
    gain = scale * jax.lax.rsqrt(var + epsilon)
    shift = bias - mean * gain
    y = (wide * _as_row(gain, x) + _as_row(shift, x)).astype(x.dtype)
    return (y, mean, var), (x, scale, mean, var)


def _backward(epsilon, axis_name, saved, cotangents):
    """With d = x - mean, r = 1 / deviation and sums over N:

    dx = scale r (dy - sum dy / N - d r^2 sum(d dy) / N)
    """
    x, scale, mean, var = saved
    dy, axes = at_least_float32(cotangents[0]), tuple(range(x.ndim - 1))
    inverse = jax.lax.rsqrt(var + epsilon)
    distance = at_least_float32(x) - _as_row(mean, x)
    sums = jnp.stack([dy.sum(axes), (dy * distance).sum(axes) * inverse])
    d_bias, d_scale = sums
    level, slope = _mean_over_replicas(sums, axis_name) / (x.size // x.shape[-1])
    dx = dy - _as_row(level, x) - distance * _as_row(slope * inverse, x)
    dx = _as_row(scale * inverse, x) * dx
    return dx.astype(x.dtype), d_scale.astype(scale.dtype), d_bias.astype(scale.dtype)


_batch_norm.defvjp(_forward, _backward)


def _mean_over_replicas(values, axis_name):
    return values if axis_name is None else jax.lax.pmean(values, axis_name)


def _as_row(values, x):
    return values.reshape((1,) * (x.ndim - 1) + (-1,))
