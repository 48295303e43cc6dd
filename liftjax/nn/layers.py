"""Layers with the semantics of the upstream PyTorch networks, and ways to run many of them.

Attribute names of the parameters are Flax's (kernel, scale, bias); `liftjax.torch_weights` knows
how each layer type is called and laid out in a PyTorch state_dict.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from liftjax.nn import initial
from liftjax.nn.initial import Initializer
from liftjax.ops import onednn
from liftjax.ops.batch_norm import STATISTICS, batch_norm, normalise
from liftjax.ops.conv import conv, wide_product
from liftjax.ops.depthwise import depthwise_conv
from liftjax.ops.numerics import at_least_float32
from liftjax.ops.product_norm import product_norm

_HE_TRUNCATED, _ZEROS = initial.he_truncated(), initial.constant(0.0)


class Linear(nnx.Linear):
    """nnx.Linear with PyTorch's initial values, unless others are given.

    Computed in the precision of the input. Leading axes are flattened: XLA:CPU computes the
    kernel's gradient several times faster from two matrices than from higher ranks.

    Args:
      wide_output: return float32 or wider even where the input is narrower.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        use_bias: bool = True,
        kernel_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        wide_output: bool = False,
        rngs: nnx.Rngs,
    ):
        default = initial.fan_in_uniform(in_features)
        super().__init__(
            in_features,
            out_features,
            use_bias=use_bias,
            kernel_init=kernel_init or default,
            bias_init=bias_init or default,
            rngs=initial.Keys(rngs),
        )
        self.wide_output = wide_output

    def __call__(self, x: jax.Array) -> jax.Array:
        rows = x.reshape(-1, x.shape[-1])
        kernel = self.kernel[...].astype(x.dtype)
        y = wide_product(rows, kernel) if self.wide_output else rows @ kernel
        if self.bias is not None:
            y = y + self.bias[...].astype(y.dtype).reshape(1, -1)
        return y.reshape(*x.shape[:-1], -1)


