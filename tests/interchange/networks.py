"""Small networks with weights worth exporting: fresh ones give maps that are all but flat."""

import functools

from flax import nnx

from liftjax import create_detector, create_lifter, torch_weights
from liftjax.registry import DETECTORS
from tests.goldens import weights

# By name of the preset: what makes it small.
DETECTOR_SIZES = {
    "hrnet_tiny": {"image_size": (64, 64), "skeleton": "human36m"},
    "rtmpose_tiny": {"image_size": (64, 96), "skeleton": "human36m"},
    "dwpose_t": {"image_size": (64, 32), "widen": 0.125, "channels": 32, "attention_dim": 16},
}
LIFTER_SIZES = {
    "simple_baseline": {"linear_size": 16, "num_stages": 1},
    "videopose3d": {"channels": 16},
    "iganet": {"layers": 1, "channels": 32},
    "mixste": {"embed_dim": 16, "depth": 2, "num_heads": 4},
}
CLIPS = {"videopose3d": 9, "mixste": 3}  # frames of those that see several


@functools.cache
def network(name: str, num_frames: int = 1) -> nnx.Module:
    """The small network, every array filled from its name; do not change it."""
    if name in DETECTORS:
        module = create_detector(name, rngs=nnx.Rngs(0), **DETECTOR_SIZES[name])
    else:
        more = {"num_frames": num_frames, **LIFTER_SIZES[name]}
        module = create_lifter(name, rngs=nnx.Rngs(0), **more)
    shapes = torch_weights.shapes(module)
    torch_weights.load(module, {key: weights.fill(key, shape) for key, shape in shapes.items()})
    if name == "simple_baseline":
        joints = module.spec.num_joints
        random = weights.np.random.default_rng(0)
        module.set_statistics(
            random.uniform(200, 900, (joints, 2)),
            random.uniform(50, 200, (joints, 2)),
            random.uniform(-0.5, 0.5, (joints, 3)),
            random.uniform(0.1, 0.3, (joints, 3)),
        )
    return module
