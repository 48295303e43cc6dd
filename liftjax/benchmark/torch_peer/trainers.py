"""The PyTorch training programs that the speed benchmark compares with, by name.

Both train the twin of a detector of ours, from the same weights, with the same loss and Adam; the
first step's loss terms are ours.
"""

from collections.abc import Sequence

import torch
from flax import nnx

from liftjax.benchmark.problem import PEERS
from liftjax.benchmark.torch_peer.released import Released
from liftjax.benchmark.torch_peer.trainer import Trainer
from liftjax.benchmark.torch_peer.tuned import Tuned
from liftjax.detectors.spec import DETECTOR_PRECISIONS
from liftjax.errors import LiftjaxError, check_name


def create_trainer(
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
      precision: of the detector; the released trainer knows only float32.
      compile_mode: of the tuned trainer: a mode of `torch.compile`, None to compile nothing, or
        "auto": the best mode on CUDA, None on a CPU, where compiling took minutes and did not make
        the step faster.

    Raises:
      LiftjaxError: unknown way or precision.
    """
    check_name("PyTorch trainer", way, PEERS)
    check_name("precision", precision, DETECTOR_PRECISIONS)
    if way == "released":
        if precision != "float32":
            raise LiftjaxError(f"The released trainer is float32 throughout, not {precision}.")
        return Released(module, lifters, learning_rate)
    if compile_mode == "auto":
        compile_mode = "max-autotune-no-cudagraphs" if torch.cuda.is_available() else None
    return Tuned(module, lifters, precision, learning_rate, compile_mode)
