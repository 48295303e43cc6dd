"""What benchmarks give to the training step: the lifters, and a batch of noise."""

import numpy as np
from flax import nnx

from liftjax import geometry
from liftjax.registry import create_lifter

LIFTERS = ("simple_baseline", "videopose3d", "iganet", "mixste")  # the paper's
PEERS = ("released", "tuned")  # the PyTorch trainers


def all_lifters() -> list[nnx.Module]:
    """The paper's four lifters with fresh weights, at the paper's size."""
    return [create_lifter(name, rngs=nnx.Rngs(0)) for name in LIFTERS]


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
