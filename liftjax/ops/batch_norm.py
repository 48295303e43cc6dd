"""Batch normalisation with the activation after it, in as few passes over the map as there can be.

The derivative keeps the input and a few numbers a channel. JAX would keep the input once more in
float32, its distance from the mean and the normalised map: for a network in bfloat16 several times
the memory of its activations.

Legend: x any number of axes, channels last; N numbers of a channel, over all replicas.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from liftjax.ops.numerics import at_least_float32

STATISTICS = "batch statistics"  # name under which rematerialisation may keep them

ACTIVATIONS = {None: lambda x: x, "relu": jax.nn.relu, "silu": jax.nn.silu}


def batch_norm(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    epsilon: float,
    axis_name: str | None = None,
    *,
    center: jax.Array | None = None,
    activation: str | None = None,
    shortcut: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """activation((x - mean) / sqrt(var + epsilon) scale + bias + shortcut).

    The derivative is in reverse mode (`jax.grad`, `jax.vjp`) only.

    Args:
      x: float map of any width. scale, bias: (channels,), float32 or wider.
      axis_name: mapped axis over whose replicas the statistics are taken; None: x alone.
      center: (channels,), near the mean: the running mean, say. Accelerators read the map once, and
        sum about this; their variance is wrong by about 1e-7 of (mean - center)^2. Default: 0.
      activation: a name of `ACTIVATIONS`.
      shortcut: map in the shape and dtype of x.

    Returns:
      The result in the dtype of x; mean and biased variance of x, float32 or wider, through which
      no gradient flows.
    """
    if center is None:
        center = jnp.zeros_like(bias)
    options = epsilon, axis_name, activation, shortcut is not None
    return _batch_norm(x, shortcut, scale, bias, center, *options)


def normalise(x, mean, var, scale, bias, epsilon, activation=None, shortcut=None) -> jax.Array:
    """The result of :func:`batch_norm` under given statistics."""
    return ACTIVATIONS[activation](
        _before_activation(x, shortcut, *_gain_and_shift(mean, var, scale, bias, epsilon))
    ).astype(x.dtype)


def _gain_and_shift(mean, var, scale, bias, epsilon):
    gain = scale * jax.lax.rsqrt(var + epsilon)
    return gain, bias - mean * gain


def _before_activation(x, shortcut, gain, shift):
    normalised = at_least_float32(x) * as_row(gain, x) + as_row(shift, x)
    return normalised if shortcut is None else normalised + at_least_float32(shortcut)


@partial(jax.custom_vjp, nondiff_argnums=(5, 6, 7, 8))
def _batch_norm(x, shortcut, scale, bias, center, *options):
    return _forward(x, shortcut, scale, bias, center, *options)[0]


def _forward(x, shortcut, scale, bias, center, epsilon, axis_name, activation, has_shortcut):
    mean, var = jax.lax.platform_dependent(x, center, cpu=_two_passes, default=_one_pass)
    if axis_name is not None:
        mean, var = _together(jax.lax.all_gather(jnp.stack([mean, var]), axis_name))
    # Kept, a rematerialised stage asks the other replicas only once.
    mean, var = checkpoint_name((mean, var), STATISTICS)
    y = normalise(x, mean, var, scale, bias, epsilon, activation, shortcut)
    y = stored_on_gpu(y) if activation else y  # else it may become part of a sum
    kept = None  # what the derivative of the activation needs beside x
    if has_shortcut and activation:
        kept = y if activation == "relu" else shortcut
    return (y, mean, var), (x, kept, scale, bias, mean, var)


def stored_on_gpu(x):
    """x, which XLA:GPU would compute anew for each reader, from all that it was made of."""
    return jax.lax.platform_dependent(x, cuda=jax.lax.optimization_barrier, default=lambda x: x)


def _two_passes(x, center):
    """Exact wherever the mean is: a CPU's caches make the second pass cheap."""
    del center
    wide, axes = at_least_float32(x), tuple(range(x.ndim - 1))
    mean = wide.mean(axes)
    return mean, jnp.square(wide - as_row(mean, x)).mean(axes)


def _one_pass(x, center):
    """Both sums while a convolution writes the map, where the compiler can join them."""
    distance, count = at_least_float32(x) - as_row(center, x), x.size // x.shape[-1]
    total, squares = _two_sums(distance, jnp.square(distance))
    mean = total / count
    return center + mean, jnp.maximum(squares / count - jnp.square(mean), 0)


def _two_sums(a, b):
    """Of each channel."""
    return jax.lax.platform_dependent(a, b, cuda=_joint_sums, default=_sums)


def _sums(a, b):
    axes = tuple(range(a.ndim - 1))
    return a.sum(axes), b.sum(axes)


def _joint_sums(a, b):
    """One reduction of pairs: XLA on a GPU would end two separate ones by a launch each."""
    zero, axes = jnp.zeros((), a.dtype), tuple(range(a.ndim - 1))
    return jax.lax.reduce((a, b), (zero, zero), lambda x, y: (x[0] + y[0], x[1] + y[1]), axes)


def _together(statistics_N2C):
    """Mean and variance of all replicas, given those of each, of equally many numbers.

    Chan et al., "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """
    means, variances = statistics_N2C[:, 0], statistics_N2C[:, 1]
    mean = means.mean(0)
    return mean, (variances + jnp.square(means - mean[None])).mean(0)


def _backward(epsilon, axis_name, activation, has_shortcut, saved, cotangents):
    """With d = x - mean, r = 1 / deviation, dz the gradient before the activation, sums over N:

    dx = scale r (dz - sum dz / N - d r^2 sum(d dz) / N)
    """
    x, kept, scale, bias, mean, var = saved
    dz, inverse = cotangents[0], jax.lax.rsqrt(var + epsilon)
    if activation == "relu" and kept is not None:
        # Before it is widened: what is stored between two passes is then narrow.
        dz = jnp.where(kept > 0, dz, 0)
    elif activation:
        z = _before_activation(x, kept, *_gain_and_shift(mean, var, scale, bias, epsilon))
        (dz,) = jax.vjp(ACTIVATIONS[activation], z)[1](at_least_float32(dz))
        if activation != "relu":
            dz = stored_on_gpu(dz.astype(x.dtype))
    dz = at_least_float32(dz)
    distance = at_least_float32(x) - as_row(mean, x)
    total, slope = _two_sums(dz, dz * distance)
    sums = jnp.stack([total, slope * inverse])
    d_bias, d_scale = sums.astype(scale.dtype)
    level, slope = mean_over_replicas(sums, axis_name) / (x.size // x.shape[-1])
    dx = dz - as_row(level, x) - distance * as_row(slope * inverse, x)
    dx = (as_row(scale * inverse, x) * dx).astype(x.dtype)
    d_shortcut = dz.astype(x.dtype) if has_shortcut else None
    return dx, d_shortcut, d_scale, d_bias, jnp.zeros_like(mean)


_batch_norm.defvjp(_forward, _backward)


def mean_over_replicas(values, axis_name):
    return values if axis_name is None else jax.lax.pmean(values, axis_name)


def as_row(values, x):
    return values.reshape((1,) * (x.ndim - 1) + (-1,))
