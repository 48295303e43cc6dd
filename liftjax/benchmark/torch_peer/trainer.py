"""What the PyTorch training programs have in common: the device, and the methods that are timed."""

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from liftjax.errors import LiftjaxError


class Trainer(abc.ABC):
    """Trains on the first CUDA device if there is one, else on the CPU.

    Attributes:
      device: where it computes.
    """

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

    @abc.abstractmethod
    def put(self, batch: dict[str, np.ndarray]) -> Any:
        """A batch of `liftjax.data.pipeline`, placed as this trainer wants it.

        For the released trainer that includes its loader's work on the host: normalised images and
        targets, sample by sample.
        """

    @abc.abstractmethod
    def forward(self, placed: Any) -> Any:
        """The network alone, in evaluation mode, without gradient."""

    @abc.abstractmethod
    def step(self, placed: Any) -> dict[str, torch.Tensor | float]:
        """One training step; the loss and its terms, named as the metrics of our step.

        The tuned trainer gives tensors that the device may still be computing.
        """

    def wait(self) -> None:
        """Waits until the device has done all that it was given."""
        if self.on_cuda:
            torch.cuda.synchronize()

    def peak_bytes(self) -> int | None:
        """Most device memory that PyTorch has held since the trainer was made, beyond what it held
        then; None on a CPU."""
        return torch.cuda.max_memory_allocated() - self._before if self.on_cuda else None


def check_labelled(batch: Mapping[str, np.ndarray]) -> None:
    """Raises unless every sample has a 3D label, which these trainers rely on."""
    if not np.all(batch["has_3d"]):
        raise LiftjaxError(
            "The PyTorch trainers need a 3D label for every sample, and has_3d says otherwise; "
            "leave such samples out."
        )
