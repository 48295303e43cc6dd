"""SimpleBaseline (Martinez et al., ICCV 2017) in PyTorch."""

import torch.nn.functional as F
from torch import Tensor, nn


class Stage(nn.Module):
    """Residual block: twice linear, batch norm, ReLU."""

    def __init__(self, size: int):
        super().__init__()
        self.w1, self.bn1 = nn.Linear(size, size), nn.BatchNorm1d(size)
        self.w2, self.bn2 = nn.Linear(size, size), nn.BatchNorm1d(size)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.w1(x)), inplace=True)
        return x + F.relu(self.bn2(self.w2(y)), inplace=True)


class SimpleBaseline(nn.Module):
    """Standardised 2D poses (B, T, K, 2) to standardised 3D poses (B, T, K, 3)."""

    def __init__(self, num_joints: int, linear_size: int, num_stages: int):
        super().__init__()
        self.w1, self.bn1 = nn.Linear(2 * num_joints, linear_size), nn.BatchNorm1d(linear_size)
        self.linear_stages = nn.Sequential(*(Stage(linear_size) for _ in range(num_stages)))
        self.w2 = nn.Linear(linear_size, 3 * num_joints)

    def forward(self, x_BTK2: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.w1(x_BTK2.flatten(0, 1).flatten(1))), inplace=True)
        return self.w2(self.linear_stages(y)).view(*x_BTK2.shape[:-1], 3)
