"""HRNet for pose estimation (Sun et al., CVPR 2019) in PyTorch, any width.

The keys of the state_dict are those of the authors' pose_hrnet. Where a branch is passed on
unchanged there is an `nn.Identity`, which has no key.
"""

import collections
import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftjax.benchmark.torch_peer.layers import square_conv


def conv_bn(c_in: int, c_out: int, size: int, stride: int = 1, *then: nn.Module) -> nn.Sequential:
    """Convolution, batch norm, and what follows."""
    return nn.Sequential(square_conv(c_in, c_out, size, stride), nn.BatchNorm2d(c_out), *then)


class Residual(nn.Sequential):
    """The ReLU of a sum: all layers but the last, one after the other, and the last alone."""

    def __init__(self, **layers: nn.Module):
        super().__init__(collections.OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        *layers, shortcut = self
        y = x
        for layer in layers:
            y = layer(y)
        return F.relu(y + shortcut(x), inplace=True)


def _basic_block(channels: int) -> Residual:
    return Residual(
        conv1=square_conv(channels, channels, 3),
        bn1=nn.BatchNorm2d(channels),
        relu1=nn.ReLU(True),
        conv2=square_conv(channels, channels, 3),
        bn2=nn.BatchNorm2d(channels),
        downsample=nn.Identity(),
    )


def _bottleneck(c_in: int, channels: int) -> Residual:
    c_out = 4 * channels
    return Residual(
        conv1=square_conv(c_in, channels, 1),
        bn1=nn.BatchNorm2d(channels),
        relu1=nn.ReLU(True),
        conv2=square_conv(channels, channels, 3),
        bn2=nn.BatchNorm2d(channels),
        relu2=nn.ReLU(True),
        conv3=square_conv(channels, c_out, 1),
        bn3=nn.BatchNorm2d(c_out),
        downsample=nn.Identity() if c_in == c_out else conv_bn(c_in, c_out, 1),
    )


def _resize(channels: list[int], i: int, j: int) -> nn.Module:
    """Takes branch j to the size of branch i."""
    if i == j:
        return nn.Identity()
    if j > i:
        return conv_bn(channels[j], channels[i], 1, 1, nn.Upsample(scale_factor=2 ** (j - i)))
    steps = [conv_bn(channels[j], channels[j], 3, 2, nn.ReLU(True)) for _ in range(i - j - 1)]
    return nn.Sequential(*steps, conv_bn(channels[j], channels[i], 3, 2))


class HighResolutionModule(nn.Module):
    """Parallel branches of basic blocks, then the sum of all of them for every output."""

    def __init__(self, channels: list[int], blocks: int, outputs: int):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(_basic_block(c) for _ in range(blocks))) for c in channels
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_resize(channels, i, j) for j in range(len(channels)))
            for i in range(outputs)
        )

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        xs = [branch(x) for branch, x in zip(self.branches, xs, strict=True)]
        outputs = []
        for layers in self.fuse_layers:
            resized = [layer(x) for layer, x in zip(layers, xs, strict=True)]
            outputs.append(F.relu(functools.reduce(torch.add, resized), inplace=True))
        return outputs


class Transition(nn.ModuleList):
    """From the branches of one stage to those of the next, which has one more."""

    def __init__(self, before: list[int], after: list[int]):
        kept = [
            nn.Identity() if old == new else conv_bn(old, new, 3, 1, nn.ReLU(True))
            for old, new in zip(before, after[:-1], strict=True)
        ]
        coarser = conv_bn(before[-1], after[-1], 3, 2, nn.ReLU(True))
        super().__init__([*kept, nn.Sequential(coarser)])

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        return [layer(x) for layer, x in zip(self, [*xs, xs[-1]], strict=True)]


def _stage(modules: int, channels: list[int], blocks: int, outputs: int) -> nn.Sequential:
    counts = [len(channels)] * (modules - 1) + [outputs]
    return nn.Sequential(*(HighResolutionModule(channels, blocks, count) for count in counts))


class HRNet(nn.Module):
    """Normalised images (B, 3, H, W) to heatmaps (B, K, H / 4, W / 4)."""

    def __init__(
        self,
        num_joints: int,
        width: int,
        stem_width: int,
        stem_blocks: int,
        modules: Sequence[int],
        blocks: int,
    ):
        super().__init__()
        self.conv1 = square_conv(3, stem_width, 3, 2)
        self.bn1 = nn.BatchNorm2d(stem_width)
        self.conv2 = square_conv(stem_width, stem_width, 3, 2)
        self.bn2 = nn.BatchNorm2d(stem_width)
        wide = 4 * stem_width
        self.layer1 = nn.Sequential(
            *(_bottleneck(wide if i else stem_width, stem_width) for i in range(stem_blocks))
        )
        channels = [width * 2**i for i in range(4)]
        self.transition1 = Transition([wide], channels[:2])
        self.stage2 = _stage(modules[0], channels[:2], blocks, 2)
        self.transition2 = Transition(channels[:2], channels[:3])
        self.stage3 = _stage(modules[1], channels[:3], blocks, 3)
        self.transition3 = Transition(channels[:3], channels)
        self.stage4 = _stage(modules[2], channels, blocks, 1)
        self.final_layer = nn.Conv2d(width, num_joints, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        xs = self.stage2(self.transition1([self.layer1(x)]))
        xs = self.stage3(self.transition2(xs))
        xs = self.stage4(self.transition3(xs))
        return self.final_layer(xs[0])
