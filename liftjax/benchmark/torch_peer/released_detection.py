"""How the released trainer treats a detector's output: joint by joint, sample by sample.

The two classes have the same methods. The one for heatmaps does what the released trainer does. For
SimCC vectors nothing was released; the other class does the same in the same manner. An output is a
tuple of tensors (B, K, ...).

Legend: B batch, K joints, h x w map, X and Y bins.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from liftjax.benchmark.released_loader import label_maps
from liftjax.detectors.spec import DetectorSpec


class Heatmaps:
    def __init__(self, spec: DetectorSpec):
        self.spec = spec

    def targets(self, joints_K2: np.ndarray, visible_K: np.ndarray) -> tuple[tuple, np.ndarray]:
        """Gaussian maps (K, h, w) of one sample, joints in crop pixels; weights (K, 1)."""
        maps, weights = label_maps(joints_K2, visible_K, self.spec.output_size, self.spec.sigma)
        return (maps,), weights

    def coordinates(self, out: tuple[Tensor, ...], beta: float = 100.0) -> Tensor:
        """Soft-argmax (B, K, 2) of maps on the host; the positions are made anew every time."""
        (maps,) = out
        height, width = maps.shape[-2:]
        p_BKP = F.softmax(beta * maps.reshape(*maps.shape[:2], -1), dim=-1)
        x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
        x = torch.tensor(x.reshape(1, -1), dtype=torch.float32)
        y = torch.tensor(y.reshape(1, -1), dtype=torch.float32)
        along_x = torch.sum((width - 1) * p_BKP * x, dim=-1)
        along_y = torch.sum((height - 1) * p_BKP * y, dim=-1)
        return torch.stack([along_x, along_y], dim=-1)

    def loss(self, out: tuple, targets: tuple, weight_BK1: Tensor) -> Tensor:
        """The mean square error of every joint's maps in turn, then their mean."""
        total = 0
        for map_BP, target_BP, weight_B1 in self._joints(out, targets, weight_BK1):
            total += 0.5 * F.mse_loss(map_BP * weight_B1, target_BP * weight_B1)
        return total / weight_BK1.shape[1]

    def loss_per_joint(self, out: tuple, targets: tuple, weight_BK1: Tensor) -> Tensor:
        """The same loss computed again, not averaged: (B, K)."""
        losses = []
        for map_BP, target_BP, weight_B1 in self._joints(out, targets, weight_BK1):
            difference = F.mse_loss(map_BP * weight_B1, target_BP * weight_B1, reduction="none")
            losses.append((0.5 * difference).mean(dim=1).unsqueeze(dim=1))
        return torch.cat(losses, dim=1)

    @staticmethod
    def _joints(out, targets, weight_BK1):
        flat = [maps.reshape(*maps.shape[:2], -1).split(1, 1) for maps in (*out, *targets)]
        for k, (map_B1P, target_B1P) in enumerate(zip(*flat, strict=True)):
            yield map_B1P.squeeze(1), target_B1P.squeeze(1), weight_BK1[:, k]


class SimCC:
    def __init__(self, spec: DetectorSpec):
        self.spec = spec

    def targets(self, joints_K2: np.ndarray, visible_K: np.ndarray) -> tuple[tuple, np.ndarray]:
        """Gaussian vectors (K, X) and (K, Y) of one sample, joints in crop pixels; weights."""
        bins = self.spec.output_size[::-1]
        labels = tuple(np.zeros((len(joints_K2), n), np.float32) for n in bins)
        weights = np.asarray(visible_K, np.float32)[:, None].copy()
        radius = [3 * sigma for sigma in self.spec.sigma]
        for k, joint in enumerate(joints_K2):
            center = np.round(joint / self.spec.stride)
            for c, n, r in zip(center, bins, radius, strict=True):
                if c - r >= n or c + r < -1:
                    weights[k] = 0
            if weights[k] <= 0.5:
                continue
            for label, c, sigma in zip(labels, center, self.spec.sigma, strict=True):
                offset = np.arange(label.shape[1], dtype=np.float32) - c
                label[k] = np.exp(-(offset**2) / (2 * sigma**2))
        return labels, weights

    def coordinates(self, out: tuple[Tensor, ...], beta: float = 100.0) -> Tensor:
        """Soft-argmax (B, K, 2) of vectors on the host; the positions are made anew every time."""
        along = []
        for logits in out:
            p = F.softmax(beta * logits, dim=-1)
            index = torch.linspace(0, p.shape[-1] - 1, p.shape[-1], device=p.device)
            along.append(torch.sum(p * index, dim=-1))
        return torch.stack(along, dim=-1)

    def loss(self, out: tuple, targets: tuple, weight_BK1: Tensor) -> Tensor:
        """The mean over joints; MMPose's loss goes through the joints one by one, too."""
        return self.loss_per_joint(out, targets, weight_BK1).mean()

    def loss_per_joint(
        self, out: tuple, targets: tuple, weight_BK1: Tensor, beta: float = 10.0
    ) -> Tensor:
        """KL divergence of x plus that of y, of every joint in turn: (B, K)."""
        losses = []
        for k in range(weight_BK1.shape[1]):
            total = 0
            for logits, label in zip(out, targets, strict=True):
                log_p = F.log_softmax(beta * logits[:, k], dim=1)
                q = F.softmax(beta * label[:, k], dim=1)
                total += F.kl_div(log_p, q, reduction="none").mean(dim=1)
            losses.append((total * weight_BK1[:, k, 0]).unsqueeze(dim=1))
        return torch.cat(losses, dim=1)
