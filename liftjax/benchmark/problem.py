"""What benchmarks give to the training step: the lifters, and a batch of noise."""

from collections.abc import Sequence

import numpy as np
from flax import nnx

from liftjax import geometry
from liftjax.lifters.spec import Lifter
from liftjax.registry import create_lifter

LIFTERS = ("simple_baseline", "videopose3d", "iganet", "mixste")  # the paper's
PEERS = ("released", "tuned")  # the PyTorch trainers

_OF_SEVERAL = {"videopose3d": {"strided": True}, "mixste": {}}
_RECORDS = 1_559_752  # Human3.6M's training frames at the rate of its cameras
_RENEWED = 4  # samples to each frame that is found again, the recipe's default


def all_lifters(frames: int = 1) -> list[nnx.Module]:
    """The paper's four lifters with fresh weights, at the paper's size.

    Args:
      frames: how many VideoPose3D and MixSTE see.
    """
    several = {name: {"num_frames": frames} | form for name, form in _OF_SEVERAL.items()}
    settings = several if frames > 1 else {}
    return [create_lifter(n, rngs=nnx.Rngs(0), **settings.get(n, {})) for n in LIFTERS]


def random_batch(spec, batch_size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A batch of noise in the shapes of `liftjax.data.pipeline`."""
    rng = np.random.default_rng(seed)
    height, width = spec.image_size
    crop_to_image = np.tile(np.array([[2.0, 0, 50], [0, 2.0, 80]], np.float32), (batch_size, 1, 1))
    joints_crop = rng.uniform(0, (width, height), (batch_size, spec.num_joints, 2))
    return {
        "image_u8": rng.integers(0, 256, (batch_size, height, width, 3), np.uint8),
        "crop_to_image": crop_to_image,
        "joints_px": geometry.apply_affine(crop_to_image, joints_crop.astype(np.float32)),
        "joint_visible": np.ones((batch_size, spec.num_joints), np.float32),
        "pose_m": rng.normal(0, 0.3, (batch_size, spec.num_joints, 3)).astype(np.float32),
        "has_3d": np.ones(batch_size, np.float32),
        "image_size": np.full((batch_size, 2), 1000, np.float32),
    }


def with_surroundings(
    batch: dict[str, np.ndarray], lifters: Sequence[Lifter], window_frames: int = 1
) -> tuple[dict, int]:
    """The batch as lifters of several frames need it, and the length of its data set.

    The batch stays as it is, and the length is 0, if all lifters see single frames.

    Args:
      batch: of samples of one frame.
      lifters: those that guide.
      window_frames: frames of a sample that run through the detector.
    """
    fields = [lifter.spec.receptive_field for lifter in lifters]
    if max(fields, default=1) == 1:
        return batch, 0
    size, rng = len(batch["image_size"]), np.random.default_rng(0)

    def some(*shape):
        return rng.integers(0, _RECORDS, shape, np.int32)

    records = some(size, window_frames)
    windows = [{"inputs": some(size, field), "given": np.zeros(size, np.int32)} for field in fields]
    found_again = {key: batch[key][::_RENEWED] for key in ("image_u8", "crop_to_image")}
    found_again["records"] = some(len(found_again["image_u8"]))
    around = {"records": records, "windows": windows, "renewed": found_again}
    rows = {key: np.repeat(array[:, None], window_frames, 1) for key, array in batch.items()}
    return rows | {"around": around}, _RECORDS
