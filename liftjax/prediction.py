"""Keypoints of a detector and poses of lifters for a whole data set, on all devices.

Every process gets the whole result. Batches are filled up where they have to be, and what fills
them up is dropped: the result does not depend on the devices or on the size of a batch.

Legend: N records, B batch, K joints, T frames taken, M frames given.
"""

import functools

import jax.numpy as jnp
import numpy as np
from flax import nnx
from tqdm import tqdm

from liftjax import geometry
from liftjax.data import windows
from liftjax.data.order import part_of_batch
from liftjax.data.pipeline import evaluation_batches
from liftjax.data.records import PoseDataset
from liftjax.hosts import is_first
from liftjax.lifters.mirror import mirror_2d, mirror_3d
from liftjax.training.checkpoints import build_model
from liftjax.training.lifter_task import offset, pose_arrays
from liftjax.training.replicas import Replicas
from liftjax.training.state import PureModule

_LIFT_BATCH = 512
_SLIDE = 256  # frames that a sliding lifter gives at a time


def predict_2d(
    detector: nnx.Module,
    dataset: PoseDataset,
    *,
    batch_size: int = 64,
    beta: float = 100.0,
    normalizer: str = "softmax",
    quarter_pixel: bool = False,
    precision: str = "float32",
    cache: bool = False,
    replicas: Replicas | None = None,
) -> np.ndarray:
    """Keypoints (N, K, 2) of every record, in pixels of the original image, on every process.

    Args:
      batch_size: pictures at a time on all devices together, rounded up to fill them.
      beta, normalizer, quarter_pixel: of the soft-argmax. precision: of the activations.
      cache: keep decoded pictures in memory. replicas: the devices; default: all.
    """
    replicas = replicas or Replicas.create()
    pure, params, others = PureModule.split(detector)
    mapped = _mapped_detector(pure, replicas, beta, normalizer, quarter_pixel, precision)
    weights = replicas.replicate((params, others))
    kpts_px_NK2 = np.empty((len(dataset), detector.spec.num_joints, 2), np.float32)
    batches = evaluation_batches(
        dataset,
        image_size=detector.spec.image_size,
        batch_size=replicas.rounded_up(batch_size),
        cache=cache,
        shard=replicas.part,
    )
    with _bar(len(dataset), "detecting", "img") as bar:
        for batch in batches:
            found = replicas.to_host(mapped(weights, replicas.shard(batch)))
            real = found["mask"]
            kpts_px_NK2[found["index"][real]] = found["kpts_px"][real]
            bar.update(int(real.sum()))
    return kpts_px_NK2


@functools.lru_cache(maxsize=8)
def _mapped_detector(
    pure: PureModule,
    replicas: Replicas,
    beta: float,
    normalizer: str,
    quarter_pixel: bool,
    precision: str,
):
    """Compiled once for all evaluations of a training run, as are its sisters below."""

    def predict(weights, batch):
        module = pure.merge(*weights)
        out = module(module.spec.normalize(batch["image_u8"], jnp.dtype(precision)))
        kpts_crop_BK2 = module.decode(out, beta, normalizer, quarter_pixel)
        kpts_px_BK2 = geometry.apply_affine(batch["crop_to_image"], kpts_crop_BK2)
        return {"kpts_px": kpts_px_BK2, "index": batch["index"], "mask": batch["mask"]}

    return replicas.map_predict(predict)


def lift(
    lifter: nnx.Module,
    kpts_px_NK2: np.ndarray,
    image_size_N2: np.ndarray,
    replicas: Replicas | None = None,
) -> np.ndarray:
    """Single-frame lifts (N, K, 3) in metres, on every process."""
    replicas = replicas or Replicas.create()
    pure, params, others = PureModule.split(lifter)
    mapped, weights = _mapped_lifter(pure, replicas), replicas.replicate((params, others))
    count = len(kpts_px_NK2)
    size = replicas.rounded_up(min(count, _LIFT_BATCH))
    poses = []
    own = part_of_batch(size, replicas.part)
    for start in range(0, count, size):
        # The last batch is filled up with its last pose: one compilation serves them all.
        rows = np.minimum(np.arange(start, start + size), count - 1)[own]
        batch = {
            "kpts_px": np.asarray(kpts_px_NK2[rows], np.float32),
            "image_size": np.asarray(image_size_N2[rows], np.float32),
        }
        poses.append(replicas.to_host(mapped(weights, replicas.shard(batch))))
    return np.concatenate(poses)[:count]


