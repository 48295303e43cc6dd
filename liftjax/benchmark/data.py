"""`benchmark data`: pictures a second from records, beside the released way, and in training."""

import itertools
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from liftjax.benchmark import frames, released_loader
from liftjax.benchmark.results import report
from liftjax.benchmark.stages import one_opencv_thread
from liftjax.benchmark.timing import Timing, time_in_turn
from liftjax.data.pipeline import Batches, train_batches
from liftjax.data.prefetch import Prefetch
from liftjax.data.records import PoseDataset
from liftjax.errors import LiftjaxError
from liftjax.registry import create_detector, get_preset
from liftjax.runtime.replicas import Replicas
from liftjax.runtime.run_directory import versions
from liftjax.tables import text_table
from liftjax.training.detector_step import make_train_step

DEMO_DETECTOR, DEMO_SIZE, DEMO_STORED_HEIGHT = "hrnet_small", (128, 96), 144
WORKERS = 2
_UNCOUNTED = 12  # steps at the start of a stretch, fed from what was read ahead before it
RECORDS, RELEASED = "records: decode, crop, batch", "released way: frame, warp, maps, collate"
MEMORY, WORKING = "in memory", f"{WORKERS} workers, from records"


def time_data(
    detector: str = "hrnet_w32",
    batch_size: int = 32,
    repeats: int = 10,
    out: str | None = None,
    *,
    data: str | None = None,
    samples: int = 128,
    steps: int = 40,
) -> dict:
    """Prints both comparisons; writes them with the versions to `out` (JSON) if given.

    Args:
      detector: detector whose input size the loaders serve.
      batch_size: pictures in a batch of the loaders.
      repeats: turns of each loader.
      out: file to write.
      data: data set with whole frames; None: frames are generated.
      samples: number of frames.
      steps: training steps in a turn; 0 leaves the training out.
    """
    if min(batch_size, repeats, samples) < 1 or steps < 0:
        raise LiftjaxError("--batch-size, --repeats and --samples are at least 1, --steps 0.")
    image_size = get_preset("detector", detector).default("image_size")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        records = list(frames.whole_frames(data, samples) if data else frames.generated(samples))
        results = {
            "image_size": image_size,
            "batch_size": batch_size,
            "repeats": repeats,
            "samples": len(records),
            "frame_kB": float(np.mean([len(record.image) for record in records])) / 1000,
            "loaders": compare_loaders(records, folder, image_size, batch_size, repeats),
            "versions": versions(),
        }
        if steps:
            stored = frames.as_records(records, folder / "small", DEMO_STORED_HEIGHT)
            results["training"] = compare_training(stored, steps, max(3, repeats // 2))
    return report(results, format_results(results), out)


def compare_loaders(records, folder: Path, image_size, batch_size: int, repeats: int) -> dict:
    """Seconds of processor time for a batch, of both ways in turn, in this process alone."""
    (folder / "frames").mkdir()
    entries = frames.as_files(records, folder / "frames")
    released = released_loader.ReleasedDataset(entries, image_size)
    stored = frames.as_records(records, folder / "crops")
    ours = Batches(stored, image_size, batch_size, shard=(0, 1), seed=0)
    endless = itertools.chain.from_iterable(
        released_loader.batches(released, batch_size) for _ in itertools.count()
    )
    # The last batch of an epoch may be smaller; it is left out.
    whole = (batch for batch in endless if len(batch[0]) == min(batch_size, len(records)))
    steps = itertools.count()
    ways = {RECORDS: lambda: ours(next(steps)), RELEASED: lambda: next(whole)}
    with one_opencv_thread():
        timings = time_in_turn(ways, repeats, clock=time.process_time)
    counts = {RECORDS: batch_size, RELEASED: min(batch_size, len(records))}
    rates = {name: counts[name] / timing.median for name, timing in timings.items()}
    return {
        "cpu_seconds": {name: timing._asdict() for name, timing in timings.items()},
        "images_per_core_s": rates,
        "ratio": rates[RECORDS] / rates[RELEASED],
        "crop_kB": float(np.mean([len(stored.image_bytes(i)) for i in range(len(stored))])) / 1000,
    }


def compare_training(dataset: PoseDataset, steps: int, repeats: int) -> dict:
    """Seconds of an FT-2D step of the demo's detector, with crops in memory or from two workers.

    A turn has `steps` steps after some uncounted ones; the ratio is the median over turns.
    """
    one = Replicas.create(num_devices=1)
    step, state, hyper = _ft2d_step()
    options = {"image_size": DEMO_SIZE, "batch_size": 32, "seed": 0}
    sources = {
        MEMORY: Prefetch(train_batches(dataset, cache=True, **options), put=one.shard),
        WORKING: Prefetch(train_batches(dataset, num_workers=WORKERS, **options), put=one.shard),
    }

    def stretch(source, state) -> tuple[float, dict]:
        for count in (_UNCOUNTED, steps):
            begun = time.perf_counter()
            for _ in range(count):
                state, metrics = step(state, (), next(source), hyper)
            jax.block_until_ready(metrics)
        return (time.perf_counter() - begun) / steps, state

    seconds = {name: [] for name in sources}
    try:
        for turn in range(repeats + 1):
            for name, source in sources.items():
                elapsed, state = stretch(source, state)
                if turn:  # the first compiles
                    seconds[name].append(elapsed)
    finally:
        for source in sources.values():
            source.close()
    timings = {name: Timing.of(taken) for name, taken in seconds.items()}
    return {
        "seconds": {name: timing._asdict() for name, timing in timings.items()},
        "images_per_s": {name: 32 / timing.median for name, timing in timings.items()},
        "ratio": float(np.median(np.array(seconds[MEMORY]) / np.array(seconds[WORKING]))),
    }


def _ft2d_step():
    """The compiled step, its first state and its hyperparameters."""
    one = Replicas.create(num_devices=1)
    module = create_detector(DEMO_DETECTOR, image_size=DEMO_SIZE, rngs=nnx.Rngs(0))
    problem = make_train_step(module)
    return one.map_step(problem.step), one.replicate(problem.state), problem.hyper


def format_results(results: dict) -> str:
    """Both tables as text."""
    loaders, (height, width) = results["loaders"], results["image_size"]
    slowest = loaders["images_per_core_s"][RELEASED]
    body = [
        [name, f"{1000 / rate:.2f}", f"{rate:.0f}", f"{rate / slowest:.2f}"]
        for name, rate in loaders["images_per_core_s"].items()
    ]
    parts = [
        f"One core, {height}x{width} crops, batches of {results['batch_size']}, the same "
        f"{results['samples']} pictures (frames of {results['frame_kB']:.0f} kB, stored crops of "
        f"{loaders['crop_kB']:.0f} kB); processor time, medians of {results['repeats']} turns",
        text_table(["loader", "ms a picture", "images/s a core", "times"], body),
    ]
    if "training" in results:
        training = results["training"]
        body = [
            [name, f"{1000 * t['median']:.1f}", f"{1000 * t['least']:.1f}-{1000 * t['most']:.1f}",
             f"{training['images_per_s'][name]:.0f}"]
            for name, t in training["seconds"].items()
        ]  # fmt: skip
        parts += [
            f"FT-2D step of {DEMO_DETECTOR}, {DEMO_SIZE[0]}x{DEMO_SIZE[1]}, batch 32: "
            f"{100 * training['ratio']:.1f} % of the speed in memory",
            text_table(["data", "ms a step", "range", "images/s"], body),
        ]
    return "\n\n".join(parts)
