"""Training targets in PyTorch, made on the device: the formulas of `liftjax.data.targets`.

Legend: B batch, K joints, H x W heatmap, X and Y bins of SimCC vectors. Coordinates are (x, y) in
pixels of the crop.
"""

import torch
from torch import Tensor


def gaussian_heatmaps(
    joints_crop_BK2: Tensor,
    visible_BK: Tensor,
    heatmap_size: tuple[int, int],
    stride: float,
    sigma: float,
) -> tuple[Tensor, Tensor]:
    """Target heatmaps (B, K, H, W) and joint weights (B, K)."""
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
      bins: along y and along x. stride: crop pixels per bin. sigma: (x, y), in bins.
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
