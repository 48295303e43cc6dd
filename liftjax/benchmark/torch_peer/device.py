"""What both trainers share: the device they run on."""

from collections.abc import Mapping

import numpy as np
import torch

from liftjax.errors import LiftjaxError


class OnDevice:
    """Runs on the first CUDA device if there is one, else on the CPU."""

    def __init__(self):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._before = 0
        if self.on_cuda:
            torch.backends.cudnn.benchmark = True  # as in HRNet's own settings
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()

    @property
    def on_cuda(self) -> bool:
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.on_cuda:
            torch.cuda.synchronize()

    def peak_bytes(self) -> int | None:
        """Most device memory that PyTorch held since this trainer was made, beyond what it held
        then; None on a CPU."""
        return torch.cuda.max_memory_allocated() - self._before if self.on_cuda else None


def check_labelled(batch: Mapping[str, np.ndarray]) -> None:
    """Raises unless every sample has a 3D label, which these trainers rely on."""
    if not np.all(batch["has_3d"]):
        raise LiftjaxError(
            "The PyTorch trainers need a 3D label for every sample, and has_3d says otherwise; "
            "leave such samples out."
        )
