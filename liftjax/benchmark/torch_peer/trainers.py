"""The PyTorch training programs that the speed benchmark compares with, by name.

Both train the twin of a detector of ours, from the same weights, with the same loss and Adam; the
first step's loss terms are ours.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from flax import nnx

from liftjax.benchmark.torch_peer.released import Released
from liftjax.benchmark.torch_peer.tuned import Tuned
from liftjax.errors import LiftjaxError, unknown_name

WAYS = ("released", "tuned")
PRECISIONS = ("float32", "bfloat16")


class Trainer(Protocol):
    """What a benchmark times.

    Attributes:
      device: where it computes.
    """

    device: torch.device

    def put(self, batch: dict[str, np.ndarray]) -> Any:
        """A batch of `liftjax.data.pipeline`, placed as this trainer wants it.

        For the released one that includes its loader's work on the host: normalised images and
        targets, sample by sample.
        """

    def forward(self, placed: Any) -> Any:
        """The network alone, in evaluation mode, without gradient."""

    def step(self, placed: Any) -> dict[str, torch.Tensor | float]:
        """One training step; the loss and its terms, named as the metrics of our step.

        The tuned one gives tensors that may still be computed.
        """

    def wait(self) -> None:
        """Until the device has done all that it was given."""

    def peak_bytes(self) -> int | None:
        """Most device memory held since the trainer was made; None on a CPU."""


def create(
    way: str,
    module: nnx.Module,
    lifters: Sequence[nnx.Module] = (),
    *,
    precision: str = "float32",
    learning_rate: float = 1e-4,
    compile_mode: str | None = "auto",
) -> Trainer:
    """A trainer of the detector `module` through frozen `lifters`; FT-2D without any.

    Args:
      way: "released" or "tuned", see the modules of these names.
      precision: of the detector; the released trainer knows float32 alone.
      compile_mode: of the tuned trainer: a mode of `torch.compile`, None for none, or "auto": the
        best on CUDA; none on a CPU, where compiling took minutes and the step as long as before.

    Raises:
      LiftjaxError: unknown way or precision.
    """
    if way not in WAYS:
        raise unknown_name("PyTorch trainer", way, WAYS)
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if way == "released":
        if precision != "float32":
            raise LiftjaxError(f"The released trainer is float32 throughout, not {precision}.")
        return Released(module, lifters, learning_rate)
    if compile_mode == "auto":
        compile_mode = "max-autotune-no-cudagraphs" if torch.cuda.is_available() else None
    return Tuned(module, lifters, precision, learning_rate, compile_mode)
