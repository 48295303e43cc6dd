"""CSPNeXt, the backbone of RTMPose (Lyu et al., "RTMDet: An Empirical Study of Designing Real-Time
Object Detectors", 2022), in its P5 form.

A stem takes the image to half its size; four stages halve it again and double the channels. A
stage is a stride-2 convolution and a cross-stage-partial layer: one half of the channels goes
through a row of blocks with 5x5 depthwise convolutions, the other half around them.

Attribute paths are the keys of upstream's state_dict.

Legend: B batch, H W height and width, C channels.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from liftjax.nn.initial import fan_in_uniform
from liftjax.nn.layers import BatchNorm, Conv, conv_norm, run_blocks, run_stage

STRIDE = 32  # image pixels per pixel of the feature

# Channels before and after each stage, and blocks in it, at depth and width 1.
_STAGES = ((64, 128, 3), (128, 256, 6), (256, 512, 6), (512, 1024, 3))


def _conv(c_in: int, c_out: int, size: int, *, groups=1, use_bias=False, stride=1, rngs) -> Conv:
    return Conv(
        c_in,
        c_out,
        (size, size),
        strides=stride,
        padding=size // 2,
        groups=groups,
        use_bias=use_bias,
        kernel_init=fan_in_uniform(size * size * c_in // groups),
        rngs=rngs,
    )


class ConvModule(nnx.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(self, c_in: int, c_out: int, size: int, *, groups=1, stride=1, rngs):
        self.conv = _conv(c_in, c_out, size, groups=groups, stride=stride, rngs=rngs)
        self.bn = BatchNorm(c_out)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return conv_norm(self.conv, self.bn, x, train, activation="silu")


class SeparableConv(nnx.Module):
    """A 5x5 convolution of each channel by itself, then a 1x1 convolution over channels."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.depthwise_conv = ConvModule(channels, channels, 5, groups=channels, rngs=rngs)
        self.pointwise_conv = ConvModule(channels, channels, 1, rngs=rngs)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return self.pointwise_conv(self.depthwise_conv(x, train), train)


class CSPNeXtBlock(nnx.Module):
    """A 3x3 and a separable 5x5 convolution, in the earlier stages with a shortcut."""

    def __init__(self, channels: int, *, shortcut: bool, rngs: nnx.Rngs):
        self.shortcut = shortcut
        self.conv1 = ConvModule(channels, channels, 3, rngs=rngs)
        self.conv2 = SeparableConv(channels, rngs=rngs)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        y = self.conv2(self.conv1(x, train), train)
        return x + y if self.shortcut else y


class ChannelAttention(nnx.Module):
    """Each channel is multiplied by a gate, which the means of all channels decide."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.fc = _conv(channels, channels, 1, use_bias=True, rngs=rngs)

    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        wide = jnp.promote_types(x_BHWC.dtype, jnp.float32)
        mean_B11C = x_BHWC.mean((1, 2), keepdims=True, dtype=wide).astype(x_BHWC.dtype)
        return x_BHWC * jax.nn.hard_sigmoid(self.fc(mean_B11C))


class CSPLayer(nnx.Module):
    """Half of the channels through the blocks, half around them."""

    def __init__(
        self, channels: int, blocks: int, *, shortcut: bool, scan_blocks: bool, rngs: nnx.Rngs
    ):
        half = channels // 2
        self.scan_blocks = scan_blocks
        self.main_conv = ConvModule(channels, half, 1, rngs=rngs)
        self.short_conv = ConvModule(channels, half, 1, rngs=rngs)
        self.final_conv = ConvModule(2 * half, channels, 1, rngs=rngs)
        self.blocks = nnx.List(
            CSPNeXtBlock(half, shortcut=shortcut, rngs=rngs) for _ in range(blocks)
        )
        self.attention = ChannelAttention(2 * half, rngs=rngs)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        short = self.short_conv(x, train)
        main = run_blocks(self.blocks, self.main_conv(x, train), train, self.scan_blocks)
        both = jnp.concatenate([main, short], axis=-1)
        return self.final_conv(self.attention(both), train)


class SPPBottleneck(nnx.Module):
    """Spatial pyramid pooling: maxima over windows of 5, 9 and 13 pixels beside the map itself."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        half = channels // 2
        self.conv1 = ConvModule(channels, half, 1, rngs=rngs)
        self.conv2 = ConvModule(4 * half, channels, 1, rngs=rngs)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        maps = [self.conv1(x, train)]
        for _ in range(3):  # two windows of 5 in a row are one of 9, and so on
            maps.append(nnx.max_pool(maps[-1], (5, 5), (1, 1), "SAME"))
        return self.conv2(jnp.concatenate(maps, axis=-1), train)


class CSPNeXt(nnx.Module):
    """The backbone.

    Args:
      deepen: factor on the number of blocks in a stage.
      widen: factor on all channels.
      scan_blocks: run the blocks of a stage as one loop (same numbers, other compilation).
    """

    def __init__(
        self,
        deepen: float = 1.0,
        widen: float = 1.0,
        *,
        scan_blocks: bool = False,
        rngs: nnx.Rngs,
    ):
        stem = int(_STAGES[0][0] * widen)
        self.stem = nnx.List(
            [
                ConvModule(3, stem // 2, 3, stride=2, rngs=rngs),
                ConvModule(stem // 2, stem // 2, 3, rngs=rngs),
                ConvModule(stem // 2, stem, 3, rngs=rngs),
            ]
        )
        for i, (c_in, c_out, blocks) in enumerate(_STAGES):
            last = i == len(_STAGES) - 1
            channels = int(c_out * widen)
            layers = [ConvModule(int(c_in * widen), channels, 3, stride=2, rngs=rngs)]
            if last:
                layers.append(SPPBottleneck(channels, rngs=rngs))
            count = max(round(blocks * deepen), 1)
            layers.append(
                CSPLayer(channels, count, shortcut=not last, scan_blocks=scan_blocks, rngs=rngs)
            )
            setattr(self, f"stage{i + 1}", nnx.List(layers))
        self.channels = channels
        self.remat = False  # see `nn.layers.rematerialise`

    def __call__(self, images_BHWC: jax.Array, train: bool = False) -> jax.Array:
        """Feature (B, H / 32, W / 32, channels) of normalised images."""
        x = images_BHWC
        for name in ("stem", "stage1", "stage2", "stage3", "stage4"):
            with jax.named_scope(name):
                layers = getattr(self, name)
                x = run_stage(partial(_in_a_row, train=train), layers, x, self.remat)
        return x


def _in_a_row(layers: Sequence[nnx.Module], x: jax.Array, train: bool) -> jax.Array:
    for layer in layers:
        x = layer(x, train)
    return x
