"""The losses in PyTorch, vectorised: the formulas of `liftjax.losses`, all samples labelled.

Legend: B batch, K joints, M lifters, H x W heatmap, X and Y bins of SimCC vectors.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from liftjax.losses import LossWeights


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
    """The 2D and the 3D part of the multi-model loss and every term, as our function of the name.

    The terms are scalars, but for "mse_M", the mean square error of each lifter.
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
