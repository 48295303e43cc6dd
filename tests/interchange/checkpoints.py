"""Small checkpoints as the published programs save them."""

import functools

import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from liftjax import registry, torch_weights
from liftjax.runtime.checkpoints import (
    build_model,
    checkpoint_spec,
    find_checkpoint,
    read_meta,
)
from liftjax.runtime.state import dotted
from tests.goldens import weights

# Small sizes of every network, by registry name.
SMALL = {
    "hrnet_tiny": {},
    "rtmpose_tiny": {},
    "simple_baseline": {"linear_size": 16, "num_stages": 1},
    "videopose3d": {"num_frames": 9, "channels": 8},
    "iganet": {"layers": 1, "channels": 16},
    "mixste": {"num_frames": 3, "embed_dim": 16, "depth": 2},
}


@functools.cache
def _shapes(name: str, joints: str) -> dict:
    create = registry.create_detector if name in registry.DETECTORS else registry.create_lifter
    build = functools.partial(create, name, skeleton=joints, **SMALL[name])
    return torch_weights.shapes(nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0))))


def state_dict(name: str, skeleton: str | None = None) -> dict[str, np.ndarray]:
    """The network's state_dict by upstream's names, every array filled from its name."""
    joints = skeleton or ("human36m" if name in registry.LIFTERS else "coco")
    return {key: weights.fill(key, shape) for key, shape in _shapes(name, joints).items()}


def prefixed(prefix: str, state: dict) -> dict:
    return {prefix + key: value for key, value in state.items()}


def mmpose_hrnet(state: dict, head: str = "head") -> dict:
    """HRNet's state_dict by MMPose's names."""
    return {
        f"{head}.{key}" if key.startswith("final_layer") else f"backbone.{key}": value
        for key, value in state.items()
    }


def tensors(state: dict) -> dict:
    import torch

    return {key: torch.from_numpy(np.array(value)) for key, value in state.items()}


def save(path, tree: dict, legacy: bool = False) -> str:
    """torch.save of a tree whose arrays are NumPy's; returns the path as text."""
    import torch

    def convert(value):
        if isinstance(value, dict):
            return {key: convert(item) for key, item in value.items()}
        return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value

    torch.save(convert(tree), path, _use_new_zipfile_serialization=not legacy)
    return str(path)


def imported(directory) -> tuple[dict[str, np.ndarray], dict]:
    """The state_dict and the spec in `directory`, read without drawing weights first."""
    spec = checkpoint_spec(read_meta(directory))
    module = nnx.eval_shape(lambda: build_model(spec))
    with ocp.StandardCheckpointer() as checkpointer:
        arrays = checkpointer.restore(find_checkpoint(directory) / "model")
    for path, variable in nnx.to_flat_state(nnx.state(module)):
        variable.set_value(arrays[dotted(path)])
    return torch_weights.dump(module), spec


def assert_same(a: dict, b: dict) -> None:
    assert set(a) == set(b)
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)
