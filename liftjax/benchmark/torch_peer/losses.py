"""Soft-argmax, training targets and losses in PyTorch, vectorised: the formulas of `liftjax`.

All samples are labelled. Coordinates are (x, y).

Legend: B batch, K joints, M lifters, H x W heatmap, X and Y bins of SimCC vectors.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from liftjax.losses import LossWeights


def soft_argmax_2d(heat_BKHW: Tensor, beta: float = 100.0) -> Tensor:
    """Expected positions (B, K, 2) as (x, y) in heatmap pixels."""
    p_BKHW = torch.softmax(beta * heat_BKHW.flatten(2), dim=-1).view(heat_BKHW.shape)
    return torch.stack([_mean_index(p_BKHW.sum(2)), _mean_index(p_BKHW.sum(3))], dim=-1)


def soft_argmax_1d(logits: Tensor, beta: float = 100.0) -> Tensor:
    """Expected indices (...) along the last axis of logits (..., X)."""
    return _mean_index(torch.softmax(beta * logits, dim=-1))


def _mean_index(p: Tensor) -> Tensor:
    return (p * torch.arange(p.shape[-1], dtype=p.dtype, device=p.device)).sum(-1)


def gaussian_heatmaps(
    joints_crop_BK2: Tensor,
    visible_BK: Tensor,
    heatmap_size: tuple[int, int],
    stride: float,
    sigma: float,
) -> tuple[Tensor, Tensor]:
    """Target heatmaps (B, K, H, W) and joint weights (B, K) of joints in pixels of the crop."""
    height, width = heatmap_size
    center_BK2, radius = torch.trunc(joints_crop_BK2 / stride + 0.5), int(3 * sigma)
    weight_BK = _weight_in_reach(center_BK2, visible_BK, (width, height), (radius, radius), 0)

    def profile(size: int, center_BK: Tensor) -> Tensor:
        offset_BKn = torch.arange(size, device=center_BK.device) - center_BK[..., None]
        gaussian = torch.exp(-offset_BKn.square() / (2 * sigma**2))
        return torch.where(offset_BKn.abs() <= radius, gaussian, 0)

    column_BKW = profile(width, center_BK2[..., 0])
    row_BKH = profile(height, center_BK2[..., 1]) * (weight_BK > 0.5)[..., None]
    return row_BKH[..., :, None] * column_BKW[..., None, :], weight_BK


def simcc_labels(
    joints_crop_BK2: Tensor,
    visible_BK: Tensor,
    bins: tuple[int, int],
    stride: float,
    sigma: tuple[float, float],
) -> tuple[Tensor, Tensor, Tensor]:
    """Label vectors (B, K, X) and (B, K, Y) and joint weights (B, K).

    Args:
      bins: number of bins along y and along x.
      stride: crop pixels per bin.
      sigma: (x, y), in bins.
    """
    center_BK2 = torch.round(joints_crop_BK2 / stride)
    sizes, radius = bins[::-1], (3 * sigma[0], 3 * sigma[1])
    weight_BK = _weight_in_reach(center_BK2, visible_BK, sizes, radius, slack=1)

    def label(axis: int) -> Tensor:
        index_n = torch.arange(sizes[axis], device=center_BK2.device)
        offset_BKn = index_n - center_BK2[..., axis, None]
        gaussian = torch.exp(-offset_BKn.square() / (2 * sigma[axis] ** 2))
        return gaussian * (weight_BK > 0.5)[..., None]

    return label(0), label(1), weight_BK


def _weight_in_reach(center_BK2, visible_BK, size, radius, slack) -> Tensor:
    """The visibility where center +- radius meets [-slack, size) on both axes, else 0."""
    inside_BK = torch.ones_like(visible_BK, dtype=torch.bool)
    for axis in (0, 1):
        center_BK = center_BK2[..., axis]
        inside_BK = inside_BK & (center_BK - radius[axis] < size[axis])
        inside_BK = inside_BK & (center_BK + radius[axis] >= -slack)
    return visible_BK * inside_BK


def heatmap_loss_per_joint(heat_BKHW: Tensor, target_BKHW: Tensor, weight_BK: Tensor) -> Tensor:
    """0.5 * mean over pixels of (w (h - g))^2: (B, K)."""
    return 0.5 * weight_BK.square() * (heat_BKHW - target_BKHW).square().mean((2, 3))


def simcc_loss_per_joint(
    x_BKX: Tensor,
    y_BKY: Tensor,
    target_x_BKX: Tensor,
    target_y_BKY: Tensor,
    weight_BK: Tensor,
    beta: float = 10.0,
) -> Tensor:
    """w (mean over bins of KL(softmax(beta label) || softmax(beta logits)), x plus y): (B, K)."""

    def divergence(logits: Tensor, target: Tensor) -> Tensor:
        log_p = F.log_softmax(beta * logits, dim=-1)
        log_q = F.log_softmax(beta * target, dim=-1)
        return F.kl_div(log_p, log_q, reduction="none", log_target=True).mean(-1)

    return weight_BK * (divergence(x_BKX, target_x_BKX) + divergence(y_BKY, target_y_BKY))


def dwa_weights(history_2M: Tensor, temperature: float = 2.0) -> Tensor:
    """Dynamic weight averaging: (M,), from the lifters' losses two steps ago and one step ago."""
    return torch.softmax(history_2M[1] / history_2M[0] / temperature, dim=0)


def guided_loss_terms(
    loss_2d_BK: Tensor,
    poses_MBK3: Tensor,
    true_BK3: Tensor,
    lifter_weights_M: Tensor,
    weights: LossWeights,
    top_k: int = 10,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The 2D part, the 3D part and every term of the multi-model loss.

    Our function has the same name. The terms are scalars, except "mse_M", the mean square error of
    each lifter.
    """
    square_MBK3 = (poses_MBK3 - true_BK3).square()
    hardest_MBk = square_MBK3.detach().mean(-1).topk(top_k, dim=-1).indices
    ohklm_M = loss_2d_BK.expand(hardest_MBk.shape[:2] + loss_2d_BK.shape[-1:])
    ohklm_M = ohklm_M.gather(-1, hardest_MBk).mean((1, 2))
    pairs = [(a - b).square().mean() for a, b in itertools.combinations(poses_MBK3, 2)]
    terms = {
        "loss_2d": loss_2d_BK.mean(),
        "ohklm": (lifter_weights_M * ohklm_M).sum(),
        "xy": (lifter_weights_M * square_MBK3[..., :2].mean((1, 2, 3))).sum(),
        "z": (lifter_weights_M * square_MBK3[..., 2].mean((1, 2))).sum(),
        "local_consistency": sum(pairs, start=poses_MBK3.new_zeros(())),
        "global_consistency": (poses_MBK3.mean(0) - true_BK3).square().mean(),
        "mse_M": square_MBK3.mean((1, 2, 3)),
    }
    w = weights
    part_2d = w.l_single * (w.l_2d * terms["loss_2d"] + w.l_o * terms["ohklm"])
    part_3d = (
        w.l_single * (w.l_xy * terms["xy"] + w.l_z * terms["z"])
        + w.l_local * terms["local_consistency"]
        + w.l_global * terms["global_consistency"]
    )
    return part_2d, part_3d, terms
