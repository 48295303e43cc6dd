"""Frozen lifters in PyTorch, from pixels of the image to metres, one frame a clip.

Legend: B batch, K joints.
"""

import numpy as np
import torch
from flax import nnx
from torch import Tensor, nn

from liftjax.benchmark.torch_peer import twin_of
from liftjax.errors import LiftjaxError

_EPSILON = 1e-8  # the root joint does not vary


class Screen(nn.Module):
    """x / w * 2 - 1 and y / w * 2 - h / w."""

    def forward(self, px_BK2: Tensor, size_B2: Tensor) -> Tensor:
        size_B12 = size_B2[:, None]
        return px_BK2 / size_B12[..., :1] * 2 - size_B12 / size_B12[..., :1]


class Statistics(nn.Module):
    """The training set's mean and deviation."""

    def __init__(self, mean: np.ndarray, std: np.ndarray):
        super().__init__()
        self.register_buffer("mean", torch.tensor(np.asarray(mean)))
        self.register_buffer("std", torch.tensor(np.asarray(std)))


class Standardize(Statistics):
    """Pixels less the mean, over the deviation."""

    def forward(self, px_BK2: Tensor, size_B2: Tensor) -> Tensor:
        return (px_BK2 - self.mean) / (self.std + _EPSILON)


class Metres(Statistics):
    """Standardised coordinates times the deviation, plus the mean."""

    def forward(self, raw_BK3: Tensor) -> Tensor:
        return raw_BK3 * self.std + self.mean


class FrozenLifter(nn.Module):
    """The twin of one of our lifters between its own scales, in evaluation mode.

    Raises:
      LiftjaxError: the lifter takes more than one frame.
    """

    def __init__(self, module: nnx.Module):
        super().__init__()
        spec = module.spec
        if spec.receptive_field != 1:
            raise LiftjaxError(
                f"The PyTorch trainers lift single frames; this lifter takes "
                f"{spec.receptive_field}. Build it with num_frames=1."
            )
        zscored = spec.input == "zscore"
        self.to_input = Standardize(module.mean_2d, module.std_2d) if zscored else Screen()
        self.network = twin_of(module)
        zscored = spec.output == "zscore"
        self.to_metres = Metres(module.mean_3d, module.std_3d) if zscored else nn.Identity()
        self.one_clip = spec.frames != "exact"
        self.eval()

    def forward(self, px_BK2: Tensor, size_B2: Tensor) -> Tensor:
        """Pixels (B, K, 2) and image sizes (w, h) to metres (B, K, 3)."""
        return self.to_metres(self.lift(self.to_input(px_BK2, size_B2)))

    def lift(self, x_BK2: Tensor) -> Tensor:
        """The network alone.

        A network that looks at every frame alone takes the batch as the frames of one clip. Its
        convolutions over time then are plain matrix products.
        """
        return self.network(x_BK2[None])[0] if self.one_clip else self.network(x_BK2[:, None])[:, 0]
