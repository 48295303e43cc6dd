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

from liftjax.ops import onednn
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


# Traced once for each shape: networks have hundreds of these layers, of some twenty shapes.
_OPTIONS = ("epsilon", "axis_name", "activation", "has_shortcut")
_traced_once = partial(jax.jit, inline=True, static_argnames=_OPTIONS)


@partial(jax.custom_vjp, nondiff_argnums=(5, 6, 7, 8))
def _batch_norm(x, shortcut, scale, bias, center, *options):
    return _forward(x, shortcut, scale, bias, center, *options)[0]


@_traced_once
def _forward(x, shortcut, scale, bias, center, epsilon, axis_name, activation, has_shortcut):
    mean, var = jax.lax.platform_dependent(x, center, cpu=_moments_on_cpu, default=_one_pass)
    if axis_name is not None:
        mean, var = _together(jax.lax.all_gather(jnp.stack([mean, var]), axis_name))
    # Kept, a rematerialised stage asks the other replicas only once.
    mean, var = checkpoint_name((mean, var), STATISTICS)
    of = {"epsilon": epsilon, "activation": activation}
    y = jax.lax.platform_dependent(
        x, shortcut, mean, var, scale, bias,
        cpu=partial(_result_on_cpu, **of), default=partial(_result, **of),
    )  # fmt: skip
    y = stored_on_gpu(y) if activation else y  # else it may become part of a sum
    kept = None  # what the derivative of the activation needs beside x
    if has_shortcut and activation:
        kept = y if activation == "relu" else shortcut
    return (y, mean, var), (x, kept, scale, bias, mean, var)


def stored_on_gpu(x):
    """x, which XLA:GPU would compute anew for each reader, from all that it was made of."""
    return jax.lax.platform_dependent(x, cuda=jax.lax.optimization_barrier, default=lambda x: x)


def _two_passes(x, **_):
    """Exact wherever the mean is: a CPU's caches make the second pass cheap."""
    wide, axes = at_least_float32(x), tuple(range(x.ndim - 1))
    mean = wide.mean(axes)
    return mean, jnp.square(wide - as_row(mean, x)).mean(axes)


def _moments_on_cpu(x, center):
    return tuple(_moments(x, results=onednn.like(center, center)))


def _one_pass(x, center):
    """Both sums while a convolution writes the map, where the compiler can join them."""
    distance, count = at_least_float32(x) - as_row(center, x), x.size // x.shape[-1]
    total, squares = _two_sums(distance, jnp.square(distance))
    mean = total / count
    return center + mean, jnp.maximum(squares / count - jnp.square(mean), 0)


def _two_sums(a, b):
    """Of each channel."""
    return jax.lax.platform_dependent(a, b, cuda=_joint_sums, default=_separate_sums)


def _separate_sums(a, b):
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


