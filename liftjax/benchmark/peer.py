"""The PyTorch trainers as candidates beside ours; needs PyTorch only where it is asked for."""

import importlib.util
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flax import nnx

from liftjax.benchmark.stages import COPY, FORWARD, Candidate, step_name

WAYS = ("released", "tuned")


def installed() -> bool:
    """Whether PyTorch is there."""
    return importlib.util.find_spec("torch") is not None


class Queued:
    """Work that PyTorch has begun: waited for like a jax array, by calling `wait`."""

    def __init__(self, wait: Callable[[], None]):
        self.wait = wait

    def block_until_ready(self) -> "Queued":
        self.wait()
        return self


def peer_candidates(
    way: str,
    module: nnx.Module,
    lifters: Sequence[nnx.Module],
    counts: Sequence[int],
    batch: dict[str, np.ndarray],
    precision: str,
) -> list[Candidate]:
    """The stages of the trainer `way`; the released one is float32 whatever the precision.

    The step with most lifters comes first, in case that time runs out before all have compiled.
    prepare_s: seconds to make the trainer and to call it twice, `torch.compile` and the capture of
    a graph included.
    """
    precision = "float32" if way == "released" else precision
    made: dict[int, tuple[Any, Any]] = {}

    def trainer(count: int) -> tuple[Any, Any]:
        """The trainer through so many lifters, and the batch where it wants it."""
        from liftjax.benchmark.torch_peer import trainers

        if count not in made:
            new = trainers.create(way, module, lifters[:count], precision=precision)
            made[count] = new, new.put(batch)
        return made[count]

    def prepare(count: int, call: Callable[[Any, Any], Any]):
        begun = time.perf_counter()
        peer, placed = trainer(count)
        for _ in range(2):
            call(peer, placed)
        peer.wait()
        facts = {"precision": precision, "prepare_s": time.perf_counter() - begun}
        if peer.peak_bytes() is not None:
            facts["device_bytes"] = peer.peak_bytes()

        def once() -> Queued:
            call(peer, placed)
            return Queued(peer.wait)

        return once, facts

    most, *others = sorted(set(counts), reverse=True)
    stages = [
        (step_name(most), most, lambda peer, placed: peer.step(placed)),
        (COPY, most, lambda peer, placed: peer.put(batch)),
        (FORWARD, most, lambda peer, placed: peer.forward(placed)),
        *((step_name(n), n, lambda peer, placed: peer.step(placed)) for n in others),
    ]
    return [
        Candidate(stage, way, lambda n=n, call=call: prepare(n, call)) for stage, n, call in stages
    ]
