"""RTMPose (Jiang et al., 2023) in PyTorch, any size: a CSPNeXt backbone and the RTMCC head.

The keys of the state_dict are MMPose's.

Legend: B batch, K joints, E width of the gated attention's values, S of its queries and keys.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftjax.benchmark.torch_peer.layers import named, square_conv

_STRIDE = 32  # image pixels per pixel of the feature map
_BINS_PER_PIXEL = 2


def _conv(c_in: int, c_out: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Square convolution, batch norm, SiLU."""
    conv = square_conv(c_in, c_out, size, stride, groups)
    return named(conv=conv, bn=nn.BatchNorm2d(c_out), activate=nn.SiLU())


class CSPNeXtBlock(nn.Module):
    """A 3x3 convolution and a separable 5x5 one, with a shortcut if asked."""

    def __init__(self, channels: int, shortcut: bool):
        super().__init__()
        self.shortcut = shortcut
        self.conv1 = _conv(channels, channels, 3)
        self.conv2 = named(
            depthwise_conv=_conv(channels, channels, 5, groups=channels),
            pointwise_conv=_conv(channels, channels, 1),
        )

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
        self.main_conv = _conv(channels, half, 1)
        self.short_conv = _conv(channels, half, 1)
        self.final_conv = _conv(2 * half, channels, 1)
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
        self.conv1 = _conv(channels, half, 1)
        self.conv2 = _conv(4 * half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        pooled = [x]
        for _ in range(3):  # two windows of 5 reach as far as one of 9, three as one of 13
            pooled.append(F.max_pool2d(pooled[-1], 5, 1, 2))
        return self.conv2(torch.cat(pooled, dim=1))


def _backbone(deepen: float, channels: list[int]) -> nn.Sequential:
    """CSPNeXt: normalised images (B, 3, H, W) to a feature map (B, C, H / 32, W / 32)."""
    first, last = channels[0], len(channels) - 1
    half = first // 2
    stages = {
        "stem": nn.Sequential(_conv(3, half, 3, 2), _conv(half, half, 3), _conv(half, first, 3))
    }
    for i, blocks in enumerate((3, 6, 6, 3), 1):
        layers = [_conv(channels[i - 1], channels[i], 3, 2)]
        if i == last:
            layers.append(SPPBottleneck(channels[i]))
        depth = max(round(blocks * deepen), 1)
        layers.append(CSPLayer(channels[i], depth, shortcut=i < last))
        stages[f"stage{i}"] = nn.Sequential(*layers)
    return named(**stages)


class ScaleNorm(nn.Module):
    """Divides by the root mean square over the last axis; one learnt gain."""

    def __init__(self, features: int):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1))
        self.scale = features**-0.5

    def forward(self, x: Tensor) -> Tensor:
        rms = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * self.scale
        return x * (self.g / rms.clamp(min=1e-5))


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
        self.res_scale = nn.ParameterDict({"scale": torch.ones(features)})

    def forward(self, x: Tensor) -> Tensor:
        gate_BKE, value_BKE, base_BKS = F.silu(self.uv(self.ln(x))).split(self.sizes, dim=-1)
        query_BKS, key_BKS = (base_BKS.unsqueeze(2) * self.gamma + self.beta).unbind(2)
        weights_BKK = query_BKS @ key_BKS.transpose(1, 2) * self.sizes[-1] ** -0.5
        mixed_BKE = F.relu(weights_BKK).square() @ value_BKE
        return x * self.res_scale["scale"] + self.o(gate_BKE * mixed_BKE)


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


def rtmpose(deepen: float, widen: float, **head) -> nn.Sequential:
    """Normalised images (B, 3, H, W) to logits along x (B, K, 2 W) and along y (B, K, 2 H).

    Args:
      deepen: factor on the number of blocks.
      widen: factor on the number of channels.
      **head: see `RTMCCHead`.
    """
    channels = [int(c * widen) for c in (64, 128, 256, 512, 1024)]
    return named(backbone=_backbone(deepen, channels), head=RTMCCHead(channels[-1], **head))
