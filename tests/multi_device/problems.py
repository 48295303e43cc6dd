"""Small training problems that any number of devices can share."""

import dataclasses
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

from liftjax import geometry
from liftjax.detectors.spec import HeatmapOutput
from liftjax.nn.layers import synchronize
from liftjax.ops.numerics import at_least_float32
from liftjax.registry import create_detector, create_lifter
from liftjax.runtime.replicas import AXIS, Replicas
from liftjax.training.detector_step import GuidanceOptions, make_train_step
from liftjax.training.update import Update
from tests.training.test_step import ToyDetector
from tests.training.toys import ToySimCC

BATCH, JOINTS, SIZE = 16, 17, (64, 64)
FRAMES, RECORDS = 5, 40  # of a window; of a data set

SMALL = {
    "simple_baseline": {"linear_size": 16, "num_stages": 1},
    "videopose3d": {"channels": 16},
    "iganet": {"channels": 16, "layers": 1},
    "mixste": {"embed_dim": 16, "depth": 1, "num_heads": 2},
}


@dataclasses.dataclass
class Problem:
    """A step of one replica, its first state, and what it reads."""

    step: Any
    state: dict
    frozen: Any
    hyper: dict
    compiled: dict = dataclasses.field(default_factory=dict)  # by replicas

    def run(self, replicas: Replicas, batches: list[dict]) -> tuple[dict, list[dict]]:
        """The state after all batches, and the metrics of each, on the host."""
        if replicas not in self.compiled:
            self.compiled[replicas] = replicas.map_step(self.step)
        step = self.compiled[replicas]
        state, frozen = replicas.replicate(self.state), replicas.replicate(self.frozen)
        seen = []
        for t, batch in enumerate(batches):
            state, metrics = step(state, frozen, replicas.shard(batch), self.hyper | {"step": t})
            seen.append(replicas.to_host(metrics))
        return replicas.to_host(state), seen


def guided(
    optimizer: optax.GradientTransformation,
    *,
    detector: str = "toy",
    lifters: tuple[str, ...] = ("simple_baseline", "videopose3d"),
    dtype: str = "float32",
    sync: bool = True,
    learning_rate: float = 1e-3,
    several_frames: bool = False,
    update: dict | None = None,
    ema: float = 0.0,
    **options,
) -> Problem:
    """Multi-model guidance of a small detector by small lifters."""
    module = make_detector(detector)
    if sync:
        synchronize(module, AXIS)
    longer = {"videopose3d": {"strided": True}, "mixste": {}} if several_frames else {}
    sizes = {name: SMALL[name] for name in lifters}
    for name in sizes.keys() & longer.keys():
        sizes[name] = sizes[name] | longer[name] | {"num_frames": FRAMES}
    modules = [create_lifter(n, rngs=nnx.Rngs(i), **s) for i, (n, s) in enumerate(sizes.items())]
    ones = np.ones((JOINTS, 3), np.float32)
    modules[0].set_statistics(50 * ones[:, :2], 20 * ones[:, :2], 0 * ones, 0.3 * ones)
    train = make_train_step(
        module,
        modules,
        Update(optimizer, **update or {}),
        GuidanceOptions(dtype=dtype, **{"balanced": True, "lifter_names": lifters, **options}),
        num_records=RECORDS if several_frames else 0,
    )
    state = train.state
    state |= {"ema": state["params"] | state["others"]} if ema else {}
    state, frozen = as_type((state | {"opt": None}, train.frozen), dtype)
    state["opt"] = optimizer.init(state["params"])
    hyper = train.hyper | {"beta": 20.0, "balance": 1.0, "learning_rate": learning_rate, "seed": 3}
    hyper |= {"ema_rate": 1 - ema} if ema else {}
    return Problem(train.step, state, frozen, hyper)


class Toy(ToyDetector):
    """Its output is as wide as that of the real ones."""

    def __call__(self, images, train=False):
        return HeatmapOutput(at_least_float32(super().__call__(images, train).heatmaps))


def make_detector(name: str) -> nnx.Module:
    """A small detector of the registry, or a toy of either kind, which compiles in a moment."""
    if name == "toy":
        return Toy(nnx.Rngs(0))
    if name == "toy_simcc":
        return ToySimCC(JOINTS, SIZE, rngs=nnx.Rngs(0))
    return create_detector(name, skeleton="human36m", image_size=SIZE, rngs=nnx.Rngs(0))


def as_type(tree: Any, dtype: str) -> Any:
    """Floating arrays as `dtype`, on the host; bfloat16 is for activations alone."""
    wide = np.float64 if dtype == "float64" else np.float32

    def cast(array):
        array = np.asarray(array)
        return array.astype(wide) if np.issubdtype(array.dtype, np.floating) else array

    return jax.tree.map(cast, tree)


def batches(count: int, dtype: str = "float32", size: int = BATCH) -> list[dict]:
    """Noise in the shapes of `liftjax.data.pipeline`; some samples lack 3D, some joints a label."""
    rng = np.random.default_rng(0)
    crop_to_image = np.tile(np.array([[2.0, 0, 10], [0, 2.0, 20]]), (size, 1, 1))
    made = []
    for _ in range(count):
        joints_crop = rng.uniform(8, 56, (size, JOINTS, 2))
        made.append(
            {
                "image_u8": rng.integers(0, 256, (size, *SIZE, 3), np.uint8),
                "crop_to_image": crop_to_image,
                "joints_px": geometry.apply_affine(crop_to_image, joints_crop),
                "joint_visible": (rng.random((size, JOINTS)) < 0.9).astype(float),
                "pose_m": rng.normal(0, 0.3, (size, JOINTS, 3)),
                "has_3d": (rng.random(size) < 0.7).astype(float),
                "image_size": np.full((size, 2), 200.0),
            }
        )
    return as_type(made, dtype)


def with_frames(made: list[dict], lifters: tuple[str, ...]) -> list[dict]:
    """The batches for lifters of several frames: three of a sample run through the detector."""
    rng = np.random.default_rng(1)
    several = []
    for batch in made:
        frames = {k: np.stack([np.roll(v, i, 0) for i in range(3)], 1) for k, v in batch.items()}
        records = rng.permutation(RECORDS)[:BATCH][:, None] + np.arange(3, dtype=np.int32)
        windows = []
        for name in lifters:
            inputs = rng.integers(0, RECORDS, (BATCH, FRAMES), np.int32)
            inputs[:, 1:3] = records[:, :2]
            given = np.full(BATCH, 0 if name == "videopose3d" else 1, np.int32)
            if name not in ("videopose3d", "mixste"):
                inputs, given = records[:, :1], np.zeros(BATCH, np.int32)
            windows.append({"inputs": inputs, "given": given})
        renewed = {key: batch[key][: BATCH // 2] for key in ("image_u8", "crop_to_image")}
        renewed["records"] = rng.integers(0, RECORDS, BATCH // 2, np.int32)
        around = {"records": records.astype(np.int32), "windows": windows, "renewed": renewed}
        around |= {"image_to_view": batch["crop_to_image"], "mirrored": batch["has_3d"]}
        several.append(frames | {"around": around})
    return several


def largest_difference(a: Any, b: Any) -> float:
    """Over all entries of two trees of arrays of one structure."""
    gaps = jax.tree.map(
        lambda x, y: np.abs(np.asarray(x, float) - np.asarray(y, float)).max(), a, b
    )
    return max(jax.tree.leaves(gaps))