@_traced_once
def _backward(epsilon, axis_name, activation, has_shortcut, saved, cotangents):
    """With d = x - mean, r = 1 / deviation, dz the gradient before the activation, sums over N:

    dx = scale r (dz - sum dz / N - d r^2 sum(d dz) / N)
    """
    x, kept, scale, bias, mean, var = saved
    given, of = (x, kept, mean, var, scale, bias), {"epsilon": epsilon, "activation": activation}
    # On a CPU dz is dy here: the next two functions differentiate the activation themselves.
    dz = jax.lax.platform_dependent(
        *given, cotangents[0], cpu=lambda *all: all[-1], default=partial(_before, **of)
    )
    of_dz = {"epsilon": epsilon, "activation": None}
    sums = jax.lax.platform_dependent(
        *given, dz, cpu=partial(_sums_on_cpu, **of), default=partial(_sums, **of_dz)
    )
    d_bias, d_scale = sums.astype(scale.dtype)
    means = mean_over_replicas(sums, axis_name) / (x.size // x.shape[-1])
    dx, d_shortcut = jax.lax.platform_dependent(
        *given, dz, means,
        cpu=partial(_gradients_on_cpu, **of), default=partial(_gradients, **of_dz),
    )  # fmt: skip
    return dx, d_shortcut if has_shortcut else None, d_scale, d_bias, jnp.zeros_like(mean)


def _before(x, kept, mean, var, scale, bias, dy, *, epsilon, activation):
    """The gradient before the activation."""
    if activation is None:
        return dy
    if activation == "relu" and kept is not None:
        return jnp.where(kept > 0, dy, 0)
    z = _before_activation(x, kept, *_gain_and_shift(mean, var, scale, bias, epsilon))
    if activation == "relu":
        return jnp.where(z > 0, dy, 0)
    (dz,) = jax.vjp(ACTIVATIONS[activation], z)[1](at_least_float32(dy))
    return stored_on_gpu(dz.astype(x.dtype))


def _sums(x, kept, mean, var, scale, bias, dy, *, epsilon, activation):
    """(2, channels): sums of dz, and of dz times normalised x."""
    dz = _before(x, kept, mean, var, scale, bias, dy, epsilon=epsilon, activation=activation)
    dz, distance = at_least_float32(dz), at_least_float32(x) - as_row(mean, x)
    total, slope = _two_sums(dz, dz * distance)
    return jnp.stack([total, slope * jax.lax.rsqrt(var + epsilon)])


def _gradients(x, kept, mean, var, scale, bias, dy, means, *, epsilon, activation):
    """dx and dz, given those sums over N."""
    dz = _before(x, kept, mean, var, scale, bias, dy, epsilon=epsilon, activation=activation)
    inverse, (level, slope) = jax.lax.rsqrt(var + epsilon), means
    distance = at_least_float32(x) - as_row(mean, x)
    dx = at_least_float32(dz) - as_row(level, x) - distance * as_row(slope * inverse, x)
    return (as_row(scale * inverse, x) * dx).astype(x.dtype), dz


_batch_norm.defvjp(_forward, _backward)


def mean_over_replicas(values, axis_name):
    return values if axis_name is None else jax.lax.pmean(values, axis_name)


def as_row(values, x):
    return values.reshape((1,) * (x.ndim - 1) + (-1,))


def _result(x, shortcut, mean, var, scale, bias, *, epsilon, activation):
    return normalise(x, mean, var, scale, bias, epsilon, activation, shortcut)


def _on_cpu(name, plain, shapes):
    """`plain` as a call of onednn.cc, which is given x where there is no second map.

    Args:
      name: see `onednn.define`.
      plain: one of the functions above.
      shapes: (x, mean, whether there is a second map) -> arrays like those that the call gives.
    """

    def in_jax(x, more, *others, results, epsilon, activation, adds):
        of = {"epsilon": epsilon, "activation": list(ACTIVATIONS)[activation]}
        found = plain(x, more if adds else None, *others, **of)
        return jax.tree.leaves(found)[: len(results)]

    call = onednn.define(name, in_jax)

    def on_cpu(x, more, mean, *others, epsilon, activation):
        adds = more is not None
        form = {"epsilon": epsilon, "activation": list(ACTIVATIONS).index(activation), "adds": adds}
        like = onednn.like(*shapes(x, mean, adds))
        return call(x, more if adds else x, mean, *others, results=like, **form)

    return on_cpu


def _result_on_cpu(*given, **of):
    return _call_result(*given, **of)[0]


def _sums_on_cpu(*given, **of):
    return _call_sums(*given, **of)[0]


def _gradients_on_cpu(*given, **of):
    """The gradient of a shortcut without an activation is dy as it is."""
    dx, *dz = _call_gradients(*given, **of)
    return dx, *(dz or [given[6]])


_call_result = _on_cpu("norm_result", _result, lambda x, mean, adds: [x])
_call_sums = _on_cpu(
    "norm_sums", _sums, lambda x, mean, adds: [jax.ShapeDtypeStruct((2, mean.size), mean.dtype)]
)
_call_gradients = _on_cpu("norm_gradient", _gradients, lambda x, mean, adds: [x, x][: 1 + adds])
_moments = onednn.define("norm_moments", _two_passes)
