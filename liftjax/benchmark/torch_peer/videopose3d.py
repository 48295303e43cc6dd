"""VideoPose3D (Pavllo et al., CVPR 2019) in PyTorch: dilated, dense or strided, also causal."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class VideoPose3D(nn.Module):
    """Normalised 2D poses (B, T, K, 2) to poses (B, T - field + 1, K, 3).

    With `strided`, T is a multiple of the receptive field and every field gives one pose.

    Args:
      widths: frames that the first convolution and that of every block combine.
      kernels: size of every block's kernel: its width, or, in the dense network, its reach.
    """

    def __init__(
        self,
        num_joints: int,
        widths: Sequence[int],
        channels: int,
        causal: bool,
        strided: bool,
        kernels: Sequence[int],
    ):
        super().__init__()

        def conv(c_in: int, size: int, **options) -> nn.Conv1d:
            return nn.Conv1d(c_in, channels, size, bias=False, **options)

        self.expand_bn = nn.BatchNorm1d(channels)
        self.shrink = nn.Conv1d(channels, 3 * num_joints, 1)
        self.expand_conv = conv(2 * num_joints, widths[0], stride=widths[0] if strided else 1)
        convs = []
        self.shortcuts = []  # the frames that each residual connection keeps
        for i, (width, size) in enumerate(zip(widths[1:], kernels, strict=True), 1):
            dilation = math.prod(widths[:i])
            reach = width - 1 if strided else (width - 1) * dilation
            start = reach if causal else reach // 2
            if strided:
                convs.append(conv(channels, size, stride=width))
                self.shortcuts.append(slice(start, None, width))
            else:
                convs.append(conv(channels, size, dilation=dilation if size == width else 1))
                self.shortcuts.append(slice(start, start - reach or None))
            convs.append(conv(channels, 1))
        self.layers_conv = nn.ModuleList(convs)
        self.layers_bn = nn.ModuleList(nn.BatchNorm1d(channels) for _ in convs)

    def forward(self, x_BTK2: Tensor) -> Tensor:
        y = self.expand_conv(x_BTK2.flatten(2).transpose(1, 2))
        y = F.relu(self.expand_bn(y), inplace=True)
        for i, kept in enumerate(self.shortcuts):
            shortcut = y[..., kept]
            for j in (2 * i, 2 * i + 1):
                y = F.relu(self.layers_bn[j](self.layers_conv[j](y)), inplace=True)
            y = shortcut + y
        return self.shrink(y).transpose(1, 2).unflatten(2, (-1, 3))
