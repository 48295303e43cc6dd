"""MMPose's temporal network, by the names of its arrays, with random weights."""

import math

import numpy as np


def _network(joints_in: int, joints_out: int, widths, channels: int, head: str):
    from torch import nn

    def layer(c_in: int, width: int, dilation: int = 1) -> nn.Module:
        conv = nn.Conv1d(c_in, channels, width, dilation=dilation, bias=False)
        module = nn.Sequential()
        module.add_module("conv", conv)
        module.add_module("bn", nn.BatchNorm1d(channels))
        module.add_module("activate", nn.ReLU())
        return module

    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.expand_conv = layer(2 * joints_in, widths[0])
            self.tcn_blocks = nn.ModuleList()
            for i, width in enumerate(widths[1:], 1):
                block = nn.Module()
                block.conv1 = nn.Sequential(layer(channels, width, math.prod(widths[:i])))
                block.conv2 = nn.Sequential(layer(channels, 1))
                self.tcn_blocks.append(block)

        def forward(self, x):
            x = self.expand_conv(x)
            for block in self.tcn_blocks:
                y = block.conv2(block.conv1(x))
                cut = (x.shape[2] - y.shape[2]) // 2
                x = x[:, :, cut : x.shape[2] - cut] + y
            return x

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Backbone()
            last = nn.Module()
            last.conv = nn.Conv1d(channels, 3 * joints_out, 1)
            self.add_module(head, last)

        def forward(self, x_BTK2):
            x = self.backbone(x_BTK2.flatten(2).transpose(1, 2))
            y = getattr(self, head).conv(x).transpose(1, 2)
            return y.unflatten(2, (joints_out, 3))

    return _filled(Network())


def _filled(network):
    """With weights and statistics of batch norm that are neither zero nor one."""
    import torch

    random = np.random.default_rng(0)
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                low, high = (0.5, 1.5) if key.endswith(("bn.weight", "var")) else (-0.3, 0.3)
                value.copy_(torch.from_numpy(random.uniform(low, high, value.shape)))
    return network.eval()


def mmpose_videopose3d(widths, channels: int, head: str):
    return _network(17, 17, widths, channels, head)


def mmpose_simple_baseline(channels: int, version: int):
    """The network, with a function `metres` of pixels (B, 17, 2); and its configuration.

    Args:
      channels: width of the layers.
      version: 0 for MMPose 0.x, 1 for 1.x.
    """
    import torch

    head = ("keypoint_head", "head")[version]
    network = _network(17, 16, (1, 1, 1), channels, head)
    random = np.random.default_rng(1)
    mean_2d, std_2d = random.normal(500, 9, (17, 2)), random.uniform(50, 99, (17, 2))
    mean_3d, std_3d = random.normal(0, 0.1, (16, 3)), random.uniform(0.05, 0.2, (16, 3))

    def metres(kpts_px):
        x = (kpts_px.numpy() - mean_2d) / std_2d
        y = network(torch.from_numpy(x[:, None]).float())[:, 0].numpy()
        return torch.from_numpy(y * std_3d + mean_3d)

    network.metres = metres
    lists = {
        "joint_2d_normalize_param": f"dict(mean={mean_2d.tolist()}, std={std_2d.tolist()})",
        "joint_3d_normalize_param": f"dict(mean={mean_3d.tolist()}, std={std_3d.tolist()})",
    }
    if version:
        lists = {
            "keypoints_mean": mean_2d.tolist(),
            "keypoints_std": std_2d.tolist(),
            "target_mean": mean_3d.tolist(),
            "target_std": std_3d.tolist(),
        }
    dataset = ("type='Body3DH36MDataset'", "type='Human36mDataset'")[version]
    lines = [f"{name} = {value}" for name, value in lists.items()]
    return network, "\n".join([*lines, f"data = dict(train=dict({dataset}))"])
