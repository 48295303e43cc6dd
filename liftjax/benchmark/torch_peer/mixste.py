"""MixSTE (Zhang et al., CVPR 2022) in PyTorch.

Legend: B clips, T frames, K joints, C channels.
"""

import torch
from torch import Tensor, nn

from liftjax.benchmark.torch_peer.layers import Attention, named

_EPSILON = 1e-6


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, channels: int, hidden: int, num_heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, _EPSILON)
        self.attn = Attention(channels, num_heads)
        self.norm2 = nn.LayerNorm(channels, _EPSILON)
        self.mlp = named(
            fc1=nn.Linear(channels, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class MixSTE(nn.Module):
    """Normalised 2D poses (B, T, K, 2) of exactly `num_frames` to poses (B, T, K, 3)."""

    def __init__(
        self,
        num_joints: int,
        num_frames: int,
        embed_dim: int,
        hidden: int,
        depth: int,
        num_heads: int,
    ):
        super().__init__()

        def blocks() -> nn.ModuleList:
            return nn.ModuleList(Block(embed_dim, hidden, num_heads) for _ in range(depth))

        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, num_joints, embed_dim))
        self.Temporal_pos_embed = nn.Parameter(torch.zeros(1, num_frames, embed_dim))
        self.Spatial_patch_to_embedding = nn.Linear(2, embed_dim)
        self.STEblocks = blocks()
        self.TTEblocks = blocks()
        self.Spatial_norm = nn.LayerNorm(embed_dim, _EPSILON)
        self.Temporal_norm = nn.LayerNorm(embed_dim, _EPSILON)
        self.head = nn.Sequential(nn.LayerNorm(embed_dim), nn.Linear(embed_dim, 3))

    def forward(self, x_BTK2: Tensor) -> Tensor:
        clips, frames, joints, _ = x_BTK2.shape
        x_BTKC = self.Spatial_patch_to_embedding(x_BTK2) + self.Spatial_pos_embed
        for i, (spatial, temporal) in enumerate(zip(self.STEblocks, self.TTEblocks, strict=True)):
            x = self.Spatial_norm(spatial(x_BTKC.reshape(clips * frames, joints, -1)))
            x = x.view(clips, frames, joints, -1).transpose(1, 2)
            x = x.reshape(clips * joints, frames, -1)
            if i == 0:
                x = x + self.Temporal_pos_embed
            x = self.Temporal_norm(temporal(x))
            x_BTKC = x.view(clips, joints, frames, -1).transpose(1, 2)
        return self.head(x_BTKC)
