"""RTMPose (Jiang et al., 2023) in PyTorch, any size: a CSPNeXt backbone and the RTMCC head.

The keys of the state_dict are MMPose's.

Legend: B batch, K joints, E width of the gated attention's values, S of its queries and keys.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftjax.benchmark.torch_peer.layers import square_conv

_STRIDE = 32  # image pixels per pixel of the feature map
_BINS_PER_PIXEL = 2


class ConvModule(nn.Module):
    """Square convolution, batch norm, SiLU."""

    def __init__(self, c_in: int, c_out: int, size: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv = square_conv(c_in, c_out, size, stride, groups)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.bn(self.conv(x)))


class SeparableConv(nn.Module):
    """Depthwise convolution, then a pointwise one."""

    def __init__(self, channels: int, size: int):
        super().__init__()
        self.depthwise_conv = ConvModule(channels, channels, size, groups=channels)
        self.pointwise_conv = ConvModule(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise_conv(self.depthwise_conv(x))


class CSPNeXtBlock(nn.Module):
    """A 3x3 convolution and a separable 5x5 one, with a shortcut if asked."""

    def __init__(self, channels: int, shortcut: bool):
        super().__init__()
        self.shortcut = shortcut
        self.conv1 = ConvModule(channels, channels, 3)
        self.conv2 = SeparableConv(channels, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return x + y if self.shortcut else y


class ChannelAttention(nn.Module):
    """Weights every channel by a gate made of all channels' means."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.fc(F.adaptive_avg_pool2d(x, 1)))


class CSPLayer(nn.Module):
    """Half the channels through the blocks, half past them, and both mixed."""

    def __init__(self, channels: int, blocks: int, shortcut: bool):
        super().__init__()
        half = channels // 2
        self.main_conv = ConvModule(channels, half, 1)
        self.short_conv = ConvModule(channels, half, 1)
        self.final_conv = ConvModule(2 * half, channels, 1)
        self.blocks = nn.Sequential(*(CSPNeXtBlock(half, shortcut) for _ in range(blocks)))
        self.attention = ChannelAttention(2 * half)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat((self.blocks(self.main_conv(x)), self.short_conv(x)), dim=1)
        return self.final_conv(self.attention(both))


class SPPBottleneck(nn.Module):
    """Adds the largest values within 5x5, 9x9 and 13x13 pixels as further channels."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.conv1 = ConvModule(channels, half, 1)
        self.conv2 = ConvModule(4 * half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        pooled = [x]
        for _ in range(3):  # two windows of 5 reach as far as one of 9, three as one of 13
            pooled.append(F.max_pool2d(pooled[-1], 5, 1, 2))
        return self.conv2(torch.cat(pooled, dim=1))


class CSPNeXt(nn.Module):
    """Normalised images (B, 3, H, W) to a feature map (B, C, H / 32, W / 32)."""

    def __init__(self, deepen: float, widen: float):
        super().__init__()
        channels = [int(c * widen) for c in (64, 128, 256, 512, 1024)]
        half = int(64 * widen // 2)
        self.stem = nn.Sequential(
            ConvModule(3, half, 3, 2), ConvModule(half, half, 3), ConvModule(half, channels[0], 3)
        )
        for i, blocks in enumerate((3, 6, 6, 3), 1):
            last = i == 4
            self.add_module(
                f"stage{i}",
                nn.Sequential(
                    ConvModule(channels[i - 1], channels[i], 3, 2),
                    *([SPPBottleneck(channels[i])] if last else []),
                    CSPLayer(channels[i], max(round(blocks * deepen), 1), shortcut=not last),
                ),
            )
        self.channels = channels[-1]

    def forward(self, images: Tensor) -> Tensor:
        x = self.stage1(self.stem(images))
        return self.stage4(self.stage3(self.stage2(x)))


class ScaleNorm(nn.Module):
    """Divides by the root mean square over the last axis; one learnt gain."""

    def __init__(self, features: int):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1))
        self.scale = features**-0.5

    def forward(self, x: Tensor) -> Tensor:
        rms = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * self.scale
        return x * (self.g / rms.clamp(min=1e-5))


class Scale(nn.Module):
    """A learnt factor for every channel."""

    def __init__(self, features: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class GatedAttention(nn.Module):
    """Gated attention unit over the joints (Hua et al., "Transformer quality in linear time")."""

    def __init__(self, features: int, queries: int):
        super().__init__()
        values = 2 * features
        self.sizes = (values, values, queries)
        self.gamma = nn.Parameter(torch.rand(2, queries))
        self.beta = nn.Parameter(torch.rand(2, queries))
        self.o = nn.Linear(values, features, bias=False)
        self.uv = nn.Linear(features, 2 * values + queries, bias=False)
        self.ln = ScaleNorm(features)
        self.res_scale = Scale(features)

    def forward(self, x: Tensor) -> Tensor:
        gate_BKE, value_BKE, base_BKS = F.silu(self.uv(self.ln(x))).split(self.sizes, dim=-1)
        query_BKS, key_BKS = (base_BKS.unsqueeze(2) * self.gamma + self.beta).unbind(2)
        weights_BKK = query_BKS @ key_BKS.transpose(1, 2) * self.sizes[-1] ** -0.5
        mixed_BKE = F.relu(weights_BKK).square() @ value_BKE
        return self.res_scale(x) + self.o(gate_BKE * mixed_BKE)


class RTMCCHead(nn.Module):
    """Feature map (B, C, h, w) to logits along x (B, K, X) and along y (B, K, Y)."""

    def __init__(
        self,
        c_in: int,
        num_joints: int,
        image_size: tuple[int, int],
        features: int,
        attention_dim: int,
    ):
        super().__init__()
        height, width = image_size
        pixels = (height // _STRIDE) * (width // _STRIDE)
        self.final_layer = nn.Conv2d(c_in, num_joints, 7, padding=3)
        self.mlp = nn.Sequential(ScaleNorm(pixels), nn.Linear(pixels, features, bias=False))
        self.gau = GatedAttention(features, attention_dim)
        self.cls_x = nn.Linear(features, _BINS_PER_PIXEL * width, bias=False)
        self.cls_y = nn.Linear(features, _BINS_PER_PIXEL * height, bias=False)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        joints = self.gau(self.mlp(self.final_layer(feature).flatten(2)))
        return self.cls_x(joints), self.cls_y(joints)


class RTMPose(nn.Module):
    """Normalised images (B, 3, H, W) to logits along x (B, K, 2 W) and along y (B, K, 2 H)."""

    def __init__(
        self,
        num_joints: int,
        image_size: tuple[int, int],
        deepen: float,
        widen: float,
        features: int,
        attention_dim: int,
    ):
        super().__init__()
        self.backbone = CSPNeXt(deepen, widen)
        c_in = self.backbone.channels
        self.head = RTMCCHead(c_in, num_joints, image_size, features, attention_dim)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(self.backbone(images))
