"""Soft-argmax in PyTorch: expected positions under softmax(beta h), in float32."""

import torch
from torch import Tensor


def soft_argmax_2d(heat_BKHW: Tensor, beta: float = 100.0) -> Tensor:
    """Expected positions (B, K, 2) as (x, y) in heatmap pixels."""
    p_BKHW = torch.softmax(beta * heat_BKHW.flatten(2), dim=-1).view(heat_BKHW.shape)
    return torch.stack([_mean_index(p_BKHW.sum(2)), _mean_index(p_BKHW.sum(3))], dim=-1)


def soft_argmax_1d(logits: Tensor, beta: float = 100.0) -> Tensor:
    """Expected indices (...) along the last axis of logits (..., X)."""
    return _mean_index(torch.softmax(beta * logits, dim=-1))


def _mean_index(p: Tensor) -> Tensor:
    return (p * torch.arange(p.shape[-1], dtype=p.dtype, device=p.device)).sum(-1)
