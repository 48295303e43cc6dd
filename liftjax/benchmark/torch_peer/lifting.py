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


class FrozenLifter(nn.Module):
    """The twin of one of our lifters between its own scales, in evaluation mode.

    Attributes:
      statistics_2d, statistics_3d: mean and deviation of the training set, for the scales that
        need them; a trainer may place the two on different devices.

    Raises:
      LiftjaxError: the lifter takes more than one frame.
    """

    def __init__(self, module: nnx.Module):
        super().__init__()
        self.spec = module.spec
        if self.spec.receptive_field != 1:
            raise LiftjaxError(
                f"The PyTorch trainers lift single frames; this lifter takes "
                f"{self.spec.receptive_field}. Build it with num_frames=1."
            )
        for dims, scale in (("2d", self.spec.input), ("3d", self.spec.output)):
            names = [f"mean_{dims}", f"std_{dims}"] if scale == "zscore" else []
            arrays = [np.asarray(getattr(module, name)) for name in names]
            self.register_buffer(f"statistics_{dims}", torch.tensor(np.array(arrays)))
        self.network = twin_of(module)
        self.eval()

    def forward(self, px_BK2: Tensor, size_B2: Tensor) -> Tensor:
        """Pixels (B, K, 2) and image sizes (w, h) to metres (B, K, 3)."""
        return self.to_metres(self.lift(self.to_input(px_BK2, size_B2)))

    def to_input(self, px_BK2: Tensor, size_B2: Tensor) -> Tensor:
        """Pixels to the network's scale: standardised, or x / w * 2 - 1 and y / w * 2 - h / w."""
        if self.spec.input == "zscore":
            mean_K2, std_K2 = self.statistics_2d
            return (px_BK2 - mean_K2) / (std_K2 + _EPSILON)
        size_B12 = size_B2[:, None]
        return px_BK2 / size_B12[..., :1] * 2 - size_B12 / size_B12[..., :1]

    def to_metres(self, raw_BK3: Tensor) -> Tensor:
        if self.spec.output != "zscore":
            return raw_BK3
        mean_K3, std_K3 = self.statistics_3d
        return raw_BK3 * std_K3 + mean_K3

    def lift(self, x_BK2: Tensor) -> Tensor:
        """The network alone.

        A network that looks at every frame alone takes the batch as the frames of one clip. Its
        convolutions over time then are plain matrix products.
        """
        if self.spec.frames == "exact":
            return self.network(x_BK2[:, None])[:, 0]
        return self.network(x_BK2[None])[0]