class Conv(nnx.Module):
    """Convolution over channels-last input of any number of spatial axes, as torch.nn.ConvNd.

    Args:
      in_features: channels in.
      out_features: channels out.
      kernel_size: spatial size; its length is the number of spatial axes.
      strides: one number for all spatial axes, or one for each.
      dilation: likewise.
      padding: how many zeros are added on both sides of each axis.
      groups: feature groups; `in_features` groups make a depthwise convolution.
      wide_output: as for :class:`Linear`; for 1x1 convolutions only.

    Computed in the precision of the input.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sequence[int],
        *,
        strides: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        use_bias: bool = True,
        kernel_init: Initializer = _HE_TRUNCATED,
        bias_init: Initializer = _ZEROS,
        wide_output: bool = False,
        rngs: nnx.Rngs,
    ):
        axes = len(kernel_size)

        def each(v):
            return (v,) * axes if isinstance(v, int) else tuple(v)

        self.strides, self.padding, self.dilation = each(strides), each(padding), each(dilation)
        self.groups, self.wide_output = groups, wide_output
        shape = (*kernel_size, in_features // groups, out_features)
        keys = initial.Keys(rngs)
        self.kernel = nnx.Param(kernel_init(keys.params(), shape))
        self.bias = nnx.Param(bias_init(keys.params(), (out_features,))) if use_bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...].astype(x.dtype)
        if self.wide_output:
            rows = wide_product(x.reshape(-1, x.shape[-1]), kernel.reshape(kernel.shape[-2:]))
            y = rows.reshape(*x.shape[:-1], -1)
        elif self._is_depthwise():
            y = depthwise_conv(x, kernel, self.padding)
        else:
            y = conv(x, kernel, self.strides, self.padding, self.dilation, self.groups)
        if self.bias is None:
            return y
        return y + self.bias[...].astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))

    def _is_depthwise(self) -> bool:
        """Whether each channel of a map has a kernel of its own, at stride 1."""
        kernel = self.kernel[...]
        one_each = kernel.shape[-2] == 1 and kernel.shape[-1] == self.groups > 1
        return one_each and kernel.ndim == 4 and {*self.strides, *self.dilation} == {1}


class BatchNorm(nnx.Module):
    """Batch normalisation over all axes but the last, with PyTorch's running statistics.

    In training mode the input is normalised with the biased batch variance, and the running
    statistics move by `momentum` towards the batch mean and the *unbiased* batch variance
    (PyTorch counts momentum that way; Flax's is one minus it). Statistics are float32 or wider.

    With `axis_name` the batch statistics are those of all replicas on that mapped axis.
    """

    def __init__(
        self,
        num_features: int,
        *,
        epsilon: float = 1e-5,
        momentum: float = 0.1,
        axis_name: str | None = None,
    ):
        self.epsilon, self.momentum, self.axis_name = epsilon, momentum, axis_name
        self.fold: bool | None = None  # see `conv_norm`
        self.scale = nnx.Param(initial.ones(num_features))
        self.bias = nnx.Param(initial.zeros(num_features))
        self.mean = nnx.BatchStat(initial.zeros(num_features))
        self.var = nnx.BatchStat(initial.ones(num_features))

    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool = False,
        activation: str | None = None,
        shortcut: jax.Array | None = None,
    ) -> jax.Array:
        """activation(normalised x + shortcut), see `ops.batch_norm`."""
        mean, scale, bias = self.mean[...], self.scale[...], self.bias[...]
        after = {"activation": activation, "shortcut": shortcut}
        if not train:
            return normalise(x, mean, self.var[...], scale, bias, self.epsilon, **after)
        y, *statistics = batch_norm(
            x, scale, bias, self.epsilon, self.axis_name, center=mean, **after
        )
        self._update(*statistics, count=x.size // x.shape[-1])
        return y

    def of_product(
        self,
        x: jax.Array,
        kernel: jax.Array,
        *,
        activation: str | None = None,
        shortcut: jax.Array | None = None,
    ) -> jax.Array:
        """In training, this layer of the map x @ kernel, see `ops.product_norm`."""
        scale, bias, options = self.scale[...], self.bias[...], (self.epsilon, self.axis_name)
        y, *statistics = product_norm(
            x, kernel, scale, bias, *options, relu=activation == "relu", shortcut=shortcut
        )
        self._update(*statistics, count=x.size // x.shape[-1])
        return y

    def _update(self, mean: jax.Array, var: jax.Array, count: int) -> None:
        """Moves the running statistics towards those of a batch, `count` pixels a replica."""
        if self.axis_name is not None:
            count = count * jax.lax.axis_size(self.axis_name)
        unbiased = var * (count / max(count - 1, 1))
        for running, batch in ((self.mean, mean), (self.var, unbiased)):
            new = (1 - self.momentum) * running[...] + self.momentum * batch
            # Not `running[...] = new`: that asks a traced array for its sharding, and composing
            # the error message takes a quarter of the time of tracing HRNet.
            running.set_raw_value(jax.lax.stop_gradient(new).astype(running[...].dtype))


def conv_norm(
    conv: Conv,
    norm: BatchNorm,
    x: jax.Array,
    train: bool,
    *,
    activation: str | None = None,
    shortcut: jax.Array | None = None,
) -> jax.Array:
    """activation(norm(conv(x)) + shortcut).

    In training, a 1x1 convolution to more than twice as many channels is folded into its batch
    norm (`ops.product_norm`), except on a CPU: `norm.fold` decides, and None asks JAX.
    """
    after = {"activation": activation, "shortcut": shortcut}
    *taps, c_in, c_out = conv.kernel[...].shape
    folds = jax.default_backend() != "cpu" if norm.fold is None else norm.fold
    wider = {*taps, *conv.strides} == {1} and c_out > 2 * c_in and conv.bias is None
    if train and folds and wider and activation in (None, "relu"):
        kernel = conv.kernel[...].reshape(c_in, c_out).astype(x.dtype)
        return norm.of_product(x, kernel, **after)
    return norm(conv(x), train=train, **after)


def synchronize(module: nnx.Module, axis_name: str | None) -> None:
    """Every batch norm of `module` takes its statistics over all replicas on `axis_name`."""
    for _, part in nnx.iter_modules(module):
        if isinstance(part, BatchNorm):
            part.axis_name = axis_name


def unsynchronized(module: nnx.Module) -> frozenset[str]:
    """Dotted paths of the running statistics that a replica computes from its own rows alone.

    These are all statistics except those of synchronised batch norms.
    """
    shared = {
        ".".join(map(str, (*path, name)))
        for path, part in nnx.iter_modules(module)
        if isinstance(part, BatchNorm) and part.axis_name is not None
        for name in ("mean", "var")
    }
    statistics = nnx.to_flat_state(nnx.state(module, nnx.BatchStat))
    return frozenset(".".join(map(str, path)) for path, _ in statistics) - shared


class LayerNorm(nnx.LayerNorm):
    """nnx.LayerNorm with PyTorch's default epsilon and the two-pass variance.

    Computed in float32 or wider; gives the precision of the input.
    """

    def __init__(self, num_features: int, *, epsilon: float = 1e-5, rngs: nnx.Rngs):
        super().__init__(
            num_features, epsilon=epsilon, use_fast_variance=False, rngs=initial.Keys(rngs)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        # Flattened for the same reason as in Linear.
        return super().__call__(x.reshape(-1, x.shape[-1])).reshape(x.shape).astype(x.dtype)


class ScaleNorm(nnx.Module):
    """Divides by the root mean square of the last axis, and multiplies by one trained factor.

    Nguyen, Salazar, "Transformers without Tears", IWSLT 2019, with MMPose's epsilon.
    """

    def __init__(self, epsilon: float = 1e-5):
        self.epsilon = epsilon
        self.g = nnx.Param(jnp.ones(1))

    def __call__(self, x: jax.Array) -> jax.Array:
        wide = at_least_float32(x)
        # The bound is inside the root, because the root's slope at zero is infinite.
        power = jnp.maximum(jnp.square(wide).mean(-1, keepdims=True), self.epsilon**2)
        gain = self.g[...].reshape((1,) * x.ndim)
        return (wide * jax.lax.rsqrt(power) * gain).astype(x.dtype)


class Dropout(nnx.Module):
    """Inverted dropout; active when called with random numbers, the identity without."""

    def __init__(self, rate: float):
        self.rate = rate

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        if rngs is None or self.rate == 0:
            return x
        keep = jax.random.bernoulli(rngs.dropout(), 1 - self.rate, x.shape)
        return jnp.where(keep, x / (1 - self.rate), jnp.zeros((), x.dtype))


class DropPath(nnx.Module):
    """Stochastic depth: drops a whole sample's residual branch; the identity without `rngs`."""

    def __init__(self, rate: float):
        self.rate = rate

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        if rngs is None or self.rate == 0:
            return x
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        keep = jax.random.bernoulli(rngs.dropout(), 1 - self.rate, shape)
        keep = jnp.broadcast_to(keep, x.shape)
        return jnp.where(keep, x / (1 - self.rate), jnp.zeros((), x.dtype))


def run_blocks(
    blocks: Sequence[nnx.Module], x: jax.Array, train: bool, scan: bool | None = False
) -> jax.Array:
    """``x = block(x, train)`` for every block; with `scan`, as one `lax.scan`.

    The scan compiles the block once instead of len(blocks) times. It also keeps XLA:CPU from
    fusing a whole residual chain into each of its consumers in the backward pass. Accelerators lose
    half of their speed to it: what the backward pass needs is copied into stacks and out of them.
    The blocks stay stored one by one, under upstream's names.

    Args:
      scan: None: on a CPU only, unless oneDNN is used for training there. Its calls would copy what
        they read out of the stacks.
    """
    if scan is None:
        scan = jax.default_backend() == "cpu" and not (train and onednn.usable(x.dtype))
    if not scan or len(blocks) < 2:
        for block in blocks:
            x = block(x, train)
        return x
    graph = nnx.graphdef(blocks[0])
    states = [nnx.to_pure_dict(nnx.state(block)) for block in blocks]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    def step(x, state):
        block = nnx.merge(graph, state)
        x = block(x, train)
        return x, nnx.to_pure_dict(nnx.state(block, nnx.BatchStat)) if train else None

    x, statistics = jax.lax.scan(step, x, stacked)
    if train:
        for i, block in enumerate(blocks):
            nnx.update(block, jax.tree.map(lambda leaf, i=i: leaf[i], statistics))
    return x


def rematerialise(module: nnx.Module, on: bool = True) -> None:
    """Lets the detector `module` train with less memory.

    Each stage is computed again in the backward pass. Until then only the maps between stages and
    the statistics of batch norm are kept. Weights, values and gradients are the same; a step does
    about a third more arithmetic.
    """
    for _, part in nnx.iter_modules(module):
        if hasattr(part, "remat"):
            part.remat = on


def compile_for(module: nnx.Module, platform: str) -> None:
    """Chooses what is fast on `platform` ("cpu" or another) for all that `module` was not told.

    Without it, layers ask for JAX's default platform when they are traced.
    """
    chosen = {"scan_blocks": platform == "cpu", "fold": platform != "cpu"}
    for _, part in nnx.iter_modules(module):
        for name, on in chosen.items():
            if getattr(part, name, False) is None:
                setattr(part, name, on)


def run_stage(stage: Callable, modules: Sequence[nnx.Module], x: Any, remat: bool) -> Any:
    """``stage(modules, x)``; with `remat`, computed again in the backward pass.

    Args:
      stage: uses no other arrays than those of the modules and x, and changes nothing but running
        statistics.
    """
    if not remat:
        return stage(modules, x)
    graphs, states = zip(*(nnx.split(module) for module in modules), strict=True)
    states = [nnx.to_pure_dict(state) for state in states]
    kept = jax.checkpoint_policies.save_only_these_names(STATISTICS)

    @partial(jax.checkpoint, policy=kept)
    def pure(states, x):
        merged = [nnx.merge(*pair) for pair in zip(graphs, states, strict=True)]
        y = stage(merged, x)
        return y, [nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)) for module in merged]

    y, statistics = pure(states, x)
    for module, new in zip(modules, statistics, strict=True):
        nnx.update(module, new)
    return y
