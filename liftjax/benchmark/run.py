"""`benchmark`: every stage of a training step, in one run, as times and ratios."""

import time
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from liftjax.benchmark.problem import all_lifters, random_batch, training_problem
from liftjax.benchmark.results import report
from liftjax.benchmark.timing import Timing, interleaved
from liftjax.errors import LiftjaxError
from liftjax.ops import soft_argmax
from liftjax.registry import create_detector
from liftjax.tables import text_table
from liftjax.training.replicas import Replicas
from liftjax.training.run_directory import versions
from liftjax.training.state import PureModule


def run(detector: str, batch_size: int, repeats: int, out: str | None) -> dict:
    """Prints the table; writes it with machine and versions to `out` (JSON) if given."""
    if batch_size < 1 or repeats < 1:
        raise LiftjaxError("--batch-size and --repeats are whole numbers of at least 1.")
    module = create_detector(detector, rngs=nnx.Rngs(0))
    batch = random_batch(module.spec, batch_size)
    calls, compile_s = _steps(module, batch)
    calls |= _soft_argmax(module.spec, batch_size)
    calls["decode JPEG and crop (host, one core)"] = _decoding(module.spec.image_size, batch_size)
    timings = interleaved(calls, repeats)
    results = {
        "detector": detector,
        "image_size": module.spec.image_size,
        "batch_size": batch_size,
        "repeats": repeats,
        "seconds": {name: timing._asdict() for name, timing in timings.items()},
        "compile_s": compile_s,
        "versions": versions(),
    }
    return report(results, _table(results, timings), out)


def _steps(module: nnx.Module, batch: dict) -> tuple[dict, dict[str, float]]:
    """Forward pass and training steps with none, one and four lifters, and compile seconds."""
    pure, params, others = PureModule.split(module)
    spec, one = module.spec, Replicas.create(num_devices=1)
    batch = one.shard(batch)

    def forward(params, others, image_u8):
        return pure.merge(params, others)(spec.normalize(image_u8))

    calls, compile_s = {}, {}

    def add(name: str, function, *arguments: Any) -> None:
        begun = time.perf_counter()
        compiled = function.lower(*arguments).compile()
        compile_s[name] = time.perf_counter() - begun
        calls[name] = lambda: compiled(*arguments)

    add("forward", jax.jit(forward), params, others, batch["image_u8"])
    lifters = all_lifters()
    names = {0: "FT-2D step", 1: "guided step, 1 lifter", 4: "guided step, 4 lifters"}
    for count, name in names.items():
        problem = training_problem(module, lifters[:count])
        # Not donated: every repetition starts from the same state.
        step = one.map_step(problem.step, donate=False)
        state, frozen = one.replicate((problem.state, problem.frozen))
        add(name, step, state, frozen, batch, problem.hyper)
    return calls, compile_s


def _soft_argmax(spec, batch_size: int) -> dict:
    """Value and gradient of the fused soft-argmax and of its plain twin."""
    values = np.random.default_rng(0).normal(size=(batch_size, *spec.output_size, spec.num_joints))
    heat_BHWK = jnp.asarray(values, jnp.float32)
    versions_2d = {"fused": soft_argmax.soft_argmax_2d, "plain": soft_argmax.soft_argmax_2d_plain}

    def value_and_gradient(function):
        graded = jax.jit(jax.value_and_grad(lambda heat: function(heat, 100.0).sum()))
        return lambda: graded(heat_BHWK)

    return {
        f"soft-argmax forward + backward, {name}": value_and_gradient(function)
        for name, function in versions_2d.items()
    }


def _decoding(image_size: tuple[int, int], batch_size: int):
    height, width = image_size
    noise = np.random.default_rng(0).integers(0, 256, (16, 12, 3), np.uint8)
    picture = cv2.resize(noise, (width * 5 // 4, height * 5 // 4))
    encoded = cv2.imencode(".jpg", picture)[1]
    affine = np.array([[0.8, 0, 0], [0, 0.8, 0]])

    def decode():
        cv2.setNumThreads(1)
        for _ in range(batch_size):
            image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
            cv2.warpAffine(image, affine, (width, height), flags=cv2.INTER_LINEAR)

    return decode


def _table(results: dict, timings: dict[str, Timing]) -> str:
    reference = timings["FT-2D step"].median
    body = [
        [
            name,
            f"{1000 * t.median:.1f}",
            f"{1000 * t.least:.1f}-{1000 * t.most:.1f}",
            f"{t.median / reference:.3f}",
            f"{results['batch_size'] / t.median:.0f}",
            f"{results['compile_s'][name]:.1f}" if name in results["compile_s"] else "",
        ]
        for name, t in timings.items()
    ]
    height, width = results["image_size"]
    title = (
        f"{results['detector']}, {height}x{width}, batch {results['batch_size']}, float32, on "
        f"{', '.join(results['versions']['devices'])}; medians of {results['repeats']} runs in turn"
    )
    head = ["stage", "ms", "range", "of FT-2D", "images/s", "compile s"]
    return f"{title}\n\n{text_table(head, body)}"
