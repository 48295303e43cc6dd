"""Layers that several of the twins use.

Legend: B batch, N tokens, C channels.
"""

import collections

import torch.nn.functional as F
from torch import Tensor, nn


def named(**layers: nn.Module) -> nn.Sequential:
    """Layers one after the other, with these names in the state_dict."""
    return nn.Sequential(collections.OrderedDict(layers))


def square_conv(c_in: int, c_out: int, size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Square convolution without bias, which keeps the map's size at stride 1."""
    return nn.Conv2d(c_in, c_out, size, stride, size // 2, groups=groups, bias=False)


class Attention(nn.Module):
    """Multi-head self-attention over the tokens of x (B, N, C)."""

    def __init__(self, channels: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.mix(x))

    def mix(self, x: Tensor) -> Tensor:
        """Each token's average of values, heads side by side: (B, N, C)."""
        batch, tokens, channels = x.shape
        if tokens == 1:  # the softmax over one token is 1
            return self.qkv(x)[..., 2 * channels :]
        qkv = self.qkv(x).view(batch, tokens, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).reshape(x.shape)
