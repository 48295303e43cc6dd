"""VideoPose3D (Pavllo et al., CVPR 2019) in PyTorch: dilated, dense or strided, also causal."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from liftjax.lifters.videopose3d import resolve_widths
from liftjax.skeletons import get_skeleton


def _layer(c_in: int, c_out: int, size: int, **options) -> tuple[nn.Conv1d, nn.BatchNorm1d]:
    return nn.Conv1d(c_in, c_out, size, bias=False, **options), nn.BatchNorm1d(c_out)


class VideoPose3D(nn.Module):
    """Normalised 2D poses (B, T, K, 2) to poses (B, T - field + 1, K, 3).

    With `strided`, T is a multiple of the receptive field and every field gives one pose.
    """

    def __init__(
        self,
        skeleton: str,
        num_frames: int,
        filter_widths: Sequence[int] | None,
        channels: int,
        causal: bool,
        dropout: float,
        dense: bool,
        strided: bool,
    ):
        super().__init__()
        joints = get_skeleton(skeleton).num_joints
        widths = resolve_widths(num_frames, filter_widths)
        self.relu_dropout = nn.Sequential(nn.ReLU(True), nn.Dropout(dropout))

        first = {"stride": widths[0]} if strided else {}
        expand_conv, self.expand_bn = _layer(2 * joints, channels, widths[0], **first)
        self.shrink = nn.Conv1d(channels, 3 * joints, 1)
        self.expand_conv = expand_conv
        layers = []
        self.shortcuts = []  # the frames that each residual connection keeps
        for i, width in enumerate(widths[1:], 1):
            dilation = math.prod(widths[:i])
            reach = width - 1 if strided else (width - 1) * dilation
            start = reach if causal else reach // 2
            if strided:
                layers.append(_layer(channels, channels, width, stride=width))
                self.shortcuts.append(slice(start, None, width))
            else:
                size, step = (reach + 1, 1) if dense else (width, dilation)
                layers.append(_layer(channels, channels, size, dilation=step))
                self.shortcuts.append(slice(start, start - reach or None))
            layers.append(_layer(channels, channels, 1))
        self.layers_conv = nn.ModuleList(conv for conv, _ in layers)
        self.layers_bn = nn.ModuleList(norm for _, norm in layers)

    def forward(self, x_BTK2: Tensor) -> Tensor:
        y = self.expand_conv(x_BTK2.flatten(2).transpose(1, 2))
        y = self.relu_dropout(self.expand_bn(y))
        for i, kept in enumerate(self.shortcuts):
            shortcut = y[..., kept]
            for j in (2 * i, 2 * i + 1):
                y = self.relu_dropout(self.layers_bn[j](self.layers_conv[j](y)))
            y = shortcut + y
        return self.shrink(y).transpose(1, 2).unflatten(2, (-1, 3))
