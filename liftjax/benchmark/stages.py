"""The stages of training that `benchmark` times, liftjax's way of each and PyTorch's.

PyTorch is needed only where its candidates are prepared.
"""

import contextlib
import functools
import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from liftjax.benchmark.problem import with_surroundings
from liftjax.benchmark.programs import compile_program
from liftjax.benchmark.timing import Candidate, Comparison
from liftjax.runtime.replicas import Replicas
from liftjax.runtime.state import PureModule
from liftjax.training.detector_step import GuidanceOptions, make_train_step

LIFTJAX = "liftjax"
DECODE, COPY, FORWARD = "decode JPEG and crop (host, one core)", "host to device", "forward"


def step_name(lifters: int, frames: int = 1) -> str:
    """The stage of a training step through so many lifters of up to `frames` frames."""
    if not lifters:
        return "FT-2D step"
    several = f", {frames} frames" if frames > 1 else ""
    return f"guided step, {lifters} lifter{'s' if lifters > 1 else ''}{several}"


class Cell(NamedTuple):
    """What the stages of one detector, batch size and precision have in common.

    Attributes:
      module: the detector.
      lifters: frozen lifters.
      counts: a training step is timed for each of these numbers of lifters.
      batch: a batch of `liftjax.data.pipeline`.
      precision: of the detector.
      video_lifters: lifters of several frames; one more step is timed, through as many of them as
        the largest number in `counts`.
    """

    module: nnx.Module
    lifters: Sequence[nnx.Module]
    counts: Sequence[int]
    batch: dict[str, np.ndarray]
    precision: str
    video_lifters: Sequence[nnx.Module] = ()


def liftjax_candidates(cell: Cell) -> list[Candidate]:
    """Decoding, copying, the forward pass, and a step for each number of lifters.

    The step with most lifters also gets the seconds that a hit in the persistent cache takes.
    """
    one = Replicas.create(num_devices=1)
    module, batch = cell.module, cell.batch

    def forward():
        pure, params, others = PureModule.split(module)
        placed = one.replicate((params, others)), one.shard(batch["image_u8"])

        def function(weights, image_u8):
            images = module.spec.normalize(image_u8, jnp.dtype(cell.precision))
            return pure.merge(*weights)(images)

        compiled, facts = compile_program(jax.jit(function), *placed)
        return lambda: compiled(*placed), facts

    def step(lifters: Sequence[nnx.Module]):
        options = GuidanceOptions(dtype=cell.precision)
        whole, records = with_surroundings(batch, lifters)
        problem = make_train_step(module, lifters, options=options, num_records=records)
        state, frozen = one.replicate((problem.state, problem.frozen))
        rest = (frozen, one.shard(whole), problem.hyper)
        mapped, again = one.map_step(problem.step), len(lifters) == max(cell.counts)
        compiled, facts = compile_program(mapped, state, *rest, again=again)
        return Training(compiled, state, rest), facts

    stages = {
        DECODE: lambda: (decoding(module.spec.image_size, len(batch["image_u8"])), {}),
        COPY: lambda: (lambda: one.shard(batch), {}),
        FORWARD: forward,
        **{step_name(n): functools.partial(step, cell.lifters[:n]) for n in sorted({*cell.counts})},
    }
    most = cell.video_lifters[: max(cell.counts)]
    frames = max((lifter.spec.receptive_field for lifter in most), default=1)
    if frames > 1:
        stages[step_name(len(most), frames)] = functools.partial(step, most)
    return [Candidate(stage, LIFTJAX, prepare) for stage, prepare in stages.items()]


class Training:
    """Steps as in a training loop: each donates its state and continues from the new one."""

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
        with one_opencv_thread():
            for _ in range(batch_size):
                image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
                cv2.warpAffine(image, affine, (width, height), flags=cv2.INTER_LINEAR)

    return decode


@contextlib.contextmanager
def one_opencv_thread() -> Iterator[None]:
    """OpenCV uses one thread in the block."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def torch_installed() -> bool:
    """Whether PyTorch is there."""
    return importlib.util.find_spec("torch") is not None


class Queued:
    """Work that PyTorch has begun: waited for like a jax array, by calling `wait`."""

    def __init__(self, wait: Callable[[], None]):
        self.wait = wait

    def block_until_ready(self) -> "Queued":
        self.wait()
        return self


def peer_candidates(way: str, cell: Cell) -> list[Candidate]:
    """The stages of the PyTorch trainer `way`; the released trainer is always float32.

    The step with most lifters comes first, in case time runs out before all have compiled.
    prepare_s: seconds to make the trainer and to call it twice, including `torch.compile` and the
    capture of a graph.
    """
    precision = "float32" if way == "released" else cell.precision

    @functools.cache
    def trainer(count: int) -> tuple[Any, Any]:
        """The trainer through so many lifters, and the batch where it wants it."""
        from liftjax.benchmark.torch_peer import trainers

        made = trainers.create_trainer(way, cell.module, cell.lifters[:count], precision=precision)
        return made, made.put(cell.batch)

    def prepare(count: int, method: str):
        begun = time.perf_counter()
        peer, placed = trainer(count)
        call = functools.partial(getattr(peer, method), cell.batch if method == "put" else placed)
        for _ in range(2):
            call()
        peer.wait()
        facts = {"precision": precision, "prepare_s": time.perf_counter() - begun}
        if peer.peak_bytes() is not None:
            facts["device_bytes"] = peer.peak_bytes()

        def once() -> Queued:
            call()
            return Queued(peer.wait)

        return once, facts

    most, *others = sorted(set(cell.counts), reverse=True)
    stages = [
        (step_name(most), most, "step"),
        (COPY, most, "put"),
        (FORWARD, most, "forward"),
        *((step_name(n), n, "step") for n in others),
    ]
    return [Candidate(name, way, functools.partial(prepare, *rest)) for name, *rest in stages]


def compare_stages(
    found: Comparison, batch_size: int, peaks: Mapping[str, float], precision: str
) -> None:
    """Adds to the rows what their seconds mean.

    images_per_s: pictures a second.
    of_ft2d: seconds over those of the FT-2D step of the same way.
    ratio: seconds over those of liftjax in the same stage.
    flops_per_s: for every way, the arithmetic is that of liftjax's traced program.
    share_of_peak: flops_per_s over the measured peak of the row's precision.
    """
    for row, seconds in found.timed():
        stage, way = row["stage"], row["way"]
        row["images_per_s"] = batch_size / seconds
        references = {"of_ft2d": found.median(step_name(0), way)}
        if way != LIFTJAX:
            references["ratio"] = found.median(stage, LIFTJAX)
        row |= {name: seconds / other for name, other in references.items() if other}
        ours = found.rows.get((stage, LIFTJAX), {})
        if "flops" in ours:
            row["flops_per_s"] = ours["flops"] / seconds
            peak = peaks.get(row.get("precision", precision))
            if peak:
                row["share_of_peak"] = row["flops_per_s"] / peak