@functools.lru_cache(maxsize=8)
def _mapped_lifter(pure: PureModule, replicas: Replicas):
    def lift_batch(weights, batch):
        module = pure.merge(*weights)
        return module.lift(batch["kpts_px"][:, None], batch["image_size"])[:, 0]

    return replicas.map_predict(lift_batch)


def sliding_form(spec: dict) -> nnx.Module:
    """A strided lifter as a sliding one of the same weights, which gives every frame."""
    return build_model({k: v for k, v in spec.items() if k != "strided"})


def lift_dataset(
    lifter: nnx.Module,
    dataset: PoseDataset,
    flip: bool = False,
    replicas: Replicas | None = None,
) -> np.ndarray:
    """Poses (N, K, 3) in metres of every record, from the clips of the data set around it.

    Args:
      flip: the mean of the pose and of what the mirrored clip gives, mirrored back.
      replicas: the devices; default: all.
    """
    replicas = replicas or Replicas.create()
    taken, given = _window_size(lifter)
    clips = windows.find_clips(dataset.labels, dataset.part)
    cut = windows.cut(clips, taken, given, offset(lifter))
    pure, params, others = PureModule.split(lifter)
    mapped = _mapped_windows(pure, replicas, lifter.spec.skeleton, flip)
    weights = replicas.replicate({"lifter": (params, others), "data": pose_arrays(dataset)})
    pose_m_NK3 = np.empty(dataset.labels["pose_m"].shape, np.float32)
    size = replicas.rounded_up(max(1, 4 * _LIFT_BATCH // taken))
    with _bar(len(dataset), "lifting", "poses") as bar:
        for batch in windows.evaluation_batches(cut, size, replicas.part):
            lifted = replicas.to_host(mapped(weights, replicas.shard(batch)))
            counts = lifted["weight"] > 0
            pose_m_NK3[lifted["index"][counts]] = lifted["pose_m"][counts]
            bar.update(int(counts.sum()))
    return pose_m_NK3


@functools.lru_cache(maxsize=8)
def _mapped_windows(pure: PureModule, replicas: Replicas, skeleton: str, flip: bool):
    def lift_batch(weights, batch):
        module, arrays = pure.merge(*weights["lifter"]), weights["data"]
        kpts_px_BTK2 = arrays["joints_px"][batch["inputs"]]
        size_B2 = arrays["image_size"][batch["inputs"][:, 0]]
        pose_m_BMK3 = module.lift(kpts_px_BTK2, size_B2)
        if flip:
            mirrored_BMK3 = module.lift(mirror_2d(kpts_px_BTK2, size_B2, skeleton), size_B2)
            pose_m_BMK3 = (pose_m_BMK3 + mirror_3d(mirrored_BMK3, skeleton)) / 2
        return {"pose_m": pose_m_BMK3, "index": batch["index"], "weight": batch["weight"]}

    return replicas.map_predict(lift_batch)


def _window_size(lifter: nnx.Module) -> tuple[int, int]:
    """Frames taken and given at a time."""
    spec = lifter.spec
    if spec.frames == "any":
        return 1, 1
    if spec.frames == "exact":
        return spec.num_frames, spec.num_frames
    return spec.receptive_field + _SLIDE - 1, _SLIDE


def _bar(total: int, what: str, unit: str) -> tqdm:
    return tqdm(total=total, desc=what, unit=unit, leave=False, delay=2, disable=not is_first())
