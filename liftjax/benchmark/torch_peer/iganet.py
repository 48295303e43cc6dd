"""IGANet (Liu et al., ICASSP 2023) in PyTorch.

Legend: B poses, K joints, C channels.
"""

import torch
from torch import Tensor, nn

from liftjax.benchmark.torch_peer.layers import Attention
from liftjax.lifters.iganet import skeleton_graph

_EPSILON = 1e-6


class Encoder(nn.Module):
    """Four linear layers with nothing between them."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Linear(2, channels // 8)
        self.fc3 = nn.Linear(channels // 8, channels // 4)
        self.fc4 = nn.Linear(channels // 4, channels // 2)
        self.fc5 = nn.Linear(channels // 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc5(self.fc4(self.fc3(self.fc1(x))))


class GraphConv(nn.Module):
    """A linear map for each part of the graph, summed over the neighbours in that part."""

    def __init__(self, channels: int, graph: Tensor):
        super().__init__()
        self.register_buffer("adj", graph)
        self.conv1d = nn.Conv1d(channels, channels * len(graph), 1)

    def forward(self, x_BKC: Tensor) -> Tensor:
        parts = self.conv1d(x_BKC.transpose(1, 2)).unflatten(1, (len(self.adj), -1))
        return torch.einsum("bpcj,pji->bic", parts, self.adj)


class LinearBlock(nn.Module):
    """Linear, then GELU."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.linear = nn.Sequential(nn.Linear(c_in, c_out), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class UShapedMlp(nn.Module):
    """Down to half the channels, a residual layer there, and up again."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.linear512_256 = LinearBlock(channels, half)
        self.linear256_256 = LinearBlock(half, half)
        self.linear256_512 = LinearBlock(half, channels)

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


class Trunk(nn.Module):
    """The blocks and a final norm."""

    def __init__(self, blocks: list[Block], channels: int):
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(channels, _EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.blocks(x))


class IGANet(nn.Module):
    """Normalised 2D poses (B, T, K, 2) to poses (B, T, K, 3), every frame alone."""

    def __init__(self, skeleton: str, layers: int, channels: int, num_heads: int):
        super().__init__()
        graph = torch.from_numpy(skeleton_graph(skeleton))
        self.register_buffer("A", graph)
        self.encoder = Encoder(channels)
        self.IGANet = Trunk([Block(channels, num_heads, graph) for _ in range(layers)], channels)
        self.fcn = nn.Linear(channels, 3)

    def forward(self, x_BTK2: Tensor) -> Tensor:
        features = self.IGANet(self.encoder(x_BTK2.flatten(0, 1)))
        return self.fcn(features).view(*x_BTK2.shape[:-1], 3)
