"""The stages of training that `benchmark` times, and liftjax's way of each."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from liftjax.benchmark.programs import compile_program
from liftjax.runtime.replicas import Replicas
from liftjax.runtime.state import PureModule
from liftjax.training.detector_step import GuidanceOptions, make_train_step

LIFTJAX = "liftjax"
DECODE, COPY, FORWARD = "decode JPEG and crop (host, one core)", "host to device", "forward"


def step_name(lifters: int) -> str:
    """The stage of a training step through so many lifters."""
    if not lifters:
        return "FT-2D step"
    return f"guided step, {lifters} lifter{'s' if lifters > 1 else ''}"


class Candidate(NamedTuple):
    """One way of one stage.

    Attributes:
      stage: what is done. way: who does it: "liftjax" or a PyTorch trainer.
      prepare: compiles and so on; returns the call to be timed, and facts for the results.
    """

    stage: str
    way: str
    prepare: Callable[[], tuple[Callable[[], Any], dict]]

    @property
    def name(self) -> str:
        return f"{self.stage} ({self.way})"


def liftjax_candidates(
    module: nnx.Module,
    lifters: Sequence[nnx.Module],
    counts: Sequence[int],
    batch: dict[str, np.ndarray],
    precision: str,
) -> list[Candidate]:
    """Decoding, copying, the forward pass, and a step for each of `counts` lifters.

    Of the step with most lifters also the seconds that a hit in the persistent cache takes.
    """
    one = Replicas.create(num_devices=1)

    def forward():
        pure, params, others = PureModule.split(module)
        placed = one.replicate((params, others)), one.shard(batch["image_u8"])

        def function(weights, image_u8):
            images = module.spec.normalize(image_u8, jnp.dtype(precision))
            return pure.merge(*weights)(images)

        compiled, facts = compile_program(jax.jit(function), *placed)
        return lambda: compiled(*placed), facts

    def step(count: int):
        problem = make_train_step(module, lifters[:count], options=GuidanceOptions(dtype=precision))
        state, frozen = one.replicate((problem.state, problem.frozen))
        mapped, placed = one.map_step(problem.step), one.shard(batch)
        compiled, facts = compile_program(
            mapped, state, frozen, placed, problem.hyper, again=count == max(counts)
        )
        return Training(compiled, state, (frozen, placed, problem.hyper)), facts

    def decode():
        return decoding(module.spec.image_size, len(batch["image_u8"])), {}

    def copy():
        return lambda: one.shard(batch), {}

    stages = [(DECODE, decode), (COPY, copy), (FORWARD, forward)]
    stages += [(step_name(n), functools.partial(step, n)) for n in sorted(set(counts))]
    return [Candidate(stage, LIFTJAX, prepare) for stage, prepare in stages]


class Training:
    """Steps as a training loop takes them: each gives away the state and goes on from the new."""

    def __init__(self, step: Callable, state: dict, rest: tuple):
        self.step, self.state, self.rest = step, state, rest

    def __call__(self) -> dict:
        self.state, metrics = self.step(self.state, *self.rest)
        return metrics


def decoding(image_size: tuple[int, int], batch_size: int) -> Callable[[], None]:
    """Decodes and crops so many JPEGs a quarter larger than a crop, on one core."""
    height, width = image_size
    noise = np.random.default_rng(0).integers(0, 256, (16, 12, 3), np.uint8)
    picture = cv2.resize(noise, (width * 5 // 4, height * 5 // 4))
    encoded = cv2.imencode(".jpg", picture)[1]
    affine = np.array([[0.8, 0, 0], [0, 0.8, 0]])

    def decode() -> None:
        before = cv2.getNumThreads()
        cv2.setNumThreads(1)
        for _ in range(batch_size):
            image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
            cv2.warpAffine(image, affine, (width, height), flags=cv2.INTER_LINEAR)
        cv2.setNumThreads(before)

    return decode
