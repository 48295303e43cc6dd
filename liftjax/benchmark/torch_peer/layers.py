"""Layers that several of the twins use.

Legend: B batch, N tokens, C channels.
"""

import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn(c_in: int, c_out: int, size: int, stride: int = 1, *then: nn.Module) -> nn.Sequential:
    """Square convolution without bias, its batch norm, and whatever follows."""
    conv = nn.Conv2d(c_in, c_out, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), *then)


class DropPath(nn.Module):
    """In training, drops a whole sample's residual branch."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = x.new_empty((len(x),) + (1,) * (x.ndim - 1)).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)


class Attention(nn.Module):
    """Multi-head self-attention over the tokens of x (B, N, C)."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        attention_dropout: float = 0.0,
        projection_dropout: float = 0.0,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.attention_dropout = attention_dropout
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.proj_drop = nn.Dropout(projection_dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.mix(x))

    def mix(self, x: Tensor) -> Tensor:
        """Each token's average of values, heads side by side: (B, N, C)."""
        batch, tokens, channels = x.shape
        if tokens == 1:  # the softmax over one token is 1
            return self.qkv(x)[..., 2 * channels :]
        qkv = self.qkv(x).view(batch, tokens, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        dropout = self.attention_dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return mixed.transpose(1, 2).reshape(x.shape)

    def project(self, mixed: Tensor) -> Tensor:
        return self.proj_drop(self.proj(mixed))


def drop_path_rates(last: float, count: int) -> list[float]:
    """Rates that grow evenly from 0 at the first of `count` blocks to `last` at the last."""
    return [last * i / max(count - 1, 1) for i in range(count)]
