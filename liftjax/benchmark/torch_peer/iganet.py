"""IGANet (Liu et al., ICASSP 2023) in PyTorch.

Legend: B poses, K joints, C channels.
"""

import itertools

import torch
from torch import Tensor, nn

from liftjax.benchmark.torch_peer.layers import Attention, named
from liftjax.lifters.iganet import skeleton_graph

_EPSILON = 1e-6


class GraphConv(nn.Module):
    """A linear map for each part of the graph, summed over the neighbours in that part."""

    def __init__(self, channels: int, graph: Tensor):
        super().__init__()
        self.register_buffer("adj", graph)
        self.conv1d = nn.Conv1d(channels, channels * len(graph), 1)

    def forward(self, x_BKC: Tensor) -> Tensor:
        parts = self.conv1d(x_BKC.transpose(1, 2)).unflatten(1, (len(self.adj), -1))
        return torch.einsum("bpcj,pji->bic", parts, self.adj)


def _linear_block(c_in: int, c_out: int) -> nn.Sequential:
    return named(linear=nn.Sequential(nn.Linear(c_in, c_out), nn.GELU()))


class UShapedMlp(nn.Module):
    """Down to half the channels, a residual layer there, and up again."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.linear512_256 = _linear_block(channels, half)
        self.linear256_256 = _linear_block(half, half)
        self.linear256_512 = _linear_block(half, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear512_256(x)
        return self.linear256_512(x + self.linear256_256(x))


class Block(nn.Module):
    """A graph path and an attention path that feed each other, then a U-shaped MLP."""

    def __init__(self, channels: int, num_heads: int, graph: Tensor):
        super().__init__()
        self.register_buffer("adj", graph)
        self.register_buffer("s_gcn2attn", torch.full((1,), 0.5))
        self.register_buffer("s_attn2gcn", torch.full((1,), 0.8))
        self.norm1 = nn.LayerNorm(graph.shape[-1], _EPSILON)  # over joints
        self.GCN_Block1 = GraphConv(channels, graph)
        self.GCN_Block2 = GraphConv(channels, graph)
        self.norm_att1 = nn.LayerNorm(channels, _EPSILON)
        self.attn = Attention(channels, num_heads)
        self.norm2 = nn.LayerNorm(channels, _EPSILON)
        self.uMLP = UShapedMlp(channels)

    def forward(self, x_BKC: Tensor) -> Tensor:
        graph = self.GCN_Block1(self.norm1(x_BKC.transpose(1, 2)).transpose(1, 2))
        mixed = self.attn.mix(self.norm_att1(x_BKC))
        attention = self.attn.proj(mixed + graph * self.s_gcn2attn)
        graph = self.GCN_Block2(graph + mixed * self.s_attn2gcn)
        x_BKC = x_BKC + (graph + attention)
        return x_BKC + self.uMLP(self.norm2(x_BKC))


class IGANet(nn.Module):
    """Normalised 2D poses (B, T, K, 2) to poses (B, T, K, 3), every frame alone."""

    def __init__(self, skeleton: str, layers: int, channels: int, num_heads: int):
        super().__init__()
        graph = torch.from_numpy(skeleton_graph(skeleton))
        self.register_buffer("A", graph)
        widths = (2, channels // 8, channels // 4, channels // 2, channels)
        linear = [nn.Linear(*pair) for pair in itertools.pairwise(widths)]
        self.encoder = named(**dict(zip(("fc1", "fc3", "fc4", "fc5"), linear, strict=True)))
        blocks = (Block(channels, num_heads, graph) for _ in range(layers))
        self.IGANet = named(blocks=nn.Sequential(*blocks), norm=nn.LayerNorm(channels, _EPSILON))
        self.fcn = nn.Linear(channels, 3)

    def forward(self, x_BTK2: Tensor) -> Tensor:
        features = self.IGANet(self.encoder(x_BTK2.flatten(0, 1)))
        return self.fcn(features).view(*x_BTK2.shape[:-1], 3)
