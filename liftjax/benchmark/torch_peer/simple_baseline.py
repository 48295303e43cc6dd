"""SimpleBaseline (Martinez et al., ICCV 2017) in PyTorch."""

from torch import Tensor, nn

from liftjax.skeletons import get_skeleton


class Stage(nn.Module):
    """Residual block: twice linear, batch norm, ReLU, dropout."""

    def __init__(self, linear_size: int, dropout: float):
        super().__init__()
        self.w1 = nn.Linear(linear_size, linear_size)
        self.bn1 = nn.BatchNorm1d(linear_size)
        self.w2 = nn.Linear(linear_size, linear_size)
        self.bn2 = nn.BatchNorm1d(linear_size)
        self.relu_dropout = nn.Sequential(nn.ReLU(True), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu_dropout(self.bn1(self.w1(x)))
        return x + self.relu_dropout(self.bn2(self.w2(y)))


class SimpleBaseline(nn.Module):
    """Standardised 2D poses (B, T, K, 2) to standardised 3D poses (B, T, K, 3)."""

    def __init__(self, skeleton: str, linear_size: int, num_stages: int, dropout: float):
        super().__init__()
        joints = get_skeleton(skeleton).num_joints
        self.w1 = nn.Linear(2 * joints, linear_size)
        self.bn1 = nn.BatchNorm1d(linear_size)
        self.relu_dropout = nn.Sequential(nn.ReLU(True), nn.Dropout(dropout))
        self.linear_stages = nn.Sequential(
            *(Stage(linear_size, dropout) for _ in range(num_stages))
        )
        self.w2 = nn.Linear(linear_size, 3 * joints)

    def forward(self, x_BTK2: Tensor) -> Tensor:
        y = self.relu_dropout(self.bn1(self.w1(x_BTK2.flatten(0, 1).flatten(1))))
        return self.w2(self.linear_stages(y)).view(*x_BTK2.shape[:-1], 3)
